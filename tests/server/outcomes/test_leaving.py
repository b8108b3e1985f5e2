"""Whoever leaves an event settles it, in whatever task or context he entered it."""

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
from mts1b_foundation.orders import Order
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Consumer, Event, Reject, Retry, RetryPolicy
from mts1b_platform.eventbus.consuming.tries import Tries
from outcome_world import DURABLE, World, eventually, names

KEYS = pytest.mark.parametrize("options", [{}, {"ordered_by": "fund_id"}], ids=["consume", "ordered_by"])
CONTEXT = "leaving resets a context variable, which only the context that set it may do: the event is never settled"


async def first(consumer: Consumer[Any]) -> Any:
    async with asyncio.timeout(10):
        return await anext(consumer)


@KEYS
async def test_an_event_entered_in_one_task_and_left_in_another_is_acknowledged(options: Any, world: World):
    await world.emit(0)
    consumer = world.bus.consume(OMS_ORDERS_CREATED, durable=DURABLE, **options)
    event = await first(consumer)
    await asyncio.create_task(event.__aenter__())
    await event.__aexit__(None, None, None)
    assert await world.settled()


@KEYS
async def test_an_exit_stack_closed_in_another_task_settles_its_events(options: Any, world: World):
    await world.emit(0)
    consumer = world.bus.consume(OMS_ORDERS_CREATED, durable=DURABLE, **options)
    stack = AsyncExitStack()
    await stack.enter_async_context(await first(consumer))
    await asyncio.create_task(stack.aclose())
    assert await world.settled()


@KEYS
async def test_a_generator_that_is_asked_in_tasks_settles_what_it_has_left(options: Any, world: World):
    await world.emit(0, 1)
    consumer = world.bus.consume(OMS_ORDERS_CREATED, durable=DURABLE, **options)

    async def orders() -> AsyncGenerator[Order, None]:
        async for event in consumer:
            async with event:
                yield event.payload

    source = orders()
    seen: list[str] = []
    for _ in range(2):
        async with asyncio.timeout(10):  # each step in a task of its own, as asyncio.wait_for does on Python 3.11
            seen.append((await asyncio.create_task(anext(source))).order_id)
    assert seen == names(0, 1)

    async def one_is_open() -> bool:
        return await world.open() == 1

    assert await eventually(one_is_open, 20), "the first is acknowledged, the second is being handled"


@KEYS
async def test_an_event_whose_generator_is_left_by_break_is_given_to_the_next(options: Any, world: World):
    await world.emit(0)
    consumer = world.bus.consume(OMS_ORDERS_CREATED, durable=DURABLE, **options)

    async def orders() -> AsyncGenerator[Order, None]:
        async for event in consumer:
            async with event:
                yield event.payload

    async with asyncio.timeout(10):
        async for order in orders():
            assert order.order_id == "order-0"
            break
    gc.collect()
    await asyncio.sleep(0.1)  # the loop closes the generator in a task of its own
    gc.collect()
    await consumer.stop()
    other = await world.connect()
    async with (
        asyncio.timeout(world.patience),
        await anext(other.consume(OMS_ORDERS_CREATED, durable=DURABLE, **options)) as event,
    ):
        assert event.payload.order_id == "order-0"


@KEYS
async def test_who_stops_waiting_for_an_event_spends_no_try_and_keeps_it_from_nobody(
    options: Any, world: World, monkeypatch: pytest.MonkeyPatch
):
    await world.emit(0)
    policy = RetryPolicy(max_deliveries=2, base=0.05, jitter=0)
    gone = await world.connect()
    await first(gone.consume(OMS_ORDERS_CREATED, durable=DURABLE, ack_wait=0.5, policy=policy))
    await gone.close()
    begin, begun = Tries.begin, list[str]()

    async def slowly(tries: Tries, event: Event[Any], most: int) -> int:
        begun.append(event.payload.order_id)
        if len(begun) <= 3:
            await asyncio.sleep(0.2)
        return await begin(tries, event, most)

    monkeypatch.setattr(Tries, "begin", slowly)
    consumer = world.bus.consume(OMS_ORDERS_CREATED, durable=DURABLE, policy=policy, **options)

    async def impatient() -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1), await anext(consumer) as event:
                assert event.tries == 1
                return True
        return False

    assert await world.comes(impatient)
    assert len(begun) == 4
    assert await world.settled()
    assert await world.lost() == []


COUNTING = {"failed": ZeroDivisionError(), "undo": Retry(0.0), "use_up": Reject("never")}


@KEYS
@pytest.mark.parametrize("counting", COUNTING)
async def test_a_handler_that_is_cancelled_while_its_try_is_counted_settles_its_event(
    options: Any, counting: str, world: World, monkeypatch: pytest.MonkeyPatch
):
    began = asyncio.Event()

    async def for_ever(*_: Any) -> None:
        began.set()
        await asyncio.sleep(3600)

    async def work(_: Event[Any]) -> None:
        raise COUNTING[counting]

    await world.emit(0)
    consumer = world.bus.consume(OMS_ORDERS_CREATED, durable=DURABLE, **options)
    with monkeypatch.context() as patched:
        patched.setattr(Tries, counting, for_ever)
        working = asyncio.create_task(consumer.run(work))
        async with asyncio.timeout(10):
            await began.wait()
        working.cancel()
        await asyncio.wait([working])
    if counting != "use_up":
        async with await first(consumer) as event:
            assert event.payload.order_id == "order-0"
    assert await world.settled()
    assert await world.lost() == (["order-0 rejected"] if counting == "use_up" else [])


async def test_who_is_cancelled_while_another_event_is_tried_leaves_the_tries_of_his_own_as_they_are(world: World):
    policy = RetryPolicy(max_deliveries=5, base=0.05, factor=1, jitter=0)
    tried: dict[str, int] = {}
    failed, begun = Counter[str](), asyncio.Event()

    async def fail_once(event: Event[Any]) -> None:
        failed[event.payload.order_id] += 1
        if failed[event.payload.order_id] == 1:
            raise ZeroDivisionError
        begun.set()
        await asyncio.sleep(3600)

    async def note(event: Event[Any]) -> None:
        tried[event.payload.order_id] = event.tries

    await world.emit(0, 1)
    consumer = world.bus.consume(OMS_ORDERS_CREATED, durable=DURABLE, policy=policy)
    working = asyncio.create_task(consumer.run(fail_once, concurrency=2))
    assert await world.comes(lambda: begun.is_set() and failed.total() == 3)
    assert await world.comes(lambda: consumer.open == 2)  # the second waits until the first is decided on
    working.cancel()
    await asyncio.wait([working])
    again = asyncio.create_task(consumer.run(note))
    assert await world.comes(lambda: len(tried) == 2)
    again.cancel()
    assert tried == {"order-0": 2, "order-1": 2}
