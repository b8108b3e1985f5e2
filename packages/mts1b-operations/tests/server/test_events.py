"""`mts1b events` on a real server: heard, fetched, found newest first, exported."""

import asyncio
import json
import shlex
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from mts1b_foundation.event import utc_now
from mts1b_foundation.samples import FILL, ORDER, QUOTE
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_FILLS_CREATED, OMS_ORDERS_CREATED, registry
from mts1b_operations.history.query import parse
from mts1b_operations.history.search import Search
from mts1b_operations.history.seen import Decoders
from mts1b_operations.history.streams import open_streams
from mts1b_platform.cli import run
from mts1b_platform.eventbus import EventBus
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus

pq: Any = import_module("pyarrow.parquet")

Command = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def events(nats_server: NatsServer, capsys: pytest.CaptureFixture[str]) -> Command:
    """``mts1b events …``: exit code, standard output and error."""

    async def call(*words: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(run, ["events", *words, "--servers", nats_server.url])
        out, error = capsys.readouterr()
        return code, out, error

    return call


async def store(bus: EventBus, count: int) -> None:
    """``count`` orders, each with a fill behind it in another stream."""
    for number in range(count):
        order = ORDER.model_copy(update={"order_id": f"o{number}", "idempotency_key": f"k{number}"})
        await bus.emit(OMS_ORDERS_CREATED, order)
        await bus.emit(OMS_FILLS_CREATED, FILL.model_copy(update={"fill_id": f"f{number}", "order_id": f"o{number}"}))


async def test_a_search_stops_says_how_far_it_came_and_goes_on_from_there(bus: EventBus, events: Command):
    await store(bus, 12)
    code, text, _ = await events("find", "fund:alpha", "--limit", "5", "--json")
    page: dict[str, Any] = json.loads(text)
    assert code == 0
    assert (page["of"], page["complete"], len(page["events"])) == (24, False, 5)
    found = page["events"]
    while page["go_on"]:
        words = shlex.split(page["go_on"])
        assert words[:3] == ["mts1b", "events", "find"]
        page = json.loads((await events(*words[2:], "--json"))[1])
        found += page["events"]
    assert page["complete"]
    times = [each["time"] for each in found]
    assert times == sorted(times, reverse=True)
    places = [(each["stream"], each["seq"]) for each in found]
    assert sorted(places) == sorted((stream, seq) for stream in ("OMS_FILLS", "OMS_ORDERS") for seq in range(1, 13))


async def test_a_search_that_ran_out_of_its_budget_loses_nothing(bus: EventBus):
    await store(bus, 20)
    until: int | None = None
    found: list[str] = []
    for _ in range(60):
        histories, _ = await open_streams(bus, patterns=["mts.v1.oms.>"])
        search = Search(histories, parse("").query, Decoders(registry()), until_ns=until, most=10)
        found += [seen.place async for seen in search.run()]
        until = search.searched.back_to_ns
        if search.searched.complete:
            break
    assert len(found) == len(set(found)) == 40


async def test_an_order_is_found_whatever_its_events_call_it_and_in_time(bus: EventBus, events: Command):
    await store(bus, 3)
    middle = (utc_now() + timedelta(milliseconds=1)).isoformat()
    await asyncio.sleep(0.002)
    await store(bus, 1)  # o0 again, recognised as stored before
    code, text, _ = await events("find", "order:o1", "--json")
    assert code == 0
    assert [(each["stream"], each["seq"]) for each in json.loads(text)["events"]] == [
        ("OMS_FILLS", 2),
        ("OMS_ORDERS", 2),
    ]
    _, text, _ = await events("find", "order:o1", "--from", middle, "--json")
    assert json.loads(text)["events"] == []
    _, text, said = await events("find", "subject:oms.fills.created", "--to", middle, "--limit", "2")
    assert [line.split()[-1] for line in text.splitlines()[1:]] == ["OMS_FILLS:3", "OMS_FILLS:2"]
    assert "go on with\n  mts1b events find subject:oms.fills.created --to " in said


async def test_what_a_strict_consumer_refuses_is_shown_with_the_refusal(bus: EventBus, events: Command):
    await bus.request("mts.v1.oms.orders.created", b'{"order_id": 1}', headers={"mts-schema": "x:v9"}, timeout=20)
    code, text, _ = await events("get", "OMS_ORDERS", "1")
    assert code == 0
    assert "REFUSED schema_mismatch: mts.v1.oms.orders.created: the message has mts-schema 'x:v9', expected" in text
    assert "mts-schema: x:v9" in text
    assert '"order_id": 1' in text
    await bus.request("mts.v1.oms.orders.created", b"\x1b[2J{", headers={"x": "\x1b[31m"}, timeout=20)
    _, text, _ = await events("get", "OMS_ORDERS", "2")
    assert "\x1b" not in text
    _, text, _ = await events("find", "refused:yes stream:OMS_ORDERS seq:1", "--json")
    assert [each["refused"]["reason"] for each in json.loads(text)["events"]] == ["schema_mismatch"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("get", "OMS_ORDERS", "7"), "OMS_ORDERS has no message 7: it is empty"),
        (("get", "NOPE", "7"), "there is no stream NOPE"),
        (("find", "a (b"), "this ( is not closed"),
        (("find", "subject:oms..x"), "names no subject"),
        (("find", "x", "--from", "yesterday"), "no moment"),
        (("tail", "a..b"), "no subject or pattern"),
        (("export", "subject:oms.>", "x.parquet"), "several payloads"),
        (("export", "subject:oms.orders.>", "x.txt"), "--format"),
    ],
)
async def test_what_is_asked_wrongly_is_said(bus: EventBus, events: Command, words: tuple[str, ...], said: str):
    assert not bus.is_closed
    code, _, error = await events(*words)
    assert code == 1
    assert said in error


async def test_live_events_are_shown_with_exact_counts(connect_bus: ConnectBus, events: Command):
    marketdata = await connect_bus("mts1b-marketdata")
    stop = asyncio.Event()

    async def quotes() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            await marketdata.emit(MARKETDATA_QUOTES, QUOTE.model_copy(update={"sequence": number}))
            await marketdata.publish("mts.v1.marketdata.quotes.BTC=2FUSDT", b"no quote")
            await asyncio.sleep(0.005)

    task = asyncio.create_task(quotes())
    code, text, said = await events("tail", "marketdata.quotes.*", "--limit", "20", "--json")
    stop.set()
    await task
    assert code == 0
    shown = [json.loads(line) for line in text.splitlines()]
    assert len(shown) == 20
    assert {each["refused"] and each["refused"]["reason"] for each in shown} == {None, "schema_mismatch"}
    assert "20 events; 10 refused" in said


async def test_what_is_exported_reads_back(bus: EventBus, events: Command, tmp_path: Path):
    await store(bus, 30)
    file = tmp_path / "fills.parquet"
    code, _, _ = await events("export", "subject:oms.fills.created", str(file))
    assert code == 0
    table = pq.read_table(file)
    assert table.column("order_id").to_pylist() == [f"o{number}" for number in range(30)]
    code, _, error = await events("export", "subject:oms.fills.created", str(file))
    assert code == 1
    assert "--force" in error
    lines = tmp_path / "all.jsonl"
    code, text, _ = await events("export", "fund:alpha", str(lines), "--json")
    assert json.loads(text)["events"] == 60
    documents = [json.loads(line) for line in lines.read_text().splitlines()]
    times = [each["time"] for each in documents]
    assert times == sorted(times)


async def test_an_export_that_is_interrupted_leaves_nothing(bus: EventBus, nats_server: NatsServer, tmp_path: Path):
    await bus.emit_many(
        OMS_ORDERS_CREATED,
        [ORDER.model_copy(update={"order_id": f"o{n}", "idempotency_key": f"k{n}"}) for n in range(1_500)],
    )
    folder = tmp_path / "out"
    folder.mkdir()
    script = (
        "import os, signal, sys\n"
        "from mts1b_operations.export import json_lines\n"
        "write = json_lines.line_of\n"
        "def slow(recorded):\n"
        "    if recorded.seq == 1: os.kill(os.getpid(), signal.SIGINT)\n"
        "    return write(recorded)\n"
        "json_lines.line_of = slow\n"
        "from mts1b_operations.export import run as exporting\n"
        "exporting._CHUNK = 10\n"
        "from mts1b_platform.cli import main\n"
        "main()\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, "events", "export", "subject:oms.orders.>", str(folder / "a.jsonl"),
        "--servers", nats_server.url, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, error = await process.communicate()
    assert process.returncode == 128 + signal.SIGINT
    assert b"nothing was written" in error
    assert list(folder.iterdir()) == []
