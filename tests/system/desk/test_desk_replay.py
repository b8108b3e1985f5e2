"""A desk on a replay of its own quotes, on another server: the same ledger, to the last digit."""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
from mts1b_desk.protocol import Status
from mts1b_desk.services.requests import NoAnswer, ask
from mts1b_foundation.subjects import registry
from mts1b_operations.replay.hear import record
from mts1b_operations.replay.into import Replay, refuse_the_same_bus
from mts1b_operations.replay.recording import Recording, origin_of, read_origin, read_recording
from mts1b_platform.eventbus import EventBus, apply_streams, connect
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.server import StartNatsServer

from .conftest import Desk, Starts

pytestmark = [pytest.mark.slow(seconds=12), pytest.mark.usefixtures("streams")]


async def until_it_listens(bus: EventBus, session: str) -> None:
    while True:
        with contextlib.suppress(NoAnswer):
            status = await ask(bus, "marketdata", "status", Status)
            if status.ready and status.session == session:
                return
        await asyncio.sleep(0.05)


async def test_a_desk_on_a_replay_of_its_own_quotes_has_the_same_ledger(
    desk: Desk, start_desk: Starts, nats_server: NatsServer, start_nats_server: StartNatsServer, tmp_path: Path
):
    file = tmp_path / "session.jsonl"
    stop, ready = asyncio.Event(), asyncio.Event()
    async with await connect(nats_server.url, connect_timeout=20) as bus:
        with Recording(file, await origin_of(bus)) as recording:
            patterns = ["mts.v2.marketdata.quotes.*", "mts.v2.marketdata.sessions.closed"]
            recording_it = asyncio.create_task(record(bus, patterns, recording, stop, ready))
            await ready.wait()
            first = (await desk("run", "--quotes", "300", "--speed", "max", "--json")).ledger
            stop.set()
            assert await recording_it == 0
    assert recording.events == 301
    assert any(fund["fills"] for fund in first["funds"].values())

    other = start_nats_server()
    async with await connect(other.url, connect_timeout=20) as target:
        await apply_streams(target)
        await refuse_the_same_bus(target, read_origin(file), None)
        async with start_desk("run", "--replayed", first["session"], "--json", "--servers", other.url) as process:
            await until_it_listens(target, first["session"])
            replay = Replay(target, registry(), speed=None)
            await replay.run(read_recording(file), asyncio.Event())
            out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    second = json.loads(out)
    assert second.pop("source") == "quotes that are replayed on the bus"
    first.pop("source")
    assert second == first
    assert second["reconciled"]
