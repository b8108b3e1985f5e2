"""The monitor as a service: every few seconds it probes the server, reads its state, evaluates alerts and notifies."""

import asyncio
import time
from collections.abc import Sequence

from mts1b_foundation.operations import Alert
from mts1b_platform.eventbus import BusClosed, BusError, EventBus
from mts1b_platform.eventbus.declared import declared
from mts1b_platform.logs import get_logger

from mts1b_operations.monitor.alerts import Alerts
from mts1b_operations.monitor.gauges import MonitorGauges
from mts1b_operations.monitor.probe import probe
from mts1b_operations.monitor.reading import Reading, Watch
from mts1b_operations.monitor.restore import alerts_in_force
from mts1b_operations.monitor.settings import MonitorSettings
from mts1b_operations.monitor.sinks import AlertmanagerSink, BusSink, LogSink, Sink, SinkError, WebhookSink
from mts1b_operations.monitor.survey import (
    DeadLetterWindow,
    Survey,
    certificates,
    discard_risks,
    missing_consumers,
    missing_streams,
    slow_consumers,
    survey,
)

log = get_logger("mts1b.monitor")

_RETELL = 3
"""Intervals after which Alertmanager drops an alert that is not repeated; it survives single failed surveys."""


class Monitor:
    """Watches one server. ``run`` goes on until it is cancelled or the bus is closed.

    Args:
        bus: speaks as mts1b-operations.
        settings: what to watch, and how.
        sinks: whom to tell; as the settings say when left out.
    """

    def __init__(self, bus: EventBus, settings: MonitorSettings, *, sinks: Sequence[Sink] | None = None) -> None:
        self.settings = settings
        self.alerts = Alerts(settings.threshold)
        self.gauges = MonitorGauges(stale=settings.interval * 4 + settings.probe_timeout)
        self._bus = bus
        self._sinks = list(sinks) if sinks is not None else _sinks(bus, settings)
        self._untold: dict[int, list[Alert]] = {id(sink): [] for sink in self._sinks}
        self._deadletters = DeadLetterWindow(settings.deadletter_window)
        self._remembered = set(settings.expected_consumers)

    async def run(self) -> None:
        """Restore the alerts in force, and survey the server every ``interval`` seconds.

        Raises:
            BusClosed: the bus was closed.
        """
        self.alerts.restore(await alerts_in_force(self._bus))
        while True:
            started = time.monotonic()
            await self.look()
            await asyncio.sleep(max(0.0, self.settings.interval - (time.monotonic() - started)))

    async def look(self) -> list[Alert]:
        """Survey the server once, notify the sinks, and return the alerts that changed."""
        readings = [await probe(self._bus, self.settings.probe_timeout)]
        self.gauges.probed(readings[0].value, self.settings.probe_timeout)
        readings += certificates(self.settings.certificates)
        started = time.monotonic()
        try:
            seen = await survey(self._bus) if self._bus.is_connected else None
        except BusClosed:
            raise
        except BusError as error:
            log.warning("the server could not be looked at", error=str(error))
            seen = None
        if seen is None:
            self.gauges.failures += 1
            readings += self._blind()
        else:
            found = [*readings[1:], *self._judge(seen)]
            readings = [readings[0], *found]
            self.gauges.saw(seen, found, time.monotonic() - started)
        changes = self.alerts.update(readings, time.time())
        self.gauges.alerts(self.alerts.active)
        await self._tell(changes)
        return changes

    def _judge(self, seen: Survey) -> list[Reading]:
        settings = self.settings
        expected = settings.expected_streams
        streams = (
            expected
            if expected is not None
            else tuple(each.name for each in declared(self._bus.settings.checkouts).streams)
        )
        if settings.remember_consumers:
            self._remembered |= {f"{lag.stream}/{lag.consumer}" for lag in seen.lags if lag.durable}
        return [
            *slow_consumers(seen, settings.ignored_consumers),
            *discard_risks(seen),
            *missing_streams(seen, streams),
            *missing_consumers(seen, sorted(self._remembered)),
            *self._deadletters.read(seen),
        ]

    def _blind(self) -> list[Reading]:
        """The survey failed: alerts in force stay as they are."""
        return [
            Reading(Watch(alert.name), alert.target, alert.value, alert.summary)
            for alert in self.alerts.active
            if alert.name not in (Watch.SERVER, Watch.CERTIFICATE)
        ]

    async def _tell(self, changes: list[Alert]) -> None:
        await asyncio.gather(*(self._tell_one(sink, changes) for sink in self._sinks))

    async def _tell_one(self, sink: Sink, changes: list[Alert]) -> None:
        """Notify one sink, also of changes that it missed before."""
        waiting = self._untold[id(sink)] + changes
        try:
            await sink.tell(waiting, self.alerts.active)
        except SinkError as error:
            log.warning("a sink of alerts failed; it is told again", sink=type(sink).__name__, error=str(error))
            self._untold[id(sink)] = waiting[-1000:]
        else:
            self._untold[id(sink)] = []


def _sinks(bus: EventBus, settings: MonitorSettings) -> list[Sink]:
    sinks: list[Sink] = [LogSink(), BusSink(bus)]
    if settings.webhook is not None:
        sinks.append(WebhookSink(settings.webhook))
    if settings.alertmanager is not None:
        sinks.append(AlertmanagerSink(settings.alertmanager, lasting=settings.interval * _RETELL + 30))
    return sinks
