"""Following: every event once and in order, whatever happens to the connection or the consumer; errors end it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Event, EventBus, Follower, NoStream, NotStored, connect
from mts1b_platform.eventbus.errors import AlreadyDone, InvalidArgument
from mts1b_platform.eventbus.events.trace import handled_trace_id
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.server import NatsServer

from .wires import Wire

PATIENCE = 60


class Heard:
    """What a follower was given."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self._changed = asyncio.Event()

    def __call__(self, event: Event[Order]) -> None:
        assert handled_trace_id() == event.trace_id
        self.keys.append(event.payload.idempotency_key)
        self._changed.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.keys) < count:
                self._changed.clear()
                await self._changed.wait()


async def emit(bus: EventBus, *numbers: int) -> None:
    for number in numbers:
        update = {"order_id": f"order-{number}", "idempotency_key": f"k-{number}"}
        await bus.emit(OMS_ORDERS_CREATED, ORDER.model_copy(update=update))


def keys(*numbers: int) -> list[str]:
    return [f"k-{number}" for number in numbers]


@asynccontextmanager
async def running(
    bus: EventBus, handle: Callable[[Event[Order]], Awaitable[None] | None], **options: Any
) -> AsyncGenerator[tuple[Follower[Order], asyncio.Task[None]]]:
    follower = bus.follow(OMS_ORDERS_CREATED, name="f", handle=handle, **options)
    await follower.start()
    task = asyncio.create_task(follower.run())
    try:
        yield follower, task
    finally:
        await follower.stop()
        await asyncio.wait((task,), timeout=PATIENCE)


async def test_every_event_once_and_in_order_and_what_is_stored_before_when_all_is_asked_for(bus: EventBus):
    await emit(bus, 1, 2)
    heard = Heard()
    async with running(bus, heard, window=4) as (follower, _):
        await emit(bus, *range(3, 60))
        await asyncio.wait_for(follower.caught_up(), PATIENCE)
        assert heard.keys == keys(*range(1, 60))
        assert (follower.done, follower.waiting, follower.open) == (59, 0, 0)
        assert follower in bus.readers
    assert bus.counters.consumed[OMS_ORDERS_CREATED.pattern] == 59
    info = await js_api(bus, "CONSUMER.INFO.OMS_ORDERS.f")
    assert (info["config"]["ack_policy"], info["num_ack_pending"], info["num_pending"]) == ("none", 0, 0)


async def test_new_events_wait_from_the_start_until_it_runs(bus: EventBus):
    await emit(bus, 1)
    heard = Heard()
    follower = bus.follow(OMS_ORDERS_CREATED, name="f", handle=heard, deliver="new")
    await follower.start()
    await emit(bus, 2, 3)
    async with asyncio.timeout(PATIENCE):
        while follower.waiting < 2:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.01)
    assert heard.keys == []
    task = asyncio.create_task(follower.run())
    await heard.until(2)
    assert heard.keys == keys(2, 3)
    await follower.stop()
    await task


async def test_the_next_event_waits_for_what_the_one_before_has_to_wait_for(bus: EventBus):
    let_go, heard = asyncio.Event(), Heard()

    def handle(event: Event[Order]) -> Awaitable[None] | None:
        heard(event)
        return wait() if event.payload.idempotency_key == "k-1" else None

    async def wait() -> None:
        await let_go.wait()

    async with running(bus, handle) as (follower, _):
        await emit(bus, 1, 2, 3)
        await heard.until(1)
        async with asyncio.timeout(PATIENCE):
            while follower.waiting < 2:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.01)
        assert (heard.keys, follower.open, follower.done) == (keys(1), 1, 0)
        let_go.set()
        await heard.until(3)
        assert follower.done == 3


async def test_a_consumer_that_is_deleted_is_made_again_behind_the_last_event(
    bus: EventBus, caplog: pytest.LogCaptureFixture
):
    heard = Heard()
    async with running(bus, heard) as (follower, _):
        await emit(bus, *range(5))
        await heard.until(5)
        await js_api(bus, "CONSUMER.DELETE.OMS_ORDERS.f")
        await emit(bus, *range(5, 10))
        await heard.until(10)
        await asyncio.wait_for(follower.caught_up(), PATIENCE)
        assert heard.keys == keys(*range(10))
    assert "followed again" in caplog.text


@pytest.mark.parametrize("breaks", [True, False])
async def test_deliveries_that_are_lost_on_the_wire_come_again_in_order(
    breaks: bool, bus: EventBus, nats_server: NatsServer, caplog: pytest.LogCaptureFixture
):
    heard = Heard()
    async with Wire.to(nats_server) as wire:
        reader = await connect(wire.url, service="mts1b-brokers")
        async with reader, running(reader, heard) as (follower, _):
            await emit(bus, 1, 2)
            await heard.until(2)
            wire.lose("down")
            await emit(bus, 3, 4)
            async with asyncio.timeout(PATIENCE):
                while (await js_api(bus, "CONSUMER.INFO.OMS_ORDERS.f"))["delivered"]["consumer_seq"] < 4:  # noqa: ASYNC110 - the server tells nobody
                    await asyncio.sleep(0.01)
            if breaks:
                wire.cut()
                await heard.until(4)
            else:
                wire.pass_on("down")
            await emit(bus, 5)
            await heard.until(5)
            await asyncio.wait_for(follower.caught_up(), PATIENCE)
            assert heard.keys == keys(1, 2, 3, 4, 5)
    assert "followed again" in caplog.text


async def test_what_the_function_raises_ends_the_following_and_nothing_more_is_handed_out(bus: EventBus):
    heard = Heard()

    def handle(event: Event[Order]) -> None:
        heard(event)
        if event.payload.idempotency_key == "k-2":
            raise ValueError("no such order")

    await emit(bus, 1, 2, 3)
    async with running(bus, handle) as (_, task):
        with pytest.raises(ValueError, match="no such order"):
            await asyncio.wait_for(task, PATIENCE)
        assert heard.keys == keys(1, 2)


async def test_what_is_awaited_ends_the_following_too_and_an_event_that_was_done_does_not(bus: EventBus):
    heard = Heard()

    async def later(event: Event[Order]) -> None:
        raise AlreadyDone("before") if event.payload.idempotency_key == "k-2" else ValueError("no such order")

    def handle(event: Event[Order]) -> Awaitable[None] | None:
        heard(event)
        if event.payload.idempotency_key == "k-1":
            raise AlreadyDone("before")
        return later(event)

    await emit(bus, 1, 2, 3, 4)
    async with running(bus, handle) as (_, task):
        with pytest.raises(ValueError, match="no such order"):
            await asyncio.wait_for(task, PATIENCE)
        assert heard.keys == keys(1, 2, 3)
    assert bus.counters.deduplicated[OMS_ORDERS_CREATED.pattern] == 2


async def test_what_is_no_event_is_a_dead_letter_and_is_passed_over(bus: EventBus):
    heard = Heard()
    async with running(bus, heard):
        await emit(bus, 1)
        await bus.request("mts.v1.oms.orders.created.fund.alpha", b"{}", timeout=PATIENCE)
        await emit(bus, 2)
        await heard.until(2)
    assert heard.keys == keys(1, 2)
    assert bus.counters.deadletters[OMS_ORDERS_CREATED.pattern] == 1


async def test_a_rejected_event_is_a_dead_letter_and_none_can_be_asked_for_again(bus: EventBus):
    said: list[str] = []

    async def later(event: Event[Order]) -> None:
        with pytest.raises(InvalidArgument, match="does not come again"):
            await event.nak()
        await event.reject("wrong")
        said.append(event.payload.idempotency_key)

    await emit(bus, 1, 2)
    async with running(bus, later) as (follower, _):
        await asyncio.wait_for(follower.caught_up(), PATIENCE)
    assert said == keys(1, 2)
    assert bus.counters.deadletters[OMS_ORDERS_CREATED.pattern] == 2


async def test_it_is_refused_where_it_cannot_be(bus: EventBus):
    with pytest.raises(NotStored):
        bus.follow(MARKETDATA_QUOTES, name="f", handle=lambda _: None)  # pyright: ignore[reportArgumentType]
    await js_api(bus, "STREAM.DELETE.OMS_ORDERS")
    with pytest.raises(NoStream, match="streams apply"):
        await bus.follow(OMS_ORDERS_CREATED, name="f", handle=lambda _: None).start()
