"""The dedupe stores as their suite sees them: what each can do, how it is opened, where its handlers' effects go."""

import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiosqlite
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.dedupe import DedupeStore, KvDedupe, Memory
from mts1b_platform.eventbus.dedupe.postgres import PostgresDedupe
from mts1b_platform.eventbus.dedupe.sqlite import SqliteDedupe
from psycopg import AsyncConnection

WAIT = 60.0
LEASE = 30.0
"""Of a claim, where no test waits for its end."""


@dataclass(frozen=True, slots=True)
class Features:
    """What some stores promise beyond what all do."""

    transaction: bool = False
    """What a handler writes through the handle that it is given commits together with the mark."""
    prunes: bool = False
    """It forgets old marks itself, by the clock of this machine; else the server does, by its own."""
    lease: bool = False
    """A claim ends after some time if its owner does not renew it."""


class Open(Protocol):
    """How a test opens a store; each call is one more instance on the same data."""

    async def __call__(self, memory: Memory | None = None, *, lease: float = LEASE) -> DedupeStore[Any]:
        """A store without leases does not look at ``lease``."""
        ...


@dataclass(frozen=True, slots=True)
class Bench:
    """A kind of store, and effects of handlers: in the store's own database, or outside where it has none."""

    open: Open
    act: Callable[[Any, str], Awaitable[None]]
    effects: Callable[[], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bench may keep things."""

    directory: Path
    bus: EventBus
    new_database: Callable[[], str]


Benches = Callable[[Place], AbstractAsyncContextManager[Bench]]


async def insert(tx: Any, what: str) -> None:
    """An effect in the database of the store."""
    await tx.execute(f"INSERT INTO effects VALUES ('{what}')")  # noqa: S608 - both drivers, one statement


@asynccontextmanager
async def sqlite(place: Place) -> AsyncGenerator[Bench, None]:
    path = place.directory / "books.db"
    sqlite3.connect(path).execute("CREATE TABLE effects (what TEXT)").connection.close()

    async def effects() -> list[str]:
        async with aiosqlite.connect(path) as db:
            return [row[0] for row in await db.execute_fetchall("SELECT what FROM effects")]

    async with AsyncExitStack() as opened:

        async def open_store(memory: Memory | None = None, *, lease: float = LEASE) -> DedupeStore[Any]:
            del lease
            return await opened.enter_async_context(SqliteDedupe(path, memory=memory))

        yield Bench(open_store, insert, effects)


@asynccontextmanager
async def postgres(place: Place) -> AsyncGenerator[Bench, None]:
    url = place.new_database()
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("CREATE TABLE effects (what TEXT)")

    async def effects() -> list[str]:
        async with await AsyncConnection.connect(url) as connection:
            rows = await connection.execute("SELECT what FROM effects")
            return [row[0] for row in await rows.fetchall()]

    async with AsyncExitStack() as opened:

        async def open_store(memory: Memory | None = None, *, lease: float = LEASE) -> DedupeStore[Any]:
            del lease
            return await opened.enter_async_context(PostgresDedupe(url, memory=memory, timeout=WAIT))

        yield Bench(open_store, insert, effects)


@asynccontextmanager
async def kv(place: Place) -> AsyncGenerator[Bench, None]:
    outside: list[str] = []

    async def open_store(memory: Memory | None = None, *, lease: float = LEASE) -> DedupeStore[Any]:
        return KvDedupe(place.bus, lease=lease, memory=memory)

    async def act(_tx: Any, what: str) -> None:
        outside.append(what)

    async def effects() -> list[str]:
        return list(outside)

    yield Bench(open_store, act, effects)


KINDS: dict[str, tuple[Features, Benches]] = {
    "kv": (Features(lease=True), kv),
    "sqlite": (Features(transaction=True, prunes=True), sqlite),
    "postgres": (Features(transaction=True, prunes=True), postgres),
}


def having(feature: Callable[[Features], bool]) -> list[str]:
    """The kinds of store for which ``feature`` holds."""
    return [kind for kind, (features, _) in KINDS.items() if feature(features)]
