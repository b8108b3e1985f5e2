"""The monitor's findings as metrics."""

from collections.abc import Iterator
from datetime import UTC, datetime

from mts1b_foundation.operations import Alert
from mts1b_platform.observability import names
from mts1b_platform.observability.metrics import Values, family
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from mts1b_operations.monitor.reading import Reading, Watch
from mts1b_operations.monitor.survey import Survey

_BY_WATCH = {
    Watch.DISCARD_RISK: names.DISCARD_RISK,
    Watch.STREAM_MISSING: names.STREAM_MISSING,
    Watch.ROLLED_BACK: names.ROLLED_BACK,
    Watch.SOURCE_SILENT: names.SOURCE_SILENT,
    Watch.CONSUMER_MISSING: names.CONSUMER_MISSING,
    Watch.NOBODY_ACTIVE: names.NOBODY_ACTIVE,
    Watch.HELD_UP: names.HELD_UP,
    Watch.TAKEOVERS: names.TAKEOVERS_RECENT,
    Watch.DEAD_LETTERS: names.DEADLETTERS_RECENT,
    Watch.CERTIFICATE: names.CERTIFICATE_SECONDS,
    Watch.DISK_FREE: names.DISK_FREE,
    Watch.DISK_FILLS: names.DISK_FILLS,
    Watch.ARCHIVE_BEHIND: names.ARCHIVE_LEFT,
    Watch.ARCHIVE_AGE: names.ARCHIVE_AGE,
}
_SECONDS = {
    Watch.CERTIFICATE: 86_400.0,
    Watch.DISK_FILLS: 3_600.0,
    Watch.ARCHIVE_BEHIND: 3_600.0,
    Watch.ARCHIVE_AGE: 3_600.0,
}
"""What a reading counts in, where its metric is in seconds."""


class MonitorGauges(Collector):
    """Serves the last survey of the server, unless it is older than ``stale`` seconds.

    A monitor that does not see the server must not go on telling what it once saw: alert rules on missing metrics
    notice, rules on stale values would not.
    """

    def __init__(self, stale: float) -> None:
        self._stale = stale
        self._at: datetime | None = None
        self._seen = Survey({}, [])
        self._readings: list[Reading] = []
        self._alerts: list[Alert] = []
        self._took = 0.0
        self._probe: float | None = None
        self._probe_limit = 0.0
        self.failures = 0
        """Surveys that failed."""
        self.looks = 0
        """Surveys that succeeded."""

    def saw(self, seen: Survey, readings: list[Reading], took: float) -> None:
        """A survey succeeded."""
        self._seen, self._readings, self._took = seen, readings, took
        self._at = datetime.now(UTC)
        self.looks += 1

    def probed(self, seconds: float, limit: float) -> None:
        """A probe was stored within ``seconds`` (infinite: not)."""
        self._probe, self._probe_limit = seconds, limit

    def alerts(self, active: list[Alert]) -> None:
        """The alerts in force."""
        self._alerts = active

    def collect(self) -> Iterator[Family]:
        """What Prometheus scrapes; runs in the endpoint's thread."""
        yield family(names.POLL_FAILURES, {(): self.failures})
        yield family(names.ALERTS, {(alert.name, alert.target, alert.severity.value): 1.0 for alert in self._alerts})
        if self._probe is not None:
            stored = self._probe <= self._probe_limit
            yield family(names.PROBE_OK, {(): float(stored)})
            yield family(names.PROBE_SECONDS, {(): min(self._probe, self._probe_limit)})
        if self._at is None or (datetime.now(UTC) - self._at).total_seconds() > self._stale:
            return
        yield family(names.POLL_SECONDS, {(): self._took})
        yield from self._consumers()
        yield from self._streams()
        for watch, metric in _BY_WATCH.items():
            scale = _SECONDS.get(watch, 1.0)
            values: Values = {
                _labels(watch, reading.target): reading.value * scale
                for reading in self._readings
                if reading.watch is watch
            }
            yield family(metric, values)

    def _consumers(self) -> Iterator[Family]:
        lags = self._seen.lags
        yield family(names.LAG_SECONDS, {(lag.stream, lag.consumer): lag.seconds for lag in lags})
        yield family(names.LAG_MESSAGES, {(lag.stream, lag.consumer): float(lag.messages) for lag in lags})
        yield family(names.ACK_PENDING, {(lag.stream, lag.consumer): float(lag.ack_pending) for lag in lags})
        yield family(names.REDELIVERED, {(lag.stream, lag.consumer): float(lag.redelivered) for lag in lags})

    def _streams(self) -> Iterator[Family]:
        states = {name: info["state"] for name, info in self._seen.streams.items()}
        yield family(names.STREAM_MESSAGES, {(name,): float(state["messages"]) for name, state in states.items()})
        yield family(names.STREAM_BYTES, {(name,): float(state["bytes"]) for name, state in states.items()})


_OF_ONE_THING = {
    Watch.STREAM_MISSING,
    Watch.CERTIFICATE,
    Watch.DISK_FREE,
    Watch.DISK_FILLS,
    Watch.ARCHIVE_BEHIND,
    Watch.ARCHIVE_AGE,
}


def _labels(watch: Watch, target: str) -> tuple[str, ...]:
    if watch in (Watch.DEAD_LETTERS, Watch.ROLLED_BACK):
        return ()
    if watch in _OF_ONE_THING:
        return (target,)
    stream, _, consumer = target.partition("/")
    return stream, consumer
