"""How many events are handled at a time is one thing everywhere, and a drain budget holds for all of them."""

import asyncio
from typing import Any

from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Event
from mts1b_platform.service import Service
from outcome_readers import reading
from outcome_world import DURABLE, World, eventually


async def test_handlers_do_not_outlive_the_drain_budget(world: World):
    begun: list[str] = []
    finished: list[str] = []
    service = Service("mts1b-oms", servers=world.server.url, drain_budget=0.2)

    @service.consumes(OMS_ORDERS_CREATED, durable=DURABLE, concurrency=3)
    async def work(event: Event[Any]) -> None:
        begun.append(event.payload.order_id)
        await asyncio.sleep(1)
        finished.append(event.payload.order_id)

    await world.emit(0, 1, 2)
    serving = asyncio.create_task(service.serve())
    assert await eventually(lambda: len(begun) == 3, 20)
    service.stop()
    assert await serving == 3
    assert finished == []
    async with reading(world, "consume") as reader:
        assert await reader.has_handled(3), "they are given back, and not kept from others"


async def test_when_on_stop_is_called_no_handler_is_at_work(world: World):
    begun = asyncio.Event()
    log: list[str] = []
    service = Service("mts1b-oms", servers=world.server.url, drain_budget=0.2)

    @service.consumes(OMS_ORDERS_CREATED, durable=DURABLE, concurrency=3)
    async def work(_: Event[Any]) -> None:
        begun.set()
        try:
            await asyncio.sleep(1)
        finally:
            log.append("the handler is done")

    @service.on_stop
    async def stopped() -> None:
        log.append("on_stop")

    await world.emit(0)
    serving = asyncio.create_task(service.serve())
    async with asyncio.timeout(20):
        await begun.wait()
    service.stop()
    await serving
    assert log == ["the handler is done", "on_stop"]
