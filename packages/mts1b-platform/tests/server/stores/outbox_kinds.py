"""The outboxes as their suite sees them: how each is opened, and transactions on its database and elsewhere."""

import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiosqlite
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus.outbox.postgres import PostgresOutbox
from mts1b_platform.eventbus.outbox.sqlite import SqliteOutbox
from psycopg import AsyncConnection

AnyOutbox = SqliteOutbox | PostgresOutbox
Connected = Callable[[], AbstractAsyncContextManager[Any]]


def order(number: int) -> Order:
    return ORDER.model_copy(update={"order_id": f"order-{number}", "idempotency_key": f"intent-{number}"})


@dataclass(frozen=True, slots=True)
class Bench:
    """A kind of outbox, and business transactions on the same database."""

    open: Callable[[], Awaitable[AnyOutbox]]
    transaction: Connected
    no_transaction: Connected
    """A connection to the outbox's database in which no transaction is open."""
    transaction_elsewhere: Connected
    """A transaction on another database, which the outbox must refuse."""
    refusal_elsewhere: str
    """With what words, as a pattern."""

    async def commit(self, outbox: AnyOutbox, *numbers: int) -> None:
        for number in numbers:
            async with self.transaction() as tx:
                await tx.execute(f"INSERT INTO orders VALUES ({number})")  # noqa: S608 - both drivers, one statement
                await outbox.add(tx, OMS_ORDERS_CREATED, order(number))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bench may keep things."""

    directory: Path
    new_database: Callable[[], str]


Benches = Callable[[Place], AbstractAsyncContextManager[Bench]]


@asynccontextmanager
async def sqlite(place: Place) -> AsyncGenerator[Bench, None]:
    path = place.directory / "oms.db"
    sqlite3.connect(path).execute("CREATE TABLE orders (number INTEGER)").connection.close()

    @asynccontextmanager
    async def transaction(file: Path = path) -> AsyncGenerator[Any, None]:
        async with aiosqlite.connect(file, isolation_level=None) as db:
            await db.execute("BEGIN IMMEDIATE")
            yield db
            await db.commit()

    async with AsyncExitStack() as opened:
        yield Bench(
            open=lambda: opened.enter_async_context(SqliteOutbox(path, service="mts1b-oms")),
            transaction=transaction,
            no_transaction=lambda: aiosqlite.connect(path, isolation_level=None),
            transaction_elsewhere=lambda: transaction(place.directory / "other.db"),
            refusal_elsewhere="same file",
        )


@asynccontextmanager
async def postgres(place: Place) -> AsyncGenerator[Bench, None]:
    url = place.new_database()

    @asynccontextmanager
    async def connected(to: str = url, *, autocommit: bool = False) -> AsyncGenerator[Any, None]:
        async with await AsyncConnection.connect(to, autocommit=autocommit) as connection:
            yield connection

    async with connected() as db:
        await db.execute("CREATE TABLE orders (number INTEGER)")
    async with AsyncExitStack() as opened:
        yield Bench(
            open=lambda: opened.enter_async_context(PostgresOutbox(url, service="mts1b-oms")),
            transaction=connected,
            no_transaction=lambda: connected(autocommit=True),
            transaction_elsewhere=lambda: connected(place.new_database()),
            refusal_elsewhere="no outbox",
        )


KINDS: dict[str, Benches] = {"sqlite": sqlite, "postgres": postgres}
