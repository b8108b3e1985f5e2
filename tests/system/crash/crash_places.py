"""Where effects happen and outboxes live, per kind of store; written by the children, read by the judge.

Effects are appended without any uniqueness, so that a doubled one is seen and not swallowed.
"""

import os
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any, Literal

import aiosqlite
import psycopg
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.dedupe import DedupeStore, KvDedupe
from mts1b_platform.eventbus.dedupe.postgres import PostgresDedupe
from mts1b_platform.eventbus.dedupe.sqlite import SqliteDedupe
from mts1b_platform.eventbus.outbox.postgres import PostgresOutbox
from mts1b_platform.eventbus.outbox.sqlite import SqliteOutbox
from psycopg import AsyncConnection

LEASE = 1.0
"""Seconds after which a crashed owner's event may be handled by another, with a key-value store."""
STALL = LEASE / 3
"""A process or server that stands still for longer may lose a lease, or an event that it has in hand, for it."""
Kind = Literal["plain", "kv", "sqlite", "postgres"]
AnyOutbox = SqliteOutbox | PostgresOutbox

_TABLES = (
    "CREATE TABLE effects (key TEXT NOT NULL, pid INTEGER NOT NULL)",
    "CREATE TABLE orders (number INTEGER NOT NULL, producer INTEGER NOT NULL)",
)


class Place:
    """The database (or, for stores without one, the file) of one run."""

    def __init__(self, kind: Kind, where: str) -> None:
        self.kind = kind
        self.where = where

    def prepare(self) -> None:
        """Create what the children write to."""
        if self.kind == "sqlite":
            with closing(sqlite3.connect(self.where)) as db, db:
                db.execute("PRAGMA journal_mode=WAL")
                for table in _TABLES:
                    db.execute(table)
            db.close()
        elif self.kind == "postgres":
            with psycopg.connect(self.where, autocommit=True) as connection:
                for table in _TABLES:
                    connection.execute(table.encode())

    # For children.

    def store(self, bus: EventBus) -> DedupeStore[Any] | None:
        """The dedupe store of this kind; None for plain consuming."""
        match self.kind:
            case "sqlite":
                return SqliteDedupe(self.where)
            case "postgres":
                return PostgresDedupe(self.where)
            case "kv":
                return KvDedupe(bus, lease=LEASE)
            case _:
                return None

    async def act(self, tx: Any, key: str) -> None:
        """The effect of handling ``key``."""
        if self.kind in ("sqlite", "postgres"):
            await tx.execute(f"INSERT INTO effects VALUES ('{key}', {os.getpid()})")  # noqa: S608 - two drivers
        else:
            self._append("effects", key)

    def published(self, number: int) -> None:
        """Note that the producer without a database has an ack for ``number``."""
        self._append("acked", str(number))

    def stalled(self) -> None:
        """Note that this process stood still for longer than ``STALL``."""
        self._append("stalls", str(os.getpid()))

    async def outbox(self, stack: AsyncExitStack) -> AnyOutbox:
        """The outbox of this kind, open."""
        made = (
            SqliteOutbox(self.where, service="mts1b-oms")
            if self.kind == "sqlite"
            else PostgresOutbox(self.where, service="mts1b-oms")
        )
        return await stack.enter_async_context(made)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Any, None]:
        """A business transaction, committed at the end."""
        if self.kind == "sqlite":
            async with aiosqlite.connect(self.where, isolation_level=None, timeout=30) as db:
                await db.execute("BEGIN IMMEDIATE")
                yield db
                await db.commit()
        else:
            async with await AsyncConnection.connect(self.where) as connection:
                yield connection

    # For the judge, and for children that come back.

    def effects(self) -> list[str]:
        """The key of every effect that happened."""
        if self.kind in ("sqlite", "postgres"):
            return [str(row[0]) for row in self._rows("SELECT key FROM effects")]
        return self._lines("effects")

    def committed(self, producer: int | None = None) -> list[int]:
        """The orders that the business knows: committed, or acknowledged where there is no database."""
        if self.kind in ("sqlite", "postgres"):
            return [n for n, p in self._rows("SELECT number, producer FROM orders") if producer in (None, p)]
        numbers = [int(line) for line in self._lines("acked")]
        return [n for n in numbers if producer in (None, n % 2)]

    def stalls(self) -> int:
        """How often a consumer stood still for longer than ``STALL``."""
        return len(self._lines("stalls"))

    def _rows(self, statement: str) -> list[tuple[Any, ...]]:
        if self.kind == "sqlite":
            db = sqlite3.connect(self.where, timeout=30)
            try:
                return db.execute(statement).fetchall()
            finally:
                db.close()
        with psycopg.connect(self.where) as connection:
            return connection.execute(statement.encode()).fetchall()

    def _append(self, name: str, line: str) -> None:
        # One write of one line to a file opened for appending: whole or not at all, whoever is killed when.
        file = os.open(f"{self.where}.{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.write(file, f"{line}\n".encode())
        os.close(file)

    def _lines(self, name: str) -> list[str]:
        path = Path(f"{self.where}.{name}")
        return path.read_text().split() if path.exists() else []
