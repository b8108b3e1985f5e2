"""The audit log: complete, chained, readable after any crash, and honest about what was changed."""

import asyncio
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mts1b_foundation.samples import FILL, ORDER, QUOTE
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_FILLS_CREATED, OMS_ORDERS_CREATED
from mts1b_platform.cli import run
from mts1b_platform.eventbus import EventBus, NoStream, PublishError, connect
from mts1b_platform.observability.audit import AuditError, AuditLog, audit_action, search, verify
from mts1b_platform.observability.audit.line import GENESIS, encode
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus

WRITER = """
import itertools, sys
from pathlib import Path
from mts1b_platform.observability.audit import AuditLog
audit = AuditLog(Path(sys.argv[1]), "mts1b-oms", max_bytes=20_000)
for number in itertools.count():
    audit.record("publish", number=number)
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTS1B_AUDIT_DIR", str(tmp_path / "audit"))
    return tmp_path / "audit"


def whole(directory: Path) -> bool:
    found = verify(directory)
    return bool(found) and not [problem for chain in found for problem in chain.problems]


def files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*/*.jsonl"))


async def test_every_durable_publish_is_recorded_and_best_effort_is_not(
    directory: Path, bus: EventBus, connect_bus: ConnectBus
):
    ack = await bus.emit(OMS_ORDERS_CREATED, ORDER)
    await bus.emit(OMS_ORDERS_CREATED, ORDER)
    await bus.emit(OMS_FILLS_CREATED, FILL)
    await bus.jetstream().publish("mts.v1.oms.orders.created", b'{"order_id": "raw-1"}', headers={"Nats-Msg-Id": "raw"})
    market = await connect_bus("mts1b-marketdata")
    await market.emit(MARKETDATA_QUOTES, QUOTE)
    records = list(search(directory))
    assert [record["msg_id"] for record in records] == [ack.msg_id, ack.msg_id, FILL.fill_id, "raw"]
    first, again, _, raw = records
    assert first["subject"] == "mts.v1.oms.orders.created.fund.alpha"
    assert (first["stream"], first["seq"]) == (ack.stream, ack.seq)
    assert first["idempotency_key"] == ORDER.idempotency_key
    assert first["actor"] == ORDER.actor
    assert first["repo"] == "mts1b-oms"
    assert len(first["trace_id"]) == 32
    assert first["sha256"] == hashlib.sha256(ORDER.model_dump_json().encode()).hexdigest()
    assert again["duplicate"] is True
    assert raw["order_id"] == "raw-1"
    assert whole(directory)


async def test_a_publish_that_failed_is_recorded_as_such(directory: Path, connect_bus: ConnectBus):
    bus = await connect_bus()
    with pytest.raises(NoStream):
        await bus.emit(OMS_ORDERS_CREATED, ORDER)
    (record,) = search(directory, kind="publish_failed")
    assert "NoStream" in record["error"]


async def test_of_batches_those_that_were_stored_are_recorded_as_such(directory: Path, bus: EventBus):
    orders = [ORDER.model_copy(update={"idempotency_key": f"key-{n}"}) for n in range(1_200)]
    await bus.emit(OMS_ORDERS_CREATED, orders[1_100])  # makes the stream refuse the second batch
    with pytest.raises(PublishError, match="none of the 200 events was stored"):
        await bus.emit_many(OMS_ORDERS_CREATED, orders, atomic=True)
    kinds = Counter(record["kind"] for record in search(directory))
    assert (kinds["publish"], kinds["publish_failed"]) == (1_001, 200)


@pytest.mark.usefixtures("directory")
async def test_an_order_is_found_with_all_that_happened_to_it(bus: EventBus, capsys: pytest.CaptureFixture[str]):
    await bus.emit(OMS_ORDERS_CREATED, ORDER)
    await bus.emit(OMS_FILLS_CREATED, FILL)
    await bus.emit(OMS_ORDERS_CREATED, ORDER.model_copy(update={"order_id": "other", "idempotency_key": "other"}))
    assert run(["audit", "search", "--order-id", ORDER.order_id, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [record["subject"].split(".")[3] for record in found] == ["orders", "fills"]


async def test_a_process_that_cannot_write_its_audit_log_does_not_start(
    nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MTS1B_AUDIT_DIR", str(tmp_path / "file"))
    with pytest.raises(AuditError, match=r"file/mts1b-oms.1 cannot be written.*MTS1B_AUDIT_DIR"):
        await connect(nats_server.url, service="mts1b-oms")


async def test_operators_actions_are_recorded(directory: Path, bus: EventBus):
    assert audit_action(bus, "halt", actor="alice", halt_id="h-1")
    (record,) = search(directory, kind="action")
    assert (record["action"], record["actor"], record["halt_id"]) == ("halt", "alice", "h-1")


async def test_applying_streams_is_recorded_when_it_changes_something(
    directory: Path, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MTS1B_NATS_URL", nats_server.url)
    for _ in range(2):
        assert await asyncio.to_thread(run, ["streams", "apply"]) == 0
    (record,) = search(directory, kind="action")
    assert record["action"] == "streams apply"
    assert "OMS_ORDERS" in record["streams"]


def test_files_are_rotated_and_the_chain_goes_on(tmp_path: Path):
    for start in range(3):
        with AuditLog(tmp_path, "mts1b-oms", max_bytes=1_000) as audit:
            for number in range(20):
                audit.record("publish", number=start * 20 + number)
    assert len(files(tmp_path)) > 5
    assert [record["number"] for record in search(tmp_path)] == list(range(60))
    assert whole(tmp_path)


def test_two_writers_of_one_service_have_a_chain_each(tmp_path: Path):
    with AuditLog(tmp_path, "mts1b-oms") as first, AuditLog(tmp_path, "mts1b-oms") as second:
        first.record("publish")
        second.record("publish")
    assert [chain.path.name for chain in verify(tmp_path)] == ["mts1b-oms.1", "mts1b-oms.2"]
    assert whole(tmp_path)


def test_records_survive_kill_9_and_the_chain_stays_whole(tmp_path: Path):
    confirmed = 0
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            said = [process.stdout.readline() for _ in range(50)]
            process.kill()
            said += process.stdout.readlines()
        confirmed += len([line for line in said if line.endswith(b"\n")])
    assert len(list(search(tmp_path, kind="publish"))) >= confirmed
    with AuditLog(tmp_path, "mts1b-oms"):
        pass
    assert whole(tmp_path)


@pytest.mark.parametrize("cut", [1, 2, 40, 150])
def test_a_torn_last_line_is_recognised_and_accounted_for(tmp_path: Path, cut: int):
    with AuditLog(tmp_path, "mts1b-oms") as audit:
        audit.record("publish", number=1)
        audit.record("publish", number=2)
    (path,) = files(tmp_path)
    os.truncate(path, path.stat().st_size - cut)
    (torn,) = verify(tmp_path)
    assert not torn.problems
    with AuditLog(tmp_path, "mts1b-oms") as audit:
        audit.record("publish", number=3)
    assert [record["number"] for record in search(tmp_path, kind="publish")][-1] == 3
    (chain,) = verify(tmp_path)
    assert not chain.problems


def test_a_recovery_that_was_cut_off_itself_is_recovered_too(tmp_path: Path):
    with AuditLog(tmp_path, "mts1b-oms") as audit:
        audit.record("publish", number=1)
    (path,) = files(tmp_path)
    with path.open("ab") as file:
        file.write(b'{"n":2,"at"\n')  # killed between the line feed and the line that accounts for it
    with AuditLog(tmp_path, "mts1b-oms") as audit:
        audit.record("publish", number=2)
    (chain,) = verify(tmp_path)
    assert not chain.problems
    assert chain.torn == 1


def changed(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], lines[4].replace(b'"number":4', b'"number":9'), *lines[5:]]


def removed(lines: list[bytes]) -> list[bytes]:
    return lines[:4] + lines[5:]


def swapped(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], lines[5], lines[4], *lines[6:]]


def garbled(lines: list[bytes]) -> list[bytes]:
    return [*lines[:4], b"{...\n", *lines[5:]]


@pytest.mark.parametrize("damage", [changed, removed, swapped, garbled])
def test_verify_names_the_place_of_what_was_changed(
    tmp_path: Path, damage: Callable[[list[bytes]], list[bytes]], capsys: pytest.CaptureFixture[str]
):
    with AuditLog(tmp_path, "mts1b-oms") as audit:
        for number in range(10):
            audit.record("publish", number=number)
    (path,) = files(tmp_path)
    assert run(["audit", "verify", str(tmp_path)]) == 0
    path.write_bytes(b"".join(damage(path.read_bytes().splitlines(keepends=True))))
    assert run(["audit", "verify", str(tmp_path)]) == 1
    assert "mts1b-oms.1/000001.jsonl:5" in capsys.readouterr().err


def test_a_number_left_out_is_found_in_a_chain_that_was_made_anew(tmp_path: Path):
    chain, head = tmp_path / "mts1b-oms.1", GENESIS
    chain.mkdir()
    with (chain / "000001.jsonl").open("wb") as file:
        for number in (1, 2, 4):
            line, head = encode(number, head, {"kind": "publish"})
            file.write(line)
    (found,) = verify(tmp_path)
    assert found.problems == ["mts1b-oms.1/000001.jsonl:3: record 3 expected, 4 found"]


def test_a_log_whose_end_was_cut_off_is_found_by_the_head_noted_before(tmp_path: Path):
    with AuditLog(tmp_path, "mts1b-oms") as audit:
        for number in range(10):
            audit.record("publish", number=number)
    (before,) = verify(tmp_path)
    (path,) = files(tmp_path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert not verify(tmp_path)[0].problems
    (chain,) = verify(tmp_path, heads={"mts1b-oms.1": before.head})
    assert "cut off" in chain.problems[0]


@contextmanager
def room_for(path: Path, more: int) -> Generator[None]:
    """The file may grow by so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + more, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_a_full_disk_is_an_error_and_the_chain_goes_on_afterwards(tmp_path: Path):
    with AuditLog(tmp_path, "mts1b-oms") as audit:
        audit.record("publish", number=1)
        with room_for(files(tmp_path)[0], 50), pytest.raises(AuditError, match=r"mts1b-oms.1"):
            audit.record("publish", number=2)
        audit.record("publish", number=3)
    assert [record["number"] for record in search(tmp_path, kind="publish")] == [1, 3]
    assert whole(tmp_path)


def test_a_record_for_which_there_was_room_but_not_for_its_line_feed_is_whole(tmp_path: Path):
    with AuditLog(tmp_path, "mts1b-oms") as audit:
        audit.record("publish", number=1)
        (path,) = files(tmp_path)
        with room_for(path, path.stat().st_size - 1):
            audit.record("publish", number=2)
            with pytest.raises(AuditError, match=r"mts1b-oms.1"):
                audit.record("publish", number=3)
        audit.record("publish", number=4)
    assert [record["number"] for record in search(tmp_path)] == [1, 2, 4]
    assert whole(tmp_path)
