"""What `ordered_by` promises when the server's idea of what is under way and the consumer's differ; on a real server.

Connections are broken by a relay between the consumer and the server, which can keep or lose what passes.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Consumer, Event, EventBus, NotStored, Reject, Retry, RetryPolicy, connect
from mts1b_platform.eventbus.consuming import settling
from mts1b_platform.eventbus.events.trace import handled_trace_id
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus

from .wires import Wire

LONG = 3600.0
"""An ack wait that no test here lives to see."""
WAIT = 60.0


def order(key: str, fund: str = "alpha") -> Order:
    return ORDER.model_copy(update={"order_id": f"order-{key}", "idempotency_key": key, "fund_id": fund})


def keys(numbers: range) -> list[str]:
    return [f"k-{n}" for n in numbers]


async def emit(bus: EventBus, numbers: range) -> None:
    for key in keys(numbers):
        await bus.emit(OMS_ORDERS_CREATED, order(key))


async def next_of(consumer: Consumer[Any], seconds: float = WAIT) -> Any:
    return await asyncio.wait_for(anext(consumer), seconds)


async def handle(consumer: Consumer[Any], count: int) -> list[str]:
    handled: list[str] = []
    while len(handled) < count:
        async with await next_of(consumer) as event:
            handled.append(event.payload.idempotency_key)
    return handled


async def until(bus: EventBus, true: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until the server says so of the durable."""
    async with asyncio.timeout(WAIT):
        while not true(await js_api(bus, "CONSUMER.INFO.OMS_ORDERS.t", timeout=WAIT)):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.02)


async def until_settled(bus: EventBus) -> None:
    await until(bus, lambda info: info["num_ack_pending"] == 0 and info["num_pending"] == 0)


async def until_connected(bus: EventBus) -> None:
    async with asyncio.timeout(WAIT):
        while not bus.is_connected:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)


@asynccontextmanager
async def reader_on(wire: Wire, **options: Any) -> AsyncGenerator[tuple[EventBus, Consumer[Order]]]:
    """A consumer behind ``wire``, ordered by fund. Its connection ends when the wire is cut, not when it is silent."""
    bus = await connect(wire.url, service="mts1b-brokers", connect_timeout=WAIT, ping_interval=LONG)
    try:
        yield bus, bus.consume(OMS_ORDERS_CREATED, durable="t", ordered_by="fund_id", **options)
    finally:
        await bus.close()


async def test_what_was_lost_with_the_connection_comes_before_anything_newer(bus: EventBus, nats_server: NatsServer):
    await emit(bus, range(2))
    async with Wire.to(nats_server) as wire, reader_on(wire, ack_wait=1) as (_, orders):
        handled = await handle(orders, 2)
        await until_settled(bus)
        wire.lose("down")
        await emit(bus, range(2, 4))
        await until(bus, lambda info: info["num_ack_pending"] == 2)
        wire.cut()
        await emit(bus, range(4, 7))
        handled += await handle(orders, 5)
        await until_settled(bus)
    assert handled == keys(range(7))


async def test_what_was_lost_while_an_event_is_being_handled_comes_in_order_too(bus: EventBus, nats_server: NatsServer):
    await emit(bus, range(3))
    async with Wire.to(nats_server) as wire, reader_on(wire, ack_wait=1) as (_, orders):
        handled = await handle(orders, 1)
        event = await next_of(orders)  # k-1 is in hand, k-2 waits behind it
        wire.lose("down")
        await emit(bus, range(3, 5))
        await until(bus, lambda info: info["num_ack_pending"] == 4)
        wire.cut()
        await emit(bus, range(5, 7))
        async with event:
            handled.append(event.payload.idempotency_key)
        handled += await handle(orders, 5)
        await until_settled(bus)
    assert handled == keys(range(7))


async def test_what_went_to_somebody_else_without_a_break_comes_before_anything_newer(
    bus: EventBus, connect_bus: ConnectBus
):
    async with bus.consume(OMS_ORDERS_CREATED, durable="t", ack_wait=1):
        pass
    gone = await connect_bus()
    await gone.subscribe("_INBOX.gone")
    await gone.publish("$JS.API.CONSUMER.MSG.NEXT.OMS_ORDERS.t", b'{"batch": 1, "expires": 60000000000}', "_INBOX.gone")
    await until(bus, lambda info: info["num_waiting"] == 1)
    orders = (await connect_bus()).consume(OMS_ORDERS_CREATED, durable="t", ordered_by="fund_id")
    await orders.start()
    await emit(bus, range(4))
    assert await handle(orders, 4) == keys(range(4))
    await until_settled(bus)


async def test_what_was_done_is_not_handed_out_again_when_its_ack_is_late(bus: EventBus, nats_server: NatsServer):
    await emit(bus, range(2))
    async with Wire.to(nats_server) as wire, reader_on(wire, ack_wait=0.5) as (reading, orders):
        handled = await handle(orders, 2)
        await until_settled(bus)
        await emit(bus, range(2, 4))
        first = await next_of(orders)
        wire.keep("up")
        async with first:
            handled.append(first.payload.idempotency_key)
        handled += await handle(orders, 1)
        rest = asyncio.create_task(handle(orders, 2))
        await until(bus, lambda info: info["num_redelivered"] >= 2)
        wire.pass_on("up")
        await emit(bus, range(4, 6))
        handled += await rest
        assert reading.counters.deduplicated[OMS_ORDERS_CREATED.pattern] >= 2
        await until_settled(bus)
    assert handled == keys(range(6))


async def test_what_is_held_here_is_not_handed_out_a_second_time(bus: EventBus, nats_server: NatsServer):
    await emit(bus, range(2))
    async with Wire.to(nats_server) as wire, reader_on(wire, ack_wait=0.5) as (_, orders):
        handled = await handle(orders, 2)
        await until_settled(bus)
        await emit(bus, range(2, 5))
        event = await next_of(orders)  # k-2 is in hand, two wait behind it
        wire.keep("up")
        await until(bus, lambda info: info["num_redelivered"] == 3)
        wire.pass_on("up")
        with pytest.raises(TimeoutError):
            await next_of(orders, 0.5)
        async with event:
            handled.append(event.payload.idempotency_key)
        handled += await handle(orders, 2)
        await emit(bus, range(5, 6))
        handled += await handle(orders, 1)
        await until_settled(bus)
    assert handled == keys(range(6))


async def test_acks_that_were_lost_with_the_connection_are_sent_again_instead_of_waiting_for_the_ack_wait(
    bus: EventBus, nats_server: NatsServer
):
    await emit(bus, range(4))
    async with Wire.to(nats_server) as wire, reader_on(wire, ack_wait=LONG) as (_, orders):
        handled = await handle(orders, 2)
        await until(bus, lambda info: info["ack_floor"]["stream_seq"] == 2)
        wire.lose("up")
        handled += await handle(orders, 2)
        await asyncio.sleep(0.1)  # nobody can tell when the acks have been lost
        wire.cut()
        await until_settled(bus)
        await emit(bus, range(4, 6))
        handled += await handle(orders, 2)
    assert handled == keys(range(6))


async def test_late_acks_of_the_one_before_let_the_next_go(bus: EventBus, connect_bus: ConnectBus):
    async with bus.consume(OMS_ORDERS_CREATED, durable="t", ack_wait=LONG):
        pass
    await emit(bus, range(4))
    before = await (await connect_bus()).plain_jetstream().pull_subscribe_bind(consumer="t", stream="OMS_ORDERS")
    taken = await before.fetch(2, timeout=WAIT)
    orders = (await connect_bus()).consume(OMS_ORDERS_CREATED, durable="t", ordered_by="fund_id")
    waiting = asyncio.create_task(handle(orders, 2))
    await until(bus, lambda info: info["num_ack_pending"] == 4)
    assert not waiting.done()
    for msg in taken:
        await msg.ack()
    assert await asyncio.wait_for(waiting, WAIT) == keys(range(2, 4))
    await until_settled(bus)


async def test_newer_events_than_there_is_room_for_do_not_keep_the_older_ones_out(
    bus: EventBus, connect_bus: ConnectBus
):
    async with bus.consume(OMS_ORDERS_CREATED, durable="t", ack_wait=1):
        pass
    await emit(bus, range(30))
    crashed = await connect_bus()
    before = await crashed.plain_jetstream().pull_subscribe_bind(consumer="t", stream="OMS_ORDERS")
    await before.fetch(2, timeout=WAIT)
    await crashed.close()
    orders = (await connect_bus()).consume(OMS_ORDERS_CREATED, durable="t", ordered_by="fund_id", prefetch=4)
    assert await handle(orders, 30) == keys(range(30))
    await until_settled(bus)


async def test_an_event_whose_dead_letter_cannot_be_stored_is_waited_for(
    bus: EventBus, monkeypatch: pytest.MonkeyPatch
):
    store: Callable[..., Awaitable[None]] = getattr(settling, "store_dead_letter")  # noqa: B009 - no public name
    refusals = iter([True])

    async def refuse_once(*args: Any, **options: Any) -> None:
        if next(refusals, False):
            raise NotStored("no room")
        await store(*args, **options)

    monkeypatch.setattr(settling, "store_dead_letter", refuse_once)
    await emit(bus, range(2))
    orders = bus.consume(OMS_ORDERS_CREATED, durable="t", ordered_by="fund_id", policy=RetryPolicy(base=0.2, jitter=0))
    seen: list[str] = []
    while "k-1" not in seen:
        async with await next_of(orders) as event:
            seen.append(event.payload.idempotency_key)
            if seen[-1] == "k-0":
                raise Reject("never")
    assert seen == ["k-0", "k-0", "k-1"]
    await until_settled(bus)


async def test_an_event_that_is_blamed_for_crashes_keeps_its_place_until_its_dead_letter_is_stored(
    bus: EventBus, connect_bus: ConnectBus, monkeypatch: pytest.MonkeyPatch
):
    await emit(bus, range(1))
    for _ in range(3):  # nothing is written at the first delivery
        crashing = await connect_bus()
        dying = crashing.consume(OMS_ORDERS_CREATED, durable="t", ack_wait=0.3)
        async with asyncio.timeout(WAIT):
            await anext(dying)
        await crashing.close()
    store: Callable[..., Awaitable[None]] = getattr(settling, "store_dead_letter")  # noqa: B009 - no public name
    storing, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(*args: Any, **options: Any) -> None:
        storing.set()
        await go_on.wait()
        await store(*args, **options)

    monkeypatch.setattr(settling, "store_dead_letter", slowly)
    orders = bus.consume(
        OMS_ORDERS_CREATED, durable="t", ordered_by="fund_id", policy=RetryPolicy(max_deliveries=2, base=0.05)
    )
    handled: list[str] = []

    async def work(event: Event[Order]) -> None:
        handled.append(event.payload.idempotency_key)
        if len(handled) == 2:
            await orders.stop()

    working = asyncio.create_task(orders.run(work, concurrency=3))
    await asyncio.wait_for(storing.wait(), WAIT)
    await emit(bus, range(1, 3))
    await asyncio.sleep(0.3)  # time enough for the others to be handed out wrongly
    assert handled == []
    go_on.set()
    await asyncio.wait_for(working, WAIT)
    assert handled == keys(range(1, 3))


async def test_stopping_gives_a_failed_event_back_without_its_delay_because_the_next_reader_waits_for_it(
    bus: EventBus, connect_bus: ConnectBus
):
    await emit(bus, range(2))
    first = (await connect_bus()).consume(OMS_ORDERS_CREATED, durable="t", ack_wait=LONG, ordered_by="fund_id")
    async with await next_of(first):
        await first.stop()
        raise Retry(50)
    second = (await connect_bus()).consume(OMS_ORDERS_CREATED, durable="t", ordered_by="fund_id")
    assert await handle(second, 2) == keys(range(2))
    await until_settled(bus)


async def test_order_is_kept_over_kills_of_the_server_under_load(bus: EventBus, nats_server: NatsServer):
    """Not every kill loses a delivery, so this one is no proof; those above are."""
    orders = bus.consume(OMS_ORDERS_CREATED, durable="t", ack_wait=1, ordered_by="fund_id")
    handled: list[int] = []

    async def produce() -> None:
        for number in range(300):
            await bus.emit(OMS_ORDERS_CREATED, order(str(number), f"fund-{number % 3}"), deadline=WAIT)

    async def work(event: Event[Order]) -> None:
        number = int(event.payload.idempotency_key)
        if number not in handled:
            handled.append(number)
        if len(handled) in (40, 150):
            handled.append(-len(handled))
            nats_server.kill()
            await nats_server.restart()
        if len(handled) == 302:
            await orders.stop()

    producing = asyncio.create_task(produce())
    await asyncio.wait_for(orders.run(work, concurrency=4), WAIT)
    await producing
    for fund in range(3):
        mine = [number for number in handled if number >= 0 and number % 3 == fund]
        assert mine == sorted(mine)
    await until_connected(bus)


async def test_what_waits_behind_an_event_is_named_and_still_has_its_turn(bus: EventBus, connect_bus: ConnectBus):
    await emit(bus, range(4))
    await bus.emit(OMS_ORDERS_CREATED, order("other", fund="beta"))
    async with (await connect_bus()).consume(OMS_ORDERS_CREATED, durable="t", ordered_by="fund_id") as consumer:
        event = await next_of(consumer)
        async with asyncio.timeout(WAIT):
            while consumer.waiting < 4:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.01)
        assert await named_behind(consumer, event, most=2) == ["k-1", "k-2"]
        assert await named_behind(consumer, event) == ["k-1", "k-2", "k-3"]
        assert (await next_of(consumer)).payload.fund_id == "beta", "what was looked at is not held up"
        await event.nak(0)
        again = await next_of(consumer)
        assert again.deliveries == 2
        assert await named_behind(consumer, again) == [], "what was tried before is tried alone"
        await again.ack()
        assert await handle(consumer, 3) == ["k-1", "k-2", "k-3"]


async def test_an_event_that_is_handled_beside_another_is_watched_there_and_not_in_its_turn(
    bus: EventBus, connect_bus: ConnectBus
):
    await emit(bus, range(3))
    other, seen = await connect_bus(), list[str]()
    other.hooks = cast("Any", Watching(seen))
    async with other.consume(OMS_ORDERS_CREATED, durable="t", ordered_by="fund_id") as consumer:
        async with await next_of(consumer) as event, asyncio.timeout(WAIT):
            while len(behind := await consumer.behind(event)) < 2:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.01)
            with behind[0].beside():
                assert handled_trace_id() == behind[0].trace_id != event.trace_id
            with pytest.raises(ZeroDivisionError), behind[1].beside():
                raise ZeroDivisionError
            assert handled_trace_id() == event.trace_id
        assert await handle(consumer, 2) == ["k-1", "k-2"]
    assert seen == ["k-0 begins", *both("k-1"), *both("k-2"), "k-0 ends", *both("k-2")]


class Watching:
    """A hook that notes when handlers begin and end."""

    best_effort = one_by_one = False
    handlers = True

    def __init__(self, seen: list[str]) -> None:
        self._seen = seen

    def entered(self, event: Any) -> None:
        self._seen.append(f"{event.payload.idempotency_key} begins")

    def left(self, _mark: None, event: Any, _error: BaseException | None) -> None:
        self._seen.append(f"{event.payload.idempotency_key} ends")

    def settled(self, _event: Any) -> None:
        """Not looked at."""

    def closed(self) -> None:
        """Nothing to close."""


def both(key: str) -> list[str]:
    return [f"{key} begins", f"{key} ends"]


async def named_behind(consumer: Consumer[Order], event: Event[Order], **options: Any) -> list[str]:
    return [each.payload.idempotency_key for each in await consumer.behind(event, **options)]
