"""`mts1b events record` and `replay` between two servers: all of it, once, in order, never where it is from."""

import asyncio
import json
from pathlib import Path

import pytest
from mts1b_foundation.samples import FILL, ORDER, QUOTE
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_FILLS_CREATED, OMS_ORDERS_CREATED
from mts1b_operations.replay.into import ReplayError, refuse_the_same_bus
from mts1b_operations.replay.recording import origin_of
from mts1b_platform.cli import run
from mts1b_platform.eventbus import EventBus, apply_streams, connect
from mts1b_platform.eventbus.history.history import open_history
from mts1b_platform.eventbus.history.recorded import Recorded
from mts1b_platform.eventbus.protocol.envelope import MSG_ID
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus
from mts1b_platform.testing.server import StartNatsServer


async def stored(bus: EventBus, stream: str) -> list[Recorded]:
    history = await open_history(bus, stream)
    first, last = await history.extent()
    return [each async for batch in history.batches(first, last) for each in batch]


async def test_what_is_stored_is_stored_again_elsewhere_once(
    bus: EventBus, nats_server: NatsServer, start_nats_server: StartNatsServer, capsys: pytest.CaptureFixture[str]
):
    for number in range(20):
        order = ORDER.model_copy(update={"order_id": f"o{number}", "idempotency_key": f"k{number}"})
        await bus.emit(OMS_ORDERS_CREATED, order)
        await bus.emit(OMS_FILLS_CREATED, FILL.model_copy(update={"fill_id": f"f{number}"}))
    await bus.emit_many(OMS_ORDERS_CREATED, [ORDER.model_copy(update={"idempotency_key": "b"})], atomic=True)
    other = start_nats_server()
    words = ["events", "replay", "subject:oms.>", "--into", other.url, "--servers", nats_server.url, "--speed", "max"]
    async with await connect(other.url, connect_timeout=20) as target:
        assert await asyncio.to_thread(run, words) == 1  # no stream there takes them
        assert "20 on mts.v1.oms.fills.created.fund.alpha were stored nowhere" in capsys.readouterr().err
        await apply_streams(target)
        assert await asyncio.to_thread(run, [*words, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"published": 41, "stored": 41, "duplicates": 0, "not_stored": {}}
        for stream in ("OMS_ORDERS", "OMS_FILLS"):
            here, there = await stored(bus, stream), await stored(target, stream)
            assert [each.wire.payload for each in there] == [each.wire.payload for each in here]
            assert [each.wire.subject for each in there] == [each.wire.subject for each in here]
            assert [each.wire.headers[MSG_ID] for each in there] == [each.wire.headers[MSG_ID] for each in here]
            assert there[3].wire.headers["mts-replayed-from"] == f"{stream}:4 {here[3].stamp}"
        assert await asyncio.to_thread(run, [*words, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["duplicates"] == 41
        assert len(await stored(target, "OMS_FILLS")) == 20


async def test_it_never_goes_into_the_bus_that_it_comes_from(
    bus: EventBus,
    connect_bus: ConnectBus,
    nats_server: NatsServer,
    start_nats_server: StartNatsServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    await bus.emit(OMS_ORDERS_CREATED, ORDER)
    own = ["--into", nats_server.url, "--servers", nats_server.url]
    assert await asyncio.to_thread(run, ["events", "replay", "subject:oms.>", *own]) == 1
    assert "is the bus that the events come from" in capsys.readouterr().err
    file = tmp_path / "a.jsonl"
    recording = ["events", "record", "oms.>", str(file), "--for", "0.01", "--servers", nats_server.url]
    assert await asyncio.to_thread(run, recording) == 0
    assert await asyncio.to_thread(run, ["events", "replay", "--file", str(file), *own]) == 1
    assert "is the bus that the events come from" in capsys.readouterr().err
    assert len(await stored(bus, "OMS_ORDERS")) == 1
    with pytest.raises(ReplayError, match="arrives on the bus"):
        await refuse_the_same_bus(await connect_bus(), {}, bus)
    other = start_nats_server()
    async with await connect(other.url, connect_timeout=20) as target:
        await refuse_the_same_bus(target, await origin_of(bus), bus)


async def test_what_passes_is_recorded_and_passes_again_with_its_spacing(
    connect_bus: ConnectBus, nats_server: NatsServer, start_nats_server: StartNatsServer, tmp_path: Path
):
    marketdata = await connect_bus("mts1b-marketdata")
    file, other = tmp_path / "quotes.jsonl", start_nats_server()
    recording = asyncio.create_task(
        asyncio.to_thread(
            run, ["events", "record", "marketdata.quotes.*", str(file), "--for", "0.6", "--servers", nats_server.url]
        )
    )
    number = 0
    while not recording.done():
        number += 1
        await marketdata.emit(MARKETDATA_QUOTES, QUOTE.model_copy(update={"sequence": number}))
        await asyncio.sleep(0.05)
    assert await recording == 0
    recorded = (await asyncio.to_thread(file.read_text)).splitlines()[1:]
    assert len(recorded) >= 2
    async with await connect(other.url, connect_timeout=20) as target, target.listen(MARKETDATA_QUOTES) as heard:
        words = ["events", "replay", "--file", str(file), "--into", other.url, "--speed", "5", "--json"]
        replaying = asyncio.create_task(asyncio.to_thread(run, words))
        for line in recorded:
            assert (await anext(heard)).payload.sequence == json.loads(line)["payload"]["sequence"]
        assert await replaying == 0


@pytest.mark.parametrize(
    "words", [(), ("x", "--file", "y"), ("x", "--speed", "0"), ("x", "--speed", "fast"), ("--file", "/nowhere/x")]
)
async def test_what_is_asked_wrongly_is_said(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]):
    assert await asyncio.to_thread(run, ["events", "replay", *words, "--into", "nats://127.0.0.1:1"]) == 1
    assert capsys.readouterr().err
