"""What is told of the archive, and when. Time is a parameter."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from mts1b_foundation.operations import AlertSeverity
from mts1b_operations.archive.look import Due
from mts1b_operations.monitor.archived import age, behind
from mts1b_operations.monitor.settings import DEFAULTS
from mts1b_operations.monitor.survey import Survey

NOW = datetime(2026, 11, 30, 1, 30, tzinfo=UTC)
SEEN = Survey(
    {
        name: {"created": (NOW - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")}
        for name, hours in {"OMS_ORDERS": 30, "OMS_FILLS": 3}.items()
    },
    [],
)


@pytest.mark.parametrize(
    ("hours", "severity"),
    [(24.5, None), (25.5, None), (27, AlertSeverity.WARNING), (51, AlertSeverity.CRITICAL)],
)
def test_an_archive_is_to_be_run_every_day(hours: float, severity: AlertSeverity | None):
    reading = age("/archive", NOW - timedelta(hours=hours), SEEN, NOW)
    assert DEFAULTS[reading.watch].severity(reading.value) is severity
    assert reading.detail == f"the archive in /archive was brought up to date {hours:.1f} hours ago"


def test_one_that_was_never_run_is_no_fault_on_the_first_day():
    never = age("/archive", None, SEEN, NOW)
    assert (round(never.value), never.detail) == (30, "the archive in /archive was never run")
    assert age("/archive", None, Survey({}, []), NOW).value == 0


@pytest.mark.parametrize(
    ("hours", "severity", "said"),
    [
        (None, None, "none leaves the stream"),
        (24.0, None, "the first leaves the stream in 24.0 hours"),
        (17.0, AlertSeverity.WARNING, "in 17.0 hours"),
        (-2.0, AlertSeverity.CRITICAL, "in 0.0 hours"),
    ],
)
def test_the_hours_are_told_until_a_stream_loses_what_is_not_archived(
    hours: float | None, severity: AlertSeverity | None, said: str
):
    (reading,) = behind("/archive", [Due("OMS_ORDERS", 1200, hours)])
    assert DEFAULTS[reading.watch].severity(reading.value) is severity
    assert reading.detail.startswith("1,200 messages of OMS_ORDERS are not in the archive in /archive: ")
    assert reading.detail.endswith(said)
    assert reading.value == (math.inf if hours is None else max(0.0, hours))
