"""A delivery is no failure: tries are counted when a handler was begun or failed, not when something was sent."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Event, EventBus, Reject, Retry, RetryPolicy
from mts1b_platform.eventbus.consuming import tries
from mts1b_platform.eventbus.dedupe.kv import BUCKET, KvDedupe
from mts1b_platform.eventbus.dedupe.sqlite import SqliteDedupe
from mts1b_platform.eventbus.errors import AlreadyDone
from nats.js.errors import NotFoundError
from outcome_readers import SURFACES, reading
from outcome_world import DURABLE, World, eventually, names

TWICE = RetryPolicy(max_deliveries=2, base=0.05, factor=1, jitter=0)


async def crash(world: World, **options: Any) -> None:
    """A process that takes events in, begins the first and is gone without a word; its ack wait is over."""
    victim = await world.connect()
    consumer = victim.consume(OMS_ORDERS_CREATED, durable=DURABLE, ack_wait=0.4, policy=TWICE, **options)
    async with asyncio.timeout(10):
        event = await anext(consumer)
        await event.__aenter__()
    assert await world.all_taken()
    await victim.close()
    await asyncio.sleep(0.5)


class FailOnce:
    """Fails with each order once, or with one order only."""

    def __init__(self, only: str | None = None) -> None:
        self.tries = Counter[str]()
        self._only = only

    async def __call__(self, event: Event[Any]) -> None:
        name = event.payload.order_id
        self.tries[name] += 1
        if self.tries[name] == 1 and self._only in (None, name):
            raise ZeroDivisionError


async def test_clean_restarts_alone_make_no_dead_letters(world: World):
    await world.emit(*range(12))
    handled: list[str] = []
    for _ in range(5):
        async with await world.connect() as bus, asyncio.timeout(10):
            consumer = bus.consume(OMS_ORDERS_CREATED, durable=DURABLE, policy=TWICE, ordered_by="fund_id")
            async with await anext(consumer) as event:
                handled.append(event.payload.order_id)
            await eventually(lambda waiting=consumer: waiting.waiting > 0, 0.3)
    assert await world.lost() == []
    assert handled == names(0, 1, 2, 3, 4)


@pytest.mark.parametrize("surface", SURFACES)
async def test_who_was_only_near_a_crash_has_all_its_tries(surface: str, world: World):
    await world.emit(*range(6))
    await crash(world, **({"ordered_by": "fund_id"} if surface == "ordered_by" else {}))
    async with reading(world, surface, FailOnce(), policy=TWICE, ack_wait=0.4) as reader:
        assert await world.settled(within=20)
    assert [entry for entry in await world.lost() if not entry.startswith("order-0 ")] == []
    assert set(reader.handled) >= set(names(1, 2, 3, 4, 5))


@pytest.mark.parametrize("surface", SURFACES)
async def test_the_first_failure_is_followed_by_the_first_delay(surface: str, world: World):
    steep = RetryPolicy(max_deliveries=9, base=0.05, factor=100, jitter=0)
    await world.emit(0, 1)
    await crash(world, **({"ordered_by": "fund_id"} if surface == "ordered_by" else {}))
    async with reading(world, surface, FailOnce("order-1"), policy=steep, ack_wait=0.4) as reader:
        assert await eventually(lambda: "order-1" in reader.handled, world.patience), reader.begun


async def test_an_event_whose_effect_is_stored_is_no_dead_letter(world: World, tmp_path: Path):
    await world.emit(0)
    async with SqliteDedupe(tmp_path / "books.db") as store:
        for _ in range(2):
            victim = await world.connect()
            consumer = victim.consume(OMS_ORDERS_CREATED, durable=DURABLE, ack_wait=0.4, policy=TWICE)
            async with asyncio.timeout(10):
                event = await anext(consumer)
            if event.deliveries == 1:
                async with event.once(store):
                    pass
            await victim.close()  # between effect and ack, then before the handler
            await asyncio.sleep(0.5)
    async with reading(
        world, "Service", store=SqliteDedupe(tmp_path / "books.db"), policy=TWICE, ack_wait=0.4
    ) as reader:
        assert await world.settled(within=20)
    assert await world.lost() == []
    assert reader.handled == []


def lose_acks(bus: EventBus, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The server hears no ack of ``bus``, as when it is killed before it has written them down; those it misses."""
    send, lost = bus.connection.send, list[bytes]()

    def unless_ack(frame: bytes) -> None:
        if frame.endswith(b"+ACK\r\n"):
            lost.append(frame)
        else:
            send(frame)

    monkeypatch.setattr(bus.connection, "send", unless_ack)
    return lost


async def dead_at_once(_event: Event[Any]) -> None:
    raise ZeroDivisionError


async def rejected_at_once(_event: Event[Any]) -> None:
    raise Reject("as its payload says")


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("handler", [dead_at_once, rejected_at_once])
async def test_a_dead_letter_is_not_tried_again_though_its_ack_was_lost(
    surface: str, handler: Callable[[Event[Any]], Any], world: World, monkeypatch: pytest.MonkeyPatch
):
    await world.emit(0)
    async with reading(world, surface, handler, policy=TWICE, ack_wait=0.4) as first:
        assert first.bus is not None
        lost = lose_acks(first.bus, monkeypatch)
        assert await world.comes(lambda: bool(lost))
    async with reading(world, surface, policy=TWICE, ack_wait=0.4) as second:
        assert await world.settled(within=20)
    assert second.begun == []
    assert len(await world.lost()) == 1


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_handler_that_asks_for_another_time_spends_no_try_of_an_event_that_was_delivered_before(
    surface: str, world: World
):
    seen: list[int] = []

    async def later(event: Event[Any]) -> None:
        seen.append(event.tries)
        if len(seen) <= 3:
            raise Retry(0.02)

    await world.emit(0)
    await crash(world)
    async with reading(world, surface, later, policy=TWICE, ack_wait=0.4) as reader:
        assert await reader.has_handled(1), seen
    assert seen == [1] * 4


class Busy:
    """A dedupe store in which another instance has been at every event for long, until it is ``done``."""

    def __init__(self) -> None:
        self.asked = 0
        self.done = False

    @asynccontextmanager
    async def once(self, consumer: str, key: str) -> AsyncGenerator[None, None]:
        self.asked += 1
        if self.done:
            raise AlreadyDone(f"{key} was handled by {consumer}")
        raise Retry(0.1, f"{key} is being handled by another instance")
        yield

    async def close(self) -> None:
        """Nothing."""


async def test_an_event_that_another_instance_is_at_is_no_dead_letter(world: World):
    await world.emit(0)
    for _ in range(3):
        await crash(world)
    store = Busy()
    async with reading(world, "Service", store=store, policy=TWICE, ack_wait=0.4) as reader:
        assert await world.comes(lambda: store.asked > 2), repr(reader.failure)
        store.done = True
        assert await world.settled()
    assert await world.lost() == []
    assert reader.begun == []


async def test_tries_are_stored_again_when_their_bucket_is_back(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tries, "_PAUSE", 0.2)
    bus = await world.connect()
    fails: set[str] = set()

    async def is_stored() -> bool:
        try:
            return (await bus.plain_jetstream().stream_info(f"KV_{BUCKET}")).state.messages == 1
        except NotFoundError:
            return False

    async def work() -> None:
        consumer = bus.consume(OMS_ORDERS_CREATED, durable=DURABLE, policy=RetryPolicy(max_deliveries=9, base=60))
        async for event in consumer:
            async with event:
                fails.add(event.payload.order_id)
                raise ZeroDivisionError

    working = asyncio.create_task(work())
    try:
        await world.emit(0)
        assert await eventually(is_stored, world.patience)
        await bus.plain_jetstream().delete_stream(f"KV_{BUCKET}")
        await world.emit(1)  # its try cannot be stored
        assert await world.comes(lambda: "order-1" in fails)
        await KvDedupe(bus).ensure_bucket()
        await asyncio.sleep(0.3)
        await world.emit(2)
        assert await eventually(is_stored, world.patience)
    finally:
        working.cancel()


async def test_a_count_that_cannot_be_read_ends_no_reader(world: World):
    await KvDedupe(world.bus).ensure_bucket()
    bucket = f"KV_{BUCKET}"
    policy = RetryPolicy(max_deliveries=5, base=1, jitter=0)
    async with reading(world, "consume", FailOnce(), policy=policy) as reader:
        await world.emit(0)

        async def is_counted() -> bool:
            return (await world.js.stream_info(bucket)).state.messages > 0

        assert await world.comes(is_counted)
        count = await world.js.get_msg(bucket, (await world.js.stream_info(bucket)).state.last_seq)
        await world.js.publish(str(count.subject), b"garbage")
        assert await reader.has_handled(1), repr(reader.failure)
