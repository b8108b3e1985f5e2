"""Several instances of one reader: one is handed events, another takes over; on a real server, within one process."""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import (
    Active,
    ConsumeError,
    Consumer,
    ConsumerConflict,
    Event,
    EventBus,
    InvalidArgument,
    Reject,
    RetryPolicy,
    Standby,
    connect,
)
from mts1b_platform.eventbus.consumers import reads
from mts1b_platform.eventbus.dedupe.sqlite import SqliteDedupe
from mts1b_platform.eventbus.events.once import Term
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.jetstream.apply_consumers import apply_consumers, plan_consumers
from mts1b_platform.eventbus.jetstream.durables import durable_exists, ensure_durable
from mts1b_platform.eventbus.protocol.pins import PIN_GROUP
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus

from .wires import Wire

WAIT = 60.0
TAKEOVER = 1.0
LONG = 3600.0
"""An ack wait that no test here lives to see."""
PREFETCH = 128
INFO = "CONSUMER.INFO.OMS_ORDERS.t"


def order(number: int, fund: str = "alpha") -> Order:
    return ORDER.model_copy(update={"order_id": f"order-{number}", "idempotency_key": f"k-{number}", "fund_id": fund})


class Instance:
    """One instance: a connection of its own, a consumer, and what its handler has done."""

    def __init__(self, bus: EventBus, handled: list[tuple[str, str]], name: str, takeover: float) -> None:
        self.bus, self.name = bus, name
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()
        self.terms: list[int] = []
        self.event: Event[Order] | None = None
        """The one that it handled last, or is at."""
        self.fails = False
        self._handled = handled
        self.consumer: Consumer[Order] = bus.consume(
            OMS_ORDERS_CREATED,
            durable="t",
            ordered_by="fund_id",
            instances="standby",
            takeover=takeover,
            ack_wait=LONG,
            prefetch=PREFETCH,
            policy=RetryPolicy(base=0.01, jitter=0),
        )
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> "Instance":
        await self.consumer.start()
        self.task = asyncio.create_task(self.consumer.run(self._handle))
        return self

    async def leave(self) -> None:
        await self.consumer.stop()
        assert self.task is not None
        await asyncio.wait_for(self.task, WAIT)

    async def die(self) -> None:
        """As a killed process: not a word to the server."""
        assert self.task is not None
        await self.bus.close()
        self.task.cancel()
        await asyncio.wait([self.task])

    async def _handle(self, event: Event[Order]) -> None:
        self.terms.append(event.term)
        self.event = event
        self.entered.set()
        await self.gate.wait()
        if self.fails:
            raise Reject("it was cut off meanwhile")
        self._handled.append((self.name, event.payload.idempotency_key))


class Group:
    """The instances of one reader, and what they have handled together."""

    def __init__(self, connect_bus: ConnectBus) -> None:
        self._connect = connect_bus
        self.takeover = TAKEOVER
        self.handled: list[tuple[str, str]] = []
        self.others: list[EventBus] = []
        self.instances: list[Instance] = []

    async def start(self, name: str, url: str | None = None) -> Instance:
        """A further instance; by a way of its own to the server when there is a ``url``."""
        if url is None:
            bus = await self._connect("mts1b-brokers")
        else:
            bus = await connect(url, service="mts1b-brokers", connect_timeout=WAIT, ping_interval=LONG)
            self.others.append(bus)
        made = Instance(bus, self.handled, name, self.takeover)
        self.instances.append(made)
        return await made.start()

    @property
    def keys(self) -> list[str]:
        return [key for _, key in self.handled]

    async def until(self, count: int) -> None:
        async with asyncio.timeout(WAIT):
            while len(self.handled) < count:  # noqa: ASYNC110 - handlers tell nobody
                await asyncio.sleep(0.005)


@pytest_asyncio.fixture
async def group(connect_bus: ConnectBus) -> AsyncIterator[Group]:
    made = Group(connect_bus)
    yield made
    for instance in made.instances:
        if instance.task is not None:
            instance.task.cancel()
            await asyncio.wait([instance.task])
    for other in made.others:
        await other.close()


async def emit(bus: EventBus, numbers: range) -> None:
    for number in numbers:
        await bus.emit(OMS_ORDERS_CREATED, order(number, f"fund-{number % 3}"))


async def until_settled(bus: EventBus) -> None:
    async with asyncio.timeout(WAIT):
        while (info := await js_api(bus, INFO, timeout=WAIT))["num_ack_pending"] or info["num_pending"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_one_of_several_instances_is_handed_everything_and_the_next_takes_over_at_once_when_it_leaves(
    bus: EventBus, group: Group
):
    group.takeover = WAIT
    one = await group.start("one")
    await emit(bus, range(3))
    await group.until(3)
    others = [await group.start("two"), await group.start("three")]
    assert one.consumer.active
    assert not any(other.consumer.active for other in others)
    await emit(bus, range(3, 30))
    await group.until(30)
    assert {name for name, _ in group.handled} == {"one"}
    leaving = time.monotonic()
    await one.leave()
    await emit(bus, range(30, 33))
    await group.until(33)
    assert time.monotonic() - leaving < WAIT, "it did not wait for the takeover"
    assert "one" not in {name for name, _ in group.handled[30:]}
    assert sorted(group.keys) == sorted(f"k-{number}" for number in range(33))
    await until_settled(bus)


async def test_who_leaves_gives_back_what_waits_before_the_pin_though_its_handler_ends_meanwhile(
    bus: EventBus, group: Group
):
    said: list[bytes] = []
    for subject in ("$JS.ACK.OMS_ORDERS.t.>", "$JS.API.CONSUMER.UNPIN.OMS_ORDERS.t"):
        bus.connection.subscribe(subject, lambda batch: said.extend(msg[3] for msg in batch))
    await bus.flush()
    first = await group.start("a")
    first.gate.clear()
    await bus.emit_many(OMS_ORDERS_CREATED, [order(number) for number in range(20)])
    await asyncio.wait_for(first.entered.wait(), WAIT)
    async with asyncio.timeout(WAIT):
        while first.consumer.waiting < 19:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.005)
    leaving = asyncio.create_task(first.leave())
    await asyncio.sleep(0)  # it has asked the server for what is on its way
    first.gate.set()
    await leaving
    await first.bus.flush()
    await bus.flush()
    assert said == [b"+ACK", *[b"-NAK"] * 19, json.dumps({"group": PIN_GROUP}).encode()]


async def test_what_a_dead_instance_held_comes_before_anything_newer_though_its_ack_wait_is_an_hour(
    bus: EventBus, group: Group
):
    one = await group.start("one")
    one.gate.clear()
    await emit(bus, range(9))  # three are with the handler or wait behind it, the others wait too
    await one.entered.wait()
    two = await group.start("two")
    await one.die()
    await emit(bus, range(9, 12))
    await group.until(12)
    assert group.handled == [("two", f"k-{number}") for number in range(12)]
    assert two.terms[0] > one.terms[0] > 0
    await until_settled(bus)


async def test_a_dead_instance_is_taken_over_from_when_nothing_new_comes(bus: EventBus, group: Group):
    one = await group.start("one")
    one.gate.clear()
    await emit(bus, range(4))
    await one.entered.wait()
    await group.start("two")
    await one.die()
    await group.until(4)
    assert group.keys == [f"k-{number}" for number in range(4)]


async def test_a_dead_instance_whose_events_fill_the_window_is_taken_over_from(bus: EventBus, group: Group):
    await apply_consumers(bus, [reads("mts1b-brokers", "t", OMS_ORDERS_CREATED, instances="standby", takeover=1.0)])
    config = (await js_api(bus, INFO))["config"] | {"max_ack_pending": 4, "ack_wait": 3600 * 10**9}
    body = {"stream_name": "OMS_ORDERS", "config": config, "action": "update"}
    await js_api(bus, "CONSUMER.CREATE.OMS_ORDERS.t", body)
    one = await group.start("one")
    one.gate.clear()
    await emit(bus, range(8))
    await one.entered.wait()
    await group.start("two")
    await one.die()
    await group.until(8)
    assert group.keys == [f"k-{number}" for number in range(8)]


async def test_who_takes_over_holds_no_more_than_a_window_of_what_waits(bus: EventBus, group: Group):
    """With more, each takeover is longer than the one before, until it lasts longer than a place is kept."""
    await bus.ingest(OMS_ORDERS_CREATED, [order(number, f"fund-{number % 3}") for number in range(2000)])
    instances = [await group.start(name) for name in ("one", "two", "three")]
    for instance in instances:
        instance.gate.clear()
    dead: set[str] = set()
    for _ in range(2):
        async with asyncio.timeout(WAIT):
            while not (active := [each for each in instances if each.consumer.active and each.name not in dead]):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await active[0].entered.wait()
        held = (await js_api(bus, INFO))["num_ack_pending"]
        assert held <= 3 * PREFETCH, "pulls of before are answered too"
        dead.add(active[0].name)
        await active[0].die()
    for instance in instances:
        instance.gate.set()
    await group.until(2000)
    assert sorted(set(group.keys)) == sorted(f"k-{number}" for number in range(2000))


async def test_an_instance_that_is_cut_off_begins_nothing_more_and_decides_nothing(
    bus: EventBus, group: Group, nats_server: NatsServer
):
    async with Wire.to(nats_server) as wire:
        one = await group.start("one", wire.url)
        one.gate.clear()
        await emit(bus, range(6))
        await one.entered.wait()
        feed = one.consumer.changes()
        first = await anext(feed)
        assert isinstance(first, Active)
        assert first.term == one.terms[0]
        assert one.event is not None
        async with asyncio.timeout(WAIT):
            while one.consumer.waiting < 5:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.005)
        assert [each.payload.idempotency_key for each in await one.consumer.behind(one.event)] == ["k-3"]
        two = await group.start("two")
        wire.keep("up")
        wire.keep("down")
        await group.until(6)
        assert {name for name, _ in group.handled} == {"two"}
        assert isinstance(await asyncio.wait_for(anext(feed), WAIT), Standby)
        assert two.consumer.active
        assert not one.consumer.active
        assert await one.consumer.behind(one.event) == ()
        one.fails = True  # its handler is still at the first event
        one.gate.set()
        wire.cut()
        await emit(bus, range(6, 9))
        await group.until(9)
        await until_settled(bus)
        assert {name for name, _ in group.handled} == {"two"}
        assert group.keys == [f"k-{number}" for number in range(9)]
        await one.leave()
        assert not one.bus.counters.deadletters


async def test_an_instance_that_has_the_pin_begins_a_greater_term_than_that_which_a_store_knows(
    bus: EventBus, tmp_path: Path
):
    path = tmp_path / "books.db"
    consumer = bus.consume(OMS_ORDERS_CREATED, durable="t", ordered_by="fund_id", instances="standby")
    await emit(bus, range(6))
    written: list[tuple[str, int]] = []
    async with SqliteDedupe(path) as store:
        async with store.once_in_term("another", "event", Term("OMS_ORDERS.another", 1)):
            pass  # the table is there

        async def handle(event: Event[Order]) -> None:
            if not written and event.tries == 1 and not ahead:
                ahead.append(event.term + 1_000_000)
                with closing(sqlite3.connect(path)) as other, other:
                    other.execute("INSERT INTO mts1b_terms VALUES ('OMS_ORDERS.t', ?)", ahead)
                other.close()
            async with event.once(store):
                written.append((event.payload.idempotency_key, event.term))
            if len(written) == 6:
                await consumer.stop()

        ahead: list[int] = []
        await asyncio.wait_for(consumer.run(handle), WAIT)
    keys = [key for key, _ in written]
    assert sorted(keys) == [f"k-{number}" for number in range(6)]
    assert all(keys.index(f"k-{fund}") < keys.index(f"k-{fund + 3}") for fund in range(3)), "each fund in order"
    assert min(term for _, term in written) > ahead[0]
    assert not bus.counters.consume_errors
    assert not bus.counters.deadletters


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"instances": "standby"}, "give ordered_by"),
        ({"instances": "several", "ordered_by": "fund_id"}, "choose one of 'one', 'standby'"),
        ({"instances": "standby", "ordered_by": "fund_id", "takeover": 0.5}, "from 1 to 60"),
        ({"instances": "standby", "ordered_by": "fund_id", "takeover": "5"}, "from 1 to 60"),
        ({"ordered_by": "fund_id", "takeover": 5}, 'give instances="standby"'),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_is_sent(bus: EventBus, options: dict[str, Any], words: str):
    with pytest.raises(InvalidArgument, match=words):
        bus.consume(OMS_ORDERS_CREATED, durable="t", **options)
    with pytest.raises(InvalidArgument):
        reads("mts1b-brokers", "t", OMS_ORDERS_CREATED, instances="standby", takeover=0.1)


class OldServer:
    """The server as one before 2.11 answers: what it does not know of a consumer it leaves out."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    @property
    def connected_url(self) -> object | None:
        return self._bus.connected_url

    @property
    def has_jetstream(self) -> bool:
        return self._bus.has_jetstream

    async def request(self, subject: str, payload: bytes = b"", timeout: float = 0.5) -> Any:
        if ".CONSUMER.CREATE." in subject:
            document = json.loads(payload)
            for unknown in ("priority_groups", "priority_policy", "priority_timeout"):
                document["config"].pop(unknown, None)
            payload = json.dumps(document).encode()
        return await self._bus.request(subject, payload, timeout)


async def test_a_server_that_is_too_old_is_named_and_nothing_is_left_there(bus: EventBus):
    old = OldServer(bus)
    wanted: dict[str, Any] = {
        "stream": "OMS_ORDERS",
        "durable": "t",
        "filters": OMS_ORDERS_CREATED.filters(),
        "ack_wait": None,
        "deliver": "all",
        "max_ack_pending": 100,
    }
    for _ in range(2):
        with pytest.raises(ConsumeError, match=r"knows no pinned consumers.*nats-server 2\.11"):
            await ensure_durable(old, pinned=True, takeover=1.0, **wanted)
        assert not await durable_exists(bus, "OMS_ORDERS", "t")
    await ensure_durable(old, **wanted)
    with pytest.raises(ConsumeError, match=r"nats-server 2\.11"):
        await ensure_durable(old, pinned=True, takeover=1.0, **wanted)
    assert (await js_api(bus, INFO))["config"].get("priority_policy", "none") == "none", "it stays what it was"


async def test_a_plain_durable_becomes_pinned_in_place_when_nobody_reads_it_and_back(
    bus: EventBus, connect_bus: ConnectBus
):
    await emit(bus, range(4))
    plain = bus.consume(OMS_ORDERS_CREATED, durable="t", ordered_by="fund_id")
    for _ in range(2):
        async with await anext(plain):
            pass
    several = (await connect_bus()).consume(
        OMS_ORDERS_CREATED, durable="t", ordered_by="fund_id", instances="standby", takeover=TAKEOVER
    )
    with pytest.raises(ConsumerConflict, match="somebody reads it"):
        await several.start()
    declared = reads("mts1b-brokers", "t", OMS_ORDERS_CREATED, instances="standby", takeover=TAKEOVER)
    with pytest.raises(ConsumerConflict, match="somebody reads it"):
        await apply_consumers(bus, [declared])
    await plain.stop()
    assert [change.action for change in await plan_consumers(bus, [declared])] == ["updated"]
    assert [change.action for change in await apply_consumers(bus, [declared])] == ["updated"]
    assert [change.action for change in await apply_consumers(bus, [declared])] == ["unchanged"]
    with pytest.raises(ConsumerConflict, match='instances="standby"'):
        await (await connect_bus()).consume(OMS_ORDERS_CREATED, durable="t").start()
    async with await asyncio.wait_for(anext(several), WAIT) as event:
        assert event.payload.idempotency_key == "k-2", "it keeps its position"
    await several.stop()
    back = reads("mts1b-brokers", "t", OMS_ORDERS_CREATED)
    assert [change.action for change in await apply_consumers(bus, [back])] == ["updated"]
    again = (await connect_bus()).consume(OMS_ORDERS_CREATED, durable="t", ordered_by="fund_id")
    async with await asyncio.wait_for(anext(again), WAIT) as event:
        assert event.payload.idempotency_key == "k-3"


async def test_the_takeover_of_a_durable_that_exists_is_kept_and_another_is_refused(bus: EventBus):
    first = bus.consume(OMS_ORDERS_CREATED, durable="t", ordered_by="fund_id", instances="standby", takeover=2)
    await first.start()
    await first.stop()
    with pytest.raises(ConsumerConflict, match="its takeover is 2 s, 3 s is asked for"):
        await bus.consume(
            OMS_ORDERS_CREATED, durable="t", ordered_by="fund_id", instances="standby", takeover=3
        ).start()
    kept = bus.consume(OMS_ORDERS_CREATED, durable="t", ordered_by="fund_id", instances="standby")
    await kept.start()
    assert (await js_api(bus, INFO))["config"]["priority_timeout"] == 2 * 10**9
