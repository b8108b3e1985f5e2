"""The state of a service in memory, for runs that may be thrown away: backtests."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any

from mts1b_platform.eventbus import Event
from mts1b_platform.eventbus.errors import AlreadyDone
from mts1b_platform.eventbus.outbox.memory import MemoryOutbox

from mts1b_desk.cores.core import Emit
from mts1b_desk.state.store import Rows
from mts1b_desk.tables import Change

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
        self._done = _Done()
        self._outbox = MemoryOutbox(service=repo, actor=actor)

    @property
    def waiting(self) -> MemoryOutbox:
        """The events that are not published yet."""
        return self._outbox

    async def connect(self) -> None:
        """Nothing to open."""

    async def open(self) -> Rows:
        """Nothing is stored of an earlier life."""
        return {}

    async def backlog(self) -> int:
        """How many events wait to be published."""
        return len(self._outbox.waiting)

    def once(self, event: Event[Any]) -> AbstractAsyncContextManager[None]:
        """A block that handles ``event``; raises ``AlreadyDone`` when one before did."""
        return event.once(self._done)

    async def mark(self, tx: None, event: Event[Any]) -> None:
        """Handle ``event`` too; raises ``AlreadyDone`` when it was before."""
        await event.mark(self._done, tx)

    def begin(self, event: Event[Any]) -> None:
        """Handle ``event`` from now on, and not again.

        Raises:
            AlreadyDone: it was handled before.
        """
        self._done.begin(event.position.consumer, event.identity)

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
        self.tell(emits)

    def tell(self, emits: Sequence[tuple[Emit, str | None]]) -> None:
        """Keep events to publish, with their trace ids."""
        for emit, trace_id in emits:
            self._outbox.add(emit.subject, emit.payload, msg_id=emit.msg_id, trace_id=trace_id)

    async def close(self) -> None:
        """Nothing to close."""


class _Done:
    """Remembers which events were handled. Implements ``DedupeStore`` and ``Marks``."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, str], None] = {}

    def once(self, consumer: str, key: str) -> "_Handling":
        return _Handling(self, consumer, key)

    async def mark(self, tx: None, consumer: str, key: str) -> None:
        del tx
        self.begin(consumer, key)

    async def close(self) -> None:
        self._keys.clear()

    def refuse(self, consumer: str, key: str) -> None:
        if (consumer, key) in self._keys:
            raise AlreadyDone(f"{consumer} has handled {key}")

    def begin(self, consumer: str, key: str) -> None:
        self.refuse(consumer, key)
        self.add(consumer, key)

    def add(self, consumer: str, key: str) -> None:
        self._keys[consumer, key] = None
        if len(self._keys) > _REMEMBERED:
            del self._keys[next(iter(self._keys))]


class _Handling(AbstractAsyncContextManager[None]):
    """A block that handles an event; it is remembered when the block ends well."""

    __slots__ = ("_consumer", "_done", "_key")

    def __init__(self, done: _Done, consumer: str, key: str) -> None:
        self._done, self._consumer, self._key = done, consumer, key

    async def __aenter__(self) -> None:
        self._done.refuse(self._consumer, self._key)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._done.add(self._consumer, self._key)
