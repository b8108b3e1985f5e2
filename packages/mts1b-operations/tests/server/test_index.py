"""The index: it knows every event by every name, whatever kills its writer, and forgets what the streams forget."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mts1b_foundation.deadletters import DeadLetter, DeadLetterReason
from mts1b_foundation.event import utc_now
from mts1b_foundation.samples import BROKER_FILL, FILL, ORDER
from mts1b_foundation.subjects import (
    BROKERS_FILLS_RAW,
    OMS_DEADLETTERS_CREATED,
    OMS_FILLS_CREATED,
    OMS_ORDERS_CREATED,
    registry,
)
from mts1b_operations.history.seen import Decoders
from mts1b_operations.history.streams import open_streams
from mts1b_operations.index import store as store_module
from mts1b_operations.index.feed import Feed
from mts1b_operations.index.find import ByIndex, pointing
from mts1b_operations.index.store import IndexFileError, IndexStore
from mts1b_operations.story.gather import Found
from mts1b_operations.story.names import Name
from mts1b_platform.cli import run
from mts1b_platform.eventbus import EventBus, apply_streams
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus

_DECODERS = Decoders(registry())
_TRACE = "5f0c" * 8


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


async def orders(bus: EventBus, first: int, last: int) -> None:
    await bus.emit_many(
        OMS_ORDERS_CREATED,
        [ORDER.model_copy(update={"order_id": f"o{n}", "idempotency_key": f"k{n}"}) for n in range(first, last + 1)],
    )


async def index(bus: EventBus, file: Path) -> Feed:
    with IndexStore(file, write=True) as store:
        feed = Feed(bus, store, _DECODERS)
        await feed.catch_up()
    return feed


async def find(bus: EventBus, file: Path, kind: str, value: str) -> Found:
    histories, _ = await open_streams(bus, patterns=["mts.>"])
    with IndexStore(file) as store:
        finder = ByIndex(pointing(store), {each.stream: each for each in histories}, _DECODERS, most=1_000, within=5)
        return await finder.find([Name(kind, value)])


def places(found: Found) -> list[str]:
    return sorted(seen.place for seen in found.events)


async def test_an_event_is_found_by_every_name_it_has(bus: EventBus, connect_bus: ConnectBus, file: Path):
    await bus.emit(OMS_ORDERS_CREATED, ORDER, trace_id=_TRACE)
    await bus.emit(OMS_FILLS_CREATED, FILL)
    brokers = await connect_bus("mts1b-brokers")
    await brokers.emit(BROKERS_FILLS_RAW, BROKER_FILL)
    letter = DeadLetter.of_stored(
        subject="mts.v1.brokers.paper.fills.raw", headers={}, payload=BROKER_FILL.model_dump_json().encode(),
        stream="BROKERS_FILLS", sequence=1, stored_at=utc_now(), consumer="oms", deliveries=1,
        reason=DeadLetterReason.REJECTED, error="x",
    )  # fmt: skip
    await bus.emit(OMS_DEADLETTERS_CREATED, letter)
    await bus.request("mts.v1.oms.orders.created", b'{"order_id": "foreign"}', timeout=20)
    await index(bus, file)
    everything = ["BROKERS_FILLS:1", "DEADLETTERS:1", "OMS_FILLS:1", "OMS_ORDERS:1"]
    assert places(await find(bus, file, "order_id", ORDER.order_id)) == everything
    assert places(await find(bus, file, "idempotency_key", ORDER.idempotency_key)) == ["OMS_ORDERS:1"]
    assert places(await find(bus, file, "signal_id", ORDER.signal_id or "")) == ["OMS_ORDERS:1"]
    assert places(await find(bus, file, "trace_id", _TRACE)) == ["OMS_ORDERS:1"]
    assert places(await find(bus, file, "message_id", ORDER.idempotency_key)) == ["OMS_ORDERS:1"]
    assert places(await find(bus, file, "order_id", "foreign")) == ["OMS_ORDERS:2"]
    assert places(await find(bus, file, "order_id", "nobody")) == []


async def test_what_came_after_the_index_is_found_all_the_same(bus: EventBus, file: Path):
    await orders(bus, 1, 3)
    await index(bus, file)
    await orders(bus, 4, 5)
    found = await find(bus, file, "order_id", "o5")
    assert (places(found), found.how, found.complete) == (["OMS_ORDERS:5"], "index", True)
    assert (await index(bus, file)).indexed.messages == 2


async def test_a_stream_that_was_made_again_is_indexed_anew(bus: EventBus, file: Path):
    await orders(bus, 1, 5)
    await index(bus, file)
    await js_api(bus, "STREAM.DELETE.OMS_ORDERS")
    await apply_streams(bus)
    await orders(bus, 101, 107)
    assert places(await find(bus, file, "order_id", "o3")) == []
    assert places(await find(bus, file, "order_id", "o103")) == ["OMS_ORDERS:3"]  # before anybody noticed
    feed = await index(bus, file)
    assert (feed.indexed.rebuilt, feed.indexed.messages) == (1, 7)
    assert places(await find(bus, file, "order_id", "o3")) == []
    assert places(await find(bus, file, "order_id", "o103")) == ["OMS_ORDERS:3"]


async def test_it_forgets_with_the_stream(bus: EventBus, file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store_module, "SEGMENT", 100)
    await orders(bus, 1, 350)
    await index(bus, file)
    with IndexStore(file) as store:
        before = store.keys()
    await js_api(bus, "STREAM.PURGE.OMS_ORDERS", {"seq": 250})
    assert places(await find(bus, file, "order_id", "o249")) == []
    await index(bus, file)
    with IndexStore(file) as store:
        # the tables of 1 to 199; what is left below 250 lies in a table with what is still there
        assert store.keys() == before * 151 // 350
    assert places(await find(bus, file, "order_id", "o250")) == ["OMS_ORDERS:250"]
    await js_api(bus, "STREAM.PURGE.OMS_ORDERS")
    await orders(bus, 351, 352)
    await index(bus, file)
    assert places(await find(bus, file, "order_id", "o351")) == ["OMS_ORDERS:351"]


async def test_a_writer_that_is_killed_leaves_nothing_out_and_nothing_double(
    bus: EventBus, file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("mts1b_operations.index.feed._CHUNK", 100)
    await orders(bus, 1, 1_000)
    add, calls = IndexStore.add, 0

    def dies(self: IndexStore, *arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise MemoryError
        add(self, *arguments)

    monkeypatch.setattr(IndexStore, "add", dies)
    await orders(bus, 1_001, 2_500)
    with pytest.raises(MemoryError):
        await index(bus, file)
    with IndexStore(file) as store:
        assert 0 < store.marks()["OMS_ORDERS"].position < 2_500
    await index(bus, file)
    with IndexStore(file) as store:
        keys = store.keys()
    await asyncio.to_thread(file.unlink)
    await index(bus, file)
    with IndexStore(file) as store:
        assert store.keys() == keys


async def test_one_process_keeps_it_and_a_broken_file_is_said(bus: EventBus, file: Path):
    with IndexStore(file, write=True), pytest.raises(IndexFileError, match="another process keeps the index"):
        IndexStore(file, write=True)
    await asyncio.to_thread(file.write_bytes, b"no database at all, but long enough to be taken for one" * 100)
    with pytest.raises(IndexFileError, match="cannot be opened"):
        IndexStore(file, write=True)
    with pytest.raises(IndexFileError, match="cannot be opened"):
        IndexStore(file.with_name("nowhere.db"))
    assert not bus.is_closed


async def test_the_commands_use_it(
    bus: EventBus,
    nats_server: NatsServer,
    file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    servers = ("--servers", nats_server.url)
    await orders(bus, 1, 60)
    assert await asyncio.to_thread(run, ["index", "build", str(file), *servers, "--json"]) == 0
    built = json.loads(capsys.readouterr().out)
    assert (built["messages"], built["keys"] > 60) == (60, True)
    monkeypatch.setenv("MTS1B_INDEX_FILE", str(file))
    assert await asyncio.to_thread(run, ["events", "find", "order:o7", *servers, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["how"], [each["seq"] for each in found["events"]], found["complete"]) == ("index", [7], True)
    assert await asyncio.to_thread(run, ["order", "o7", *servers, "--json"]) in (0, 3)
    assert json.loads(capsys.readouterr().out)["searched"]["how"] == "index"
    await asyncio.to_thread(
        run, ["events", "find", f"signal:{ORDER.signal_id} fund:alpha", "--limit", "50", *servers, "--json"]
    )
    page = json.loads(capsys.readouterr().out)
    assert [each["seq"] for each in page["events"]] == list(range(60, 10, -1))
    assert page["go_on"]
    assert await asyncio.to_thread(run, ["index", "status", *servers, "--json"]) == 0
    (row,) = [each for each in json.loads(capsys.readouterr().out) if each["stream"] == "OMS_ORDERS"]
    assert row == {"stream": "OMS_ORDERS", "indexed_to": 60, "last": 60, "behind": 0}
    monkeypatch.delenv("MTS1B_INDEX_FILE")
    assert await asyncio.to_thread(run, ["index", "status", *servers]) == 1
    assert "which index?" in capsys.readouterr().err


async def test_it_follows_what_comes(bus: EventBus, file: Path, nats_server: NatsServer):
    stop = asyncio.Event()
    with IndexStore(file, write=True) as store:
        feed = Feed(bus, store, _DECODERS)
        running = asyncio.create_task(feed.run(stop))
        await orders(bus, 1, 3)
        await _until(lambda: feed.indexed.messages == 3)
        nats_server.kill()
        await nats_server.restart()
        await orders(bus, 4, 5)
        await _until(lambda: feed.indexed.messages == 5)
        stop.set()
        await running
    assert places(await find(bus, file, "order_id", "o5")) == ["OMS_ORDERS:5"]


async def _until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - what is waited for has no event of its own
        await asyncio.sleep(0.01)
