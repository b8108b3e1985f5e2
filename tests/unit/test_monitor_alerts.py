"""When alerts are raised and cleared: hysteresis, severities, targets that vanish. Time is a parameter."""

from pathlib import Path

import pytest
from mts1b_foundation.operations import AlertSeverity
from mts1b_operations.monitor.alerts import EASED, Alerts
from mts1b_operations.monitor.reading import Reading, Watch
from mts1b_operations.monitor.settings import DEFAULTS, MonitorConfigError, MonitorSettings, Threshold
from mts1b_platform.config import Settings
from mts1b_platform.eventbus.streams import STREAMS, nanoseconds
from pydantic import ValidationError


def lag(seconds: float, target: str = "OMS_ORDERS/t") -> Reading:
    return Reading(Watch.SLOW_CONSUMER, target, seconds, "behind")


def alerts(**changes: float) -> Alerts:
    threshold = DEFAULTS[Watch.SLOW_CONSUMER].model_copy(update=changes)
    return Alerts(lambda _: threshold)


def test_a_lag_over_thirty_seconds_is_critical_and_exactly_thirty_is_not():
    state = alerts()
    assert state.update([lag(30.0)], 0) == []
    (raised,) = state.update([lag(30.1)], 5)
    assert raised.severity is AlertSeverity.CRITICAL
    assert (raised.name, raised.target, raised.threshold) == ("slow_consumer", "OMS_ORDERS/t", 30.0)
    assert raised.cleared_at is None


def test_an_alert_is_raised_once_however_long_it_lasts():
    state = alerts()
    changes = [state.update([lag(31 + number)], number) for number in range(10)]
    assert [len(change) for change in changes] == [1] + [0] * 9


def test_between_the_levels_nothing_flaps():
    state = alerts(clear_hold=10)
    assert len(state.update([lag(31)], 0)) == 1
    for number in range(20):
        assert state.update([lag(31 if number % 2 else 6)], number) == []
    for number in range(20, 60):
        assert state.update([lag(6)], number) == []
    assert len(state.active) == 1


def test_it_clears_after_being_good_for_a_while_with_the_same_id():
    state = alerts(clear_hold=10)
    (raised,) = state.update([lag(31)], 0)
    assert state.update([lag(0)], 5) == []
    assert state.update([lag(0)], 14) == []
    (cleared,) = state.update([lag(0)], 15)
    assert cleared.alert_id == raised.alert_id
    assert cleared.cleared_at is not None
    assert cleared.raised_at == raised.raised_at
    assert state.active == []


def test_a_relapse_starts_the_wait_again():
    state = alerts(clear_hold=10)
    state.update([lag(31)], 0)
    state.update([lag(0)], 1)
    state.update([lag(31)], 5)
    assert state.update([lag(0)], 12) == []
    assert len(state.update([lag(0)], 22)) == 1


def test_a_value_must_stay_bad_for_the_hold():
    state = alerts(hold=10)
    assert state.update([lag(40)], 0) == []
    assert state.update([lag(0)], 5) == []
    assert state.update([lag(40)], 6) == []
    assert state.update([lag(40)], 15) == []
    assert len(state.update([lag(40)], 16)) == 1


def test_a_worse_severity_is_raised_again_and_a_milder_one_is_not():
    state = alerts(warning=10)
    (warning,) = state.update([lag(11)], 0)
    assert warning.severity is AlertSeverity.WARNING
    (critical,) = state.update([lag(31)], 1)
    assert (critical.severity, critical.alert_id) == (AlertSeverity.CRITICAL, warning.alert_id)
    assert state.update([lag(11)], 2) == []


def test_what_eases_for_long_becomes_a_warning_and_is_told_anew_when_it_is_critical_again():
    state = alerts(warning=10)
    assert [alert.severity for alert in state.update([lag(31)], 0)] == [AlertSeverity.CRITICAL]
    assert state.update([lag(11)], 10) == []
    assert state.update([lag(31)], 200) == []  # back before it has eased for long: nothing is told
    assert state.update([lag(11)], 210) == []
    assert state.update([lag(7)], 509) == []  # neither good nor a warning: milder all the same
    (eased,) = state.update([lag(11)], 510)
    assert (eased.severity, eased.threshold) == (AlertSeverity.WARNING, 10.0)
    assert state.update([lag(11)], 900) == []
    (again,) = state.update([lag(31)], 901)
    assert (again.severity, again.alert_id, again.raised_at) == (
        AlertSeverity.CRITICAL,
        eased.alert_id,
        eased.raised_at,
    )


def test_what_is_only_ever_critical_stays_it_until_it_is_good():
    state = alerts()
    state.update([lag(31)], 0)
    assert [state.update([lag(7)], now) for now in (1, 1000, 2000)] == [[], [], []]
    assert [alert.severity for alert in state.active] == [AlertSeverity.CRITICAL]


def test_the_stream_of_alerts_stores_an_alert_that_is_critical_again():
    [stream] = [each for each in STREAMS if each.name == "OPERATIONS_ALERTS"]
    assert nanoseconds(stream.duplicate_window) < EASED * 1_000_000_000


def test_a_consumer_that_was_deleted_clears():
    state = alerts(clear_hold=10)
    state.update([lag(31), lag(40, "OMS_FILLS/t")], 0)
    state.update([lag(31)], 1)
    (cleared,) = state.update([lag(31)], 11)
    assert cleared.target == "OMS_FILLS/t"
    assert len(state.active) == 1


def test_a_certificate_is_worse_the_fewer_days_are_left():
    state = Alerts(DEFAULTS.__getitem__)

    def days(left: float) -> list[Reading]:
        return [Reading(Watch.CERTIFICATE, "oms.pem", left, "expires")]

    assert state.update(days(8), 0) == []
    assert [alert.severity for alert in state.update(days(6), 1)] == [AlertSeverity.WARNING]
    assert [alert.severity for alert in state.update(days(2), 2)] == [AlertSeverity.CRITICAL]
    assert len(state.update(days(365), 3)) == 1


def test_an_infinite_value_goes_on_the_wire():
    state = Alerts(lambda _: Threshold(critical=5, clear=1, unit="s"))
    (raised,) = state.update([Reading(Watch.SERVER, "nats", float("inf"), "not stored")], 0)
    assert '"value":1000000000.0' in raised.model_dump_json()


def test_levels_in_the_wrong_order_are_refused():
    with pytest.raises(ValidationError, match="must be rising"):
        Threshold(warning=30, critical=10, clear=5)


def test_the_configuration_file_changes_thresholds_and_leaves_the_rest(tmp_path: Path):
    path = tmp_path / "mts1b.toml"
    path.write_text(
        'profile = "minimal"\n[monitoring]\ninterval = 2\n'
        "[monitoring.thresholds.slow_consumer]\nwarning = 5\ncritical = 10\nclear = 1\n"
    )
    settings = MonitorSettings.read(path)
    assert settings.threshold(Watch.SLOW_CONSUMER).critical == 10
    assert settings.threshold(Watch.DISCARD_RISK) == DEFAULTS[Watch.DISCARD_RISK]
    assert Settings.load(path).profile == "minimal"


def test_a_wrong_setting_is_named_with_its_file(tmp_path: Path):
    path = tmp_path / "mts1b.toml"
    path.write_text("[monitoring]\nintervall = 2\n")
    with pytest.raises(MonitorConfigError, match=r"mts1b.toml: monitoring.intervall"):
        MonitorSettings.read(path)
