"""Orders committed with an outbox, a relay that publishes them, two readers that book each one once."""

import asyncio
import shutil
import sqlite3
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Final

from mts1b_foundation.orders import Order
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Event, RetryPolicy
from mts1b_platform.eventbus.dedupe.sqlite import SqliteDedupe
from mts1b_platform.eventbus.outbox import sqlite as outbox_sqlite
from mts1b_platform.eventbus.outbox.relay import Relay

from simulation.plan import Plan
from simulation.record import Acked, Reader, Record
from simulation.workloads.handling import act, number_of
from simulation.workloads.orders import key_of, order
from simulation.workloads.stage import Stage
from simulation.workloads.workload import Workload

READERS: Final = "readers"
_IN_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - where Linux keeps files in memory; elsewhere the usual place


class Outbox(Workload):
    """See the module."""

    def __init__(self, plan: Plan, record: Record) -> None:
        super().__init__(plan, record)
        self.directory = Path(tempfile.mkdtemp(prefix="mts1b-sim-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None))
        record.readers[READERS] = Reader(ordered=False, shared=True, once=True)
        self.roles = {
            "oms": partial(produce, path=self.directory / "oms.db"),
            "relay": partial(publish, path=self.directory / "oms.db"),
            "reader-a": partial(book, path=self.directory / "books.db"),
            "reader-b": partial(book, path=self.directory / "books.db"),
        }

    def waiting(self) -> int:
        found = self._ask("oms.db", "SELECT count(*) FROM mts1b_outbox WHERE parked_at IS NULL")
        return found[0][0] if found else 0

    def gather(self) -> None:
        record = self.record
        for (number,) in self._ask("oms.db", "SELECT number FROM orders ORDER BY number"):
            record.acked[number] = Acked(key_of(self.plan, number), 0, 0)
        for (number,) in self._ask("oms.db", "SELECT number FROM mts1b_outbox"):
            record.unpublished.add(int(number))
        for number, count in self._ask("books.db", "SELECT number, count(*) FROM effects GROUP BY number"):
            record.readers[READERS].booked[int(number)] = count

    def close(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def _ask(self, file: str, question: str) -> list[Any]:
        try:
            db = sqlite3.connect(f"file:{self.directory / file}?mode=ro", uri=True, timeout=0)
        except sqlite3.OperationalError:
            return []
        try:
            return db.execute(question).fetchall()
        except sqlite3.OperationalError:  # the table is not made yet
            return []
        finally:
            db.close()


async def produce(stage: Stage, path: Path) -> None:
    """Commit all orders, each with its event; some transactions are rolled back and begun again."""
    plan, record = stage.plan, stage.record
    async with outbox_sqlite.SqliteOutbox(path, service="mts1b-oms") as outbox:
        db = await stage.open_database(path)
        await db.execute("CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY)")
        while True:
            row = await (await db.execute("SELECT coalesce(max(number), -1) + 1 FROM orders")).fetchone()
            assert row is not None
            number = row[0]
            if number >= plan.events:
                break
            await db.execute("BEGIN IMMEDIATE")
            await db.execute("INSERT INTO orders VALUES (?)", (number,))
            attempt = f"{stage.name}-{stage.rng.getrandbits(32)}"  # a transaction that was rolled back is another order
            made = order(number, key_of(plan, number)).model_copy(update={"idempotency_key": attempt})
            await outbox.add(db, OMS_ORDERS_CREATED, made)
            await db.execute("ROLLBACK" if stage.rng.random() < plan.abort else "COMMIT")
            if plan.pace:
                await asyncio.sleep(plan.pace)
        await db.close()
    record.emitted_all()


async def publish(stage: Stage, path: Path) -> None:
    """Relay until told to stop."""
    stop = stage.stop = asyncio.Event()
    bus = await stage.connect("mts1b-oms")
    relay = Relay(bus, outbox_sqlite.SqliteOutbox(path, service="mts1b-oms"), lease=3.0, batch=8)
    running, stopping = asyncio.create_task(relay.run()), asyncio.create_task(stop.wait())
    await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    relay.stop()
    await running
    await bus.drain()


async def write(db: Any, event: Event[Order], who: str) -> None:
    """The effect of an order, in the transaction of its mark."""
    await db.execute("CREATE TABLE IF NOT EXISTS effects (number INTEGER, who TEXT)")
    await db.execute("INSERT INTO effects VALUES (?, ?)", (number_of(event), who))


async def book(stage: Stage, path: Path) -> None:
    """Book each order once, in one transaction with its mark, until told to stop."""
    plan, reader = stage.plan, stage.record.readers[READERS]
    bus = await stage.connect("mts1b-treasury")
    store = SqliteDedupe(path)
    consumer = bus.consume(
        OMS_ORDERS_CREATED,
        durable=READERS,
        ack_wait=plan.ack_wait,
        prefetch=plan.prefetch,
        policy=RetryPolicy(max_deliveries=plan.max_deliveries, base=0.1, cap=0.5),
    )

    async def once(event: Event[Order]) -> None:
        reader.begin(stage.name, number_of(event))
        try:
            async with event.once(store) as db:
                await write(db, event, stage.name)
                await act(stage, reader, event)
        finally:
            reader.leave(stage.name, number_of(event))

    stop = stage.stop = asyncio.Event()
    running = asyncio.create_task(consumer.run(once, concurrency=plan.concurrency, effects=store))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        await bus.drain()
        await running
        await store.close()
    else:
        await running
        raise RuntimeError("run() has ended though nobody stopped it")
