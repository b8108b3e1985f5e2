"""Starting waits where waiting helps."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Event, EventBus, apply_streams
from mts1b_platform.eventbus.errors import ConsumerGone, NoStream
from mts1b_platform.service import Service
from outcome_world import DURABLE, STREAM, World


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


KEYS = pytest.mark.parametrize("options", [{}, {"ordered_by": "fund_id"}], ids=["consume", "ordered_by"])


def then(bus: EventBus, question: str, act: Callable[[], Awaitable[object]], monkeypatch: pytest.MonkeyPatch) -> None:
    """When ``bus`` has asked the server this, somebody acts before it goes on."""
    request = bus.request

    async def meddled(subject: str, *args: Any, **options: Any) -> Any:
        answer = await request(subject, *args, **options)
        if subject.startswith(f"$JS.API.{question}."):
            await act()
        return answer

    monkeypatch.setattr(bus, "request", meddled)


@KEYS
async def test_a_stream_that_is_deleted_while_a_reader_starts_is_named(
    options: Any, world: World, monkeypatch: pytest.MonkeyPatch
):
    then(world.bus, "CONSUMER.INFO", lambda: world.js.delete_stream(STREAM), monkeypatch)
    with pytest.raises(NoStream, match=f"{STREAM} does not exist.*streams apply"):
        await world.bus.consume(OMS_ORDERS_CREATED, durable=DURABLE, **options).start()


async def test_a_durable_that_is_deleted_while_its_reader_starts_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    then(world.bus, "CONSUMER.CREATE", lambda: world.js.delete_consumer(STREAM, DURABLE), monkeypatch)
    with pytest.raises(ConsumerGone, match=f"{DURABLE}.*was deleted"):
        await world.bus.consume(OMS_ORDERS_CREATED, durable=DURABLE, ordered_by="fund_id").start()
