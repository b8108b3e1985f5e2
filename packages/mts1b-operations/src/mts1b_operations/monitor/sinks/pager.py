"""Telling a person: each change once, and what is critical again and again until somebody says that it is known."""

import time
from collections.abc import Callable, Container, Sequence
from typing import Protocol

from mts1b_foundation.operations import Alert, AlertSeverity

from mts1b_operations.monitor.sinks.page import Page


class Channel(Protocol):
    """A way to reach a person."""

    @property
    def name(self) -> str:
        """What people call it, without a secret."""
        ...

    async def send(self, page: Page, /) -> None:
        """Hand one message over.

        Raises:
            SinkError: it was not taken.
        """
        ...


class Pager:
    """A channel as a sink.

    Args:
        channel: the way.
        known: ids of alerts that somebody has acknowledged.
        minimum: the least severity that is told.
        repeat: seconds after which a critical alert that is not acknowledged is told again; 0: never.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        channel: Channel,
        known: Container[str],
        *,
        minimum: AlertSeverity = AlertSeverity.WARNING,
        repeat: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.channel = channel
        self._known = known
        self._minimum = minimum
        self._repeat = repeat
        self._clock = clock
        self._told: list[Alert] = []
        self._last: dict[str, float] = {}

    async def tell(self, changes: Sequence[Alert], active: Sequence[Alert], /) -> None:
        """Send each change once, also when it is handed over again after a failure, and repeat what is due.

        Raises:
            SinkError: the channel did not take a message; what came before it was delivered, and is not sent again.
        """
        for alert in changes:
            # By identity: an alert may become the same again, which is another change.
            if not any(alert is each for each in self._told):
                await self._change(alert)
                self._told.append(alert)
        in_force = {alert.alert_id for alert in active}
        self._last = {alert_id: at for alert_id, at in self._last.items() if alert_id in in_force}
        for alert in active:
            await self._remind(alert)
        self._told.clear()

    async def _change(self, alert: Alert) -> None:
        if not self._wanted(alert):
            return
        await self.channel.send(Page("raised" if alert.cleared_at is None else "cleared", alert, self._repeat > 0))
        self._last[alert.alert_id] = self._clock()

    async def _remind(self, alert: Alert) -> None:
        if alert.severity is not AlertSeverity.CRITICAL or not self._repeat or alert.alert_id in self._known:
            return
        # One that was in force before this monitor began was told by the one before.
        last = self._last.setdefault(alert.alert_id, self._clock())
        if self._clock() - last >= self._repeat:
            await self.channel.send(Page("repeated", alert))
            self._last[alert.alert_id] = self._clock()

    def _wanted(self, alert: Alert) -> bool:
        return alert.severity is AlertSeverity.CRITICAL or self._minimum is AlertSeverity.WARNING
