"""The order management's service: signals, approvals and broker reports in, steps of orders and fills out."""

from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Any

from mts1b_foundation.operations import HaltRequest
from mts1b_foundation.risk import OrderApproval
from mts1b_platform.eventbus import Event, EventBus

from mts1b_desk.cores.oms import Oms
from mts1b_desk.protocol import Held, HoldRequest, Progress
from mts1b_desk.services.core_service import CoreService
from mts1b_desk.services.holds import LONGEST, Holds
from mts1b_desk.services.late_accepts import withdraw_late_accepts
from mts1b_desk.services.requests import Answer
from mts1b_desk.settings import DeskSettings
from mts1b_desk.state.store import Store


class OmsService(CoreService[Oms]):
    """Also accepts nothing while a halt is on its way, and after a crash nothing in spite of one."""

    def __init__(self, core: Oms, bus: EventBus, settings: DeskSettings, store: Store) -> None:
        super().__init__(core, bus, settings, store)
        self._holds = Holds(self.keeper.at_rest)

    async def before_publishing(self) -> None:
        """Take back what was accepted before a crash, and not published, for funds that are halted now."""

        async def retract(order_id: str) -> None:
            await self.keeper.do(partial(self.core.retract, order_id))

        await withdraw_late_accepts(self.bus, self.core, self.keeper.waiting, retract)

    def answers(self) -> dict[str, Answer]:
        """The books, and holding for a halt."""

        async def hold(data: bytes) -> Held:
            request = HoldRequest.model_validate_json(data)
            await self._holds.begin(request.halt_id)
            return Held(halt_id=request.halt_id, seconds=LONGEST)

        return {**super().answers(), "hold": hold}

    def progress(self) -> Progress:
        """How far it is with signals and orders."""
        core = self.core
        return Progress(signals=core.signals, waiting=core.waiting, finished=core.finished)

    def handle_at_once(self, event: Event[Any]) -> Awaitable[None] | None:
        """Handle an event; an approval waits for halts that are on their way."""
        if isinstance(event.payload, HaltRequest) or (isinstance(event.payload, OrderApproval) and self._holds.busy):
            return self.handle(event, ())
        return super().handle_at_once(event)

    async def handle(self, event: Event[Any], behind: Sequence[Event[Any]]) -> None:
        """Handle an event and those behind it; with an approval among them, when no halt is on its way."""
        payloads = [each.payload for each in (event, *behind)]
        if any(isinstance(payload, OrderApproval) for payload in payloads):
            await self._holds.accept(partial(super().handle, event, behind))
            return
        await super().handle(event, behind)
        for payload in payloads:
            if isinstance(payload, HaltRequest):
                self._holds.end(payload.halt_id)
