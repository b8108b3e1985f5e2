"""Plan and apply: idempotent, field by field, and never a lost message without being told so."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.cli import run
from mts1b_platform.eventbus import (
    STREAMS,
    EventBus,
    StreamError,
    apply_streams,
    plan_streams,
    stream_config,
    unknown_streams,
)
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.jetstream.stream_plan import compare
from mts1b_platform.eventbus.streams import Volume, nanoseconds
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus

WAIT = 60
ORDERS = next(definition for definition in STREAMS if definition.name == "OMS_ORDERS")


def test_durations_are_written_as_people_do():
    assert nanoseconds("7d") == 7 * 86_400 * 10**9
    assert nanoseconds("500ms") == 500_000_000
    for wrong in ("7", "7 d", "-1s", "1w", ""):
        with pytest.raises(ValueError, match="no duration"):
            nanoseconds(wrong)


def test_the_stream_of_the_spec_is_rendered_as_the_server_wants_it():
    config = ORDERS.render("minimal")
    assert config["subjects"][:2] == ["mts.v1.oms.orders.*", "mts.v1.oms.orders.*.fund.*"]
    assert config["subjects"][2:] == ["mts.v2.oms.orders.*", "mts.v2.oms.orders.*.fund.*"]
    assert config["max_age"] == 604_800_000_000_000
    assert (config["retention"], config["storage"], config["discard"]) == ("limits", "file", "old")
    assert (config["max_msgs_per_subject"], config["num_replicas"]) == (1_000_000, 1)
    assert config["duplicate_window"] == 120_000_000_000
    assert ORDERS.render("production")["num_replicas"] == 3


async def test_applying_twice_creates_once_and_sends_nothing_the_second_time(connect_bus: ConnectBus):
    bus = await connect_bus()
    assert {change.action for change in await apply_streams(bus)} == {"created"}
    sent: list[str] = []

    async def watch(msg: Any) -> None:
        sent.append(msg.subject)

    watcher = await connect_bus()
    await watcher.subscribe("$JS.EVENT.ADVISORY.STREAM.>", cb=watch)
    await watcher.flush()
    assert {change.action for change in await apply_streams(bus)} == {"unchanged"}
    assert {change.action for change in await plan_streams(bus)} == {"unchanged"}
    await watcher.flush()
    assert sent == []


async def test_a_changed_field_is_planned_and_applied_and_foreign_fields_stay(bus: EventBus):
    config = await stream_config(bus, "OMS_ORDERS")
    assert config is not None
    await js_api(bus, "STREAM.UPDATE.OMS_ORDERS", {**config, "max_msgs": 12_345, "description": "by hand"})
    wanted = replace(ORDERS, max_age="14d")
    (change,) = await plan_streams(bus, streams=[wanted])
    assert change.action == "updated"
    assert {field.name for field in change.fields} == {"description", "max_age"}
    await apply_streams(bus, streams=[wanted])
    config = await stream_config(bus, "OMS_ORDERS")
    assert config is not None
    assert (config["max_age"], config["max_msgs"]) == (nanoseconds("14d"), 12_345)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (replace(ORDERS, max_age="1s"), "max_age"),
        (replace(ORDERS, max_msgs_per_subject=1), "max_msgs_per_subject"),
    ],
)
async def test_a_limit_that_would_delete_messages_is_refused_and_nothing_is_touched(
    bus: EventBus, changed: Any, words: str
):
    for number in range(3):
        await bus.emit(OMS_ORDERS_CREATED, ORDER.model_copy(update={"idempotency_key": f"k{number}"}))
    other = replace(STREAMS[1], description="another description")
    with pytest.raises(StreamError, match=f"{words} .*deleted.*--allow-destructive"):
        await apply_streams(bus, streams=[other, changed])
    assert (await bus.jetstream(timeout=WAIT).stream_info("OMS_ORDERS")).state.messages == 3
    assert (await stream_config(bus, other.name) or {})["description"] != "another description"


def test_a_stream_is_as_large_as_twice_what_comes_while_it_is_kept():
    assert Volume(1_000_000, 1_000).size("1d") == 1_908 * 2**20  # 2,000,000,000 bytes, rounded up to MiB
    assert Volume(1, 1).size("1h") == 16 * 2**20
    assert "max_bytes" not in ORDERS.render("minimal")
    assert ORDERS.render("single")["max_bytes"] == ORDERS.max_bytes


def test_a_limit_of_size_is_safe_while_the_stream_holds_less_and_destructive_when_it_would_delete():
    wanted, held = ORDERS.render("single"), {**ORDERS.render("minimal"), "max_bytes": -1}
    for stored, risk in ((ORDERS.max_bytes, "safe"), (ORDERS.max_bytes + 1, "destructive")):
        (field,) = compare(wanted, held, stored=stored).fields
        assert (field.name, field.risk) == ("max_bytes", risk)


async def test_an_older_installation_gets_the_sizes_of_its_streams_without_losing_a_message(bus: EventBus):
    await apply_streams(bus, streams=[ORDERS])
    await bus.emit(OMS_ORDERS_CREATED, ORDER)
    (change,) = await apply_streams(bus, profile="single", streams=[ORDERS])
    assert [field.name for field in change.fields] == ["max_bytes"]
    info = await js_api(bus, "STREAM.INFO.OMS_ORDERS")
    assert (info["config"]["max_bytes"], info["state"]["messages"]) == (ORDERS.max_bytes, 1)


async def test_a_destructive_change_is_made_when_it_is_allowed(bus: EventBus):
    for number in range(3):
        await bus.emit(OMS_ORDERS_CREATED, ORDER.model_copy(update={"idempotency_key": f"k{number}"}))
    await apply_streams(bus, streams=[replace(ORDERS, max_msgs_per_subject=1)], allow_destructive=True)
    assert (await bus.jetstream(timeout=WAIT).stream_info("OMS_ORDERS")).state.messages == 1


async def test_what_cannot_be_changed_in_place_says_so(bus: EventBus):
    with pytest.raises(StreamError, match="storage from 'file' to 'memory' cannot be changed in place"):
        await apply_streams(bus, streams=[replace(ORDERS, storage="memory")], allow_destructive=True)


async def test_dropping_a_subject_needs_care(bus: EventBus):
    (change,) = await plan_streams(bus, streams=[replace(ORDERS, subjects=ORDERS.subjects[:1])])
    assert change.risk == "care"
    assert "no longer stored: mts.v1.oms.orders.*.fund.*" in change.fields[0].why


async def test_overlapping_subjects_on_the_server_are_explained(connect_bus: ConnectBus):
    bus = await connect_bus()
    await bus.jetstream(timeout=WAIT).add_stream(name="MINE", subjects=["mts.v1.oms.>"])
    with pytest.raises(StreamError, match=r"OMS_ORDERS: .*overlap.*mts1b streams ls"):
        await apply_streams(bus)
    assert await unknown_streams(bus) == ["MINE"]


async def test_the_command_line_plans_applies_and_lists(
    connect_bus: ConnectBus,
    nats_server: NatsServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("MTS1B_CONNECT_TIMEOUT", str(WAIT))

    async def command(*words: str) -> tuple[int, str]:
        code = await asyncio.to_thread(run, ["streams", *words, "--servers", nats_server.url])
        return code, capsys.readouterr().out

    bus = await connect_bus()
    await bus.jetstream(timeout=WAIT).add_stream(name="MINE", subjects=["mine.>"])
    assert (await command("plan"))[0] == 1
    code, out = await command("apply", "--json")
    assert code == 0
    assert {row["action"] for row in json.loads(out)} == {"created"}
    assert (await command("plan"))[0] == 0
    bells = str(Path(__file__).parents[4] / "tests" / "server" / "registry" / "bells-repo")
    assert (await command("plan", "--checkout", bells))[0] == 1
    assert (await command("apply", "--checkout", bells, "--json"))[0] == 0
    for options, by in ((), None), (("--checkout", bells), "mts1b-bells"):
        code, out = await command("ls", "--json", *options)
        assert code == 0
        streams = {row["stream"]: (row["status"], row["declared_by"]) for row in json.loads(out)}
        assert streams["OMS_ORDERS"] == ("ok", "mts1b-platform")
        assert streams["ADVISORIES"] == ("ok", "mts1b-operations")
        assert streams["MINE"] == ("undeclared", None)
        assert streams["BELLS"] == ("ok" if by else "undeclared", by)
    code, out = await command("show", "OMS_ORDERS")
    assert json.loads(out)["name"] == "OMS_ORDERS"


def test_without_a_server_the_command_says_what_to_start(free_url: str, capsys: pytest.CaptureFixture[str]):
    assert run(["streams", "ls", "--servers", free_url]) == 1
    assert "start one with `mts1b-deploy install" in capsys.readouterr().err
