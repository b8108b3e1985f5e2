"""Settling an event: acknowledge it, have it delivered again, or store it as a dead letter and then acknowledge it.

Guarantee: an event leaves its consumer in one of two ways only, acknowledged or stored as a dead letter first. When the
dead letter cannot be stored, the event stays with its consumer and is delivered again.
"""

import contextlib
from asyncio import CancelledError
from collections.abc import Callable
from typing import Any

from mts1b_foundation.deadletters import DeadLetterReason

from mts1b_platform.eventbus.codec.decoder import Refused
from mts1b_platform.eventbus.consuming.context import ConsumeContext
from mts1b_platform.eventbus.consuming.deadletters import store_dead_letter
from mts1b_platform.eventbus.consuming.prefetch import Prefetch
from mts1b_platform.eventbus.consuming.retry import RetryPolicy
from mts1b_platform.eventbus.consuming.retry_decision import decide
from mts1b_platform.eventbus.consuming.store_pause import StorePause
from mts1b_platform.eventbus.errors import BusError
from mts1b_platform.eventbus.events.event import Event
from mts1b_platform.eventbus.protocol.acks import again_in
from mts1b_platform.eventbus.protocol.frames import pub_frame
from mts1b_platform.eventbus.protocol.message import WireMsg
from mts1b_platform.eventbus.protocol.position import Position
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.consumer")


class Settler:
    """Settles the events of one consumer. Implements what an :class:`Event` asks of its consumer.

    Args:
        context: the bus.
        durable: name of the consumer on the server.
        policy: when a failed event comes again, and when it becomes a dead letter.
        settled: called after each decision.
    """

    def __init__(self, context: ConsumeContext, durable: str, policy: RetryPolicy, settled: Callable[[], None]) -> None:
        self.policy = policy
        self.prefetch: Prefetch | None = None
        """Where the messages came from; set once the consumer has started."""
        self.stopping = False
        self.pause = StorePause(durable)
        self._context = context
        self._client = context.client
        self._durable = durable
        self._settled = settled
        self._ack = context.client.connection.ack
        self._consumed = context.client.counters.consumed

    def acked(self, event: Event[Any]) -> bool:
        """Acknowledge ``event``; says whether to wait for :meth:`room` now."""
        # What settle() does, in one piece: nearly every event ends here.
        client = self._client
        event.settled = True
        if (hooks := client.hooks) is not None:
            hooks.settled(event)
        reply, crowded = event.reply, False
        try:
            crowded = self._ack(reply)
        except BusError as error:
            self._not_sent(error)
        if self.prefetch is not None:
            self.prefetch.settled(reply)
        if self.stopping:
            self._settled()
        self._consumed[event.registered.pattern] += 1
        return crowded

    async def nak(self, event: Event[Any], delay: float | None) -> None:
        """Have ``event`` delivered again after ``delay`` seconds, or the policy's."""
        seconds = self.policy.delay(event.deliveries) if delay is None else delay
        self.settle(event, again_in(seconds))
        await self.room()

    async def in_progress(self, event: Event[Any]) -> None:
        """Restart the server's clock for ``event``."""
        self.answer(event.reply, b"+WPI")
        await self.room()

    async def reject(self, event: Event[Any], reason: str) -> None:
        """Store a dead letter for ``event``, then take it off the consumer."""
        await self.give_up(event, DeadLetterReason.REJECTED, reason)

    async def failed(self, event: Event[Any], error: BaseException) -> bool:
        """Decide on ``event``, whose handler raised ``error``; says whether the exception ends here."""
        if event.settled:
            if isinstance(error, Exception):
                log.error("handler failed after its event was settled", exc_info=error, **log_fields(event))
            return isinstance(error, Exception)
        if not isinstance(error, Exception):
            await self.nak(event, 0)
            return False
        decision = decide(error, event.deliveries, self.policy)
        pattern, counters = event.registered.pattern, self._client.counters
        if decision.failure:
            counters.consume_errors[pattern] += 1
        if decision.outcome == "store_away":
            await self._store_away(event, error)
        elif decision.outcome == "done":
            counters.deduplicated[pattern] += 1
            self.settle(event, b"+ACK")
            await self.room()
        elif decision.outcome == "rejected":
            await self.give_up(event, DeadLetterReason.REJECTED, error)
        elif decision.outcome == "exhausted":
            await self.give_up(event, DeadLetterReason.MAX_DELIVERIES, error)
        else:
            if decision.failure:
                self._log_failure(event, error, decision.delay)
            await self.nak(event, decision.delay)
        return True

    async def _store_away(self, event: Event[Any], error: Exception) -> None:
        """Hand ``event`` out again when its store may be back; a consumer that stops gives it back."""
        if self.stopping:
            await self.nak(event, 0)
        elif self.pause.hold(event, error):
            self._client.counters.store_outages[event.registered.pattern] += 1

    # Giving up.

    async def refuse(self, msg: WireMsg, position: Position, refused: Refused) -> bool:
        """Dead-letter a message that is no event; says whether it is off the consumer."""
        self._client.counters.schema_mismatch[refused.pattern] += 1
        try:
            stored = await self._dead_letter(msg, refused.pattern, position, refused.reason, str(refused))
        except CancelledError:
            self.answer(msg.reply, b"-NAK")
            raise
        later = again_in(self.policy.delay(position.deliveries))
        self.answer(msg.reply, b"+TERM " + refused.reason.value.encode() if stored else later)
        await self.room()
        return stored

    async def give_up(self, event: Event[Any], reason: DeadLetterReason, error: BaseException | str) -> None:
        """Dead-letter ``event``; when that fails it is delivered again."""
        try:
            stored = await self._dead_letter(event.wire, event.registered.pattern, event.position, reason, error)
        except CancelledError:
            await self.nak(event, 0)
            raise
        if not stored:
            await self.nak(event, None)
        else:
            self.settle(event, b"+ACK")
            await self.room()

    async def _dead_letter(
        self, msg: WireMsg, pattern: str, position: Position, reason: DeadLetterReason, error: BaseException | str
    ) -> bool:
        publishing = self._context.publishing
        try:
            await store_dead_letter(publishing, msg=msg, pattern=pattern, position=position, reason=reason, error=error)
        except BusError as failure:
            log.exception("dead letter could not be stored; the message stays with its consumer", error=str(failure))
            return False
        return True

    # Answers to the server.

    def decided(self, event: Event[Any]) -> None:
        """Mark ``event`` as decided on."""
        event.settled = True
        if (hooks := self._client.hooks) is not None:
            hooks.settled(event)

    def settle(self, event: Event[Any], answer: bytes) -> None:
        """Decide on ``event`` by ``answer``; who settles often waits for :meth:`room` afterwards."""
        self.decided(event)
        self.answer(event.reply, answer)
        if self.stopping:
            self._settled()

    def answer(self, reply: bytes, answer: bytes) -> None:
        """Send ``answer`` for the delivery with this reply subject."""
        try:
            self._client.connection.send(pub_frame(reply, answer))
        except BusError as error:
            self._not_sent(error)
        if answer != b"+WPI":
            self.forget(reply)

    def forget(self, reply: bytes) -> None:
        """The message with this reply subject is no longer kept from redelivery."""
        if self.prefetch is not None:
            self.prefetch.settled(reply)

    async def room(self) -> None:
        """Wait until the answers are on their way."""
        if self._client.connection.above_high_water:
            with contextlib.suppress(BusError):
                await self._client.connection.writable()

    def _not_sent(self, error: BusError) -> None:
        log.warning("no answer to the server; it delivers again", durable=self._durable, error=str(error))

    def _log_failure(self, event: Event[Any], error: Exception, delay: float) -> None:
        log.warning(
            "handler failed; the event comes again",
            exc_info=error,
            delivery=event.deliveries,
            of=self.policy.max_deliveries,
            again_in_seconds=round(delay, 3),
            **log_fields(event),
        )


def crashed(times: int) -> str:
    """The error of a dead letter whose readers never said what became of it."""
    return f"handed out {times} times and never settled: its handler crashed or hung each time"


def log_fields(event: Event[Any]) -> dict[str, Any]:
    """What a log line about ``event`` carries."""
    return {
        "subject": event.subject,
        "stream": event.stream,
        "seq": event.seq,
        "durable": event.position.consumer,
        "trace_id": event.trace_id,
    }
