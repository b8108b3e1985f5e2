"""The monitor as a service: every few seconds it probes the server, reads its state, evaluates alerts and notifies."""

import asyncio
import time
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from mts1b_foundation.operations import Alert
from mts1b_foundation.subjects import OPERATIONS_ALERTS_ACKNOWLEDGED
from mts1b_platform.eventbus import BusClosed, BusError, EventBus
from mts1b_platform.eventbus.declared import declared
from mts1b_platform.logs import get_logger

from mts1b_operations.monitor.alerts import Alerts
from mts1b_operations.monitor.archived import Archived
from mts1b_operations.monitor.disks import Disks
from mts1b_operations.monitor.gauges import MonitorGauges
from mts1b_operations.monitor.heartbeat import Heartbeat
from mts1b_operations.monitor.instances import Instances
from mts1b_operations.monitor.probe import probe
from mts1b_operations.monitor.reading import Reading, Watch
from mts1b_operations.monitor.rollbacks import Rollbacks, file_of
from mts1b_operations.monitor.settings import MonitorSettings
from mts1b_operations.monitor.sinks import AlertmanagerSink, BusSink, LogSink, Pager, Sink, SinkError, WebhookSink
from mts1b_operations.monitor.standing import alerts_in_force
from mts1b_operations.monitor.survey import (
    DeadLetterWindow,
    Survey,
    certificates,
    discard_risks,
    missing_consumers,
    missing_streams,
    silent_sources,
    slow_consumers,
    survey,
)

log = get_logger("mts1b.monitor")

_SEEN_WITHOUT_THE_BUS = (Watch.SERVER, Watch.CERTIFICATE, Watch.DISK_FREE, Watch.DISK_FILLS)
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
        self.known: set[str] = set()
        """Alerts in force that somebody has acknowledged, by id: they are not repeated."""
        told = [LogSink(), BusSink(bus), *outside(settings, self.known)] if sinks is None else sinks
        self._sinks = list(told)
        self._heartbeat = Heartbeat(settings.heartbeat, settings.heartbeat_every) if settings.heartbeat else None
        self._untold: dict[int, list[Alert]] = {id(sink): [] for sink in self._sinks}
        self._deadletters = DeadLetterWindow(settings.deadletter_window)
        self._instances = Instances()
        self._disks = Disks(settings.disks)
        self._archived = Archived(settings.archive) if settings.archive is not None else None
        self._rollbacks = Rollbacks(file_of(settings.remember))
        self._remembered = set(settings.expected_consumers)

    async def run(self) -> None:
        """Restore the alerts in force, and survey the server every ``interval`` seconds.

        Raises:
            BusClosed: the bus was closed.
        """
        await self._restore()
        hearing = asyncio.create_task(self._hear(), name="hear acknowledgements")
        try:
            while True:
                started = time.monotonic()
                await self.look()
                await asyncio.sleep(max(0.0, self.settings.interval - (time.monotonic() - started)))
        finally:
            hearing.cancel()

    async def _restore(self) -> None:
        try:
            standing = await alerts_in_force(self._bus)
        except BusClosed:
            raise
        except BusError as error:
            log.warning("alerts of before are not known; what is wrong is raised again", error=str(error))
            return
        self.alerts.restore(each.alert for each in standing)
        self.known |= {each.alert.alert_id for each in standing if each.acknowledged is not None}

    async def _hear(self) -> None:
        async with self._bus.listen(OPERATIONS_ALERTS_ACKNOWLEDGED) as heard:
            async for each in heard:
                self.known.add(each.payload.alert_id)
                log.info("an alert is known", alert_id=each.payload.alert_id, actor=each.payload.actor)

    async def look(self) -> list[Alert]:
        """Survey the server once, notify the sinks, and return the alerts that changed."""
        readings = [await probe(self._bus, self.settings.probe_timeout)]
        self.gauges.probed(readings[0].value, self.settings.probe_timeout)
        readings += certificates(self._certificates())
        readings += self._disks.read()
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
            archived = await self._archived.read(self._bus, seen) if self._archived is not None else ()
            found = [*readings[1:], *self._judge(seen), *archived]
            readings = [readings[0], *found]
            self.gauges.saw(seen, found, time.monotonic() - started)
        changes = self.alerts.update(readings, time.time())
        self.known &= {alert.alert_id for alert in self.alerts.active}
        self.known -= {change.alert_id for change in changes}  # what is raised with another severity is told again
        self.gauges.alerts(self.alerts.active)
        await self._tell(changes)
        stored = readings[0].value <= self.settings.probe_timeout
        if self._heartbeat is not None and stored and seen is not None and not any(self._untold.values()):
            await self._heartbeat.beat()
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
            *self._rollbacks.read(seen, acknowledged=self._is_acknowledged(Watch.ROLLED_BACK)),
            *silent_sources(seen),
            *missing_consumers(seen, sorted(self._remembered)),
            *self._instances.read(seen),
            *self._deadletters.read(seen),
        ]

    def _is_acknowledged(self, watch: Watch) -> bool:
        return any(alert.name == watch and alert.alert_id in self.known for alert in self.alerts.active)

    def _blind(self) -> list[Reading]:
        """The survey failed: alerts in force stay as they are."""
        return [
            Reading(Watch(alert.name), alert.target, alert.value, alert.summary)
            for alert in self.alerts.active
            if alert.name not in _SEEN_WITHOUT_THE_BUS
        ]

    def _certificates(self) -> Iterable[Path]:
        if self.settings.certificates is not None:
            return self.settings.certificates
        directory = self._bus.settings.tls_dir
        return sorted(directory.glob("*.pem")) if directory is not None else ()

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


def outside(settings: MonitorSettings, known: Container[str] = (), *, once: bool = False) -> list[Sink]:
    """Whom the settings name beside the log and the bus.

    Args:
        settings: the monitor's.
        known: ids of alerts that need no repeating.
        once: for what is told once, by somebody who does not wait to repeat it.
    """
    sinks: list[Sink] = []
    if settings.webhook is not None:
        sinks.append(WebhookSink(settings.webhook))
    if settings.alertmanager is not None:
        sinks.append(AlertmanagerSink(settings.alertmanager, lasting=settings.interval * _RETELL + 30))
    sinks += [
        Pager(each.channel(), known, minimum=each.minimum, repeat=0.0 if once else each.repeat)
        for each in settings.pagers
    ]
    return sinks
