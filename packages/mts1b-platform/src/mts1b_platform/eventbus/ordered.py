"""Consuming in order: of the events with one key, the next is handed out when the one before it is done with.

Guarantees, beside those of ``consumer.py``:

- Order holds however often an event had to be tried again, after a crash of this process or the server, and over a
  broken connection (``barrier.py``).
- What was acknowledged here is not handed out again when its ack was late or lost.
- It holds for one instance at a time; to share the work and keep the order, give each instance a durable for funds or
  keys of its own.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import nats.errors
from mts1b_foundation.deadletters import DeadLetterReason
from mts1b_foundation.subjects import DurableSubject
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.api import js_api
from mts1b_platform.eventbus.barrier import Lookout, Standing
from mts1b_platform.eventbus.consumer import MAX_ACK_PENDING, Consumer, crashed
from mts1b_platform.eventbus.decode import Refused
from mts1b_platform.eventbus.event import Event
from mts1b_platform.eventbus.intake import Intake
from mts1b_platform.eventbus.key_order import Key, KeyOrder
from mts1b_platform.eventbus.position import Position
from mts1b_platform.eventbus.wire import WireMsg
from mts1b_platform.logs import get_logger

if TYPE_CHECKING:
    from mts1b_platform.eventbus.bus import EventBus

log = get_logger("mts1b.eventbus.consumer")


class OrderedConsumer(Consumer[T]):
    """The events of one durable in the order of their keys. Made by ``bus.consume(…, ordered_by=…)``."""

    def __init__(
        self, bus: "EventBus", subjects: Sequence[DurableSubject[T]], durable: str, *, ordered_by: Key, **options: Any
    ) -> None:
        super().__init__(bus, subjects, durable, **options)
        self._order: KeyOrder[T] = KeyOrder(ordered_by, self._wake.set)
        self._blamed: set[int] = set()
        self._lookout: Lookout[Event[T]] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._unhook: Callable[[], None] | None = None

    @property
    def open(self) -> int:
        """How many events are being handled."""
        return super().open - len(self._order)

    @property
    def waiting(self) -> int:
        """How many events wait here for the handler, or for those before them."""
        return super().waiting + len(self._order)

    async def _give_back(self) -> None:
        self._stop_looking()
        waiting = self._order.clear()
        for event in sorted(waiting, key=lambda event: event.seq, reverse=True):  # back in order: last in, first out
            self._answer(event.reply, b"-NAK")
            await self.room()

    def closed(self) -> None:
        """The connection is closed for good: nothing held here can be answered any more."""
        self._stop_looking()
        self._order.clear()
        super().closed()

    async def nak(self, event: Event[Any], delay: float | None) -> None:
        """Have ``event`` handed out again here, before those behind it; who stops gives it to the next reader at once.

        That one waits for it, whatever else it could do meanwhile.
        """
        if self._stopping:
            self._settle(event, b"-NAK")
            await self.room()
            return
        self._decided(event)
        self._order.again(event, self.policy.delay(event.deliveries) if delay is None else delay)

    # Taking in.

    def _at_hand(self) -> None:
        """Something is to be decided about every event."""

    async def _next(self) -> Event[T] | None:
        intake = await self._started()
        if self._order.ready:
            return await self._its_turn(self._order.ready.popleft())
        if (msg := intake.take()) is None:
            await self._more(intake)
            return None
        event = await self._admit(WireMsg(*msg))
        return None if event is None else await self._in_order(event)

    async def _more(self, intake: Intake) -> None:
        if self._looking is not None and self._looking.done():
            self._looking.result()
        await super()._more(intake)

    def _came(self, position: Position, _reply: bytes, /) -> None:
        if self._order.came(position):
            self._look_out()

    async def _refuse(self, msg: WireMsg, position: Position, refused: Refused) -> bool:
        if not (stored := await super()._refuse(msg, position, refused)):
            self._order.put_off(position.seq)
        return stored

    async def _in_order(self, event: Event[T]) -> Event[T] | None:
        """``event`` when it is handed out now; None when it waits for others, is here already or was done before."""
        order = self._order
        if order.was_done(event):
            self._bus.counters.deduplicated[event.registered.pattern] += 1
            self._answer(event.reply, b"+ACK")
            await self.room()
        elif order.is_here(event):
            self._forget(event.reply)
        elif order.barrier.up:
            if (earlier := order.barrier.hold(event.seq, event)) is not None:
                self._forget(earlier.reply)
        elif self._enter(event):
            return await self._its_turn(event)
        return None

    def _enter(self, event: Event[T]) -> bool:
        """Whether ``event`` may be handed out now. Nothing is awaited here: who comes first enters first."""
        if self._is_to_blame(event):
            self._blamed.add(event.seq)
        return self._order.enter(event)

    async def _its_turn(self, event: Event[T]) -> Event[T] | None:
        """``event``, unless it is given up instead; when that fails it comes again, to be given up."""
        if event.seq not in self._blamed:
            return event
        await self._give_up(event, DeadLetterReason.MAX_DELIVERIES, crashed(event.deliveries - 1))
        return None

    def acked(self, event: Event[Any]) -> bool:
        """Acknowledge ``event``; says whether to wait for :meth:`room` now."""
        self._settle(event, b"+ACK")
        self._consumed[event.registered.pattern] += 1
        return self._bus.lane.crowded

    def _settle(self, event: Event[Any], answer: bytes) -> None:
        self._blamed.discard(event.seq)
        super()._settle(event, answer)
        self._order.leave(event, done=answer == b"+ACK")

    # The barrier.

    async def _begin(self) -> None:
        missing = await self._look_behind()
        self._intake = self._new_intake(careful=not missing)
        if self._order.barrier.up:
            self._look_out()

    async def _look_behind(self) -> int:
        """How many messages are under way from before; with none the barrier falls."""
        self._lookout = Lookout(
            self._order.barrier,
            self.durable,
            standing=self._standing,
            here=self._order.here,
            ack_again=self._ack_again,
            patience=2 * self._ack_wait + self.policy.cap + 1,  # its ack wait, or a delay, is over then
        )
        if self._unhook is None:
            self._unhook = self._bus.lane.on_break(self._broke)
        return await self._lookout.look_once() or 0

    def _broke(self) -> None:
        """The connection broke: what was on its way is lost."""
        if self._lookout is not None and not self._stopping:
            self._order.barrier.doubt()
            self._lookout.be_patient()
            self._look_out()

    def _look_out(self) -> None:
        """The barrier is up: see to it that it falls."""
        if self._intake is None or (self._looking is not None and not self._looking.done()):
            return
        self._intake.make_room(MAX_ACK_PENDING)  # however much newer is held, what is missing must get in
        self._looking = asyncio.create_task(self._look(), name=f"order {self.durable}")
        self._looking.add_done_callback(lambda _: self._wake.set())

    async def _look(self) -> None:
        if self._lookout is None or self._intake is None:
            return
        held = await self._lookout.look()
        for event in self._order.barrier.take_forgotten():
            self._forget(event.reply)
        for event in held:
            if self._enter(event):
                self._order.add(event)
        self._intake.make_room(0)

    def _stop_looking(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        if self._unhook is not None:
            self._unhook()

    async def _standing(self) -> Standing:
        return Standing.of(await js_api(self._bus, f"CONSUMER.INFO.{self._stream}.{self.durable}"))

    async def _ack_again(self, standing: Standing) -> None:
        """Send the acks that may have been lost, so that what was done here need not come again."""
        lane = self._bus.lane
        for reply in self._order.acks(standing):
            try:
                if lane.ack(reply):
                    await lane.room()
            except nats.errors.Error as error:
                log.debug("acks are not sent again; what was done comes again", error=str(error))
                return
