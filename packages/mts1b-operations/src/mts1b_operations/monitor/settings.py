"""Settings of the monitor: what it watches, thresholds, sinks."""

import tomllib
from pathlib import Path
from typing import Annotated, Self

from mts1b_foundation.errors import Mts1bError
from mts1b_foundation.operations import AlertSeverity
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

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
    critical: float | None = None
    clear: float
    hold: Annotated[float, Field(ge=0)] = 0.0
    clear_hold: Annotated[float, Field(ge=0)] = 10.0
    unit: str = ""
    less_is_worse: bool = False

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
    Watch.CONSUMER_MISSING: Threshold(critical=0, clear=0, clear_hold=0),
    Watch.CERTIFICATE: Threshold(warning=21, critical=3, clear=21, clear_hold=0, unit="days", less_is_worse=True),
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
    certificates: tuple[Path, ...] = ()
    """PEM files whose expiry is watched."""
    ignored_consumers: tuple[str, ...] = ()
    """Patterns (``OMS_ORDERS/debug-*``) of consumers that may lag as they like."""
    thresholds: dict[Watch, Threshold] = Field(default_factory=dict[Watch, Threshold])
    """In place of the defaults."""
    webhook: str | None = None
    """URL to which every change is posted as JSON."""
    alertmanager: str | None = None
    """Base URL of a Prometheus Alertmanager."""

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
