"""The dedupe store in a SQLite file: effect and mark in one transaction, so the effect happens exactly once.

::

    store = SqliteDedupe("positions.db")
    async with event, event.once(store) as tx:      # tx: an aiosqlite connection inside a transaction
        await tx.execute("UPDATE positions SET …")

The file is the one that holds the effect. One writer at a time: handlers that share the file take turns, in this
process and among processes. A commit is on disk when it returns (``synchronous=FULL``), so that an acknowledged
event's effect survives a power cut.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import aiosqlite

from mts1b_platform.eventbus.dedupe.store import Memory
from mts1b_platform.eventbus.errors import AlreadyDone, StoreError

_TABLE = """
CREATE TABLE IF NOT EXISTS mts1b_dedupe (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    consumer TEXT NOT NULL,
    key TEXT NOT NULL,
    done_at REAL NOT NULL,
    UNIQUE (consumer, key)
)
"""
_INDEX = "CREATE INDEX IF NOT EXISTS mts1b_dedupe_done_at ON mts1b_dedupe (done_at)"
_PRUNE_EVERY = 1000


class SqliteDedupe:
    """Marks in the SQLite file ``path``, beside the effects that they stand for. Implements ``DedupeStore``.

    Opens at first use; ``async with`` or :meth:`close` closes it.

    Args:
        path: the database file; created when missing.
        memory: how much is remembered; pruned once per thousand events.
        busy_timeout: seconds to wait for another writer before the event is left for later.
    """

    def __init__(self, path: str | Path, *, memory: Memory | None = None, busy_timeout: float = 30.0) -> None:
        self.path = Path(path)
        self.memory = memory or Memory()
        self._busy_timeout = busy_timeout
        self._db: aiosqlite.Connection | None = None
        self._turn = asyncio.Lock()
        self._since_prune = 0

    async def __aenter__(self) -> Self:
        async with self._turn:
            await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @asynccontextmanager
    async def once(self, consumer: str, key: str) -> AsyncGenerator[aiosqlite.Connection, None]:
        """A transaction that also holds the mark of ``key``; committed when the block is left well.

        Raises:
            AlreadyDone: ``consumer`` handled ``key`` before.
            StoreError: the file cannot be opened or written, or the handler ended the transaction by itself.
        """
        async with self._turn:
            db = await self._open()
            try:
                await self._begin(db)
                await self._mark(db, consumer, key)
                yield db
                if not db.in_transaction:
                    raise StoreError(
                        f"{self.path}: the handler of {key!r} ended the transaction itself, so effect and mark may not "
                        "have been stored together: leave commit and rollback to `once`"
                    )
                await db.execute("COMMIT")
            except BaseException:
                # Queued behind whatever a cancelled statement still does in the connection's thread.
                await asyncio.shield(db.rollback())
                raise
            await self._prune(db)

    async def close(self) -> None:
        """Close the file. A later use opens it again."""
        async with self._turn:
            db, self._db = self._db, None
            if db is not None:
                await db.close()

    async def _open(self) -> aiosqlite.Connection:
        if self._db is None:
            db: aiosqlite.Connection | None = None
            try:
                db = await aiosqlite.connect(self.path, timeout=self._busy_timeout, isolation_level=None)
                await db.execute("PRAGMA journal_mode=WAL")
                await db.execute("PRAGMA synchronous=FULL")
                await db.execute(_TABLE)
                await db.execute(_INDEX)
            except sqlite3.Error as error:
                if db is not None:
                    await db.close()
                raise StoreError(
                    f"dedupe store {self.path} cannot be opened: {error}; check that the directory exists, is writable "
                    "and holds a SQLite file of that name or none"
                ) from error
            self._db = db
        return self._db

    async def _begin(self, db: aiosqlite.Connection) -> None:
        try:
            await db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise StoreError(
                f"dedupe store {self.path} cannot be written: {error}; another process may have held a transaction for "
                f"over {self._busy_timeout:g} s"
            ) from error

    async def _mark(self, db: aiosqlite.Connection, consumer: str, key: str) -> None:
        marked = await db.execute(
            "INSERT INTO mts1b_dedupe (consumer, key, done_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (consumer, key, time.time()),
        )
        if marked.rowcount == 0:
            raise AlreadyDone(f"{consumer} handled {key} before")

    async def _prune(self, db: aiosqlite.Connection) -> None:
        self._since_prune += 1
        if self._since_prune < min(_PRUNE_EVERY, self.memory.limit):
            return
        self._since_prune = 0
        with suppress(sqlite3.OperationalError):  # another writer is at it; the next round prunes
            await db.execute("DELETE FROM mts1b_dedupe WHERE done_at < ?", (time.time() - self.memory.keep,))
            await db.execute(
                "DELETE FROM mts1b_dedupe WHERE seq <= (SELECT max(seq) FROM mts1b_dedupe) - ?", (self.memory.limit,)
            )
