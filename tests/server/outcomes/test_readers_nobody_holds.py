"""A reader that nobody refers to any more stops: it takes nothing in, and keeps nothing from others."""

import asyncio
import gc
from typing import Any

import pytest
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from outcome_world import DURABLE, World, ask_server, names

KEYS = pytest.mark.parametrize("options", [{}, {"ordered_by": "fund_id"}], ids=["consume", "ordered_by"])
KEPT = "the bus and the reader's tasks refer to it, so that it pulls for ever"


async def read_one(world: World, options: Any, durable: str = DURABLE) -> str:
    """What users write: one event, and out."""
    async with asyncio.timeout(10):
        async for event in world.bus.consume(OMS_ORDERS_CREATED, durable=durable, **options):
            async with event:
                return event.payload.order_id
    raise AssertionError


async def subscriptions(world: World) -> int:
    found = await asyncio.to_thread(ask_server, world.server, "/connz?subs=true")
    return sum(connection["subscriptions"] for connection in found["connections"])


@KEYS
async def test_loops_that_were_left_by_break_leave_nothing_behind(options: Any, world: World):
    await world.emit(0)
    await read_one(world, options)
    gc.collect()
    before, tasks = await subscriptions(world), len(asyncio.all_tasks())
    for number in range(9):
        await read_one(world, options, f"books-{number}")
    gc.collect()

    async def nothing_more() -> bool:
        return await subscriptions(world) <= before + 1 and len(asyncio.all_tasks()) <= tasks + 3

    assert await world.comes(nothing_more), (await subscriptions(world), before, len(asyncio.all_tasks()), tasks)


@KEYS
async def test_what_a_loop_had_taken_in_is_given_to_the_next_at_once(options: Any, world: World):
    await world.emit(*range(4))
    assert await read_one(world, options) == "order-0"
    gc.collect()
    other = await world.connect()
    seen: list[str] = []
    async with asyncio.timeout(world.patience):
        async for event in other.consume(OMS_ORDERS_CREATED, durable=DURABLE, **options):
            async with event:
                seen.append(event.payload.order_id)
            if len(seen) == 3:
                break
    assert seen == names(1, 2, 3)
