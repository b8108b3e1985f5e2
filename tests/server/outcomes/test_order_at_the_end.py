"""A graceful end gives back in order: the one instance that comes next reads the stream's order."""

import asyncio
from typing import Any

import pytest
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import RetryPolicy
from outcome_readers import reading
from outcome_world import DURABLE, World, names

REVERSED = "what waited is given back from its end, and the server hands out first what came back first"


@pytest.mark.parametrize("surface", ["consume", "Service", "raw"])
@pytest.mark.parametrize("restarts", [1, 2])
async def test_after_a_deploy_the_next_reader_sees_the_streams_order(surface: str, restarts: int, world: World):
    handled: list[str] = []
    for _ in range(restarts):
        first = asyncio.Event()

        async def work(event: Any, first: asyncio.Event = first) -> None:
            handled.append(event.payload.order_id)
            assert await world.all_taken()
            first.set()
            await asyncio.sleep(0.1)

        if not handled:
            await world.emit(*range(12))
        async with reading(world, surface, work, graceful=True), asyncio.timeout(20):
            await first.wait()

    async def note(event: Any) -> None:
        handled.append(event.payload.order_id)

    async with reading(world, surface, note):
        assert await world.settled(within=20)
    assert handled == names(*range(12))


async def test_after_stop_the_next_reader_sees_the_streams_order(world: World):
    await world.emit(*range(12))
    handled: list[str] = []
    consumer = world.bus.consume(OMS_ORDERS_CREATED, durable=DURABLE)
    async with asyncio.timeout(20):
        async with await anext(consumer) as event:
            handled.append(event.payload.order_id)
        while consumer.waiting < 11:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)
        await consumer.stop()
        async for event in world.bus.consume(OMS_ORDERS_CREATED, durable=DURABLE):
            async with event:
                handled.append(event.payload.order_id)
            if len(handled) == 12:
                break
    assert handled == names(*range(12))


async def test_a_reader_that_was_idle_goes_on_in_the_streams_order(world: World):
    await world.emit(*range(12))
    handled: list[str] = []
    consumer = world.bus.consume(OMS_ORDERS_CREATED, durable=DURABLE, ack_wait=0.3)
    async with asyncio.timeout(20):
        for number in range(12):
            async with await anext(consumer) as event:
                handled.append(event.payload.order_id)
            if number == 0:
                assert await world.all_taken()
                await asyncio.sleep(0.6)  # nobody reads for two ack waits
    assert handled == names(*range(12))


async def test_two_instances_that_read_in_order_do_not_stand_still_for_ever_and_say_what_to_do(
    world: World, caplog: pytest.LogCaptureFixture
):
    async def slowly(_: Any) -> None:
        await asyncio.sleep(0.1)

    options: dict[str, Any] = {"ack_wait": 0.4, "prefetch": 2, "policy": RetryPolicy(base=0.05, cap=0.1)}
    async with (
        reading(world, "ordered_by", slowly, **options) as one,
        reading(world, "ordered_by", slowly, **options) as other,
    ):
        await world.emit(*range(8))
        assert await world.settled(within=20)
    assert set(one.handled) | set(other.handled) == set(names(*range(8)))
    assert "stop all but one" in caplog.text
