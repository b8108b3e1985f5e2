"""A handler that does not turn the event loop: what it did counts, and is not done again."""

import asyncio
import threading
import time
from typing import Any

import pytest
from mts1b_foundation.errors import Mts1bError
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Event, RetryPolicy
from mts1b_platform.eventbus.dedupe.sqlite import SqliteDedupe
from mts1b_platform.service import Service
from outcome_readers import SURFACES, reading
from outcome_world import DURABLE, World, ask_server, eventually, names

PATIENT = RetryPolicy(max_deliveries=100)


def block(seconds: float) -> None:
    """What pandas, a slow parser or a stopped machine does to the loop."""
    time.sleep(seconds)


def ack_floor(world: World) -> int:
    """The last event up to which the server has every ack; asked for without turning the loop."""
    accounts = ask_server(world.server, "/jsz?consumers=true")["account_details"]
    consumers = [
        consumer
        for account in accounts
        for stream in account["stream_detail"]
        for consumer in stream.get("consumer_detail") or []
    ]
    [mine] = [consumer for consumer in consumers if consumer["name"] == DURABLE]
    return mine["ack_floor"]["stream_seq"]


@pytest.mark.parametrize("surface", ["consume", "Service"])
async def test_what_was_handled_is_not_handed_out_again(surface: str, world: World):
    async def work(_: Event[Any]) -> None:
        block(0.3)

    await world.emit(*range(3))
    async with reading(world, surface, work, ack_wait=0.2, policy=PATIENT) as reader:
        assert await reader.has_handled(3, within=30)

        async def settled_or_repeated() -> bool:
            return len(reader.begun) > 3 or await world.open() == 0

        assert await eventually(settled_or_repeated, 30)
        assert reader.begun == names(0, 1, 2)


@pytest.mark.parametrize("surface", ["consume", "Service"])
async def test_what_was_handled_is_no_dead_letter(surface: str, world: World):
    async def work(_: Event[Any]) -> None:
        block(0.3)

    await world.emit(*range(3))
    async with reading(world, surface, work, ack_wait=0.2, policy=RetryPolicy(max_deliveries=1)) as reader:
        assert await reader.has_handled(3, within=30)

        async def settled_or_given_up() -> bool:
            return await world.open() == 0 or bool(await world.lost())

        assert await eventually(settled_or_given_up, 30)
    assert await world.lost() == []


@pytest.mark.parametrize("surface", SURFACES)
async def test_acks_leave_however_busy_the_handler_is(surface: str, world: World):
    behind: list[int] = []

    async def work(event: Event[Any]) -> None:
        block(0.02)
        behind.append(event.seq - ack_floor(world))

    await world.emit(*range(16))
    async with reading(world, surface, work) as reader:
        assert await reader.has_handled(16, within=30)
    assert max(behind) <= 6, "acks of 120 ms ago are still here"


async def test_a_plain_function_is_a_handler_and_leaves_the_loop_alone(world: World):
    handled: list[str] = []
    loop = asyncio.get_running_loop()
    service = Service("mts1b-oms", servers=world.server.url)

    def work(event: Event[Any]) -> None:
        turned = threading.Event()
        loop.call_soon_threadsafe(turned.set)
        if turned.wait(1):
            handled.append(event.payload.order_id)

    plain: Any = work
    service.consumes(OMS_ORDERS_CREATED, durable=DURABLE, policy=RetryPolicy(max_deliveries=1))(plain)
    serving = asyncio.create_task(service.serve())
    await service.started()
    await world.emit(0)
    assert await world.settled(within=30)
    service.stop()
    await serving
    assert await world.lost() == []
    assert handled == names(0)


async def test_a_plain_function_is_refused_together_with_a_transactional_store(world: World, tmp_path: Any):
    service = Service("mts1b-oms", servers=world.server.url)

    def work(_: Event[Any], __: Any) -> None:
        block(0)

    plain: Any = work
    with pytest.raises((Mts1bError, TypeError, ValueError)):  # noqa: PT012 - declared or started, it is refused
        service.consumes(OMS_ORDERS_CREATED, durable=DURABLE, dedupe=SqliteDedupe(tmp_path / "books.db"))(plain)
        serving = asyncio.create_task(service.serve())
        starting = asyncio.create_task(service.started())
        await asyncio.wait({serving, starting}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        starting.cancel()
        service.stop()
        await serving


async def test_a_plain_function_that_outlives_the_drain_budget_leaves_its_event_unsettled(world: World):
    service = Service("mts1b-oms", servers=world.server.url, drain_budget=0.1)
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def work(_: Event[Any]) -> None:
        loop.call_soon_threadsafe(begun.set)
        block(1)

    plain: Any = work
    service.consumes(OMS_ORDERS_CREATED, durable=DURABLE)(plain)
    serving = asyncio.create_task(service.serve())
    await service.started()
    await world.emit(0)
    await begun.wait()
    service.stop()
    assert await serving == 3
    assert await world.open() == 1
    assert await world.lost() == []
