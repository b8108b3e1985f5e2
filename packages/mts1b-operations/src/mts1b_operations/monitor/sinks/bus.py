"""Alerts as events on the bus."""

from collections.abc import Sequence

from mts1b_foundation.operations import Alert
from mts1b_foundation.subjects import OPERATIONS_ALERTS_CLEARED, OPERATIONS_ALERTS_RAISED
from mts1b_platform.eventbus import BusError, EventBus

from mts1b_operations.monitor.sinks.sink import SinkError


class BusSink:
    """An event on the bus for each change: ``mts.v1.operations.alerts.raised`` and ``.cleared``."""

    def __init__(self, bus: EventBus, deadline: float = 5.0) -> None:
        self._bus = bus
        self._deadline = deadline

    async def tell(self, changes: Sequence[Alert], _active: Sequence[Alert], /) -> None:
        """Publish; a later attempt has the same message id."""
        if changes and not self._bus.is_connected:
            raise SinkError("there is no connection to the bus")
        for alert in changes:
            subject = OPERATIONS_ALERTS_RAISED if alert.cleared_at is None else OPERATIONS_ALERTS_CLEARED
            try:
                await self._bus.emit(subject, alert, deadline=self._deadline)
            except BusError as error:
                raise SinkError(f"alert {alert.name} of {alert.target} is not on the bus: {error}") from error
