"""Instances that share the keys of a reader out: who reads what, and who comes, goes or dies; on a real server."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import (
    ConsumerConflict,
    ConsumerGone,
    Event,
    EventBus,
    Given,
    InvalidArgument,
    SharedConsumer,
    Taken,
    connect,
)
from mts1b_platform.eventbus.consumers import MOST_KEYS, durable_of, reads, shares
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.jetstream.apply_consumers import apply_consumers
from mts1b_platform.server import NatsServer

WAIT = 60.0
TAKEOVER = 1.0
LONG = 3600.0
"""An ack wait that no test here lives to see."""
KEYS = [f"fund-{number}" for number in range(8)]


def order(number: int) -> Order:
    return ORDER.model_copy(
        update={
            "order_id": f"order-{number}",
            "idempotency_key": str(number),
            "fund_id": KEYS[number % len(KEYS)],
        }
    )


class Desk:
    """Instances of one reader, each with a connection of its own, and what they have handled."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.handled: list[tuple[str, str, int]] = []
        self.buses: dict[str, EventBus] = {}
        self.readers: dict[str, SharedConsumer[Order]] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def join(self, name: str, **options: Any) -> SharedConsumer[Order]:
        bus = self.buses[name] = await connect(self._url, service="mts1b-brokers", connect_timeout=WAIT)
        reader = self.readers[name] = bus.consume(
            OMS_ORDERS_CREATED,
            durable="books",
            ordered_by="fund_id",
            instances="share",
            keys=KEYS,
            member=name,
            takeover=TAKEOVER,
            **options,
        )
        await reader.start()

        async def handle(event: Event[Order]) -> None:
            self.handled.append((name, event.payload.fund_id, int(event.payload.idempotency_key)))

        self.tasks[name] = asyncio.create_task(reader.run(handle))
        return reader

    async def die(self, name: str) -> None:
        await self.buses[name].close()
        await asyncio.wait([self.tasks[name]])

    async def until(self, count: int) -> None:
        async with asyncio.timeout(WAIT):
            while len(self.handled) < count:  # noqa: ASYNC110 - handlers tell nobody
                await asyncio.sleep(0.005)

    async def until_shared(self, *names: str) -> None:
        """Wait until these have all keys, and each its share."""
        async with asyncio.timeout(WAIT):
            while sorted(key for name in names for key in self.readers[name].keys) != KEYS:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    def assert_in_order(self, count: int) -> None:
        numbers: defaultdict[str, list[int]] = defaultdict(list)
        for _, fund, number in self.handled:
            numbers[fund].append(number)
        assert all(each == sorted(each) for each in numbers.values())
        assert sorted(number for _, _, number in self.handled) == list(range(count))

    async def end(self) -> None:
        for bus in self.buses.values():
            await bus.close()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


@pytest_asyncio.fixture
async def desk(bus: EventBus, nats_server: NatsServer) -> AsyncIterator[Desk]:
    del bus
    made = Desk(nats_server.url)
    yield made
    await made.end()


async def emit(bus: EventBus, numbers: range) -> None:
    for number in numbers:
        await bus.emit(OMS_ORDERS_CREATED, order(number))


async def test_each_instance_reads_its_share_and_who_joins_leaves_or_dies_moves_few_keys(bus: EventBus, desk: Desk):
    first = await desk.join("one", ack_wait=LONG)
    assert first.keys == frozenset(KEYS)
    feed = first.changes()
    assert await anext(feed) == Taken(frozenset(KEYS))
    await emit(bus, range(40))
    await desk.until(40)
    before = first.keys
    second = await desk.join("two", ack_wait=LONG)
    await desk.until_shared("one", "two")
    assert (len(first.keys), len(second.keys)) == (4, 4)
    assert await asyncio.wait_for(anext(feed), WAIT) == Given(before - first.keys)
    await emit(bus, range(40, 80))
    await desk.until(80)
    third = await desk.join("three", ack_wait=LONG)
    kept = {name: desk.readers[name].keys for name in ("one", "two")}
    await desk.until_shared("one", "two", "three")
    assert sum(len(desk.readers[name].keys - keys) for name, keys in kept.items()) <= 2, "few others' keys moved"
    await emit(bus, range(80, 120))
    await desk.until(120)
    assert {name for name, _, _ in desk.handled[80:]} == {"one", "two", "three"}
    assert sorted(third.keys) == sorted({fund for name, fund, _ in desk.handled[80:] if name == "three"})
    await third.stop()
    await emit(bus, range(120, 160))
    await desk.until(160)
    await desk.die("two")
    await emit(bus, range(160, 200))
    await desk.until(200)
    assert first.keys == frozenset(KEYS)
    desk.assert_in_order(200)


async def test_an_instance_that_cannot_start_is_no_member(bus: EventBus, desk: Desk):
    plain = bus.consume(OMS_ORDERS_CREATED, durable=durable_of("books", "fund-0"), fund_id="fund-0")
    await plain.start()
    for _ in range(2):
        with pytest.raises(ConsumerConflict, match="somebody reads it"):
            await desk.join("one")
    await plain.stop()
    assert (await desk.join("two")).keys == frozenset(KEYS)


async def test_who_cannot_go_on_leaves_all_keys_to_the_others(bus: EventBus, desk: Desk):
    one = await desk.join("one")
    two = await desk.join("two")
    await desk.until_shared("one", "two")
    key = min(one.keys)
    await js_api(bus, f"CONSUMER.DELETE.OMS_ORDERS.{durable_of('books', key)}")
    with pytest.raises(ConsumerGone):
        await asyncio.wait_for(desk.tasks["one"], WAIT)
    await desk.until_shared("two")
    assert not one.keys
    assert two.keys == frozenset(KEYS)


async def test_of_four_instances_each_does_a_quarter_of_the_work(bus: EventBus, desk: Desk):
    await asyncio.gather(*(desk.join(name) for name in "abcd"))
    await desk.until_shared(*"abcd")
    await emit(bus, range(200))
    await desk.until(200)
    assert Counter(name for name, _, _ in desk.handled) == dict.fromkeys("abcd", 50)
    desk.assert_in_order(200)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ordered_by": "order_id", "keys": KEYS}, r'has fund_id, not .order_id.*instances="standby"'),
        ({"ordered_by": "fund_id"}, "no keys are declared"),
        ({"ordered_by": "fund_id", "keys": []}, "give 1 to 64"),
        ({"ordered_by": "fund_id", "keys": [f"f{number}" for number in range(MOST_KEYS + 1)]}, "are 65: give 1 to 64"),
        ({"ordered_by": "fund_id", "keys": "alpha"}, "give a list of values"),
        ({"ordered_by": "fund_id", "keys": 5}, "are 5: give a list of values"),
        ({"ordered_by": "fund_id", "keys": ["alpha"], "fund_id": "alpha"}, "leave it out"),
        ({"ordered_by": "fund_id", "keys": ["alpha"], "member": "two words"}, "member is 'two words'"),
    ],
)
async def test_what_cannot_be_shared_is_refused_before_anything_is_sent(
    bus: EventBus, options: dict[str, Any], words: str
):
    with pytest.raises(InvalidArgument, match=words):
        bus.consume(OMS_ORDERS_CREATED, durable="books", instances="share", **options)
    with pytest.raises(InvalidArgument, match='instances="share" as well'):
        bus.consume(OMS_ORDERS_CREATED, durable="books", ordered_by="fund_id", keys=["alpha"])  # type: ignore[call-overload]


async def test_declared_keys_are_durables_of_their_own_and_an_undeclared_one_is_refused(
    bus: EventBus, monkeypatch: pytest.MonkeyPatch
):
    declared = shares("mts1b-brokers", "books", OMS_ORDERS_CREATED, by="fund_id", keys=["alpha", "be.ta"], takeover=2)
    assert [each.durable for each in declared] == ["books-alpha", "books-be=2Eta"]
    assert [change.action for change in await apply_consumers(bus, declared)] == ["created", "created"]
    config = (await js_api(bus, "CONSUMER.INFO.OMS_ORDERS.books-alpha"))["config"]
    assert config["filter_subjects" if "filter_subjects" in config else "filter_subject"] in (
        ["mts.v1.oms.orders.created.fund.alpha"],
        "mts.v1.oms.orders.created.fund.alpha",
    )
    assert config["priority_policy"] == "pinned_client"

    class Known:
        consumers = declared

    monkeypatch.setattr("mts1b_platform.eventbus.consuming.make_reader.declared", lambda: Known)
    options: dict[str, Any] = {"durable": "books", "ordered_by": "fund_id", "instances": "share"}
    reader = bus.consume(OMS_ORDERS_CREATED, **options)
    await reader.start()
    assert isinstance(reader, SharedConsumer)
    assert reader.keys == {"alpha", "be.ta"}
    await reader.stop()
    with pytest.raises(InvalidArgument, match=r"gamma is not declared as a key of it; declared: alpha, be\.ta"):
        bus.consume(OMS_ORDERS_CREATED, keys=["alpha", "gamma"], **options)
    with pytest.raises(InvalidArgument, match="declared with `shares"):
        reads("mts1b-brokers", "books", OMS_ORDERS_CREATED, instances="share")


async def test_what_waits_behind_an_event_of_a_shared_key_is_named(bus: EventBus, nats_server: NatsServer):
    for number in (0, 8, 16, 1):
        await bus.emit(OMS_ORDERS_CREATED, order(number))
    async with await connect(nats_server.url, service="mts1b-brokers", connect_timeout=WAIT) as other:
        reader = other.consume(
            OMS_ORDERS_CREATED,
            durable="books",
            ordered_by="fund_id",
            instances="share",
            keys=KEYS[:1],
            takeover=TAKEOVER,
        )
        async with reader, asyncio.timeout(WAIT):
            event = await anext(reader)
            while len(behind := await reader.behind(event)) < 2:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.01)
            assert [each.payload.idempotency_key for each in (event, *behind)] == ["0", "8", "16"]
        assert await reader.behind(event) == (), "its key is another's"
