"""What an outbox and its relay promise: one suite for every kind of outbox, on real servers."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio
from mts1b_foundation.samples import FILL, NAV
from mts1b_foundation.subjects import OMS_FILLS_CREATED, OMS_ORDERS_CREATED, TREASURY_NAV
from mts1b_platform.eventbus import EventBus, NotTheProducer, apply_streams
from mts1b_platform.eventbus.errors import StoreError
from mts1b_platform.eventbus.outbox import Relay
from mts1b_platform.eventbus.outbox.postgres import PostgresOutbox
from mts1b_platform.eventbus.outbox.sqlite import SqliteOutbox
from mts1b_platform.eventbus.protocol.envelope import MSG_ID, TRACE_ID
from mts1b_platform.eventbus.streams import STREAMS
from mts1b_platform.observability.metrics import Timings
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus
from psycopg import AsyncConnection

from .outbox_kinds import KINDS, AnyOutbox, Bench, Place, order

WAIT = 60.0


@pytest_asyncio.fixture(params=KINDS)
async def bench(
    request: pytest.FixtureRequest, tmp_path: Path, new_postgres_database: Callable[[], str]
) -> AsyncIterator[Bench]:
    """Each kind of outbox in turn."""
    async with KINDS[request.param](Place(tmp_path, new_postgres_database)) as made:
        yield made


async def stored(bus: EventBus, stream: str = "OMS_ORDERS") -> list[str]:
    """The message ids in the stream, in its order."""
    js = bus.jetstream(timeout=WAIT)
    last = (await js.stream_info(stream)).state.last_seq
    found = [await js.get_msg(stream, seq) for seq in range(1, last + 1)]
    return [(message.headers or {})[MSG_ID] for message in found]


async def emptied(outbox: AnyOutbox) -> None:
    async with asyncio.timeout(WAIT):
        while (await outbox.backlog()).waiting:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)


def ids(*numbers: int) -> list[str]:
    return [f"intent-{number}" for number in numbers]


async def test_an_event_is_published_if_its_transaction_commits(bench: Bench, bus: EventBus):
    outbox = await bench.open()
    await bench.commit(outbox, 1, 2, 3)
    async with Relay(bus, outbox):
        await emptied(outbox)
    assert await stored(bus) == ids(1, 2, 3)


async def test_an_event_is_never_published_if_its_transaction_does_not_commit(bench: Bench, bus: EventBus):
    outbox = await bench.open()
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - what was written before it failed is the point
        async with bench.transaction() as tx:
            await outbox.add(tx, OMS_ORDERS_CREATED, order(1))
            raise ZeroDivisionError
    await bench.commit(outbox, 2)
    async with Relay(bus, outbox):
        await emptied(outbox)
    assert await stored(bus) == ids(2)


async def test_a_consumer_reads_what_emit_would_have_published(bench: Bench, bus: EventBus):
    outbox = await bench.open()
    await bench.commit(outbox, 1)
    async with Relay(bus, outbox):
        await emptied(outbox)
    await bus.emit(OMS_ORDERS_CREATED, order(2))
    async with bus.consume(OMS_ORDERS_CREATED, durable="reader") as events:
        relayed, emitted = [await asyncio.wait_for(anext(events), WAIT) for _ in range(2)]
    assert relayed.payload == order(1)
    assert {**relayed.headers, TRACE_ID: "", MSG_ID: ""} == {**emitted.headers, TRACE_ID: "", MSG_ID: ""}


async def test_an_event_joins_the_trace_of_the_event_that_caused_it(bench: Bench, bus: EventBus):
    outbox = await bench.open()
    await bus.emit(OMS_FILLS_CREATED, FILL, trace_id="ab" * 16)
    async with bus.consume(OMS_FILLS_CREATED, durable="oms") as fills:
        event = await asyncio.wait_for(anext(fills), WAIT)
        async with event:
            await bench.commit(outbox, 1)
    async with Relay(bus, outbox):
        await emptied(outbox)
    async with bus.consume(OMS_ORDERS_CREATED, durable="reader") as orders:
        assert (await asyncio.wait_for(anext(orders), WAIT)).trace_id == "ab" * 16


async def test_order_is_kept_over_batches_and_streams(bench: Bench, bus: EventBus):
    outbox = await bench.open()
    for number in range(30):
        await bench.commit(outbox, number)
        if number % 7 == 0:
            async with bench.transaction() as tx:
                await outbox.add(tx, OMS_FILLS_CREATED, FILL.model_copy(update={"fill_id": f"fill-{number}"}))
    async with Relay(bus, outbox, batch=8) as relay:
        await emptied(outbox)
    assert await stored(bus) == ids(*range(30))
    assert await stored(bus, "OMS_FILLS") == [f"fill-{number}" for number in range(0, 30, 7)]
    assert relay.counters.published == 35
    assert relay.counters.batches > 0


async def test_a_relay_that_died_between_publish_and_mark_doubles_nothing_and_keeps_the_order(
    bench: Bench, bus: EventBus
):
    outbox = await bench.open()
    await bench.commit(outbox, *range(10))
    for number in (0, 1, 2, 3):  # what a dead relay had published and not yet removed
        await bus.emit(OMS_ORDERS_CREATED, order(number))
    async with Relay(bus, outbox) as relay:
        await emptied(outbox)
    assert await stored(bus) == ids(*range(10))
    assert relay.counters.duplicates == 4


async def test_what_watches_is_told_of_each_event_of_a_refused_batch_what_became_of_it(bench: Bench, bus: EventBus):
    outbox = await bench.open()
    await bench.commit(outbox, *range(5))
    await bus.emit(OMS_ORDERS_CREATED, order(0))  # the batch is refused, as this one is stored
    timings = Timings()
    bus.hooks = timings
    async with Relay(bus, outbox):
        await emptied(outbox)
    bus.hooks = None
    assert await stored(bus) == ids(*range(5))
    assert timings.in_flight == 0


async def test_several_relays_share_an_outbox_without_doubling_or_disorder(
    bench: Bench, bus: EventBus, connect_bus: ConnectBus
):
    outboxes = [await bench.open() for _ in range(3)]
    async with AsyncExitStack() as running:
        relays = [
            await running.enter_async_context(Relay(await connect_bus(), outbox, batch=5, lease=WAIT))
            for outbox in outboxes
        ]
        for number in range(60):
            await bench.commit(outboxes[0], number)
        await emptied(outboxes[0])
    assert await stored(bus) == ids(*range(60))
    assert sum(relay.counters.published for relay in relays) == 60
    assert sum(relay.counters.duplicates for relay in relays) == 0


async def test_another_relay_takes_over_when_one_stops(bench: Bench, bus: EventBus):
    first, second = await bench.open(), await bench.open()
    async with Relay(bus, first):
        await bench.commit(first, 1)
        await emptied(first)
        heir = Relay(bus, second)
        running = asyncio.create_task(heir.run())
    await bench.commit(first, 2)
    await emptied(second)
    heir.stop()
    await running
    assert heir.counters.published == 1
    assert await stored(bus) == ids(1, 2)


async def test_events_wait_while_the_server_is_away_and_leave_in_order_when_it_is_back(
    bench: Bench, bus: EventBus, nats_server: NatsServer
):
    outbox = await bench.open()
    async with Relay(bus, outbox, lease=3) as relay:
        await bench.commit(outbox, 1)
        await emptied(outbox)
        nats_server.kill()
        await bench.commit(outbox, 2, 3, 4)
        async with asyncio.timeout(WAIT):
            while not relay.counters.waits:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.01)
        assert (await outbox.backlog()).waiting == 3
        await nats_server.restart()
        await emptied(outbox)
    assert await stored(bus) == ids(1, 2, 3, 4)


async def test_a_missing_stream_is_waited_for(bench: Bench, connect_bus: ConnectBus):
    bus = await connect_bus()
    outbox = await bench.open()
    await bench.commit(outbox, 1, 2)
    async with Relay(bus, outbox) as relay:
        async with asyncio.timeout(WAIT):
            while relay.counters.waits < 2:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.01)
        await apply_streams(bus)
        await emptied(outbox)
    assert await stored(bus) == ids(1, 2)


async def test_an_event_that_the_server_refuses_is_set_aside_and_the_rest_goes_on(
    bench: Bench, connect_bus: ConnectBus
):
    bus = await connect_bus()
    await apply_streams(bus)
    outbox = await bench.open()
    async with bench.transaction() as tx:
        await outbox.add(tx, OMS_ORDERS_CREATED, order(1))
        await outbox.add(tx, OMS_ORDERS_CREATED, order(2), headers={"Nats-Expected-Last-Sequence": "77"})
        await outbox.add(tx, OMS_ORDERS_CREATED, order(3))
    async with Relay(bus, outbox, attempts=2) as relay:
        await emptied(outbox)
    assert await stored(bus) == ids(1, 3)
    assert (relay.counters.refused, relay.counters.parked) == (2, 1)
    assert (await outbox.backlog()).parked == 1
    assert await outbox.unpark() == 1
    assert (await outbox.backlog()).waiting == 1


async def test_add_refuses_what_would_not_stand_or_fall_with_the_transaction(bench: Bench):
    outbox = await bench.open()
    async with bench.no_transaction() as alone:
        with pytest.raises(StoreError, match="no transaction is open"):
            await outbox.add(alone, OMS_ORDERS_CREATED, order(1))
    async with bench.transaction_elsewhere() as other:
        with pytest.raises(StoreError, match=bench.refusal_elsewhere):
            await outbox.add(other, OMS_ORDERS_CREATED, order(1))
    assert (await outbox.backlog()).waiting == 0


async def test_add_refuses_a_subject_of_another_service(bench: Bench):
    outbox = await bench.open()
    async with bench.transaction() as tx:
        with pytest.raises(NotTheProducer, match="this outbox is that of mts1b-oms"):
            await outbox.add(tx, TREASURY_NAV, NAV)


@dataclass
class Clocks:
    """The two clocks of the machine, as a lease reads them."""

    wall: float = 1_700_000_000.0
    running: float = 100.0

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.running += seconds

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.running


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    made = Clocks()
    for module in ("lease", "outbox.sqlite"):
        monkeypatch.setattr(f"mts1b_platform.eventbus.{module}.time", made)
    return made


async def test_a_frozen_relay_whose_lease_ended_does_not_hold_up_the_next(tmp_path: Path, clocks: Clocks):
    path = tmp_path / "oms.db"
    async with SqliteOutbox(path, service="mts1b-oms") as frozen, SqliteOutbox(path, service="mts1b-oms") as heir:
        assert await frozen.hold("frozen", 1)
        assert not await heir.hold("heir", 1)
        clocks.pass_by(1.1)
        assert await heir.hold("heir", 1)
        assert heir.takeovers == 1
        assert not await frozen.hold("frozen", 1)


@pytest.mark.parametrize("jump", [3 * 3600.0, -3 * 3600.0])
async def test_a_living_relay_keeps_its_lease_when_the_clock_jumps(tmp_path: Path, clocks: Clocks, jump: float):
    path = tmp_path / "oms.db"
    async with SqliteOutbox(path, service="mts1b-oms") as alive, SqliteOutbox(path, service="mts1b-oms") as other:
        assert await alive.hold("alive", 1)
        for _ in range(10):
            assert not await other.hold("other", 1)
            clocks.wall += jump
            assert not await other.hold("other", 1)
            clocks.pass_by(0.4)
            assert await alive.hold("alive", 1)
        assert other.takeovers == 0


async def test_a_short_lease_does_not_take_over_from_a_longer_one_early(tmp_path: Path, clocks: Clocks):
    path = tmp_path / "oms.db"
    async with SqliteOutbox(path, service="mts1b-oms") as long, SqliteOutbox(path, service="mts1b-oms") as short:
        assert await long.hold("long", 60)
        assert not await short.hold("short", 1)
        clocks.pass_by(59)
        assert not await short.hold("short", 1)
        clocks.pass_by(2)
        assert await short.hold("short", 1)


async def test_an_outbox_that_an_earlier_version_made_is_read(tmp_path: Path, clocks: Clocks):
    path = tmp_path / "oms.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "CREATE TABLE mts1b_outbox_lease (one INTEGER PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL)"
        )
        db.execute("INSERT INTO mts1b_outbox_lease VALUES (1, 'earlier', ?)", (clocks.wall + 3 * 3600,))
    async with SqliteOutbox(path, service="mts1b-oms") as heir:
        assert not await heir.hold("heir", 1)
        clocks.pass_by(1.1)
        assert await heir.hold("heir", 1)


async def test_an_outbox_deleted_under_its_relay_is_noticed(tmp_path: Path):
    path = tmp_path / "oms.db"
    async with SqliteOutbox(path, service="mts1b-oms") as outbox:
        assert await outbox.hold("relay", 15)
        path.unlink()
        with pytest.raises(StoreError, match="was deleted or replaced while in use"):
            await outbox.hold("relay", 15)


async def test_the_right_to_publish_is_free_at_once_when_a_connection_dies(new_postgres_database: Callable[[], str]):
    url = new_postgres_database()
    async with PostgresOutbox(url, service="mts1b-oms") as first, PostgresOutbox(url, service="mts1b-oms") as second:
        assert await first.hold("first", 1)
        assert not await second.hold("second", 1)
        async with await AsyncConnection.connect(url, autocommit=True) as killer:
            await killer.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            )
        assert await second.hold("second", 1)
        with pytest.raises(StoreError, match="does not answer"):
            await first.hold("first", 1)
        assert not await first.hold("first", 1), "connected again, and behind the second"


async def test_events_stay_when_the_dedupe_window_is_over_and_are_recognised_by_consumers(
    bench: Bench, connect_bus: ConnectBus
):
    bus = await connect_bus()
    orders = next(stream for stream in STREAMS if stream.name == "OMS_ORDERS")
    await apply_streams(bus, streams=[replace(orders, duplicate_window="200ms")])
    outbox = await bench.open()
    await bus.emit(OMS_ORDERS_CREATED, order(1))  # a relay published it, died, and its heir came late
    await bus.emit(OMS_ORDERS_CREATED, order(2))
    while (await bus.emit(OMS_ORDERS_CREATED, order(2))).duplicate:  # noqa: ASYNC110 - nothing tells the window's end
        await asyncio.sleep(0.05)
    await bench.commit(outbox, 1)
    async with Relay(bus, outbox):
        await emptied(outbox)
    assert await stored(bus) == ids(1, 2, 2, 1)
    async with bus.consume(OMS_ORDERS_CREATED, durable="reader") as events:
        first, _, _, second = [await asyncio.wait_for(anext(events), WAIT) for _ in range(4)]
    assert first.identity == second.identity


async def test_a_batch_that_the_server_would_refuse_is_refused_here(bus: EventBus, tmp_path: Path):
    with pytest.raises(ValueError, match="1 to 1000"):
        Relay(bus, SqliteOutbox(tmp_path / "oms.db", service="mts1b-oms"), batch=1001)
