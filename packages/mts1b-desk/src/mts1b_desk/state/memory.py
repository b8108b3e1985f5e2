"""The state of a service in memory, for runs that may be thrown away: backtests."""

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from mts1b_platform.eventbus import Event
from mts1b_platform.eventbus.errors import AlreadyDone
from mts1b_platform.eventbus.outbox import Outbox, Row
from mts1b_platform.eventbus.outbox.message import seal
from mts1b_platform.logs import get_logger

from mts1b_desk.cores.core import Emit
from mts1b_desk.state.store import Rows
from mts1b_desk.tables import Change

log = get_logger("mts1b.desk.memory")

_REMEMBERED = 100_000
"""Events that are known to be handled: far more than are delivered a second time."""


class MemoryStore:
    """State that ends with its process. Implements ``Store``.

    Args:
        repo: the repo that the service speaks as.
        actor: who acts when an event does not say.
    """

    keeps = False

    def __init__(self, *, repo: str, actor: str) -> None:
        self._repo = repo
        self._actor = actor
        self._done = _Done()
        self._outbox = _MemoryOutbox()

    @property
    def waiting(self) -> Outbox:
        """The events that are not published yet."""
        return self._outbox

    async def connect(self) -> None:
        """Nothing to open."""

    async def open(self) -> Rows:
        """Nothing is stored of an earlier life."""
        return {}

    async def backlog(self) -> int:
        """How many events wait to be published."""
        return len(self._outbox.rows)

    def once(self, event: Event[Any]) -> AbstractAsyncContextManager[None]:
        """A block that handles ``event``; raises ``AlreadyDone`` when one before did."""
        return event.once(self._done)

    async def mark(self, tx: None, event: Event[Any]) -> None:
        """Handle ``event`` too; raises ``AlreadyDone`` when it was before."""
        await event.mark(self._done, tx)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[None]:
        """A block that nothing undoes: when it raises, the service ends and its run with it."""
        yield

    async def read(self, tx: Any, table: str, key: str, *, alone: bool = False) -> bytes | None:
        """Nothing is stored: the rows are the core's own."""
        del tx, table, key, alone
        return None

    async def write(self, tx: Any, changes: Sequence[Change], emits: Sequence[tuple[Emit, str | None]]) -> None:
        """Keep the events to publish; the rows are the core's own."""
        del tx, changes
        for emit, trace_id in emits:
            self._outbox.add(emit, self._repo, self._actor, trace_id)

    async def close(self) -> None:
        """Nothing to close."""


class _Done:
    """Remembers which events were handled. Implements ``DedupeStore`` and ``Marks``."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, str], None] = {}

    @asynccontextmanager
    async def once(self, consumer: str, key: str) -> AsyncGenerator[None]:
        self._refuse(consumer, key)
        yield
        self._add(consumer, key)

    async def mark(self, tx: None, consumer: str, key: str) -> None:
        del tx
        self._refuse(consumer, key)
        self._add(consumer, key)

    async def close(self) -> None:
        self._keys.clear()

    def _refuse(self, consumer: str, key: str) -> None:
        if (consumer, key) in self._keys:
            raise AlreadyDone(f"{consumer} has handled {key}")

    def _add(self, consumer: str, key: str) -> None:
        self._keys[consumer, key] = None
        if len(self._keys) > _REMEMBERED:
            del self._keys[next(iter(self._keys))]


class _MemoryOutbox:
    """Events that wait, in order. Implements ``Outbox``."""

    def __init__(self) -> None:
        self.rows: deque[Row] = deque()
        self._number = 0

    def add(self, emit: Emit, repo: str, actor: str, trace_id: str | None) -> None:
        sealed = seal(
            emit.subject, emit.payload, service=repo, actor=actor, msg_id=emit.msg_id, trace_id=trace_id, headers=None
        )
        self._number += 1
        self.rows.append(Row(self._number, sealed.subject, sealed.headers, sealed.payload, 0))

    async def open(self) -> bool:
        return False

    async def close(self) -> None:
        self.rows.clear()

    async def hold(self, owner: str, seconds: float) -> bool:  # noqa: ARG002 - there is no other owner
        return True

    async def release(self, owner: str) -> None:
        """Nobody else can hold it."""

    async def pending(self, limit: int) -> list[Row]:
        return [row for _, row in zip(range(limit), self.rows, strict=False)]

    async def remove(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if self.rows and self.rows[0] is row:
                self.rows.popleft()
            else:
                self.rows.remove(row)

    async def failed(self, row: Row, error: str, *, park: bool) -> None:
        if park:
            log.critical("an event is lost: its stream refuses it", subject=row.subject, id=row.msg_id, error=error)
            self.rows.remove(row)
