"""Settling in order: an event that is tried again stays before those behind it."""

from collections.abc import Callable
from typing import Any, ClassVar

from mts1b_platform.eventbus.codec.decoder import Refused
from mts1b_platform.eventbus.consuming.context import ConsumeContext
from mts1b_platform.eventbus.consuming.ordering.key_order import KeyOrder
from mts1b_platform.eventbus.consuming.retry import RetryPolicy
from mts1b_platform.eventbus.consuming.settling import Settler
from mts1b_platform.eventbus.events.event import Event
from mts1b_platform.eventbus.protocol.message import WireMsg
from mts1b_platform.eventbus.protocol.position import Position


class OrderedSettler(Settler):
    """Settles the events of an ordered consumer, and tells their order."""

    _acks_as_they_come: ClassVar[bool] = False

    def __init__(
        self,
        context: ConsumeContext,
        durable: str,
        policy: RetryPolicy,
        released: Callable[[], None],
        order: KeyOrder[Any],
    ) -> None:
        super().__init__(context, durable, policy, released)
        self._order = order
        self._remember = _nowhere

    @property
    def open(self) -> int:
        """How many events are being handled."""
        return super().open - len(self._order)

    async def stop(self) -> None:
        """Take in nothing more; events that nobody has begun to handle go back to the server at once, in order."""
        self.stopping = True
        if self.prefetch is not None:
            await self.prefetch.stop()
        for event in sorted(self._order.clear(), key=lambda event: event.seq):
            self.answer(event.reply, b"-NAK")
            await self.room()
        await super().stop()

    def acked(self, event: Event[Any]) -> bool:
        """Acknowledge ``event``; says whether to wait for :meth:`room` now."""
        self.settle(event, b"+ACK")
        self._consumed[event.registered.pattern] += 1
        return self._client.connection.above_high_water

    async def nak(self, event: Event[Any], delay: float | None) -> None:
        """Try ``event`` again here after ``delay`` seconds, before those behind it.

        A consumer that stops gives it back to the server at once, for the next reader to wait for.
        """
        if self.stopping:
            self.settle(event, b"-NAK")
            await self.room()
            return
        self.decided(event)
        self._order.again(event, self.policy.delay(event.tries) if delay is None else delay)

    async def refuse(self, msg: WireMsg, position: Position, refused: Refused) -> bool:
        """Dead-letter a message that is no event; says whether it is off the consumer."""
        if not (stored := await super().refuse(msg, position, refused)):
            self._order.put_off(position.key)
        return stored

    async def leave_to_newer(self, msg: WireMsg, position: Position) -> None:
        """Give back an event of a version that only a newer release reads; nobody here waits for it."""
        self._order.put_off(position.key)
        await super().leave_to_newer(msg, position)

    def settle(self, event: Event[Any], answer: bytes, *, dead: bool = False) -> None:
        """Decide on ``event`` by ``answer``."""
        super().settle(event, answer, dead=dead)
        self._order.leave(event, done=answer == b"+ACK")


def _nowhere(_reply: bytes, /) -> None:
    """What was acknowledged is remembered by the order, together with its key: once is enough."""
