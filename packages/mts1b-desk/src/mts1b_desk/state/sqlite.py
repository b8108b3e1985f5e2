"""The state of a service in a SQLite file of its own."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiosqlite
from mts1b_platform.eventbus import Event
from mts1b_platform.eventbus.dedupe.sqlite import SqliteDedupe
from mts1b_platform.eventbus.errors import StoreError
from mts1b_platform.eventbus.outbox import Outbox
from mts1b_platform.eventbus.outbox.sqlite import SqliteOutbox

from mts1b_desk.cores.core import Emit
from mts1b_desk.state.store import Rows
from mts1b_desk.tables import Change

_TABLE = """
CREATE TABLE IF NOT EXISTS desk_rows (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    session TEXT NOT NULL,
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (session, name, key)
)
"""
_SAVE = (
    "INSERT INTO desk_rows (session, name, key, data) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (session, name, key) DO UPDATE SET data = excluded.data"
)
_READ = "SELECT data FROM desk_rows WHERE session = ? AND name = ? AND key = ?"
_DELETE = "DELETE FROM desk_rows WHERE session = ? AND name = ? AND key = ?"


class SqliteStore:
    """State in the file ``path``, which belongs to one running service. Implements ``Store``.

    Args:
        path: the file; made when missing.
        session: whose rows these are.
        repo: the repo that the service speaks as.
        actor: who acts when an event does not say.
    """

    keeps = True

    def __init__(self, path: Path, *, session: str, repo: str, actor: str) -> None:
        self._path = path
        self._session = session
        self._dedupe = SqliteDedupe(path)
        self._outbox = SqliteOutbox(path, service=repo, actor=actor)
        self._relayed = SqliteOutbox(path, service=repo, actor=actor)
        self._db: aiosqlite.Connection | None = None
        self._turn = asyncio.Lock()

    @property
    def waiting(self) -> Outbox:
        """The events that are stored and not published yet."""
        return self._relayed

    async def connect(self) -> None:
        """Open the file; nothing when it is open.

        Raises:
            StoreError: it cannot be used.
        """
        if self._db is not None:
            return
        await self._outbox.open()
        try:
            self._db = await aiosqlite.connect(self._path, timeout=30, isolation_level=None)
            await self._db.execute("PRAGMA synchronous=FULL")
            await self._db.execute(_TABLE)
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    async def open(self) -> Rows:
        """Open the file and read the session's rows.

        Raises:
            StoreError: the file cannot be used.
        """
        await self.connect()
        try:
            found = await self._opened().execute_fetchall(
                "SELECT name, key, data FROM desk_rows WHERE session = ? ORDER BY number", (self._session,)
            )
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        rows: dict[str, list[tuple[str, bytes]]] = {}
        for name, key, data in found:
            rows.setdefault(name, []).append((key, data))
        return rows

    async def backlog(self) -> int:
        """How many events wait to be published."""
        return (await self._outbox.backlog()).waiting

    def once(self, event: Event[Any]) -> AbstractAsyncContextManager[aiosqlite.Connection]:
        """A transaction that handles ``event``; raises ``AlreadyDone`` when one before did."""
        return event.once(self._dedupe)

    async def mark(self, tx: aiosqlite.Connection, event: Event[Any]) -> None:
        """Handle ``event`` too in ``tx``; raises ``AlreadyDone`` when one before did."""
        await event.mark(self._dedupe, tx)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[aiosqlite.Connection]:
        """A transaction; rolled back when the block raises, and when it is cancelled, at its beginning too."""
        async with self._turn:
            db = self._opened()
            try:
                await db.execute("BEGIN IMMEDIATE")
                yield db
                await db.execute("COMMIT")
            except BaseException:
                # Queued behind whatever a cancelled statement still does in the connection's thread.
                with suppress(sqlite3.Error):  # an I/O error may have ended the transaction
                    await asyncio.shield(db.rollback())
                raise

    async def read(self, tx: aiosqlite.Connection | None, table: str, key: str, *, alone: bool = False) -> bytes | None:
        """One row; a transaction is the only one that writes."""
        del alone
        found = await (tx or self._opened()).execute_fetchall(_READ, (self._session, table, key))
        return next((row[0] for row in found), None)

    async def write(
        self, tx: aiosqlite.Connection, changes: Sequence[Change], emits: Sequence[tuple[Emit, str | None]]
    ) -> None:
        """Store rows and events in ``tx``."""
        saved = [
            (self._session, change.table, change.key, change.data) for change in changes if change.data is not None
        ]
        gone = [(self._session, change.table, change.key) for change in changes if change.data is None]
        if saved:
            await tx.executemany(_SAVE, saved)
        if gone:
            await tx.executemany(_DELETE, gone)
        for emit, trace_id in emits:
            await self._outbox.add(tx, emit.subject, emit.payload, msg_id=emit.msg_id, trace_id=trace_id)

    async def close(self) -> None:
        """Close the file."""
        await self._dedupe.close()
        await self._outbox.close()
        await self._relayed.close()
        db, self._db = self._db, None
        if db is not None:
            await db.close()

    def _unusable(self, error: sqlite3.Error) -> StoreError:
        return StoreError(
            f"the state in {self._path} cannot be read: {error}; check that the file is writable and holds the state "
            "of a desk"
        )

    def _opened(self) -> aiosqlite.Connection:
        if self._db is None:
            raise StoreError(f"the state in {self._path} is not open")
        return self._db
