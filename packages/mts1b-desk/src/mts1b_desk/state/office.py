"""Which instance of a service works, when there are several: the one that holds the office.

The office is a row of the database that holds the service's state. Who holds it writes to it three times in
``takeover`` seconds; another takes it when it has seen no such sign for that long by its own monotonic clock, or at
once when it was left. Each time in office has a number, and every transaction of the service holds that its own is
still the last one: so whatever an instance believes that was frozen, cut off or slow, it stores nothing once another
has taken over, and publishes nothing that it has not stored.
"""

import asyncio
import os
import secrets
import socket
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final

from mts1b_platform.eventbus import Event
from mts1b_platform.eventbus.errors import StoreError
from mts1b_platform.eventbus.lease import Lease, Watched
from mts1b_platform.eventbus.outbox import Outbox, Row
from mts1b_platform.logs import get_logger
from pydantic import BaseModel, ConfigDict

from mts1b_desk.cores.core import Emit
from mts1b_desk.errors import OutOfOffice
from mts1b_desk.state.store import Rows, Store
from mts1b_desk.tables import Change

log = get_logger("mts1b.desk.office")

_TABLE: Final = "office"
_KEY: Final = "holder"
_SIGNS: Final = 3
_LOOKS: Final = 20
"""Looks of who waits within ``takeover``."""
_PAUSE: Final = 1.0


class _Held(BaseModel):
    model_config = ConfigDict(frozen=True)

    term: int = 0
    member: str = ""
    """Who holds it; empty when it was left."""
    sign: int = 0


class Office:
    """The office of one service, as one of its instances sees it.

    Args:
        store: the database of the service's state, opened for the office alone.
        takeover: seconds without a sign of life after which another instance takes it.
    """

    def __init__(self, store: Store, takeover: float) -> None:
        self.member = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        """This instance."""
        self.term = 0
        """The number of this time in office; 0 while there is none."""
        self._store = store
        self._takeover = takeover
        self._until = 0.0

    @property
    def held(self) -> bool:
        """Whether no other can have taken it, by this process's clock."""
        return self.term > 0 and time.monotonic() < self._until

    async def take(self) -> None:
        """Return when this instance holds it.

        Raises:
            StoreError: the database cannot be used.
        """
        await self._store.connect()
        other = Watched()
        while True:
            try:
                await self._store.connect()
                seen = await self._read(None)
                if (not seen.member or other.is_over(_lease(seen, self._takeover))) and await self._taken(seen):
                    log.info("in office", member=self.member, term=self.term, before=seen.member)
                    return
            except Exception as error:  # noqa: BLE001 - whatever a database says
                log.warning("the office cannot be looked at; trying again", error=str(error))
                await self._store.close()
                await asyncio.sleep(_PAUSE)
            await asyncio.sleep(self._takeover / _LOOKS)

    async def keep(self) -> None:
        """Give signs of life.

        Raises:
            OutOfOffice: another instance has taken over.
        """
        while True:
            await asyncio.sleep(self._takeover / _SIGNS)
            now = time.monotonic()
            try:
                await self._store.connect()
                async with self._store.transaction() as tx:
                    held = await self._own(tx, alone=True)
                    await self._write(tx, held.model_copy(update={"sign": held.sign + 1}))
                self._until = now + self._takeover
            except Exception as error:  # noqa: BLE001 - whatever a database says
                log.warning("no sign of life could be given; trying again", error=str(error))
                await self._store.close()

    async def check(self, tx: Any) -> None:
        """Have the transaction ``tx`` hold that no other instance has taken over.

        Raises:
            OutOfOffice: one has.
        """
        await self._own(tx)

    async def confirm(self) -> bool:
        """Whether no other instance has taken over, asked just now.

        Raises:
            StoreError: the database does not say.
        """
        try:
            return self._is_own(await self._read(None))
        except Exception as error:
            raise StoreError(f"nobody says who is in office: {error}") from error

    async def leave(self) -> None:
        """Let another instance take it at once; close its database."""
        with suppress(OutOfOffice):
            try:
                if self.term:
                    async with self._store.transaction() as tx:
                        await self._write(tx, (await self._own(tx, alone=True)).model_copy(update={"member": ""}))
            except Exception as error:  # noqa: BLE001 - whatever a database says
                log.warning("the office could not be left; its time ends by itself", error=str(error))
        await self._store.close()

    async def _taken(self, seen: _Held) -> bool:
        now = time.monotonic()
        async with self._store.transaction() as tx:
            if await self._read(tx, alone=True) != seen:
                return False
            await self._write(tx, _Held(term=seen.term + 1, member=self.member))
        self.term, self._until = seen.term + 1, now + self._takeover
        return True

    async def _own(self, tx: Any, *, alone: bool = False) -> _Held:
        held = await self._read(tx, alone=alone)
        if not self._is_own(held):
            self._until = 0.0
            raise OutOfOffice(f"another instance has taken over: {held.member or 'it has left since'}")
        return held

    def _is_own(self, held: _Held) -> bool:
        """Two that were the first at the same time have the same term; the row is that of the later one."""
        return (held.term, held.member) == (self.term, self.member)

    async def _read(self, tx: Any, *, alone: bool = False) -> _Held:
        data = await self._store.read(tx, _TABLE, _KEY, alone=alone)
        return _Held() if data is None else _Held.model_validate_json(data)

    async def _write(self, tx: Any, held: _Held) -> None:
        await self._store.write(tx, [Change(_TABLE, _KEY, held.model_dump_json().encode())], ())


class InOffice:
    """The state of a service of which one instance works. Implements ``Store``.

    Args:
        store: the state.
        office: what every transaction holds to be this instance's.
    """

    def __init__(self, store: Store, office: Office) -> None:
        self.keeps = store.keeps
        self._store = store
        self._office = office

    @property
    def waiting(self) -> Outbox:
        """The events that are not published yet; only who holds the office publishes them."""
        return _PublishedInOffice(self._store.waiting, self._office)

    async def connect(self) -> None:
        """Open it."""
        await self._store.connect()

    async def open(self) -> Rows:
        """What is stored, but for the office."""
        return {name: rows for name, rows in (await self._store.open()).items() if name != _TABLE}

    async def backlog(self) -> int:
        """How many events wait to be published."""
        return await self._store.backlog()

    def once(self, event: Event[Any]) -> AbstractAsyncContextManager[Any]:
        """A transaction that handles ``event``, in office."""
        return self._in_office(self._store.once(event))

    async def mark(self, tx: Any, event: Event[Any]) -> None:
        """Handle ``event`` too in ``tx``, which holds that this instance is in office."""
        await self._store.mark(tx, event)

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """A transaction, in office."""
        return self._in_office(self._store.transaction())

    async def read(self, tx: Any, table: str, key: str, *, alone: bool = False) -> bytes | None:
        """One row."""
        return await self._store.read(tx, table, key, alone=alone)

    async def write(self, tx: Any, changes: Sequence[Change], emits: Sequence[tuple[Emit, str | None]]) -> None:
        """Store rows, and events to publish."""
        await self._store.write(tx, changes, emits)

    async def close(self) -> None:
        """Close it."""
        await self._store.close()

    @asynccontextmanager
    async def _in_office(self, transaction: AbstractAsyncContextManager[Any]) -> AsyncGenerator[Any]:
        async with transaction as tx:
            await self._office.check(tx)
            yield tx


class _PublishedInOffice:
    """An outbox whose relay is that of the instance in office. Implements ``Outbox``."""

    def __init__(self, outbox: Outbox, office: Office) -> None:
        self._outbox = outbox
        self._office = office

    async def open(self) -> bool:
        return await self._outbox.open()

    async def close(self) -> None:
        await self._outbox.close()

    async def hold(self, owner: str, seconds: float) -> bool:  # noqa: ARG002 - the office is what is held
        return await self._office.confirm()

    async def release(self, owner: str) -> None:
        """The office is left when the service ends."""

    async def pending(self, limit: int) -> list[Row]:
        return await self._outbox.pending(limit)

    async def remove(self, rows: Sequence[Row]) -> None:
        await self._outbox.remove(rows)

    async def failed(self, row: Row, error: str, *, park: bool) -> None:
        await self._outbox.failed(row, error, park=park)


def _lease(held: _Held, seconds: float) -> Lease:
    return Lease(held.member, held.term * 1e9 + held.sign, seconds)
