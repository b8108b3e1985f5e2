"""An event as a consumer holds it: typed payload, envelope, position in the stream, and what to do with it.

``async with event:`` decides by how the block ends: acknowledged when it ends well, delayed redelivery when it raises,
a dead letter when it raised once too often or raised :class:`Reject`. Who decides for himself calls ``ack``, ``nak``
or ``reject``; the first decision counts, and leaving the block then changes nothing.
"""

from collections.abc import Generator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Generic, Protocol, Self, TypeVar, cast

from mts1b_foundation.subjects import Subject, Tier
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.core import CORE
from mts1b_platform.eventbus.events.once import DedupeStore, Fences, Marks, Term
from mts1b_platform.eventbus.events.trace import usable_trace_id
from mts1b_platform.eventbus.limits import check_timeout
from mts1b_platform.eventbus.protocol.envelope import ACTOR, MSG_ID, ORIGINAL_MSG_ID, SOURCE_REPO
from mts1b_platform.eventbus.protocol.envelope_reader import MessageIds, read_ids
from mts1b_platform.eventbus.protocol.headers import HeaderError, Headers
from mts1b_platform.eventbus.protocol.message import RawMsg, WireMsg
from mts1b_platform.eventbus.protocol.position import MessageKey, Position
from mts1b_platform.handling import handled
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus")

_ORIGINAL: Final = ORIGINAL_MSG_ID.lower().encode()

Tx = TypeVar("Tx")


class Settler(Protocol):
    """What an event asks of the consumer that handed it out."""

    def acked(self, event: "Event[Any]") -> bool:
        """Acknowledge; says whether to wait for :meth:`room`."""
        ...

    async def room(self) -> None:
        """Wait until the answers are on their way."""
        ...

    async def nak(self, event: "Event[Any]", delay: float | None) -> None:
        """Ask for redelivery, after ``delay`` seconds or the policy's delay."""
        ...

    async def failed(self, event: "Event[Any]", error: BaseException) -> bool:
        """Decide after the handler raised; says whether the exception ends here."""
        ...

    async def reject(self, event: "Event[Any]", reason: str) -> None:
        """Dead-letter at once."""
        ...

    async def in_progress(self, event: "Event[Any]") -> None:
        """Tell the server that the handler is at work."""
        ...


class HandlerHooks(Protocol):
    """What is told when a handler's block begins and ends."""

    def entered(self, event: "LiveEvent[Any]", /) -> Any:
        """``async with event`` begins."""
        ...

    def left(self, mark: Any, event: "LiveEvent[Any]", error: BaseException | None, /) -> None:
        """The block ended, with ``error`` when it raised; ``mark`` is what :meth:`entered` returned."""
        ...


class LiveEvent(Generic[T]):
    """An event that a listener was handed: nothing to acknowledge.

    ``async with event:`` makes what happens inside part of its trace: events emitted there, and log lines.
    """

    __slots__ = ("_entered", "_headers", "_ids", "_wire", "hooks", "payload", "registered", "reply", "subject")

    def __init__(
        self,
        registered: Subject[T],
        subject: str,
        wire: RawMsg,
        payload: T,
        hooks: HandlerHooks | None = None,
    ) -> None:
        self.registered = registered
        self.subject = subject
        self.payload = payload
        self.reply = wire[1]
        """The subject that an answer goes to; empty when none is asked for."""
        self._wire = wire
        self._headers: Headers | None = None
        self.hooks = hooks
        self._entered: Any = None

    @property
    def wire(self) -> WireMsg:
        """The message as it came: bytes, nothing decoded."""
        return WireMsg(*self._wire)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.subject} {self.payload!r}>"

    @property
    def headers(self) -> Headers:
        """The headers, looked up without regard to case; parsed when first asked for."""
        if self._headers is None:
            self._headers = Headers(self._wire[2])
        return self._headers

    @property
    def ids(self) -> MessageIds:
        """What tells this event from others; read when first asked for, without parsing the other headers."""
        try:
            return self._ids
        except AttributeError:  # whoever makes an event leaves it out
            self._ids = ids = read_ids(self._wire[2])
            return ids

    @property
    def trace_id(self) -> str | None:
        """The trace that the event belongs to."""
        try:
            return usable_trace_id(self.ids.trace_id)
        except HeaderError:  # said twice, or no text: no trace that could go on
            return None

    @property
    def source(self) -> str:
        """The repo that published it."""
        return self.headers[SOURCE_REPO]

    @property
    def actor(self) -> str | None:
        """Who acted."""
        return self.headers.get(ACTOR)

    @property
    def parameters(self) -> dict[str, str]:
        """The values in the concrete subject, decoded: the symbol, the fund."""
        return self.registered.parse(self.subject) or {}

    def log_fields(self) -> dict[str, Any]:
        """What every log line written inside ``async with event`` carries."""
        return {"subject": self.subject, "trace_id": self.trace_id}

    async def __aenter__(self) -> Self:
        self._enter()
        return self

    def _enter(self) -> None:
        """Begin the block."""
        mark = None
        if self.hooks is not None:
            try:
                mark = self.hooks.entered(self)
            except Exception as error:  # noqa: BLE001 - it is logged
                self._hook_failed(error)
        self._entered = handled.set(self), mark

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._leave(error)
        return False

    def _leave(self, error: BaseException | None) -> None:
        """End the block; whatever goes wrong here does not keep the event from being settled."""
        token, mark = self._entered or (None, None)
        self._entered = None
        if token is not None:
            with suppress(ValueError):  # entered in another task or context: what was set there is gone with it
                handled.reset(token)
        if self.hooks is not None:
            try:
                self.hooks.left(mark, self, error)
            except Exception as failure:  # noqa: BLE001 - it is logged
                self._hook_failed(failure)

    def _hook_failed(self, error: BaseException) -> None:
        log.error("a hook failed", exc_info=error, subject=self.subject)


class Event(LiveEvent[T]):
    """An event of a durable subject, to be decided on once."""

    __slots__ = ("_position", "_settler", "received_at", "settled", "term", "tries")

    def __init__(
        self,
        registered: Subject[T],
        subject: str,
        wire: RawMsg,
        payload: T,
        settler: Settler,
        hooks: HandlerHooks | None = None,
        position: Position | None = None,
    ) -> None:
        # What the base class does, once more: calling it costs as much as all the rest.
        self.registered = registered
        self.subject = subject
        self.payload = payload
        self.reply = wire[1]
        self._wire = wire
        self._headers = None
        self.hooks = hooks
        self._entered = None
        self._settler = settler
        self._position = position
        self.settled = False
        self.tries = 1
        """How often its handler was begun, this time included. Deliveries that no handler saw do not count."""
        self.term = 0
        """Of a reader with several instances: a number that is greater after each takeover; 0 of any other.

        Who acts elsewhere than in a SQL store's transaction hands it on, and there the lesser of two is refused.
        """
        self.received_at = 0.0
        """When it was handed out, in seconds since 1970; 0 when nobody watches."""

    @property
    def position(self) -> Position:
        """Where the stream holds it; read when first asked for."""
        if self._position is None:
            self._position = Position.of(self.reply)
        return self._position

    @property
    def seq(self) -> int:
        """Sequence in the stream."""
        return self.position.seq

    @property
    def key(self) -> MessageKey:
        """Sequence and storing time: names the message, also when the stream's sequences go back."""
        return self.position.key

    @property
    def stream(self) -> str:
        """The stream that stores it."""
        return self.position.stream

    @property
    def deliveries(self) -> int:
        """How often this consumer was given it, this time included."""
        return self.position.deliveries

    @property
    def timestamp(self) -> datetime:
        """When the stream stored it, UTC."""
        return self.position.timestamp

    @property
    def msg_id(self) -> str | None:
        """The message id it was published with."""
        return self.headers.get(MSG_ID)

    @property
    def identity(self) -> str:
        """What this event is recognised by however often it was published, replayed or requeued.

        In the third tier the payload's ``idempotency_key``, else the message id of its first publication; within
        its subject, so that the steps of one order, which share a key, stay apart.
        """
        if self.registered.tier is Tier.DEDUPE:
            key: str = getattr(self.payload, "idempotency_key")  # noqa: B009 - the registry checks that it is there
        else:
            original = self.headers.get(ORIGINAL_MSG_ID) if _ORIGINAL in self._wire[2].lower() else None
            key = original or self.ids.msg_id or f"{self.stream}:{self.seq}:{self.position.stored_at}"
        return f"{self.registered.pattern}|{key}"

    def once(self, store: DedupeStore[Tx]) -> AbstractAsyncContextManager[Tx]:
        """Handle this event once for this durable: ``async with event, event.once(store) as tx: …``.

        When the store has it as done, the block is not entered and the event is acknowledged and counted. With a
        SQL store the block's writes on ``tx`` and the mark commit together, and a store that knows a greater term of
        office than :attr:`term` writes nothing.
        """
        consumer = self.position.consumer
        if self.term and isinstance(store, Fences):
            fencing = cast("Fences[Tx]", store)
            return fencing.once_in_term(consumer, self.identity, Term(f"{self.stream}.{consumer}", self.term))
        return store.once(consumer, self.identity)

    async def mark(self, store: Marks[Tx], tx: Tx) -> None:
        """Handle this event once as well, in the transaction ``tx`` that an event before it has opened by :meth:`once`.

        For the events that a reader's ``behind`` names: effects and marks of all of them commit together.

        Raises:
            AlreadyDone: it was handled before; ``tx`` is as it was.
            StoreMisused: ``tx`` is no open transaction.
        """
        await store.mark(tx, self.position.consumer, self.identity)

    @contextmanager
    def beside(self) -> Generator[None]:
        """Inside the block of an event before it: what happens in this one is part of this event's trace.

        Whoever watches sees it handled here, and not once more in its own turn, in which it is acknowledged.
        """
        self._enter()
        try:
            yield
        except BaseException as error:
            self._leave(error)
            raise
        self._leave(None)
        self.hooks = None

    def again(self) -> "Event[T]":
        """The same message as a further delivery of it, not decided on yet."""
        position = self.position._replace(deliveries=self.position.deliveries + 1)
        return Event(self.registered, self.subject, self._wire, self.payload, self._settler, self.hooks, position)

    async def ack(self) -> None:
        """Done: never again for this consumer."""
        if not self.settled and self._settler.acked(self):
            await self._settler.room()

    async def nak(self, delay: float | None = None) -> None:
        """Again, after ``delay`` seconds; without one after the delay that the retry policy says.

        Raises:
            InvalidArgument: ``delay`` is no number of seconds, or more than a hundred years.
        """
        if delay is not None:
            check_timeout("delay", delay)
        if not self.settled:
            await self._settler.nak(self, delay)

    async def reject(self, reason: str) -> None:
        """Of no use to try again: store a dead letter with this reason and go on."""
        if not self.settled:
            await self._settler.reject(self, reason)

    async def in_progress(self) -> None:
        """Ask for more time. The consumer does so by itself while an event is being handled."""
        if not self.settled:
            await self._settler.in_progress(self)

    def log_fields(self) -> dict[str, Any]:
        """What every log line written inside ``async with event`` carries."""
        position = self.position
        return {
            "subject": self.subject,
            "trace_id": self.trace_id,
            "stream": position.stream,
            "seq": position.seq,
            "durable": position.consumer,
        }

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._leave(error)
        if error is None:
            if not self.settled and self._settler.acked(self):
                await self._settler.room()
            return False
        return await self._settler.failed(self, error)


if CORE is not None:
    CORE.serve_events(LiveEvent, Event, handled)
