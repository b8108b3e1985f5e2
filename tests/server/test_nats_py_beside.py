"""nats-py's client beside the bus: a connection of its own that ends with the bus, whatever state it is in."""

import asyncio

from mts1b_platform.eventbus import EventBus
from mts1b_platform.server import NatsServer


async def test_a_bus_closes_though_nats_py_has_lost_its_server_with_something_unsent(
    bus: EventBus, nats_server: NatsServer
):
    await bus.nats.subscribe("questions")
    await bus.nats.flush()
    nats_server.kill()
    async with asyncio.timeout(20):
        while bus.nats.is_connected:  # noqa: ASYNC110 - nats-py announces it to one callback only
            await asyncio.sleep(0.01)
    client = bus.nats
    await client.publish("answers", b"not sent yet")
    await bus.close()
    assert bus.is_closed
    assert client.is_closed
