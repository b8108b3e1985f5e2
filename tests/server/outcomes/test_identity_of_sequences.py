"""A sequence number is no identity: what is remembered of a stream means nothing in the one that took its place."""

import asyncio
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from mts1b_foundation.fills import Fill
from mts1b_foundation.samples import FILL
from mts1b_foundation.subjects import OMS_FILLS_CREATED, OMS_ORDERS_CREATED
from mts1b_operations.deadletters import Mover
from mts1b_operations.lag import lags_of
from mts1b_platform.eventbus import Event, Reject, apply_streams
from mts1b_platform.eventbus.dedupe.sqlite import SqliteDedupe
from mts1b_platform.observability.audit import search
from mts1b_platform.observability.observe import observe
from outcome_readers import ORDERED, SURFACES, reading
from outcome_world import DURABLE, STREAM, World, names, order


async def refuse(_: Event[Any]) -> None:
    raise Reject("never")


async def remake(world: World, stream: str = STREAM) -> None:
    """Delete the stream and make it again: its sequences begin at 1."""
    await world.js.delete_stream(stream)
    await apply_streams(world.bus)


@pytest.mark.parametrize("surface", ORDERED)
async def test_what_comes_after_a_restored_snapshot_is_handled(surface: str, world: World, tmp_path: Path):
    async with reading(world, surface) as reader:
        await world.emit(*range(3))
        assert await reader.has_handled(3, within=20)
        assert await world.settled(within=20)
        await world.server.stop()
        await asyncio.to_thread(shutil.copytree, world.server.store_dir, tmp_path / "snapshot")
        await world.server.start()
        await world.emit(3, 4, 5)
        assert await reader.has_handled(6, within=20)
        assert await world.settled(within=20)
        await world.server.stop()
        await asyncio.to_thread(shutil.rmtree, world.server.store_dir)
        await asyncio.to_thread(shutil.copytree, tmp_path / "snapshot", world.server.store_dir)
        await world.server.start()
        await world.emit(6, 7, 8)
        assert await world.settled(within=20)
        assert await reader.has_handled(9), reader.handled
        assert reader.handled == names(*range(9))


@pytest.mark.parametrize("surface", SURFACES)
async def test_dead_letters_of_a_stream_that_was_made_again_are_stored(surface: str, world: World):
    for number in (0, 1):
        await world.emit(number)
        async with reading(world, surface, refuse):
            assert await world.settled(within=20)
        await remake(world)
    assert await world.lost() == ["order-0 rejected", "order-1 rejected"]


@pytest.mark.parametrize("surface", SURFACES)
async def test_events_without_an_id_are_not_taken_for_those_of_an_earlier_stream(
    surface: str, world: World, tmp_path: Path
):
    handled: list[str] = []

    async def work(event: Event[Fill]) -> None:
        handled.append(event.payload.fill_id)

    for number in (0, 1):
        fill = FILL.model_copy(update={"fill_id": f"fill-{number}"})
        await world.js.publish(
            "mts.v1.oms.fills.created.fund.alpha",
            fill.model_dump_json().encode(),
            headers={"mts-schema": Fill.schema_id(), "mts-source-repo": "mts1b-oms"},
        )
        async with reading(world, surface, work, subject=OMS_FILLS_CREATED, store=SqliteDedupe(tmp_path / "books.db")):
            assert await world.settled(stream="OMS_FILLS", within=20)
        await remake(world, "OMS_FILLS")
    assert handled == ["fill-0", "fill-1"]


async def test_what_a_foreign_reader_gives_up_is_moved_also_from_a_stream_that_was_made_again(world: World):
    operations = await world.connect("mts1b-operations")
    mover = Mover(operations)
    await mover.prepare()
    moving = asyncio.create_task(mover.run())
    try:
        for number in (0, 1):
            await world.emit(number)
            foreign = await world.js.pull_subscribe("mts.v1.oms.orders.created.fund.*", "foreign", STREAM)
            [message] = await foreign.fetch(1, timeout=10)
            assert message.metadata.sequence.stream == 1
            await world.raw.publish(message.reply, b"+TERM never")
            assert await world.comes(lambda done=number + 1: mover.moved == done)
            await remake(world)
    finally:
        mover.stop()
        await moving
    assert await world.lost("foreign") == ["order-0 rejected", "order-1 rejected"]


async def test_lag_counts_from_the_stream_that_is_there(world: World):
    await world.emit(0, 1, 2)
    async with reading(world, "consume"):
        assert await world.settled()
    await remake(world)
    await world.bus.consume(OMS_ORDERS_CREATED, durable=DURABLE).start()
    await asyncio.sleep(0.5)  # the passing of time is what is measured
    [before] = await lags_of(world.bus, [STREAM])
    began = time.monotonic()
    await world.emit(3)
    [after] = await lags_of(world.bus, [STREAM])
    assert (before.seconds, before.messages, before.oldest_seq) == (0.0, 0, None)
    assert (after.messages, after.oldest_seq) == (1, 1)
    assert after.seconds <= time.monotonic() - began + 0.05


async def test_the_audit_log_tells_apart_what_two_streams_stored_under_one_sequence(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MTS1B_AUDIT_DIR", str(tmp_path))
    async with await world.connect("mts1b-oms") as bus, observe(bus):
        for number in (0, 1):
            await bus.emit(OMS_ORDERS_CREATED, order(number))
            await remake(world)
    records = [record for record in search(tmp_path) if record["kind"] == "publish"]
    assert [record["seq"] for record in records] == [1, 1]
    assert [record["msg_id"] for record in records] == ["intent-0", "intent-1"]
    assert len({record["sha256"] for record in records}) == 2
