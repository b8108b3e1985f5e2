"""Starting waits where waiting helps."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Event, apply_streams
from mts1b_platform.service import Service
from outcome_world import World


async def test_a_server_that_is_away_for_a_moment_is_waited_for(world: World):
    buses = [await world.connect() for _ in range(4)]
    service = Service("mts1b-oms", servers=world.server.url)
    connected, away = asyncio.Event(), asyncio.Event()

    @service.on_start
    async def wait_until_it_is_away() -> None:
        connected.set()
        await away.wait()

    @service.consumes(OMS_ORDERS_CREATED, durable="service")
    async def work(_: Event[Any]) -> None: ...

    serving = asyncio.create_task(service.serve())
    async with asyncio.timeout(20):
        await connected.wait()
    world.server.pause()  # what is sent from now on is lost
    away.set()
    starts: dict[str, Coroutine[Any, Any, Any]] = {
        "consume": buses[0].consume(OMS_ORDERS_CREATED, durable="plain").start(),
        "ordered_by": buses[1].consume(OMS_ORDERS_CREATED, durable="ordered", ordered_by="fund_id").start(),
        "raw": buses[2].jetstream().subscribe("mts.v1.oms.orders.created", durable="raw", manual_ack=True),
        "apply_streams": apply_streams(buses[3]),
        "Service": service.started(),
    }
    ended: dict[str, BaseException | None] = {}

    async def wait_for(name: str) -> None:
        try:
            async with asyncio.timeout(6 if name == "Service" else 30):
                await starts[name]
        except Exception as error:  # noqa: BLE001 - looked at below
            ended[name] = error

    waiting = [asyncio.create_task(wait_for(name)) for name in starts]
    await asyncio.sleep(0.2)
    world.server.kill()
    await world.server.start()
    await asyncio.gather(*waiting)
    service.stop()
    await asyncio.gather(serving, return_exceptions=True)
    assert ended == {}
