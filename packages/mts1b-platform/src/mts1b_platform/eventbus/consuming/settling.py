"""Settling an event: acknowledge it, have it delivered again, or store it as a dead letter and then acknowledge it.

Guarantee: an event leaves its consumer in one of two ways only, acknowledged or stored as a dead letter first. When the
dead letter cannot be stored, the event stays with its consumer and is delivered again.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from mts1b_foundation.deadletters import DeadLetterReason

from mts1b_platform.eventbus.codec.decoder import Refused
from mts1b_platform.eventbus.consuming.context import ConsumeContext
from mts1b_platform.eventbus.consuming.deadletters import store_dead_letter
from mts1b_platform.eventbus.consuming.prefetch import Prefetch
from mts1b_platform.eventbus.consuming.recently_acked import RecentlyAcked
from mts1b_platform.eventbus.consuming.retry import RetryPolicy
from mts1b_platform.eventbus.consuming.retry_decision import decide
from mts1b_platform.eventbus.consuming.store_pause import StorePause
from mts1b_platform.eventbus.consuming.tries import Tries
from mts1b_platform.eventbus.core import CORE, Acker
from mts1b_platform.eventbus.errors import BusError
from mts1b_platform.eventbus.events.event import Event
from mts1b_platform.eventbus.events.once import DedupeStore
from mts1b_platform.eventbus.hooks import deciding
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
        released: called when everything is settled after :meth:`stop`.
    """

    # what is looked at for every event has a slot, where the compiled core finds it
    __slots__ = ("__dict__", "__weakref__", "_suspect", "acker", "prefetch", "stopping")

    def __init__(
        self, context: ConsumeContext, durable: str, policy: RetryPolicy, released: Callable[[], None]
    ) -> None:
        self.policy = policy
        self.prefetch: Prefetch | None = None
        """Where the messages came from; set once the consumer has started."""
        self.tries: Tries | None = None
        """How often events were tried; set once the consumer has started."""
        self.effects: DedupeStore[Any] | None = None
        """Where to look whether an event that was tried too often has had its effect."""
        self.stopping = False
        self.acked_lately = RecentlyAcked()
        self._suspect: Event[Any] | None = None
        self._suspect_settled = asyncio.Event()
        self.pause = StorePause(durable)
        self._context = context
        self._client = context.client
        self._durable = durable
        self._released = released
        self._ack = context.client.connection.ack
        self._remember = self.acked_lately.add
        self._consumed = context.client.counters.consumed
        self.acker: Acker | None = None
        """The compiled core's :meth:`acked`, where that is at work."""
        buffer = context.client.connection.buffer
        if CORE is not None and buffer is not None and self._acks_as_they_come:
            self.acker = CORE.Acker(self, context.client, buffer, self._remember, self._consumed, BusError, deciding)
            self.acked = self.acker.acked

    _acks_as_they_come: ClassVar[bool] = True
    """Whether :meth:`acked` is what is written here, which the compiled core does as well."""

    @property
    def open(self) -> int:
        """How many events are being handled."""
        return len(self.prefetch.handled) if self.prefetch is not None else 0

    async def stop(self) -> None:
        """Take in nothing more; events that nobody has begun to handle go back to the server at once."""
        self.stopping = True
        if self.prefetch is not None:
            await self.prefetch.stop()
        for event in self.pause.end():
            await self.nak(event, 0)
        self._release_if_done()

    def _release_if_done(self) -> None:
        """End for good once everything is settled."""
        if not self.open:
            if self.prefetch is not None:
                self.prefetch.close()
            self._released()

    def acked(self, event: Event[Any]) -> bool:
        """Acknowledge ``event``; says whether to wait for :meth:`room` now."""
        # What settle() does, in one piece: nearly every event ends here.
        client = self._client
        event.settled = True
        if client.hooks is not None:
            self._tell_hooks(event)
        reply, crowded = event.reply, False
        try:
            crowded = self._ack(reply)
        except BusError as error:
            self._not_sent(error)
        if self.prefetch is not None:
            self.prefetch.settled(reply)
        self._remember(reply)
        if event.tries != 1 or event is self._suspect:
            self._acked_after_tries(event)
        if self.stopping:
            self._release_if_done()
        self._consumed[event.registered.pattern] += 1
        return crowded

    async def nak(self, event: Event[Any], delay: float | None) -> None:
        """Have ``event`` delivered again after ``delay`` seconds, or the policy's."""
        seconds = self.policy.delay(event.tries) if delay is None else delay
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
            await self._nak_after(self._undo_try(event), event, 0)
            return False
        decision = decide(error, event.tries, self.policy)
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
        elif decision.failure:
            self._log_failure(event, error, decision.delay)
            await self._nak_after(self._note_failure(event), event, decision.delay)
        else:
            await self._nak_after(self._undo_try(event), event, decision.delay)
        return True

    async def _nak_after(self, counting: Awaitable[None], event: Event[Any], delay: float) -> None:
        """Have ``event`` delivered again once its try is counted; whatever becomes of the counting."""
        try:
            await counting
        finally:
            await self.nak(event, delay)

    def leave_unsettled(self, event: Event[Any]) -> None:
        """Say nothing of ``event``, whose handler is still at work: it comes again when the ack wait is over."""
        log.warning("a handler is still at work; its event comes again by itself", **log_fields(event))
        self.decided(event)
        self.forget(event.reply)

    # Tries.

    def release(self, event: Event[Any]) -> None:
        """Leave ``event`` to a caller who answers the server himself; should it come again, this was a try."""
        if self.tries is not None:
            self.tries.note(event)
        if self._suspect is event:
            self._suspect = None
            self._suspect_settled.set()
        self.forget(event.reply)

    async def begin_again(self, event: Event[Any]) -> bool:
        """Count a further try of ``event``, which was delivered before; False when it is settled instead.

        One such event at a time is with a handler, so that a crash is blamed on what was being handled.
        """
        event.tries = 0  # until its try is counted
        try:
            while self._suspect is not None and not self._suspect.settled:
                self._suspect_settled.clear()
                await self._suspect_settled.wait()
            self._suspect = event
            await self._count_try(event)
            if event.tries > self.policy.max_deliveries:
                await self.tried_enough(event)
        except asyncio.CancelledError:  # who asked for an event has stopped waiting for it
            if not event.settled:
                await self._nak_after(self._undo_try(event), event, 0)
            raise
        return not event.settled and event.tries <= self.policy.max_deliveries

    async def _count_try(self, event: Event[Any]) -> None:
        """Store that a handler begins with ``event``; when cancelled, what was stored is known all the same."""
        if self.tries is None:
            event.tries = 1
            return
        counting = asyncio.ensure_future(self.tries.begin(event, self.policy.max_deliveries))
        try:
            event.tries = await asyncio.shield(counting)
        except asyncio.CancelledError:
            event.tries = await counting
            raise
        finally:
            del counting  # it keeps the error that it ended with

    def _let_the_next_begin(self, event: Event[Any]) -> None:
        """``event`` is decided on: another one that was delivered before may be tried."""
        if event is self._suspect:
            self._suspect_settled.set()

    async def tried_enough(self, event: Event[Any]) -> None:
        """Settle ``event``, which was begun as often as it may be: acknowledged when its effect is there, else dead."""
        try:
            if self.effects is not None:
                async with event.once(self.effects):
                    raise _NotDone
        except _NotDone:
            pass
        except Exception as error:  # noqa: BLE001 - it is done, or its store is away, or another is at it
            await self.failed(event, error)
            return
        await self.give_up(event, DeadLetterReason.MAX_DELIVERIES, crashed(event.tries - 1))

    async def _note_failure(self, event: Event[Any]) -> None:
        if self.tries is not None:
            await self.tries.failed(event)

    async def _undo_try(self, event: Event[Any]) -> None:
        if self.tries is not None:
            await self.tries.undo(event)

    def _acked_after_tries(self, event: Event[Any]) -> None:
        """``event``, which was tried before or is suspected, is acknowledged."""
        self._end_tries(event)
        self._let_the_next_begin(event)

    def _end_tries(self, event: Event[Any]) -> None:
        """``event``, of which a try may be stored, is off the consumer."""
        if self.tries is not None:
            self.tries.forget(event)

    async def _store_away(self, event: Event[Any], error: Exception) -> None:
        """Hand ``event`` out again when its store may be back; a consumer that stops gives it back."""
        try:
            await self._undo_try(event)
        except asyncio.CancelledError:
            await self.nak(event, 0)
            raise
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
        except asyncio.CancelledError:
            self.answer(msg.reply, b"-NAK")
            raise
        later = again_in(self.policy.delay(position.deliveries))
        self.answer(msg.reply, b"+TERM " + refused.reason.value.encode() if stored else later)
        await self.room()
        return stored

    async def leave_to_newer(self, msg: WireMsg, position: Position) -> None:
        """Give back an event of a version that only a newer release reads; it comes again until one takes it."""
        log.warning(
            "an event of a newer version waits for a newer release",
            subject=msg.subject.decode(errors="replace"),
            stream=position.stream,
            seq=position.seq,
            durable=self._durable,
        )
        self.answer(msg.reply, again_in(self.policy.cap))
        await self.room()

    async def give_up(self, event: Event[Any], reason: DeadLetterReason, error: BaseException | str) -> None:
        """Dead-letter ``event``; when that fails it is delivered again."""
        try:
            stored = await self._dead_letter(event.wire, event.registered.pattern, event.position, reason, error)
        except asyncio.CancelledError:
            await self.nak(event, 0)
            raise
        if not stored:
            await self.nak(event, None)
            return
        try:
            if self.tries is not None:  # should the ack be lost, it is not tried again
                await self.tries.use_up(event, self.policy.max_deliveries)
        finally:
            self.settle(event, b"+ACK", dead=True)
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
        self._let_the_next_begin(event)
        if self._client.hooks is not None:
            self._tell_hooks(event)

    def _tell_hooks(self, event: Event[Any]) -> None:
        try:
            if (hooks := self._client.hooks) is not None:
                hooks.settled(event)
        except Exception as error:  # noqa: BLE001 - it is logged
            self._hook_failed(event, error)

    def _hook_failed(self, event: Event[Any], error: BaseException) -> None:
        log.error("a hook failed", exc_info=error, **log_fields(event))

    def settle(self, event: Event[Any], answer: bytes, *, dead: bool = False) -> None:
        """Decide on ``event`` by ``answer``; who settles often waits for :meth:`room` afterwards.

        The tries of one that is ``dead``, stored as a dead letter, are remembered.
        """
        self.decided(event)
        self.answer(event.reply, answer)
        if answer == b"+ACK":
            self._remember(event.reply)
            if not dead and (event.tries != 1 or event is self._suspect):
                self._end_tries(event)
        if self.stopping:
            self._release_if_done()

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
            attempt=event.tries,
            of=self.policy.max_deliveries,
            again_in_seconds=round(delay, 3),
            **log_fields(event),
        )


class _NotDone(Exception):
    """The effect of an event is not there; leaves the store's block without a trace."""


def crashed(times: int) -> str:
    """The error of a dead letter whose readers never said what became of it."""
    return f"begun {times} times and never settled: its handler crashed or hung each time"


def log_fields(event: Event[Any]) -> dict[str, Any]:
    """What a log line about ``event`` carries."""
    return {
        "subject": event.subject,
        "stream": event.stream,
        "seq": event.seq,
        "durable": event.position.consumer,
        "trace_id": event.trace_id,
    }
