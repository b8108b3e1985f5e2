"""How often an event was tried: counted when a handler was begun or failed, not when something was delivered.

The server counts deliveries, and those grow by themselves: with every restart, with every pause that is longer than the
ack wait. What decides on retries and dead letters is counted here instead. Nothing is written for an event that is
handled at its first delivery. A failure writes the first count; an event that was delivered before is handed to a
handler only after its try is stored, so that a crash is blamed on what was being handled.

The counts lie in the key-value bucket of the dedupe store, under the durable's name, and survive restarts. Where the
bucket cannot be used they are kept in this process only, and the log says so once; the bucket is asked again half a
minute later.
"""

import asyncio
from typing import Any, Final

from mts1b_foundation.subjects import encode_token

from mts1b_platform.eventbus.connection.client import BusClient
from mts1b_platform.eventbus.dedupe.cells import Cells, Conflict
from mts1b_platform.eventbus.dedupe.kv import BUCKET, KvDedupe
from mts1b_platform.eventbus.errors import BusError
from mts1b_platform.eventbus.events.event import Event
from mts1b_platform.eventbus.protocol.position import MessageKey
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.consumer")

_MOST: Final = 20_000
"""Counts that are kept in this process."""
_WRITES: Final = 5
"""Attempts to write a count while another instance does the same."""
_PAUSE: Final = 30.0
"""Seconds until a bucket that failed is asked again."""


class Tries:
    """The tries of one durable's events.

    Args:
        client: the connection.
        stream: name of the stream.
        durable: name of the consumer.
    """

    def __init__(self, client: BusClient, stream: str, durable: str) -> None:
        self._client = client
        self._durable = durable
        self._prefix = f"{encode_token(durable)}.tries.{encode_token(stream)}"  # a service may write below its durables
        self._cells: Cells | None = None
        self._asked_again_at: float | None = None
        """When the bucket, which has failed, is asked again, as the event loop counts; None while it works."""
        self._local: dict[MessageKey, int] = {}

    async def begin(self, event: Event[Any], most: int) -> int:
        """Count a try of ``event``; returns its number, which is stored before this returns.

        More than ``most`` says that it was tried as often as it may be; nothing is stored then.
        """
        tries = max(await self._read(event), self._local.get(event.key, 0)) + 1
        if tries <= most:
            await self._write(event, tries)
        return tries

    def note(self, event: Event[Any]) -> None:
        """``event`` was handed to somebody who does not say what became of it."""
        self._remember(event, event.tries)

    async def failed(self, event: Event[Any]) -> None:
        """The handler of ``event`` failed; a try of the first delivery was not stored when it was begun."""
        if event.deliveries == 1:
            await self._write(event, 1, first=True)

    async def undo(self, event: Event[Any]) -> None:
        """The try of ``event`` does not count: its handler asked for another time, or was cancelled."""
        if event.tries > 1:
            await self._write(event, event.tries - 1)
        elif event.tries == 1 and event.deliveries > 1:
            self.forget(event)

    async def use_up(self, event: Event[Any], most: int) -> None:
        """``event`` is a dead letter: no reader that it is delivered to once more tries it again."""
        if event.tries == 1 or event.tries < most:
            await self._write(event, most)

    def forget(self, event: Event[Any]) -> None:
        """``event`` is settled for good."""
        self._local.pop(event.key, None)
        if self._cells is not None and self._asked_again_at is None:
            self._cells.remove(self._name(event))

    def _remember(self, event: Event[Any], tries: int) -> None:
        self._local[event.key] = tries
        if len(self._local) > _MOST:
            del self._local[next(iter(self._local))]

    def _name(self, event: Event[Any]) -> str:
        seq, stored_at = event.key
        return f"{self._prefix}.{seq}-{stored_at}"

    async def _read(self, event: Event[Any]) -> int:
        cells = await self._open()
        if cells is None:
            return 0
        try:
            cell = await cells.read(self._name(event))
        except BusError as error:
            self._keep_here(error)
            return 0
        self._works()
        if cell is None or not cell.value:
            return 0
        if not cell.value.isdigit():
            log.warning("a stored count of tries is no number; it begins anew", bucket=BUCKET, key=self._name(event))
            return 0
        return int(cell.value)

    async def _write(self, event: Event[Any], tries: int, *, first: bool = False) -> None:
        """Store ``tries``; of a ``first`` one, which nobody asked about, on top of what others counted meanwhile."""
        self._remember(event, tries)
        cells = await self._open()
        if cells is None:
            return
        name = self._name(event)
        written: bytes | None = None
        try:
            for _ in range(_WRITES):
                cell = await cells.read(name)
                if first and cell is not None and cell.value.isdigit():
                    if cell.value == written:  # by the attempt whose answer was lost
                        return
                    tries = int(cell.value) + 1
                    self._remember(event, tries)
                written = b"%d" % tries
                try:
                    await cells.write(name, b"%d" % tries, cell.revision if cell else 0)
                except Conflict:
                    continue
                self._works()
                return
        except BusError as error:
            self._keep_here(error)

    async def _open(self) -> Cells | None:
        if self._asked_again_at is not None and asyncio.get_running_loop().time() < self._asked_again_at:
            return None
        if self._cells is None:
            try:
                await KvDedupe(self._client).ensure_bucket()
            except BusError as error:
                self._keep_here(error)
            else:
                self._cells = Cells(self._client, BUCKET)
        return self._cells

    def _keep_here(self, error: BusError) -> None:
        if self._client.is_closed:
            return
        if self._asked_again_at is None:
            log.warning(
                "tries are counted in this process only: a crash that repeats is not noticed",
                durable=self._durable,
                bucket=BUCKET,
                error=str(error),
                seconds=_PAUSE,
            )
        self._asked_again_at = asyncio.get_running_loop().time() + _PAUSE

    def _works(self) -> None:
        if self._asked_again_at is not None:
            self._asked_again_at = None
            log.info("tries are stored again", durable=self._durable, bucket=BUCKET)
