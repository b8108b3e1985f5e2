"""What a consumer does while the store of its handler is away: nothing, and then the same as if it had never been."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
import pytest_asyncio
from mts1b_foundation.deadletters import DeadLetter
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Event, EventBus, RetryPolicy, apply_streams
from mts1b_platform.eventbus.dedupe import KvDedupe
from mts1b_platform.eventbus.dedupe.cells import Cells
from mts1b_platform.eventbus.dedupe.postgres import PostgresDedupe
from mts1b_platform.eventbus.dedupe.sqlite import SqliteDedupe
from mts1b_platform.eventbus.errors import AlreadyDone, StoreError
from mts1b_platform.eventbus.outbox.sqlite import SqliteOutbox
from mts1b_platform.eventbus.streams import STREAMS
from mts1b_platform.server import NatsServer
from mts1b_platform.service import Service
from mts1b_platform.testing.bus import ConnectBus
from psycopg.conninfo import conninfo_to_dict, make_conninfo

WAIT = 60.0
ONCE = RetryPolicy(max_deliveries=1)
SURFACES = (None, "fund_id")


@pytest_asyncio.fixture
async def oms(connect_bus: ConnectBus) -> EventBus:
    bus = await connect_bus()
    await apply_streams(bus, streams=STREAMS)
    return bus


async def emit(bus: EventBus, count: int) -> None:
    await bus.emit_many(
        OMS_ORDERS_CREATED,
        [ORDER.model_copy(update={"order_id": f"order-{n}", "idempotency_key": f"intent-{n}"}) for n in range(count)],
    )


async def until(condition: Callable[[], bool], within: float = WAIT) -> None:
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0.01)


@asynccontextmanager
async def reading(
    bus: EventBus,
    handle: Callable[[Event[Any]], Any],
    *,
    concurrency: int = 1,
    policy: RetryPolicy = ONCE,
    **options: Any,
) -> AsyncGenerator[Any, None]:
    consumer = bus.consume(OMS_ORDERS_CREATED, durable="books", policy=policy, **options)
    work = asyncio.create_task(consumer.run(handle, concurrency=concurrency))
    try:
        yield consumer
    finally:
        await consumer.stop()
        await asyncio.wait_for(work, WAIT)


async def dead_letters(bus: EventBus) -> int:
    return (await bus.jetstream().stream_info("DEADLETTERS")).state.messages


@pytest.mark.parametrize("ordered_by", SURFACES)
async def test_an_outage_spends_no_tries_and_keeps_the_order(oms: EventBus, ordered_by: str | None):
    away, tries, handled = True, 0, list[str]()

    async def handle(event: Event[Any]) -> None:
        nonlocal tries
        if away:
            tries += 1
            raise StoreError("the disk is full")
        handled.append(event.payload.order_id)

    await emit(oms, 5)
    async with reading(oms, handle, ordered_by=ordered_by, ack_wait=1) as consumer:
        await until(lambda: tries == 3)  # the policy allows one
        assert consumer.store_away == "the disk is full"
        away = False
        await until(lambda: len(handled) == 5)
        await until(lambda: consumer.store_away is None)
    assert handled == [f"order-{n}" for n in range(5)]
    assert await dead_letters(oms) == 0
    assert oms.counters.store_outages[OMS_ORDERS_CREATED.pattern] == 1
    assert oms.counters.consume_errors[OMS_ORDERS_CREATED.pattern] == 0


async def test_handlers_side_by_side_wait_together(oms: EventBus):
    away, tries, handled = True, list[int](), list[int]()

    async def handle(event: Event[Any]) -> None:
        if away:
            tries.append(event.seq)
            raise StoreError("away")
        handled.append(event.seq)

    await emit(oms, 40)
    async with reading(oms, handle, concurrency=4):
        await until(lambda: len(tries) >= 3)
        assert set(tries) <= {1, 2, 3, 4}, "while a store is away no more events are begun than there are handlers"
        away = False
        await until(lambda: len(handled) == 40)
    assert sorted(handled) == list(range(1, 41))
    assert await dead_letters(oms) == 0


async def test_what_waits_for_its_store_is_given_back_when_the_reader_ends(oms: EventBus):
    met = asyncio.Event()

    async def meet(_: Event[Any]) -> None:
        met.set()
        raise StoreError("away")

    await emit(oms, 3)
    async with reading(oms, meet, policy=RetryPolicy()):
        await asyncio.wait_for(met.wait(), WAIT)
    handled: list[int] = []

    async def handle(event: Event[Any]) -> None:
        handled.append(event.seq)

    began = time.monotonic()
    async with reading(oms, handle, policy=RetryPolicy()):
        await until(lambda: len(handled) == 3)
    assert time.monotonic() - began < 25, "not only after the ack wait of 30 s"


async def test_a_bus_closed_in_an_outage_ends_the_reader(oms: EventBus):
    met = asyncio.Event()

    async def meet(_: Event[Any]) -> None:
        met.set()
        raise StoreError("away")

    await emit(oms, 1)
    work = asyncio.create_task(oms.consume(OMS_ORDERS_CREATED, durable="books").run(meet))
    await asyncio.wait_for(met.wait(), WAIT)
    await oms.close()
    with suppress(Exception):
        await asyncio.wait_for(work, WAIT)
    assert work.done()


async def test_wrong_use_of_a_store_is_a_failure_of_the_handler(oms: EventBus, tmp_path: Path):
    async with SqliteOutbox(tmp_path / "oms.db", service="mts1b-oms") as outbox, aiosqlite.connect(":memory:") as db:

        async def handle(event: Event[Any]) -> None:
            await outbox.add(db, OMS_ORDERS_CREATED, event.payload)

        await emit(oms, 1)
        async with reading(oms, handle):
            await until(lambda: oms.counters.deadletters[OMS_ORDERS_CREATED.pattern] == 1)
    message = await oms.jetstream().get_msg("DEADLETTERS", 1)
    assert "no transaction is open" in DeadLetter.model_validate_json(message.data or b"").error


@pytest.mark.parametrize("where", ["handler", "mark"])
async def test_a_full_disk_costs_no_event(oms: EventBus, tmp_path: Path, where: str):
    path, handled = tmp_path / "books.db", list[int]()
    async with SqliteDedupe(path) as store:
        async with store.once("setup", "table") as tx:
            await tx.execute("CREATE TABLE effects (what BLOB)")
        full, tries = True, 0

        async def handle(event: Event[Any]) -> None:
            nonlocal tries
            tries += 1
            async with event.once(store) as tx:
                await tx.execute(f"PRAGMA max_page_count = {1 if full else 1_000_000}")
                if where == "handler" or not full:
                    await tx.execute("INSERT INTO effects VALUES (zeroblob(100000))")
                else:  # what the store itself writes finds no room
                    await tx.executemany(
                        "INSERT INTO mts1b_dedupe (consumer, key, done_at) VALUES ('x', ?, 0)",
                        [(str(n) * 100,) for n in range(1000)],
                    )
            handled.append(event.seq)

        await emit(oms, 3)
        async with reading(oms, handle) as consumer:
            await until(lambda: tries == 2)
            assert "check that the disk has room" in str(consumer.store_away)
            full = False
            await until(lambda: len(handled) == 3)
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute("SELECT count(*) FROM effects").fetchone() == (3,)
    assert handled == [1, 2, 3]
    assert await dead_letters(oms) == 0


async def test_a_file_put_in_the_place_of_a_store_is_opened(tmp_path: Path):
    path, other = tmp_path / "books.db", tmp_path / "restored.db"
    async with SqliteDedupe(other) as backup, backup.once("books", "a"):
        pass
    async with SqliteDedupe(path) as store:
        async with store.once("books", "b"):
            pass
        path.unlink()
        with pytest.raises(StoreError, match="was deleted while in use"):
            async with store.once("books", "c"):
                pytest.fail("entered without a store")
        for kept in ("", "-wal", "-shm"):
            path.with_name(path.name + kept).unlink(missing_ok=True)
        other.rename(path)
        with pytest.raises(AlreadyDone):
            async with store.once("books", "a"):
                pytest.fail("the restored store knows it")


async def test_a_store_deleted_while_its_handler_works_marks_nothing(tmp_path: Path):
    path = tmp_path / "books.db"
    async with SqliteDedupe(path) as store:
        with pytest.raises(StoreError, match="was deleted while in use"):
            async with store.once("books", "a"):
                path.unlink()


async def test_an_effect_whose_mark_meets_an_outage_is_not_repeated(oms: EventBus, monkeypatch: pytest.MonkeyPatch):
    store, acted, away = KvDedupe(oms), list[int](), True
    write = Cells.write

    async def fails(self: Cells, key: str, value: bytes, expected: int, *, ttl: float | None = None) -> int:
        if away and b'"done"' in value:
            raise StoreError("the bucket is away")
        return await write(self, key, value, expected, ttl=ttl)

    async def handle(event: Event[Any]) -> None:
        async with event.once(store):
            acted.append(event.seq)

    monkeypatch.setattr(Cells, "write", fails)
    await emit(oms, 2)
    async with reading(oms, handle) as consumer:
        await until(lambda: consumer.store_away is not None)
        away = False
        await until(lambda: oms.counters.deduplicated[OMS_ORDERS_CREATED.pattern] == 1)
        await until(lambda: len(acted) == 2)
    assert acted == [1, 2]
    assert await dead_letters(oms) == 0


async def test_a_service_whose_store_cannot_be_opened_does_not_start(
    oms: EventBus, nats_server: NatsServer, tmp_path: Path
):
    service = Service("mts1b-oms", servers=nats_server.url)

    @service.consumes(OMS_ORDERS_CREATED, durable="books", dedupe=SqliteDedupe(tmp_path / "missing" / "books.db"))
    async def never(*_: Any) -> None:
        pytest.fail("handled without a store")

    await emit(oms, 1)
    with pytest.raises(StoreError, match="check that the directory exists"):
        await asyncio.wait_for(service.serve(), WAIT)
    assert [each.name for each in await oms.jetstream().consumers_info("OMS_ORDERS")] == []


class Link:
    """What stands between the store and its database, and can be taken away."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self._there = port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._work: set[asyncio.Task[None]] = set()

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._there)
        self._open |= {writer, there_writer}
        await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


@pytest_asyncio.fixture
async def link(new_postgres_database: Callable[[], str]) -> AsyncIterator[tuple[Link, str]]:
    url = new_postgres_database()
    made = Link(int(str(conninfo_to_dict(url)["port"])))
    await made.up()
    yield made, make_conninfo(url, port=made.port)
    await made.down()


async def test_effects_go_on_within_seconds_when_the_database_is_back(oms: EventBus, link: tuple[Link, str]):
    between, url = link
    store, handled = PostgresDedupe(url), list[int]()

    def done() -> int:
        """Events whose effect was committed, though the answer was lost with the connection."""
        return sum(oms.counters.deduplicated.values())

    async def handle(event: Event[Any]) -> None:
        async with event.once(store):
            await asyncio.sleep(0.01)
        handled.append(event.seq)

    try:
        async with reading(oms, handle, concurrency=4) as consumer:
            await emit(oms, 60)
            await until(lambda: len(handled) >= 10)
            await between.down()
            await until(lambda: consumer.store_away is not None)
            await asyncio.sleep(16)  # the pool's own attempts would be at 15 and 31 s
            await between.up()
            back = time.monotonic()
            await until(lambda: len(handled) + done() == 60)
            late = time.monotonic() - back
    finally:
        await store.close()
    assert late < 8
    assert len(set(handled)) + done() == 60
    assert await dead_letters(oms) == 0
