"""The benchmark's harness: whatever its workers do, it ends, and says what went wrong."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
WAITS = "import time; print('ready', flush=True); time.sleep(60)"
SILENT = "import time; time.sleep(60)"
DROPS = """print('{"start": 0, "cpu": 0, "dropped": 3}')"""


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("harness")


def run(harness: Any, subscriber: str, publisher: str) -> None:
    commands = [[sys.executable, "-Sc", program] for program in (subscriber, publisher)]
    harness.run_pair(harness.Contestant("x", *commands), "", 1_000)


def test_a_reader_of_events_that_were_dropped_is_not_waited_for(harness: Any):
    with pytest.raises(RuntimeError, match="the publisher dropped 3 of 1,000 events"):
        run(harness, WAITS, DROPS)


@pytest.mark.parametrize(("subscriber", "publisher"), [(SILENT, DROPS), (WAITS, SILENT), (WAITS, "print('{}')")])
def test_a_worker_that_never_ends_is_an_error(
    harness: Any, monkeypatch: pytest.MonkeyPatch, subscriber: str, publisher: str
):
    monkeypatch.setattr(harness, "PATIENCE", 1.0)
    with pytest.raises(RuntimeError, match=r"did not start|was not done within 1 s"):
        run(harness, subscriber, publisher)
