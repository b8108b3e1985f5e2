"""Settings of the monitor: what it watches, thresholds, sinks."""

import tomllib
from pathlib import Path
from typing import Annotated, Self

from mts1b_foundation.errors import Mts1bError
from mts1b_foundation.operations import AlertSeverity
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mts1b_operations.monitor.paging import PagerSettings
from mts1b_operations.monitor.reading import Watch


class MonitorConfigError(Mts1bError):
    """The monitor's configuration is wrong; the message names the place."""


class Threshold(BaseModel):
    """When a reading is bad, and when it is good again.

    An alert is raised when the value stays beyond ``warning`` or ``critical`` for ``hold`` seconds, and cleared when
    it stays within ``clear`` for ``clear_hold`` seconds. Between ``clear`` and ``warning`` nothing changes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    warning: float | None = None
    """Beyond it an alert is a warning."""
    critical: float | None = None
    """Beyond it an alert is critical. One of the two must be given."""
    clear: float
    """Within it the alert may end."""
    hold: Annotated[float, Field(ge=0)] = 0.0
    """Seconds that a value must stay beyond a level until there is an alert."""
    clear_hold: Annotated[float, Field(ge=0)] = 10.0
    """Seconds that it must stay within ``clear`` until the alert ends."""
    unit: str = ""
    """What the alert says behind the value."""
    less_is_worse: bool = False
    """Whether small values are the bad ones."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        levels = [level for level in (self.clear, self.warning, self.critical) if level is not None]
        if len(levels) == 1:
            raise ValueError("set warning, critical or both")
        if levels != sorted(levels, reverse=self.less_is_worse):
            order = "falling" if self.less_is_worse else "rising"
            raise ValueError(f"clear, warning and critical must be {order}: {levels}")
        return self

    def severity(self, value: float) -> AlertSeverity | None:
        """The severity of ``value``; None when it is beyond no level."""
        if self.critical is not None and self._beyond(value, self.critical):
            return AlertSeverity.CRITICAL
        if self.warning is not None and self._beyond(value, self.warning):
            return AlertSeverity.WARNING
        return None

    def good(self, value: float) -> bool:
        """Whether ``value`` is good enough to clear."""
        return value >= self.clear if self.less_is_worse else value <= self.clear

    def level(self, severity: AlertSeverity) -> float:
        """The level that ``severity`` begins at."""
        level = self.critical if severity is AlertSeverity.CRITICAL else self.warning
        return self.clear if level is None else level

    def _beyond(self, value: float, level: float) -> bool:
        return value < level if self.less_is_worse else value > level


DEFAULTS: dict[Watch, Threshold] = {
    Watch.SLOW_CONSUMER: Threshold(critical=30, clear=5, unit="s"),
    Watch.DEAD_LETTERS: Threshold(warning=0, critical=100, clear=0, clear_hold=0, unit="messages"),
    Watch.DISCARD_RISK: Threshold(warning=0.7, critical=0.9, clear=0.5, unit="of the limit"),
    Watch.STREAM_MISSING: Threshold(critical=0, clear=0, clear_hold=0),
    Watch.ROLLED_BACK: Threshold(critical=0, clear=0, clear_hold=0, unit="events"),
    Watch.SOURCE_SILENT: Threshold(warning=15, critical=60, clear=5, clear_hold=0, unit="s"),
    Watch.CONSUMER_MISSING: Threshold(critical=0, clear=0, clear_hold=0),
    Watch.NOBODY_ACTIVE: Threshold(critical=0, clear=0, hold=15, clear_hold=0),
    Watch.HELD_UP: Threshold(warning=60, critical=300, clear=5, clear_hold=0, unit="s"),
    Watch.TAKEOVERS: Threshold(warning=3, clear=0, clear_hold=0, unit="times"),
    Watch.CERTIFICATE: Threshold(warning=7, critical=3, clear=7, clear_hold=0, unit="days", less_is_worse=True),
    Watch.DISK_FREE: Threshold(warning=0.1, critical=0.04, clear=0.12, unit="of the disk", less_is_worse=True),
    Watch.DISK_FILLS: Threshold(
        warning=24, critical=4, clear=30, hold=300, clear_hold=300, unit="hours", less_is_worse=True
    ),
    # A run a day leaves a stream of a week six days; one that keeps two days has a day when a run is due.
    Watch.ARCHIVE_BEHIND: Threshold(
        warning=18, critical=6, clear=20, hold=120, clear_hold=0, unit="hours", less_is_worse=True
    ),
    Watch.ARCHIVE_AGE: Threshold(warning=26, critical=50, clear=25, clear_hold=0, unit="hours"),
    Watch.SERVER: Threshold(warning=1, critical=5, clear=0.5, hold=5, unit="s"),
}
"""The thresholds when the configuration says nothing. A consumer that lags over 30 s is the promise of the bus."""


class MonitorSettings(BaseModel):
    """The table ``[monitoring]`` of ``mts1b.toml``.

    ::

        [monitoring]
        interval = 5
        webhook = "http://127.0.0.1:9000/alerts"
        expected_consumers = ["OMS_ORDERS/riskengine"]

        [monitoring.thresholds.slow_consumer]
        warning = 10
        critical = 30
        clear = 5
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    interval: Annotated[float, Field(gt=0)] = 5.0
    """Seconds between two surveys of the server."""
    deadletter_window: Annotated[float, Field(gt=0)] = 600.0
    """Dead letters of the last so many seconds count."""
    probe_timeout: Annotated[float, Field(gt=0)] = 5.0
    """Seconds in which a probe must be stored."""
    expected_streams: tuple[str, ...] | None = None
    """Streams that must exist. None: all that are declared."""
    expected_consumers: tuple[Annotated[str, Field(pattern=r"^[^/]+/[^/]+$")], ...] = ()
    """Durables that must exist, as ``stream/durable``."""
    remember_consumers: bool = True
    """Whether a durable that was seen once and vanished counts as missing."""
    remember: Path | None = None
    """File that keeps where each stream stood over a restart of the monitor. None: `streams.json` in the directory that
    systemd gives to a service, elsewhere no file."""
    certificates: tuple[Path, ...] | None = None
    """PEM files whose expiry is watched. None: those in ``tls_dir``, as they are at each survey."""
    disks: tuple[Path, ...] = ()
    """A directory on each disk whose room is watched: the bus's store, the services' state, backups. `mts1b-deploy
    install` names its store."""
    archive: Path | None = None
    """The archive that is watched (``mts1b archive run DIR``); this user must be able to read its manifests. None: no
    archive is."""
    ignored_consumers: tuple[str, ...] = ()
    """Patterns (``OMS_ORDERS/debug-*``) of consumers that may lag as they like."""
    thresholds: dict[Watch, Threshold] = Field(default_factory=dict[Watch, Threshold])
    """In place of the defaults."""
    webhook: str | None = None
    """URL to which every change is posted as JSON."""
    alertmanager: str | None = None
    """Base URL of a Prometheus Alertmanager."""
    pagers: tuple[PagerSettings, ...] = ()
    """Who is paged, by ntfy, mail, or a request of a template."""
    heartbeat: str | None = None
    """URL of somebody outside who pages when the sign of life stays away."""
    heartbeat_every: Annotated[float, Field(gt=0)] = 60.0
    """Seconds between two signs of life."""

    def threshold(self, watch: Watch) -> Threshold:
        """The threshold in force."""
        return self.thresholds.get(watch) or DEFAULTS[watch]

    @classmethod
    def read(cls, path: Path | None) -> Self:
        """The settings in the table ``[monitoring]`` of ``path``; defaults when there is no file or no table.

        Raises:
            MonitorConfigError: the file cannot be read, or a setting is wrong.
        """
        if path is None:
            return cls()
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8")).get("monitoring", {})
            return cls.model_validate(table)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise MonitorConfigError(f"{path} cannot be read: {error}") from error
        except ValidationError as error:
            problems = "; ".join(f"monitoring.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise MonitorConfigError(f"{path}: {problems}") from None
