"""What a replay keeps of a message, when it is due, and what a recording is whenever its writer ends."""

from pathlib import Path

import pytest
from mts1b_operations.export.json_lines import RecordingError
from mts1b_operations.replay.message import head_of
from mts1b_operations.replay.pace import Pace
from mts1b_operations.replay.recording import Recording, read_origin, read_recording
from mts1b_platform.eventbus.history.recorded import Recorded
from mts1b_platform.eventbus.protocol.headers import Headers, header_block
from mts1b_platform.eventbus.protocol.message import WireMsg

_STAMP = "2026-11-29T03:12:03.196192123Z"


def recorded(head: bytes = b"", seq: int = 7, payload: bytes = b"{}") -> Recorded:
    return Recorded("OMS_ORDERS" if seq else "", seq, _STAMP, WireMsg(b"mts.v1.x.y.z", b"", head, payload))


def test_the_envelope_and_the_message_id_stay_and_the_mark_says_where_it_is_from():
    head = header_block({"mts-schema": "a:v1", "Nats-Msg-Id": "k1", "x-own": "1"})
    assert Headers(head_of(recorded(head))).to_dict() == {
        "mts-schema": "a:v1",
        "Nats-Msg-Id": "k1",
        "x-own": "1",
        "mts-replayed-from": f"OMS_ORDERS:7 {_STAMP}",
    }
    assert Headers(head_of(recorded(b"", 0))).to_dict() == {"mts-replayed-from": f"live {_STAMP}"}


@pytest.mark.parametrize(
    "name",
    ["Nats-Batch-Id", "nats-rollup", "Nats-Expected-Last-Sequence", "Nats-TTL", "Nats-Schedule", "NATS-Anything"],
)
def test_what_told_the_first_server_something_does_not_tell_the_second(name: str):
    head = header_block({name: "1", "nats-msg-id": "k1"})
    assert list(Headers(head_of(recorded(head)))) == ["nats-msg-id", "mts-replayed-from"]


def test_a_replay_of_a_replay_says_its_own_place():
    once = head_of(recorded(header_block({"a": "b"})))
    assert Headers(head_of(recorded(once, 9)))["mts-replayed-from"].startswith("OMS_ORDERS:9 ")


def test_spacing_is_kept_and_divided_by_the_speed():
    pace = Pace(10)
    assert pace.wait(5_000_000_000, now=100.0) == 0
    assert pace.wait(15_000_000_000, now=100.25) == pytest.approx(0.75)
    assert pace.wait(15_000_000_000, now=200.0) == 0
    assert Pace(None).wait(5, now=0) == Pace(None).wait(10**18, now=0) == 0


async def test_a_recording_that_was_torn_reads_up_to_there(tmp_path: Path):
    file = tmp_path / "a.jsonl"
    with Recording(file, {"OMS_ORDERS": "2026"}) as recording:
        recording.write([recorded(seq=1), recorded(seq=2)])
    assert recording.events == 2
    assert read_origin(file) == {"OMS_ORDERS": "2026"}
    text = file.read_bytes()
    file.write_bytes(text[:-5])
    assert [each.seq async for batch in read_recording(file) for each in batch] == [1]
    file.write_bytes(text.replace(b'"seq": 1', b'"seq": x'))
    with pytest.raises(RecordingError, match="line 2"):
        _ = [each async for each in read_recording(file)]
    with pytest.raises(FileExistsError):
        Recording(file, {})
    with pytest.raises(RecordingError, match="cannot be read"):
        read_origin(tmp_path / "none")
