"""The dedupe store in a SQLite file: effect and mark in one transaction, so the effect happens exactly once.

::

    store = SqliteDedupe("positions.db")
    async with event, event.once(store) as tx:      # tx: an aiosqlite connection inside a transaction
        await tx.execute("UPDATE positions SET …")

The file is the one that holds the effect. One writer at a time: handlers that share the file take turns, in this
process and among processes. A commit is on disk when it returns (``synchronous=FULL``), so that an acknowledged
event's effect survives a power cut. The file is readable by its owner alone when the store creates it; one that is
deleted while the store is open is missed, and not replaced by an empty one.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import aiosqlite

from mts1b_platform.eventbus.dedupe.mark_clock import MarkClock
from mts1b_platform.eventbus.dedupe.store import Memory
from mts1b_platform.eventbus.errors import AlreadyDone, StoreError, StoreHeld, StoreMisused, Superseded
from mts1b_platform.eventbus.events.once import Term
from mts1b_platform.eventbus.limits import check_seconds
from mts1b_platform.eventbus.sqlite_file import SqliteFile, is_outage
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.dedupe")

_TABLE = """
CREATE TABLE IF NOT EXISTS mts1b_dedupe (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    consumer TEXT NOT NULL,
    key TEXT NOT NULL,
    done_at REAL NOT NULL,
    UNIQUE (consumer, key)
)
"""
_TERMS = "CREATE TABLE IF NOT EXISTS mts1b_terms (durable TEXT PRIMARY KEY, term INTEGER NOT NULL)"
_INDEX = "CREATE INDEX IF NOT EXISTS mts1b_dedupe_done_at ON mts1b_dedupe (done_at)"
_PRUNE_EVERY = 1000


class SqliteDedupe:
    """Marks in the SQLite file ``path``, beside the effects that they stand for. Implements ``DedupeStore``.

    Opens by :meth:`open` or at first use; ``async with`` or :meth:`close` closes it.

    Args:
        path: the database file; created when missing.
        memory: how much is remembered; pruned once per thousand events.
        busy_timeout: seconds to wait for another writer before the event is left for later.
    """

    def __init__(self, path: str | Path, *, memory: Memory | None = None, busy_timeout: float = 30.0) -> None:
        self.path = Path(path)
        self.memory = memory or Memory()
        check_seconds("busy_timeout", busy_timeout)
        self._busy_timeout = busy_timeout
        self._file = SqliteFile(self.path)
        self._clock = MarkClock()
        self._db: aiosqlite.Connection | None = None
        self._turn = asyncio.Lock()
        self._since_prune = 0
        self._fences = False
        """Whether the table of terms is there; a file that needs none has none."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Open the file, so that one that cannot be used is known before the first event.

        Raises:
            StoreError: it cannot be opened.
        """
        async with self._turn:
            await self._opened()

    def once(self, consumer: str, key: str) -> AbstractAsyncContextManager[aiosqlite.Connection]:
        """A transaction that also holds the mark of ``key``; committed when the block is left well.

        Raises:
            AlreadyDone: ``consumer`` handled ``key`` before.
            StoreError: the file cannot be opened or written.
            StoreMisused: the handler ended the transaction by itself.
        """
        return self._once(consumer, key, None)

    def once_in_term(self, consumer: str, key: str, term: Term) -> AbstractAsyncContextManager[aiosqlite.Connection]:
        """As :meth:`once`, by one of several instances: refused when the file knows a greater term.

        An instance that stands still inside a transaction keeps the file locked: the others wait for it.

        Raises:
            Superseded: another instance has taken over; nothing was written.
        """
        return self._once(consumer, key, term)

    async def mark(self, tx: aiosqlite.Connection, consumer: str, key: str) -> None:
        """Mark ``key`` too in the transaction ``tx`` that :meth:`once` has given.

        Raises:
            AlreadyDone: ``consumer`` handled ``key`` before; ``tx`` is as it was.
            StoreMisused: no transaction is open.
        """
        if not tx.in_transaction:
            raise StoreMisused(f"{self.path}: {key!r} is to be marked in the transaction of `once`, and none is open")
        await self._mark(tx, consumer, key)

    @asynccontextmanager
    async def _once(self, consumer: str, key: str, term: Term | None) -> AsyncGenerator[aiosqlite.Connection, None]:
        async with self._turn:
            db = await self._opened()
            try:
                await self._begin(db)
                if term is not None:
                    await self._fence(db, term)
                await self._mark(db, consumer, key)
                yield db
                if not db.in_transaction:
                    raise StoreMisused(
                        f"{self.path}: the handler of {key!r} ended the transaction itself, so effect and mark may not "
                        "have been stored together: leave commit and rollback to `once`"
                    )
                await db.execute("COMMIT")
                self._fences = self._fences or term is not None
            except BaseException as error:
                # Queued behind whatever a cancelled statement still does in the connection's thread.
                with suppress(sqlite3.Error):  # an I/O error may have ended the transaction
                    await asyncio.shield(db.rollback())
                if is_outage(error):
                    raise StoreError(
                        f"dedupe store {self.path} cannot be written: {error}; check that the disk has room and works"
                    ) from error
                raise
            if self._file.replaced:
                raise self._deleted()
            await self._prune(db)

    async def close(self) -> None:
        """Close the file. A later use opens it again."""
        async with self._turn:
            await self._close()

    async def _close(self) -> None:
        db, self._db = self._db, None
        self._fences = False
        if db is not None:
            await db.close()

    async def _opened(self) -> aiosqlite.Connection:
        if self._db is not None and self._file.replaced:
            if self._file.missing:
                raise self._deleted()
            log.warning("the dedupe store's file was replaced while in use; opening the new one", path=str(self.path))
            await self._close()
        return self._db or await self._open()

    async def _open(self) -> aiosqlite.Connection:
        db: aiosqlite.Connection | None = None
        try:
            self._file.make()
            db = await aiosqlite.connect(self.path, timeout=self._busy_timeout, isolation_level=None)
            await db.execute("PRAGMA journal_mode=WAL")
            await db.execute("PRAGMA synchronous=FULL")
            await db.execute(_TABLE)
            await db.execute(_INDEX)
            newest = list(await db.execute_fetchall("SELECT done_at FROM mts1b_dedupe ORDER BY seq DESC LIMIT 1"))
        except (sqlite3.Error, OSError) as error:
            if db is not None:
                await db.close()
            raise StoreError(
                f"dedupe store {self.path} cannot be opened: {error}; check that the directory exists, is writable "
                "and holds a SQLite file of that name or none"
            ) from error
        self._file.opened()
        self._clock.start(newest[0][0] if newest else None)
        self._db = db
        return db

    def _deleted(self) -> StoreError:
        return StoreError(
            f"dedupe store {self.path} was deleted while in use, and with it the marks of what was handled: put the "
            "file back, or start the service again to begin with an empty store"
        )

    async def _begin(self, db: aiosqlite.Connection) -> None:
        try:
            await db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            raise StoreHeld(
                f"dedupe store {self.path} cannot be written: {error}; {self._file.holder()} has held a transaction "
                f"for over {self._busy_timeout:g} s"
            ) from error

    async def _mark(self, db: aiosqlite.Connection, consumer: str, key: str) -> None:
        marked = await db.execute(
            "INSERT INTO mts1b_dedupe (consumer, key, done_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (consumer, key, self._clock.now()),
        )
        if marked.rowcount == 0:
            raise AlreadyDone(f"{consumer} handled {key} before")
        self._since_prune += 1

    async def _fence(self, db: aiosqlite.Connection, term: Term) -> None:
        """Have the transaction hold that no greater term is known."""
        if not self._fences:
            await db.execute(_TERMS)
        rows = list(await db.execute_fetchall("SELECT term FROM mts1b_terms WHERE durable = ?", (term.durable,)))
        held: int = rows[0][0] if rows else 0
        if held > term.number:
            raise Superseded(term.durable, term.number, held)
        if held < term.number:
            await db.execute("INSERT OR REPLACE INTO mts1b_terms (durable, term) VALUES (?, ?)", term)

    async def _prune(self, db: aiosqlite.Connection) -> None:
        if self._since_prune < min(_PRUNE_EVERY, self.memory.limit):
            return
        self._since_prune = 0
        with suppress(sqlite3.Error):  # another writer is at it; the next round prunes
            await db.execute("DELETE FROM mts1b_dedupe WHERE done_at < ?", (self._clock.now() - self.memory.keep,))
            await db.execute(
                "DELETE FROM mts1b_dedupe WHERE seq <= (SELECT max(seq) FROM mts1b_dedupe) - ?", (self.memory.limit,)
            )
