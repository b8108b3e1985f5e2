"""Halts: in force until cleared, seen by everybody, obedience counted."""

import asyncio
import json
import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from mts1b_foundation.event import utc_now
from mts1b_foundation.operations import HaltObedience, HaltRequest
from mts1b_foundation.subjects import OMS_HALT_OBEYED, OPERATIONS_HALT_REQUESTED
from mts1b_operations.halt import Halt, HaltError, clear_halt, halts_in_force, request_halt, wait_for_obedience
from mts1b_platform.cli import run
from mts1b_platform.eventbus import Event, EventBus, apply_streams
from mts1b_platform.eventbus.connection.messages import Message
from mts1b_platform.observability.audit import AuditError, search
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus


@pytest.fixture
async def operations(connect_bus: ConnectBus) -> EventBus:
    bus = await connect_bus("mts1b-operations")
    await apply_streams(bus)
    return bus


async def test_a_halt_is_in_force_until_it_is_cleared(operations: EventBus):
    assert await halts_in_force(operations) == ()
    first, _ = await request_halt(operations, fund_id="alpha", reason="a", actor="me")
    second, _ = await request_halt(operations, fund_id=None, reason="b", actor="me")
    assert [halt.request for halt in await halts_in_force(operations)] == [first, second]
    assert [halt.scope for halt in await halts_in_force(operations)] == ["fund alpha", "every fund"]
    clearance = await clear_halt(operations, first.halt_id, reason="ok", actor="you")
    assert (clearance.fund_id, clearance.actor) == ("alpha", "you")
    assert [halt.request for halt in await halts_in_force(operations)] == [second]


async def test_a_halt_that_is_not_in_force_cannot_be_cleared(operations: EventBus):
    known, _ = await request_halt(operations, fund_id=None, reason="a", actor="me")
    with pytest.raises(HaltError, match=f"no halt 'halt-x' is in force .in force: {known.halt_id}"):
        await clear_halt(operations, "halt-x", reason="ok", actor="me")


async def test_obedience_is_waited_for_and_who_is_silent_is_named(operations: EventBus, connect_bus: ConnectBus):
    oms = await connect_bus("mts1b-oms")

    async def obey(asked: Event[HaltRequest]) -> None:
        said = HaltObedience(halt_id=asked.payload.halt_id, service="mts1b-oms", canceled_orders=3, obeyed_at=utc_now())
        await oms.emit(OMS_HALT_OBEYED, said)

    obeying = asyncio.create_task(oms.consume(OPERATIONS_HALT_REQUESTED, durable="oms").run(obey))
    halt, held = await request_halt(operations, fund_id=None, reason="a", actor="me")
    found, silent = await wait_for_obedience(operations, halt, ("mts1b-oms",), timeout=timedelta(seconds=60))
    assert silent == []
    assert not held
    assert found.obeyed["mts1b-oms"][0].canceled_orders == 3
    soon = timedelta(milliseconds=50)
    _, silent = await wait_for_obedience(operations, halt, ("mts1b-oms", "mts1b-brokers"), timeout=soon)
    assert silent == ["mts1b-brokers"]
    obeying.cancel()


async def test_obedience_that_is_heard_before_it_is_stored_is_counted(
    operations: EventBus, connect_bus: ConnectBus, monkeypatch: pytest.MonkeyPatch
):
    oms = await connect_bus("mts1b-oms")
    halt, _ = await request_halt(operations, fund_id=None, reason="a", actor="me")
    look, looks = halts_in_force, 0

    async def look_too_early(bus: EventBus) -> Sequence[Halt]:
        nonlocal looks
        looks += 1
        found = await look(bus)
        if looks == 1:
            said = HaltObedience(halt_id=halt.halt_id, service="mts1b-oms", canceled_orders=0, obeyed_at=utc_now())
            await oms.emit(OMS_HALT_OBEYED, said)
        if looks == 2:  # the word is heard, the stream does not have it yet
            for each in found:
                each.obeyed.clear()
        return found

    monkeypatch.setattr("mts1b_operations.halt.halts_in_force", look_too_early)
    async with asyncio.timeout(60):
        _, silent = await wait_for_obedience(operations, halt, ("mts1b-oms",), timeout=timedelta(hours=1))
    assert silent == []
    assert looks == 3


@pytest.mark.parametrize(("seconds", "held"), [(60.0, True), (0.0, False), (None, False)])
async def test_a_halt_says_whether_the_order_management_held_until_it_was_stored(
    operations: EventBus, connect_bus: ConnectBus, seconds: float | None, held: bool, monkeypatch: pytest.MonkeyPatch
):
    """It promised to hold for long enough, its hold had run out before, or it did not answer in time."""
    monkeypatch.setattr("mts1b_operations.halt._HOLD_WITHIN", 0.2 if seconds is None else 60.0)
    oms = await connect_bus("mts1b-oms")

    async def answer(msg: Message) -> None:
        if seconds is not None:
            await msg.respond(json.dumps({"seconds": seconds}).encode())

    await oms.subscribe("svc.v1.oms.hold", cb=answer)
    await oms.flush()
    assert (await request_halt(operations, fund_id=None, reason="a", actor="me")).held is held


async def test_waiting_for_a_halt_that_nobody_requested_is_an_error(operations: EventBus):
    ghost = HaltRequest(halt_id="halt-x", reason="a", actor="me", requested_at=utc_now())
    with pytest.raises(HaltError, match="halt halt-x is not in force"):
        await wait_for_obedience(operations, ghost, (), timeout=timedelta(seconds=1))


@pytest.mark.usefixtures("operations")
async def test_the_audit_log_says_who_halted_and_cleared_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connect_bus: ConnectBus
):
    monkeypatch.setenv("MTS1B_AUDIT_DIR", str(tmp_path))
    audited = await connect_bus("mts1b-operations", watched=False)
    halt, _ = await request_halt(audited, fund_id="alpha", reason="prices look wrong", actor="olga")
    await clear_halt(audited, halt.halt_id, reason="prices checked", actor="otto")
    found = [
        (each["action"], each["actor"], each["fund_id"], each["reason"])
        for each in search(tmp_path, halt_id=halt.halt_id)
    ]
    assert found == [
        ("halt.request", "olga", "alpha", "prices look wrong"),
        ("halt.requested", "olga", "alpha", "prices look wrong"),
        ("halt.clear", "otto", "alpha", "prices checked"),
    ]


async def test_a_halt_is_not_held_up_by_an_audit_log_that_fails_or_stands_still(
    operations: EventBus, nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("no directory")
    monkeypatch.setenv("MTS1B_AUDIT_DIR", str(tmp_path / "file" / "audit"))
    words = ["halt", "request", "--all", "--reason", "x", "--wait", "0", "--servers", nats_server.url]
    assert await asyncio.to_thread(run, words) == 1  # nobody is there to obey
    release = threading.Event()

    def stand_still(*_: object, **__: object) -> bool:
        return release.wait()

    monkeypatch.setattr("mts1b_operations.halt.audit_action", stand_still)
    monkeypatch.setattr("mts1b_operations.halt._NOTED_WITHIN", 0.01)
    await request_halt(operations, fund_id="beta", reason="y", actor="me")
    release.set()
    assert [halt.request.reason for halt in await halts_in_force(operations)] == ["x", "y"]


async def test_a_halt_is_not_cleared_without_a_record(
    operations: EventBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connect_bus: ConnectBus
):
    halt, _ = await request_halt(operations, fund_id=None, reason="a", actor="me")
    (tmp_path / "file").write_text("no directory")
    monkeypatch.setenv("MTS1B_AUDIT_DIR", str(tmp_path / "file" / "audit"))
    unable = await connect_bus("mts1b-operations", watched=False)
    with pytest.raises(AuditError):
        await clear_halt(unable, halt.halt_id, reason="ok", actor="me")
    assert len(await halts_in_force(operations)) == 1


async def test_looking_leaves_no_consumer_behind(operations: EventBus):
    await request_halt(operations, fund_id=None, reason="a", actor="me")
    await halts_in_force(operations)
    info = await operations.plain_jetstream().stream_info("OPERATIONS_HALTS")
    assert info.state.consumer_count == 0


async def test_the_command_halts_lists_and_clears(
    operations: EventBus, nats_server: NatsServer, capsys: pytest.CaptureFixture[str]
):
    async def mts1b(*arguments: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(run, ["halt", *arguments, "--servers", nats_server.url])
        said = capsys.readouterr()
        return code, said.out, said.err

    assert (await mts1b("ls"))[1] == "no halt is in force\n"
    code, _, err = await mts1b("request", "--reason", "x")
    assert (code, err) == (1, "mts1b: nothing to halt was named: give either --fund ID or --all\n")
    code, out, _ = await mts1b("request", "--all", "--reason", "wrong prices", "--wait", "0.1")
    halt_id = (await halts_in_force(operations))[0].request.halt_id
    assert code == 1  # it is in force, but nobody has obeyed
    assert f"halt {halt_id} is in force" in out
    assert "mts1b-oms has not obeyed within 0.1 s" in out
    assert "wrong prices" in (await mts1b("ls"))[1]
    assert halt_id in (await mts1b("ls", "--json"))[1]
    assert await mts1b("clear", halt_id) == (0, f"halt {halt_id} is cleared\n", "")
