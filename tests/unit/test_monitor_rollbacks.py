"""When a stream counts as set back, and what of it outlives a restart."""

from pathlib import Path

import pytest
from mts1b_operations.monitor.rollbacks import Rollbacks, file_of
from mts1b_operations.monitor.survey import Survey


def survey(*, storage: str = "file", mirror: bool = False, **last: int) -> Survey:
    config = {"storage": storage} | ({"mirror": {"name": "ORDERS"}} if mirror else {})
    return Survey({name: {"config": config, "state": {"last_seq": seq}} for name, seq in last.items()}, [])


def gone(rollbacks: Rollbacks, seen: Survey, *, acknowledged: bool = False) -> float:
    (reading,) = rollbacks.read(seen, acknowledged=acknowledged)
    return reading.value


def test_a_stream_that_stands_behind_for_a_moment_was_not_set_back():
    rollbacks = Rollbacks(None)
    values = [gone(rollbacks, survey(ORDERS=seq)) for seq in (10, 9, 10, 9, 12)]
    assert values == [0] * 5


def test_what_has_gone_is_told_until_it_is_acknowledged_though_new_events_pass_it():
    rollbacks = Rollbacks(None)
    values = [gone(rollbacks, survey(ORDERS=orders, FILLS=5)) for orders in (10, 4, 5, 20)]
    assert values == [0, 0, 5, 5]
    assert gone(rollbacks, survey(ORDERS=21, FILLS=5), acknowledged=True) == 0
    assert gone(rollbacks, survey(ORDERS=22, FILLS=5)) == 0


def test_a_stream_in_memory_begins_anew_with_its_server_and_a_mirror_may_be_behind():
    rollbacks = Rollbacks(None)
    assert [gone(rollbacks, survey(ORDERS=seq, storage="memory")) for seq in (7, 0, 0)] == [0, 0, 0]
    assert [gone(rollbacks, survey(ORDERS=seq, mirror=True)) for seq in (7, 0, 0)] == [0, 0, 0]


def test_it_is_remembered_over_a_restart_and_a_file_that_is_damaged_is_written_anew(tmp_path: Path):
    file = tmp_path / "streams.json"
    assert gone(Rollbacks(file), survey(ORDERS=10)) == 0
    rollbacks = Rollbacks(file)
    assert [gone(rollbacks, survey(ORDERS=seq)) for seq in (8, 8)] == [0, 2]
    assert gone(Rollbacks(file), survey(ORDERS=30)) == 2
    file.write_text('{"streams": {"ORD')
    assert gone(Rollbacks(file), survey(ORDERS=30)) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["streams.json"]
    assert gone(Rollbacks(tmp_path / "nowhere" / "streams.json"), survey(ORDERS=1)) == 0


def test_a_service_of_systemd_has_a_place_for_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert file_of(None) is None
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/mts1b-monitor")
    assert file_of(None) == Path("/var/lib/mts1b-monitor/streams.json")
    assert file_of(Path("here.json")) == Path("here.json")
