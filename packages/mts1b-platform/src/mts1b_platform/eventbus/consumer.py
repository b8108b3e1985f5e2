"""Consuming a durable subject: every event handed to a handler until it is done with, or a dead letter.

Guarantees:

- Pull consumers underneath: several instances share one durable, each event goes to one of them at a time.
- An event leaves the consumer in one of two ways only: acknowledged, or stored as a dead letter first.
- A failing handler is tried again after an exponential delay, never in a tight loop.
- A crash is blamed on one event at most: the oldest of those that were handed out too often becomes a dead letter, the
  others were merely near it and get their chance.
- What waits here or is being handled is kept from redelivery however long it takes (see ``intake.py``).
- A durable that is deleted while in use raises; a server that restarts is waited for.

In what order the events of one key are handled is the business of ``ordered.py``.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Self

import nats.errors
from mts1b_foundation.deadletters import DeadLetterReason
from mts1b_foundation.subjects import DurableSubject
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.acks import again_in
from mts1b_platform.eventbus.deadletters import store_dead_letter
from mts1b_platform.eventbus.decode import Refused
from mts1b_platform.eventbus.durables import Deliver, ensure_durable, stream_of
from mts1b_platform.eventbus.errors import BusClosed, BusError, ConsumeError, NotStored
from mts1b_platform.eventbus.event import Event
from mts1b_platform.eventbus.headers import ONLY_DURABLE
from mts1b_platform.eventbus.hooks import of_handlers
from mts1b_platform.eventbus.intake import Intake
from mts1b_platform.eventbus.position import NotJetStream, Position, first_delivery
from mts1b_platform.eventbus.retry import RetryPolicy
from mts1b_platform.eventbus.verdict import judge
from mts1b_platform.eventbus.wire import WireMsg, pub_frame
from mts1b_platform.logs import get_logger

if TYPE_CHECKING:
    from mts1b_platform.eventbus.bus import EventBus

log = get_logger("mts1b.eventbus.consumer")

MAX_ACK_PENDING: Final = 10_000
"""Most events of a durable that are under way at a time, over all its readers."""

_ONLY: Final = ONLY_DURABLE.encode()


class Consumer(Generic[T]):
    """The events of one durable, as an async iterator. Made by ``bus.consume``.

    Ends when :meth:`stop` was called or the bus drains; raises when it cannot go on.
    """

    def __init__(
        self,
        bus: "EventBus",
        subjects: Sequence[DurableSubject[T]],
        durable: str,
        *,
        parameters: dict[str, str | None],
        policy: RetryPolicy,
        deliver: Deliver,
        prefetch: int,
        ack_wait: float,
        inactive_threshold: float | None,
    ) -> None:
        for subject in subjects:
            if not isinstance(subject, DurableSubject):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise NotStored(f"{subject} is best effort and stored nowhere: use bus.listen() without a durable")
        if not durable or any(character in durable for character in ". *>/\\\t\r\n"):
            raise ConsumeError(f"durable {durable!r} is no consumer name: use letters, digits, - and _ only")
        self.durable = durable
        self.policy = policy
        self._bus = bus
        self._subjects = subjects
        self._decode = bus.decoder(subjects).decode
        self._consumed = bus.counters.consumed
        self._filters = tuple(pattern for subject in subjects for pattern in subject.filters(**parameters))
        self._deliver: Deliver = deliver
        self._prefetch = prefetch
        self._ack_wait = ack_wait
        self._inactive_threshold = inactive_threshold
        self._wake = asyncio.Event()
        self._stream = ""
        self._intake: Intake | None = None
        self._fresh = b""
        """How the reply subjects of first deliveries begin."""
        self._blame = 1
        self._stopping = False
        self._start_lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Consumer {self.durable!r} of {', '.join(self._filters)}>"

    @property
    def stream(self) -> str:
        """The stream that is read; empty until the consumer has started."""
        return self._stream

    @property
    def open(self) -> int:
        """How many events are being handled."""
        return len(self._intake.handled) if self._intake is not None else 0

    @property
    def waiting(self) -> int:
        """How many events wait here for the handler."""
        return len(self._intake.queue) if self._intake is not None else 0

    async def start(self) -> None:
        """Find or create the durable and begin to pull.

        Iterating does it by itself; calling it first surfaces errors early.

        Raises:
            ConsumerConflict: the durable exists and reads something else.
            NoStream: the stream does not exist.
            JetStreamUnavailable: JetStream does not answer.
        """
        async with self._start_lock:
            if self._intake is None:
                self._stream = await stream_of(self._bus, self._subjects)
                self._ack_wait = await ensure_durable(
                    self._bus,
                    stream=self._stream,
                    durable=self.durable,
                    filters=self._filters,
                    ack_wait=self._ack_wait,
                    deliver=self._deliver,
                    max_ack_pending=MAX_ACK_PENDING,
                    inactive_threshold=self._inactive_threshold,
                )
                self._fresh = first_delivery(self._stream, self.durable)
                await self._begin()
            if self._intake is not None:
                await self._intake.start()

    async def _begin(self) -> None:
        """Make the intake; the durable exists."""
        self._intake = self._new_intake(careful=True)

    def _new_intake(self, *, careful: bool) -> Intake:
        return Intake(
            self._bus,
            self._stream,
            self.durable,
            prefetch=self._prefetch,
            ack_wait=self._ack_wait,
            careful=careful,
            wake=self._wake.set,
        )

    async def stop(self) -> None:
        """Stop pulling; events that nobody has begun to handle go back to the server at once."""
        self._stopping = True
        self._wake.set()
        if self._intake is not None:
            await self._intake.stop()
        await self._give_back()
        self._release_if_done()

    async def _give_back(self) -> None:
        """Give the server what was taken in and nobody has begun to handle: nothing here, the intake has done it."""

    def release(self, event: Event[Any]) -> None:
        """Leave ``event`` to a caller who answers the server himself: it is not kept from redelivery any more."""
        self._forget(event.reply)

    def closed(self) -> None:
        """The connection is closed for good: nothing held here can be answered any more."""
        if self._intake is not None:
            self._intake.close()
            closed = BusClosed(f"{self!r}: the bus was closed; open events come again")
            self._intake.failure = self._intake.failure or self._bus.ending or closed
        self._wake.set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event[T]:
        """The next event. Several tasks may ask at a time; each event goes to one of them.

        Raises:
            ConsumerGone: the durable was deleted.
            BusClosed: the bus was closed under the iteration.
        """
        while not self._stopping:
            if (event := self._at_hand() or await self._next()) is not None:
                if self._bus.hooks is not None:
                    event.received_at = time.time()
                return event
        raise StopAsyncIteration

    async def run(self, handler: Callable[[Event[T]], Awaitable[None]], *, concurrency: int = 1) -> None:
        """Hand every event to ``handler``, up to ``concurrency`` at a time, until the consumer is stopped.

        Each call runs inside ``async with event``: it returns and the event is acknowledged, it raises and the event
        comes again, at last as a dead letter.

        Raises:
            ConsumeError, BusClosed: as iterating does.
        """
        if concurrency < 1:
            raise ConsumeError(f"concurrency is {concurrency}: at least one event must be handled at a time")

        async def work() -> None:
            async for event in self:
                async with event:
                    await handler(event)

        async with asyncio.TaskGroup() as workers:
            for number in range(concurrency):
                workers.create_task(work(), name=f"{self.durable} {number}")

    def _at_hand(self) -> Event[T] | None:
        """The next event when nothing about it is to be decided, as with nearly every one; else :meth:`_next` sees."""
        intake = self._intake
        if intake is None or not (queue := intake.queue):
            return None
        msg = queue[0]
        reply, fresh = msg[1], self._fresh
        if reply[: len(fresh)] != fresh:
            return None
        try:
            registered, name, payload, plain = self._decode(msg)
        except Refused:
            return None
        if not plain and _ONLY in msg[2]:
            return None
        queue.popleft()
        intake.handled[reply] = msg
        return Event(registered, name, msg, payload, self, of_handlers(self._bus.hooks))

    async def _next(self) -> Event[T] | None:
        """The next event, or None when something may have changed."""
        intake = await self._started()
        if (msg := intake.take()) is None:
            await self._more(intake)
            return None
        if (event := await self._admit(WireMsg(*msg))) is not None and self._is_to_blame(event):
            await self._give_up(event, DeadLetterReason.MAX_DELIVERIES, crashed(event.deliveries - 1))
            return None
        return event

    async def _started(self) -> Intake:
        if self._intake is None or not self._intake.running:
            await self.start()
        assert self._intake is not None  # noqa: S101 - start() has made it
        return self._intake

    async def _more(self, intake: Intake) -> None:
        """Wait for a message; raises when none will come."""
        if intake.failure is not None:
            raise intake.failure
        self._wake.clear()
        intake.reading(+1)
        try:
            await self._wake.wait()
        finally:
            intake.reading(-1)

    def _is_to_blame(self, event: Event[T]) -> bool:
        """Whether ``event`` is the one that becomes a dead letter for having been handed out too often."""
        if event.deliveries <= self.policy.max_deliveries or not self._blame:
            return False
        self._blame -= 1
        return True

    # What an event asks of its consumer (the protocol Settler).

    def acked(self, event: Event[Any]) -> bool:
        """Acknowledge ``event``; says whether to wait for :meth:`room` now."""
        # What _settle() does, in one piece: nearly every event ends here.
        event.settled = True
        if (hooks := self._bus.hooks) is not None:
            hooks.settled(event)
        reply, crowded = event.reply, False
        try:
            crowded = self._bus.lane.ack(reply)
        except nats.errors.Error as error:
            self._not_sent(error)
        if self._intake is not None:
            self._intake.settled(reply)
        if self._stopping:
            self._release_if_done()
        self._consumed[event.registered.pattern] += 1
        return crowded

    async def nak(self, event: Event[Any], delay: float | None) -> None:
        """Have ``event`` handed out again after ``delay`` seconds, or the policy's."""
        seconds = self.policy.delay(event.deliveries) if delay is None else delay
        self._settle(event, again_in(seconds))
        await self.room()

    async def in_progress(self, event: Event[Any]) -> None:
        """Restart the server's clock for ``event``."""
        self._answer(event.reply, b"+WPI")
        await self.room()

    async def reject(self, event: Event[Any], reason: str) -> None:
        """Store a dead letter for ``event``, then take it off the consumer."""
        await self._give_up(event, DeadLetterReason.REJECTED, reason)

    async def failed(self, event: Event[Any], error: BaseException) -> bool:
        """The handler of ``event`` raised ``error``: retry it, dead-letter it, or let the exception through."""
        if event.settled:
            if isinstance(error, Exception):
                log.error("handler failed after its event was settled", exc_info=error, **where(event))
            return isinstance(error, Exception)
        if not isinstance(error, Exception):
            await self.nak(event, 0)
            return False
        verdict = judge(error, event.deliveries, self.policy)
        pattern = event.registered.pattern
        if verdict.failure:
            self._bus.counters.consume_errors[pattern] += 1
        if verdict.outcome == "done":
            self._bus.counters.deduplicated[pattern] += 1
            self._settle(event, b"+ACK")
            await self.room()
        elif verdict.outcome == "rejected":
            await self._give_up(event, DeadLetterReason.REJECTED, error)
        elif verdict.outcome == "exhausted":
            await self._give_up(event, DeadLetterReason.MAX_DELIVERIES, error)
        else:
            if verdict.failure:
                self._log_failure(event, error, verdict.delay)
            await self.nak(event, verdict.delay)
        return True

    def _log_failure(self, event: Event[Any], error: Exception, delay: float) -> None:
        log.warning(
            "handler failed; the event comes again",
            exc_info=error,
            delivery=event.deliveries,
            of=self.policy.max_deliveries,
            again_in_seconds=round(delay, 3),
            **where(event),
        )

    # Deciding.

    async def _admit(self, msg: WireMsg) -> Event[T] | None:
        """The message as a typed event; None when it was given up instead."""
        try:
            position = Position.of(msg.reply)
        except NotJetStream as error:
            log.warning("something other than an event came to the pulls", durable=self.durable, error=str(error))
            self._forget(msg.reply)
            return None
        self._came(position, msg.reply)
        if _ONLY in msg.head and msg.headers.get(ONLY_DURABLE, self.durable) != self.durable:
            self._answer(msg.reply, b"+ACK")  # requeued for another durable, which had failed with it
            return None
        try:
            registered, name, payload, _ = self._decode(msg)
        except Refused as refused:
            self._bus.counters.schema_mismatch[refused.pattern] += 1
            await self._refuse(msg, position, refused)
            return None
        return Event(registered, name, msg, payload, self, of_handlers(self._bus.hooks), position)

    def _came(self, position: Position, reply: bytes, /) -> None:
        """A message has come that :meth:`_at_hand` did not take."""
        if position.deliveries == 1:  # the server writes them otherwise than was thought, with a domain say
            self._fresh = first_delivery(self._stream, self.durable, like=reply)

    async def _refuse(self, msg: WireMsg, position: Position, refused: Refused) -> bool:
        """Give up what is no event; says whether it is off the consumer."""
        try:
            stored = await self._dead_letter(msg, refused.pattern, position, refused.reason, str(refused))
        except asyncio.CancelledError:
            self._answer(msg.reply, b"-NAK")
            raise
        later = again_in(self.policy.delay(position.deliveries))
        self._answer(msg.reply, b"+TERM " + refused.reason.value.encode() if stored else later)
        await self.room()
        return stored

    async def _give_up(self, event: Event[Any], reason: DeadLetterReason, error: BaseException | str) -> None:
        try:
            stored = await self._dead_letter(event.wire, event.registered.pattern, event.position, reason, error)
        except asyncio.CancelledError:
            await self.nak(event, 0)
            raise
        if not stored:
            await self.nak(event, None)
        else:
            self._settle(event, b"+ACK")
            await self.room()

    async def _dead_letter(
        self, msg: WireMsg, pattern: str, position: Position, reason: DeadLetterReason, error: BaseException | str
    ) -> bool:
        try:
            await store_dead_letter(self._bus, msg=msg, pattern=pattern, position=position, reason=reason, error=error)
        except BusError as failure:
            log.exception("dead letter could not be stored; the message stays with its consumer", error=str(failure))
            return False
        return True

    # Answers to the server.

    def _decided(self, event: Event[Any]) -> None:
        event.settled = True
        if (hooks := self._bus.hooks) is not None:
            hooks.settled(event)

    def _settle(self, event: Event[Any], answer: bytes) -> None:
        self._decided(event)
        self._answer(event.reply, answer)
        if self._stopping:
            self._release_if_done()

    def _answer(self, reply: bytes, answer: bytes) -> None:
        """Tell the server; who answers often makes :meth:`room` afterwards."""
        try:
            self._bus.lane.send(pub_frame(reply, answer), len(answer))
        except nats.errors.Error as error:
            self._not_sent(error)
        if answer != b"+WPI":
            self._forget(reply)

    def _not_sent(self, error: nats.errors.Error) -> None:
        log.warning("no answer to the server; it delivers again", durable=self.durable, error=str(error))

    def _forget(self, reply: bytes) -> None:
        """The message with this reply subject is nobody's concern here any more."""
        if self._intake is not None:
            self._intake.settled(reply)

    async def room(self) -> None:
        """Wait until the answers are on their way."""
        if self._bus.lane.crowded:
            with contextlib.suppress(nats.errors.Error):
                await self._bus.lane.room()

    def _release_if_done(self) -> None:
        if self.open:
            return
        if self._intake is not None:
            self._intake.close()
        self._bus.forget(self)


def crashed(times: int) -> str:
    """What the dead letter of an event says whose readers never said what became of it."""
    return f"handed out {times} times and never settled: its handler crashed or hung each time"


def where(event: Event[Any]) -> dict[str, Any]:
    """What a log line about ``event`` carries."""
    return {
        "subject": event.subject,
        "stream": event.stream,
        "seq": event.seq,
        "durable": event.position.consumer,
        "trace_id": event.trace_id,
    }
