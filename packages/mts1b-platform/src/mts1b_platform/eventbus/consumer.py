"""Consuming a durable subject: every event handed to a handler until it is done with, or a dead letter.

Guarantees:

- Pull consumers underneath: several instances share one durable, each event goes to one of them at a time.
- An event leaves the consumer in one of two ways only: acknowledged, or stored as a dead letter first.
- A failing handler is tried again after an exponential delay, never in a tight loop.
- Events that wait here, or are being handled, are kept from redelivery however long the handler takes.
- After a crash the first pull is of one event and doubles from there, so that a poisonous event that kills the process
  does not use up the deliveries of its neighbours.
- A durable that is deleted while in use raises; a server that restarts is waited for.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self

import nats.errors
from mts1b_foundation.deadletters import DeadLetterReason
from mts1b_foundation.subjects import DurableSubject
from mts1b_foundation.subjects.subject import T
from nats.js import JetStreamContext

from mts1b_platform.eventbus.api import ApiError
from mts1b_platform.eventbus.deadletters import store_dead_letter
from mts1b_platform.eventbus.decode import Decoder, Refused
from mts1b_platform.eventbus.durables import Deliver, durable_exists, ensure_durable, stream_of
from mts1b_platform.eventbus.errors import (
    BusClosed,
    BusError,
    ConsumeError,
    ConsumerGone,
    JetStreamUnavailable,
    NotStored,
)
from mts1b_platform.eventbus.event import Event
from mts1b_platform.eventbus.plain import wire_msg
from mts1b_platform.eventbus.position import Position
from mts1b_platform.eventbus.retry import RetryPolicy
from mts1b_platform.eventbus.verdict import judge
from mts1b_platform.eventbus.wire import WireMsg, pub_frame
from mts1b_platform.logs import get_logger

if TYPE_CHECKING:
    from mts1b_platform.eventbus.bus import EventBus

log = get_logger("mts1b.eventbus.consumer")

_FETCH = 1.0
"""Seconds a pull waits. Longer ones delay the first event after a server restart by as much."""

_MAX_ACK_PENDING = 10_000


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
        self._decoder = Decoder(subjects)
        self._filters = tuple(pattern for subject in subjects for pattern in subject.filters(**parameters))
        self._deliver: Deliver = deliver
        self._prefetch = prefetch
        self._ack_wait = ack_wait
        self._inactive_threshold = inactive_threshold
        self._pull: JetStreamContext.PullSubscription | None = None
        self._stream = ""
        self._window = 1
        self._buffer: deque[WireMsg] = deque()
        self._open: dict[int, Event[T]] = {}
        self._stopping = asyncio.Event()
        self._iterating = False
        self._keeper: asyncio.Task[None] | None = None
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
        return len(self._buffer)

    async def start(self) -> None:
        """Find or create the durable. Iterating does it by itself; calling it first surfaces errors early.

        Raises:
            ConsumerConflict: the durable exists and reads something else.
            NoStream: the stream does not exist.
            JetStreamUnavailable: JetStream does not answer.
        """
        async with self._start_lock:
            if self._pull is not None:
                return
            self._stream = await stream_of(self._bus, self._subjects)
            await ensure_durable(
                self._bus,
                stream=self._stream,
                durable=self.durable,
                filters=self._filters,
                ack_wait=self._ack_wait,
                deliver=self._deliver,
                max_ack_pending=_MAX_ACK_PENDING,
                inactive_threshold=self._inactive_threshold,
            )
            self._pull = await self._bus.plain_jetstream().pull_subscribe_bind(
                consumer=self.durable, stream=self._stream
            )
            self._keeper = asyncio.create_task(self._keep_alive(), name=f"keep-alive {self.durable}")

    async def stop(self) -> None:
        """Stop pulling; events that nobody has begun to handle go back to the server at once."""
        self._stopping.set()
        while self._buffer:
            await self._answer(self._buffer.popleft(), b"-NAK")
        if not self._open:
            await self._release()

    def release(self, event: Event[Any]) -> None:
        """Leave ``event`` to a caller who answers the server himself: it is not kept from redelivery any more."""
        self._open.pop(event.seq, None)

    def closed(self) -> None:
        """The connection is closed for good: nothing held here can be answered any more."""
        self._buffer.clear()
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None

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
        """The next event.

        Raises:
            ConsumerGone: the durable was deleted.
            BusClosed: the bus was closed under the iteration.
        """
        if self._pull is None and not self._stopping.is_set():
            await self.start()
        self._iterating = True
        try:
            while not self._stopping.is_set():
                if not self._buffer:
                    await self._fetch()
                    continue
                if (event := await self._admit(self._buffer.popleft())) is not None:
                    self._open[event.seq] = event
                    if event.hooks is not None:
                        event.hooks.received(event)
                    return event
        finally:
            self._iterating = False
        await self.stop()
        raise StopAsyncIteration

    # What an event asks of its consumer (the protocol Settler).

    async def ack(self, event: Event[Any]) -> None:
        """Acknowledge ``event``."""
        await self._settle(event, b"+ACK")
        self._bus.counters.consumed[event.registered.pattern] += 1

    async def nak(self, event: Event[Any], delay: float | None) -> None:
        """Have ``event`` redelivered after ``delay`` seconds, or the policy's."""
        seconds = self.policy.delay(event.deliveries) if delay is None else delay
        await self._settle(event, b'-NAK {"delay": %d}' % int(seconds * 1_000_000_000))

    async def in_progress(self, event: Event[Any]) -> None:
        """Restart the server's clock for ``event``."""
        await self._answer(event.wire, b"+WPI")

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
            await self._settle(event, b"+ACK")
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

    # Pulling.

    async def _fetch(self) -> None:
        if self._pull is None:
            return
        try:
            self._buffer.extend(map(wire_msg, await self._pull.fetch(self._window, timeout=_FETCH)))
        except TimeoutError:  # nats-py raises its own kind, and now and then the bare one
            return
        except (nats.errors.ConnectionClosedError, nats.errors.ConnectionDrainingError):
            if self._stopping.is_set():
                return
            raise BusClosed(f"{self!r}: the bus was closed; open events are redelivered") from None
        except nats.errors.Error as error:
            await self._heal(error)
            return
        self._window = min(self._window * 2, self._prefetch)

    async def _heal(self, error: Exception) -> None:
        """After a pull failed: raise when the durable is gone, else wait a moment and go on."""
        log.warning("pull failed", durable=self.durable, stream=self._stream, error=str(error))
        if self._bus.is_closed:
            raise BusClosed(f"{self!r}: the bus was closed; open events are redelivered") from error
        await self._bus.wait_connected(_FETCH)
        try:
            exists = await durable_exists(self._bus, self._stream, self.durable)
        except (JetStreamUnavailable, ApiError):
            await asyncio.sleep(0.1)
            return
        if not exists:
            raise ConsumerGone(
                f"durable {self.durable!r} on {self._stream} was deleted while in use; its position is lost. Consuming "
                "again creates it anew and starts from its beginning"
            )

    async def _admit(self, msg: WireMsg) -> Event[T] | None:
        """The message as a typed event; None when it was given up instead."""
        position = Position.of(msg.reply)
        try:
            registered, name, payload = self._decoder.decode(msg)
        except Refused as refused:
            self._bus.counters.schema_mismatch[refused.pattern] += 1
            await self._refuse(msg, position, refused)
            return None
        event: Event[Any] = Event(
            registered, name, msg, payload, position=position, settler=self, hooks=self._bus.hooks
        )
        if position.deliveries > self.policy.max_deliveries:
            times = position.deliveries - 1
            await self._give_up(
                event,
                DeadLetterReason.MAX_DELIVERIES,
                f"delivered {times} times and never settled: its handler crashed or hung each time",
            )
            return None
        return event

    async def _refuse(self, msg: WireMsg, position: Position, refused: Refused) -> None:
        stored = await self._dead_letter(msg, refused.pattern, position, refused.reason, str(refused))
        await self._answer(msg, b"+TERM " + refused.reason.value.encode() if stored else self._later(position))

    async def _give_up(self, event: Event[Any], reason: DeadLetterReason, error: BaseException | str) -> None:
        stored = await self._dead_letter(event.wire, event.registered.pattern, event.position, reason, error)
        await self._settle(event, b"+ACK" if stored else self._later(event.position))

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

    async def _settle(self, event: Event[Any], answer: bytes) -> None:
        event.settled = True
        self._open.pop(event.seq, None)
        if event.hooks is not None:
            event.hooks.settled(event)
        await self._answer(event.wire, answer)
        if self._stopping.is_set() and not self._open:
            await self._release()

    async def _answer(self, msg: WireMsg, answer: bytes) -> None:
        try:
            self._bus.lane.send(pub_frame(msg.reply, answer), len(answer))
            if self._bus.lane.crowded:
                await self._bus.lane.room()
        except nats.errors.Error as error:
            log.warning("no answer to the server; it delivers again", durable=self.durable, error=str(error))

    async def _keep_alive(self) -> None:
        """Restart the server's clock for everything held here, three times within each ``ack_wait``."""
        while True:
            await asyncio.sleep(self._ack_wait / 3)
            if not self._open and not self._iterating:
                continue  # nobody is working here: let the server give the rest to somebody else
            for msg in list(self._buffer):
                await self._answer(msg, b"+WPI")
            for event in list(self._open.values()):
                await self.in_progress(event)

    async def _release(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None
        if self._pull is not None:
            pull, self._pull = self._pull, None
            try:
                await pull.unsubscribe()
            except nats.errors.Error as error:
                log.debug("unsubscribe", error=str(error))
        self._bus.forget(self)


def _where(event: Event[Any]) -> dict[str, Any]:
    return {
        "subject": event.subject,
        "stream": event.stream,
        "seq": event.seq,
        "durable": event.position.consumer,
        "trace_id": event.trace_id,
    }
