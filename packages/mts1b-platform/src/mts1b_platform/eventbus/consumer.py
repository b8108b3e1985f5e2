"""Consuming a durable subject: every event handed to a handler until it is done with, or a dead letter.

Guarantees:

- Pull consumers underneath: several instances share one durable, each event goes to one of them at a time.
- An event leaves the consumer in one of two ways only: acknowledged, or stored as a dead letter first.
- A failing handler is tried again after an exponential delay, never in a tight loop.
- Ordered by key (``ordered_by``): of the events with one key, the next is handed out when the one before it is done
  with, however often that one had to be tried again, after a crash of this process or the server and over a broken
  connection too (``barrier.py``). What was acknowledged here is not handed out again when its ack was late or lost.
  Holds for one instance at a time; to share the work and keep the order, give each instance a durable for funds or
  keys of its own.
- A crash is blamed on one event at most: the oldest of those that were handed out too often becomes a dead letter, the
  others were merely near it and get their chance.
- What waits here or is being handled is kept from redelivery however long it takes (see ``intake.py``).
- A durable that is deleted while in use raises; a server that restarts is waited for.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Self

import nats.errors
from mts1b_foundation.deadletters import DeadLetterReason
from mts1b_foundation.subjects import DurableSubject
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.acks import ACK_SIZE, ack_frame
from mts1b_platform.eventbus.api import js_api
from mts1b_platform.eventbus.barrier import Lookout, Standing
from mts1b_platform.eventbus.deadletters import store_dead_letter
from mts1b_platform.eventbus.decode import Refused
from mts1b_platform.eventbus.durables import Deliver, ensure_durable, stream_of
from mts1b_platform.eventbus.errors import BusClosed, BusError, ConsumeError, NotStored
from mts1b_platform.eventbus.event import Event
from mts1b_platform.eventbus.headers import ONLY_DURABLE
from mts1b_platform.eventbus.intake import Intake
from mts1b_platform.eventbus.key_order import Key, KeyOrder
from mts1b_platform.eventbus.position import Position
from mts1b_platform.eventbus.retry import RetryPolicy
from mts1b_platform.eventbus.verdict import judge
from mts1b_platform.eventbus.wire import WireMsg, pub_frame
from mts1b_platform.logs import get_logger

if TYPE_CHECKING:
    from mts1b_platform.eventbus.bus import EventBus

log = get_logger("mts1b.eventbus.consumer")

_MAX_ACK_PENDING: Final = 10_000

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
        ordered_by: Key | None,
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
        self._decoder = bus.decoder(subjects)
        self._filters = tuple(pattern for subject in subjects for pattern in subject.filters(**parameters))
        self._deliver: Deliver = deliver
        self._prefetch = prefetch
        self._ack_wait = ack_wait
        self._inactive_threshold = inactive_threshold
        self._wake = asyncio.Event()
        self._order: KeyOrder[T] | None = None if ordered_by is None else KeyOrder(ordered_by, self._wake.set)
        self._stream = ""
        self._intake: Intake | None = None
        self._looking: asyncio.Task[None] | None = None
        self._lookout: Lookout[Event[T]] | None = None
        self._unhook: Callable[[], None] | None = None
        self._blame = 1
        self._blamed: set[int] = set()
        self._open: dict[int, Event[T]] = {}
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
        return len(self._open)

    @property
    def waiting(self) -> int:
        """How many events wait here for the handler."""
        taken_in = self._intake.waiting if self._intake is not None else 0
        return taken_in + (len(self._order) if self._order is not None else 0)

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
                    max_ack_pending=_MAX_ACK_PENDING,
                    inactive_threshold=self._inactive_threshold,
                )
                behind = 0 if self._order is None else await self._look_behind(self._order)
                self._intake = Intake(
                    self._bus,
                    self._stream,
                    self.durable,
                    prefetch=self._prefetch,
                    ack_wait=self._ack_wait,
                    careful=not behind,
                    wake=self._wake.set,
                )
                if self._order is not None and self._order.barrier.up:
                    self._look_out()
            await self._intake.start()

    async def stop(self) -> None:
        """Stop pulling; events that nobody has begun to handle go back to the server at once."""
        self._stopping = True
        self._wake.set()
        if self._intake is not None:
            await self._intake.stop()
        self._stop_looking()
        waiting = self._order.clear() if self._order is not None else []
        for event in sorted(waiting, key=lambda event: event.seq, reverse=True):  # back in order: last in, first out
            self._answer(event.wire, b"-NAK")
            await self._room()
        if not self._open:
            self._release()

    def release(self, event: Event[Any]) -> None:
        """Leave ``event`` to a caller who answers the server himself: it is not kept from redelivery any more."""
        self._open.pop(event.seq, None)
        if self._intake is not None:
            self._intake.settled(event.wire)

    def closed(self) -> None:
        """The connection is closed for good: nothing held here can be answered any more."""
        self._stop_looking()
        if self._unhook is not None:
            self._unhook()
        if self._order is not None:
            self._order.clear()
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
                self._open[event.seq] = event
                if event.hooks is not None:
                    event.hooks.received(event)
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
        if self._order is not None or intake is None or (msg := intake.first()) is None or _ONLY in msg.head:
            return None
        position = Position.of(msg.reply)
        if position.deliveries > self.policy.max_deliveries:
            return None
        try:
            registered, name, payload = self._decoder.decode(msg)
        except Refused:
            return None
        intake.take()
        return Event(registered, name, msg, payload, position=position, settler=self, hooks=self._bus.hooks)

    async def _next(self) -> Event[T] | None:
        """The next event, or None when something may have changed."""
        if self._intake is None or not self._intake.running:
            await self.start()
        intake = self._intake
        assert intake is not None  # noqa: S101 - start() has made it
        if self._order is not None and self._order.ready:
            return await self._its_turn(self._order, self._order.ready.popleft())
        if (msg := intake.take()) is not None:
            event = await self._admit(msg)
            if event is None:
                return None
            if self._order is not None:
                return await self._in_order(self._order, intake, event)
            if not self._is_to_blame(event):
                return event
            await self._give_up(event, DeadLetterReason.MAX_DELIVERIES, _crashed(event.deliveries - 1))
            return None
        if intake.failure is not None:
            raise intake.failure
        if self._looking is not None and self._looking.done():
            self._looking.result()
        self._wake.clear()
        intake.reading(+1)
        try:
            await self._wake.wait()
        finally:
            intake.reading(-1)
        return None

    def _is_to_blame(self, event: Event[T]) -> bool:
        """Whether ``event`` is the one that becomes a dead letter for having been handed out too often."""
        if event.deliveries <= self.policy.max_deliveries or not self._blame:
            return False
        self._blame -= 1
        return True

    # Order.

    async def _in_order(self, order: KeyOrder[T], intake: Intake, event: Event[T]) -> Event[T] | None:
        """``event`` when it is handed out now; None when it waits for others, is here already or was done before."""
        if order.was_done(event):
            self._bus.counters.deduplicated[event.registered.pattern] += 1
            self._answer(event.wire, b"+ACK")
            await self._room()
        elif order.is_here(event):
            intake.settled(event.wire)
        elif order.barrier.up:
            if (earlier := order.barrier.hold(event.seq, event)) is not None:
                intake.settled(earlier.wire)
        elif self._enter(order, event):
            return await self._its_turn(order, event)
        return None

    def _enter(self, order: KeyOrder[T], event: Event[T]) -> bool:
        """Whether ``event`` may be handed out now. Nothing is awaited here: who comes first enters first."""
        if self._is_to_blame(event):
            self._blamed.add(event.seq)
        return order.enter(event)

    async def _its_turn(self, order: KeyOrder[T], event: Event[T]) -> Event[T] | None:
        """``event``, unless it is given up instead."""
        if event.seq not in self._blamed:
            return event
        self._blamed.discard(event.seq)
        try:
            await self._give_up(event, DeadLetterReason.MAX_DELIVERIES, _crashed(event.deliveries - 1))
        except asyncio.CancelledError:
            if not event.settled:  # somebody else has to do it
                self._blamed.add(event.seq)
                order.add(event)
            raise
        return None

    async def _look_behind(self, order: KeyOrder[T]) -> int:
        """How many messages are under way from before; with none the barrier falls."""
        self._lookout = Lookout(
            order.barrier,
            self.durable,
            standing=self._standing,
            here=order.here,
            ack_again=self._ack_again,
            patience=2 * self._ack_wait + self.policy.cap + 1,  # its ack wait, or a delay, is over then
        )
        if self._unhook is None:
            self._unhook = self._bus.lane.on_break(self._broke)
        return await self._lookout.look_once() or 0

    def _broke(self) -> None:
        """The connection broke: what was on its way is lost."""
        if self._order is not None and self._lookout is not None and not self._stopping:
            self._order.barrier.doubt()
            self._lookout.be_patient()
            self._look_out()

    def _look_out(self) -> None:
        """The barrier is up: see to it that it falls."""
        if self._intake is None or (self._looking is not None and not self._looking.done()):
            return
        self._intake.make_room(_MAX_ACK_PENDING)  # however much newer is held, what is missing must get in
        self._looking = asyncio.create_task(self._look(), name=f"order {self.durable}")
        self._looking.add_done_callback(lambda _: self._wake.set())

    async def _look(self) -> None:
        if self._order is None or self._lookout is None or self._intake is None:
            return
        held = await self._lookout.look()
        for event in self._order.barrier.take_forgotten():
            self._intake.settled(event.wire)
        for event in held:
            if self._enter(self._order, event):
                self._order.add(event)
        self._intake.make_room(0)

    def _stop_looking(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    async def _standing(self) -> Standing:
        return Standing.of(await js_api(self._bus, f"CONSUMER.INFO.{self._stream}.{self.durable}"))

    async def _ack_again(self, standing: Standing) -> None:
        """Send the acks that may have been lost, so that what was done here need not come again."""
        lane = self._bus.lane
        for reply in self._order.acks(standing) if self._order is not None else ():
            try:
                lane.send(ack_frame(reply), ACK_SIZE)
                if lane.crowded:
                    await lane.room()
            except nats.errors.Error as error:
                log.debug("acks are not sent again; what was done comes again", error=str(error))
                return

    # What an event asks of its consumer (the protocol Settler).

    async def ack(self, event: Event[Any]) -> None:
        """Acknowledge ``event``."""
        self._settle(event, b"+ACK")
        self._bus.counters.consumed[event.registered.pattern] += 1
        if self._bus.lane.crowded:
            await self._room()

    async def nak(self, event: Event[Any], delay: float | None) -> None:
        """Have ``event`` handed out again after ``delay`` seconds, or the policy's."""
        seconds = self.policy.delay(event.deliveries) if delay is None else delay
        if self._order is None:
            self._settle(event, b'-NAK {"delay": %d}' % int(seconds * 1_000_000_000))
            await self._room()
        else:
            await self._keep(self._order, event, seconds)

    async def in_progress(self, event: Event[Any]) -> None:
        """Restart the server's clock for ``event``."""
        self._answer(event.wire, b"+WPI")
        await self._room()

    async def reject(self, event: Event[Any], reason: str) -> None:
        """Store a dead letter for ``event``, then take it off the consumer."""
        await self._give_up(event, DeadLetterReason.REJECTED, reason)

    async def failed(self, event: Event[Any], error: BaseException) -> bool:
        """The handler of ``event`` raised ``error``: retry it, dead-letter it, or let the exception through."""
        if event.settled:
            if isinstance(error, Exception):
                log.error("handler failed after its event was settled", exc_info=error, **_where(event))
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
            await self._room()
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
            **_where(event),
        )

    # Deciding.

    async def _admit(self, msg: WireMsg) -> Event[T] | None:
        """The message as a typed event; None when it was given up instead."""
        position = Position.of(msg.reply)
        if self._order is not None and self._order.came(position):
            self._look_out()
        if _ONLY in msg.head and msg.headers.get(ONLY_DURABLE, self.durable) != self.durable:
            self._answer(msg, b"+ACK")  # requeued for another durable, which had failed with it
            return None
        try:
            registered, name, payload = self._decoder.decode(msg)
        except Refused as refused:
            self._bus.counters.schema_mismatch[refused.pattern] += 1
            await self._refuse(msg, position, refused)
            return None
        return Event(registered, name, msg, payload, position=position, settler=self, hooks=self._bus.hooks)

    async def _refuse(self, msg: WireMsg, position: Position, refused: Refused) -> None:
        stored = await self._dead_letter(msg, refused.pattern, position, refused.reason, str(refused))
        if not stored and self._order is not None:
            self._order.put_off(position.seq)
        self._answer(msg, b"+TERM " + refused.reason.value.encode() if stored else self._later(position))
        await self._room()

    async def _give_up(self, event: Event[Any], reason: DeadLetterReason, error: BaseException | str) -> None:
        stored = await self._dead_letter(event.wire, event.registered.pattern, event.position, reason, error)
        if stored or self._order is None:
            self._settle(event, b"+ACK" if stored else self._later(event.position))
            await self._room()
        else:
            await self._keep(self._order, event, self.policy.delay(event.deliveries))

    async def _keep(self, order: KeyOrder[T], event: Event[Any], delay: float) -> None:
        """Have ``event`` handed out again here, before those behind it; who stops gives it to the next reader at once.

        That one waits for it, whatever else it could do meanwhile.
        """
        if self._stopping:
            self._settle(event, b"-NAK")
            await self._room()
        else:
            self._decided(event)
            order.again(event, delay)

    async def _dead_letter(
        self, msg: WireMsg, pattern: str, position: Position, reason: DeadLetterReason, error: BaseException | str
    ) -> bool:
        try:
            await store_dead_letter(self._bus, msg=msg, pattern=pattern, position=position, reason=reason, error=error)
        except BusError as failure:
            log.exception("dead letter could not be stored; the message stays with its consumer", error=str(failure))
            return False
        return True

    def _later(self, position: Position) -> bytes:
        return b'-NAK {"delay": %d}' % int(self.policy.delay(position.deliveries) * 1_000_000_000)

    # Answers to the server.

    def _settle(self, event: Event[Any], answer: bytes) -> None:
        self._decided(event)
        self._answer(event.wire, answer)
        if self._order is not None:
            self._order.leave(event, done=answer == b"+ACK")
        if self._stopping and not self._open:
            self._release()

    def _decided(self, event: Event[Any]) -> None:
        event.settled = True
        self._open.pop(event.seq, None)
        if event.hooks is not None:
            event.hooks.settled(event)

    def _answer(self, msg: WireMsg, answer: bytes) -> None:
        """Tell the server; who answers often makes :meth:`_room` afterwards."""
        try:
            self._bus.lane.send(pub_frame(msg.reply, answer), len(answer))
        except nats.errors.Error as error:
            log.warning("no answer to the server; it delivers again", durable=self.durable, error=str(error))
        if self._intake is not None and answer != b"+WPI":
            self._intake.settled(msg)

    async def _room(self) -> None:
        """Wait until the answers are on their way."""
        if self._bus.lane.crowded:
            with contextlib.suppress(nats.errors.Error):
                await self._bus.lane.room()

    def _release(self) -> None:
        if self._unhook is not None:
            self._unhook()
        if self._intake is not None:
            self._intake.close()
        self._bus.forget(self)


def _crashed(times: int) -> str:
    return f"handed out {times} times and never settled: its handler crashed or hung each time"


def _where(event: Event[Any]) -> dict[str, Any]:
    return {
        "subject": event.subject,
        "stream": event.stream,
        "seq": event.seq,
        "durable": event.position.consumer,
        "trace_id": event.trace_id,
    }
