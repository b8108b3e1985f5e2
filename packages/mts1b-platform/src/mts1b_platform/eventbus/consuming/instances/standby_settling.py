"""Settling for an instance among several: what another instance handles by now is left to it."""

from typing import Any

from mts1b_foundation.deadletters import DeadLetterReason

from mts1b_platform.eventbus.codec.decoder import Refused
from mts1b_platform.eventbus.consuming.instances.pin import Pin
from mts1b_platform.eventbus.consuming.instances.takeover import Takeover
from mts1b_platform.eventbus.consuming.ordering.ordered_settling import OrderedSettler
from mts1b_platform.eventbus.consuming.retry_decision import leaves
from mts1b_platform.eventbus.consuming.settling import log_fields
from mts1b_platform.eventbus.errors import Superseded
from mts1b_platform.eventbus.events.event import Event
from mts1b_platform.eventbus.protocol.message import WireMsg
from mts1b_platform.eventbus.protocol.position import Position
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.consumer")


class StandbySettler(OrderedSettler):
    """Settles the events of a standby consumer.

    A handler that ends well is acknowledged whoever has the pin: it is done. Anything else is for who has the pin to
    decide: a nak, a dead letter or a count of tries by another would disturb him.
    """

    pin: Pin | None = None
    """Set once the consumer has started."""
    takeover: Takeover | None = None
    """Set once the consumer has started."""
    _giving_back: int = 0
    """How often :meth:`stop` is at work."""

    async def stop(self) -> None:
        """Take in nothing more; what nobody has begun to handle goes back, in order, and after it the pin."""
        self._giving_back += 1
        try:
            await super().stop()
        finally:
            self._giving_back -= 1
            self._release_if_done()

    @property
    def ours(self) -> bool:
        """Whether this instance decides."""
        return self.pin is not None and self.pin.holds

    def abandon(self, event: Event[Any]) -> None:
        """Leave ``event`` to the instance that has the pin: nothing is said to the server."""
        self.decided(event)
        self.forget(event.reply)
        self._order.leave(event, done=False)
        if self.stopping:
            self._release_if_done()

    async def give_back(self, event: Event[Any]) -> None:
        """Have ``event`` handed out again, which nobody has begun to handle: its try does not count."""
        if self.ours:
            await self._nak_after(self._undo_try(event), event, 0)
        else:
            self.abandon(event)

    async def nak(self, event: Event[Any], delay: float | None) -> None:
        """Try ``event`` again here after ``delay`` seconds, before those behind it."""
        if self.ours:
            await super().nak(event, delay)
        else:
            self.abandon(event)

    async def failed(self, event: Event[Any], error: BaseException) -> bool:
        """Decide on ``event``, whose handler raised ``error``; says whether the exception ends here."""
        if event.settled:
            return await super().failed(event, error)
        is_error = isinstance(error, Exception)
        if not self.ours:
            if is_error:
                log.warning(
                    "handler failed after another instance had taken over, which handles its event",
                    error=str(error),
                    **log_fields(event),
                )
            self.abandon(event)
            return is_error
        over = next((each for each in leaves(error) if isinstance(each, Superseded)), None)
        if over is not None and is_error and self.takeover is not None:
            await self._undo_try(event)
            await self.takeover.renew_term(over.held)
            await self.nak(event, 0)
            return True
        return await super().failed(event, error)

    async def give_up(self, event: Event[Any], reason: DeadLetterReason, error: BaseException | str) -> None:
        """Dead-letter ``event``; when that fails it is delivered again."""
        if self.ours:
            await super().give_up(event, reason, error)
        else:
            self.abandon(event)

    async def refuse(self, msg: WireMsg, position: Position, refused: Refused) -> bool:
        """Dead-letter a message that is no event; says whether it is off the consumer."""
        if self.ours:
            return await super().refuse(msg, position, refused)
        self.forget(msg.reply)
        return False

    async def leave_to_newer(self, msg: WireMsg, position: Position) -> None:
        """Give back an event of a version that only a newer release reads; nobody here waits for it."""
        if self.ours:
            await super().leave_to_newer(msg, position)
        else:
            self.forget(msg.reply)

    def _release_if_done(self) -> None:
        if self._giving_back:  # without the pin nothing could be given back
            return
        if not self.open:
            if self.pin is not None:
                self.pin.end()
            if self.takeover is not None:
                self.takeover.close()
        super()._release_if_done()
