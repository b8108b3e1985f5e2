"""From readings to alerts, with hysteresis: a pure state machine, fed with readings and the time.

A value must stay beyond its threshold for ``hold`` seconds to raise, and stay good for ``clear_hold`` seconds to
clear; in between nothing flaps. A target that is not read any more (its consumer was deleted) clears likewise.

What gets worse is raised again at once. What is critical and stays below that level for five minutes is raised again as
a warning, so that whoever looks sees what holds now, and is told anew when it is critical once more.
"""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from mts1b_foundation.operations import Alert, AlertSeverity

from mts1b_operations.monitor.reading import Reading, Watch
from mts1b_operations.monitor.settings import Threshold

_INFINITE = 1e9
"""What an infinite value becomes on the wire, where JSON knows none."""

EASED = 300.0
"""Seconds after which a critical alert that is not critical any more becomes a warning. It is longer than the stream of
alerts knows message ids (two minutes): the same alert with the same severity is then stored again."""

Key = tuple[Watch, str]


@dataclass(slots=True)
class _State:
    bad_since: float | None = None
    """Time since which the value has been beyond a level."""
    good_since: float | None = None
    milder_since: float | None = None
    """Time since which a critical alert has not been critical."""
    alert: Alert | None = None


class Alerts:
    """The alerts in force.

    Args:
        threshold: gives the threshold of a watch.
    """

    def __init__(self, threshold: Callable[[Watch], Threshold]) -> None:
        self._threshold = threshold
        self._states: dict[Key, _State] = {}

    @property
    def active(self) -> list[Alert]:
        """Raised and not cleared."""
        return [state.alert for state in self._states.values() if state.alert is not None]

    def restore(self, alerts: Iterable[Alert]) -> None:
        """Continue with ``alerts``, which are in force and are not raised again."""
        for alert in alerts:
            if alert.name in {watch.value for watch in Watch}:
                self._states[Watch(alert.name), alert.target] = _State(alert=alert)

    def update(self, readings: Iterable[Reading], now: float) -> list[Alert]:
        """What changed: alerts raised, raised again with another severity, or cleared (``cleared_at`` is set).

        Args:
            readings: everything that was read now.
            now: seconds since the epoch.
        """
        changes: list[Alert | None] = []
        seen: set[Key] = set()
        for reading in readings:
            key = reading.watch, reading.target
            seen.add(key)
            state = self._states.setdefault(key, _State())
            changes.append(self._judge(state, reading, self._threshold(reading.watch), now))
        changes += [self._unread(self._states[key], self._threshold(key[0]), now) for key in self._states.keys() - seen]
        for key in [key for key, state in self._states.items() if key not in seen and state.alert is None]:
            del self._states[key]
        return [change for change in changes if change is not None]

    def _judge(self, state: _State, reading: Reading, threshold: Threshold, now: float) -> Alert | None:
        severity = threshold.severity(reading.value)
        if state.alert is not None and not threshold.good(reading.value):
            state.good_since = None
            return self._change(state, state.alert, reading, threshold, now)
        if severity is not None:
            state.bad_since = now if state.bad_since is None else state.bad_since
            if now - state.bad_since < threshold.hold:
                return None
            state.alert = _raised(None, reading, severity, threshold, now)
            return state.alert
        state.bad_since = state.milder_since = None
        if state.alert is None:
            return None
        return self._settle(state, threshold, now, min(reading.value, _INFINITE), reading.detail)

    def _change(self, state: _State, alert: Alert, reading: Reading, threshold: Threshold, now: float) -> Alert | None:
        """An alert in force that is not good: raised again when it got worse, or has been milder for long."""
        severity = threshold.severity(reading.value)
        if severity is AlertSeverity.CRITICAL or alert.severity is not AlertSeverity.CRITICAL:
            state.milder_since = None
            if severity is not AlertSeverity.CRITICAL or alert.severity is severity:
                return None
        else:
            state.milder_since = now if state.milder_since is None else state.milder_since
            if threshold.warning is None or now - state.milder_since < EASED:
                return None
            severity, state.milder_since = AlertSeverity.WARNING, None
        state.alert = _raised(alert, reading, severity, threshold, now)
        return state.alert

    def _unread(self, state: _State, threshold: Threshold, now: float) -> Alert | None:
        state.bad_since = state.milder_since = None
        if state.alert is None:
            return None
        return self._settle(state, threshold, now, state.alert.value, f"{state.alert.target} is not there any more")

    def _settle(self, state: _State, threshold: Threshold, now: float, value: float, detail: str) -> Alert | None:
        state.good_since = now if state.good_since is None else state.good_since
        if state.alert is None or now - state.good_since < threshold.clear_hold:
            return None
        cleared = state.alert.model_copy(update={"value": value, "summary": detail, "cleared_at": _at(now)})
        state.alert = None
        state.good_since = None
        return cleared


def _raised(before: Alert | None, reading: Reading, severity: AlertSeverity, threshold: Threshold, now: float) -> Alert:
    return Alert(
        alert_id=before.alert_id if before else f"{reading.watch}-{uuid.uuid4().hex[:12]}",
        name=reading.watch.value,
        target=reading.target,
        severity=severity,
        value=min(reading.value, _INFINITE),
        threshold=threshold.level(severity),
        unit=threshold.unit,
        summary=reading.detail,
        raised_at=before.raised_at if before else _at(now),
    )


def _at(now: float) -> datetime:
    return datetime.fromtimestamp(now, UTC)
