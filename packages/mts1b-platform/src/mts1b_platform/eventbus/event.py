"""An event as a consumer holds it: typed payload, envelope, position in the stream, and what to do with it.

``async with event:`` decides by how the block ends: acknowledged when it ends well, delayed redelivery when it raises,
a dead letter when it raised once too often or raised :class:`Reject`. Who decides for himself calls ``ack``, ``nak``
or ``reject``; the first decision counts, and leaving the block then changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Generic, Protocol, Self

from mts1b_foundation.subjects import Subject
from mts1b_foundation.subjects.subject import T
from nats.aio.msg import Msg

from mts1b_platform.eventbus.headers import ACTOR, MSG_ID, SOURCE_REPO, TRACE_ID
from mts1b_platform.eventbus.trace import current_trace


@dataclass(frozen=True, slots=True)
class Position:
    """Where a stream holds a message, and how often this consumer was given it (the first time is 1)."""

    stream: str
    seq: int
    consumer: str
    deliveries: int
    timestamp: datetime
    """When the stream stored it, UTC."""
    pending: int
    """How many matching messages the stream holds behind it."""


class Settler(Protocol):
    """What an event asks of the consumer that handed it out."""

    async def ack(self, event: "Event[Any]") -> None:
        """Acknowledge."""
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


class Heard(Generic[T]):
    """An event heard on a best-effort subscription: nothing to acknowledge."""

    __slots__ = ("headers", "payload", "registered", "subject")

    def __init__(self, registered: Subject[T], subject: str, headers: Mapping[str, str], payload: T) -> None:
        self.registered = registered
        self.subject = subject
        self.headers = headers
        self.payload = payload

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.subject} {self.payload!r}>"

    @property
    def trace_id(self) -> str | None:
        """The trace that the event belongs to."""
        return self.headers.get(TRACE_ID)

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


class Event(Heard[T]):
    """An event of a durable subject, to be decided on once."""

    __slots__ = ("_settler", "_token", "message", "position", "settled")

    def __init__(
        self,
        registered: Subject[T],
        subject: str,
        headers: Mapping[str, str],
        payload: T,
        *,
        message: Msg,
        position: Position,
        settler: Settler,
    ) -> None:
        super().__init__(registered, subject, headers, payload)
        self.message = message
        """The message as nats-py handed it over."""
        self.position = position
        self.settled = False
        self._settler = settler
        self._token: Any = None

    @property
    def seq(self) -> int:
        """Sequence in the stream."""
        return self.position.seq

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

    async def ack(self) -> None:
        """Done: never again for this consumer."""
        if not self.settled:
            await self._settler.ack(self)

    async def nak(self, delay: float | None = None) -> None:
        """Again, after ``delay`` seconds; without one after the delay that the retry policy says."""
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

    async def __aenter__(self) -> Self:
        self._token = current_trace.set(self.trace_id)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        current_trace.reset(self._token)
        if error is None:
            await self.ack()
            return False
        return await self._settler.failed(self, error)
