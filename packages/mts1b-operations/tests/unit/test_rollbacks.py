"""Where streams stand is remembered over a restart, without a write at each look."""

from pathlib import Path

from mts1b_operations.monitor.rollbacks import Rollbacks
from mts1b_operations.monitor.survey import Survey


def stands(last_seq: int) -> Survey:
    return Survey({"S": {"config": {"storage": "file"}, "state": {"last_seq": last_seq}}}, [])


def test_the_file_is_written_when_a_stream_has_moved_and_not_otherwise(tmp_path: Path):
    file = tmp_path / "streams.json"
    rollbacks = Rollbacks(file)
    list(rollbacks.read(stands(5)))
    before = file.stat()
    list(rollbacks.read(stands(5)))
    assert file.stat() == before
    list(rollbacks.read(stands(6)))
    assert file.stat().st_ino != before.st_ino
    moved = Rollbacks(file)
    list(moved.read(stands(4)))
    (reading,) = moved.read(stands(4))  # a stream that stands behind at two looks was set back
    assert reading.value == 2
