"""The outbox in a SQLite file: the event is written in the business transaction itself.

::

    async with SqliteOutbox("oms.db", service="mts1b-oms") as outbox:
        await db.execute("BEGIN IMMEDIATE")                       # db: an aiosqlite connection to oms.db
        await db.execute("INSERT INTO orders …")
        await outbox.add(db, OMS_ORDERS_CREATED, order)
        await db.commit()                                         # both, or neither

A :class:`~mts1b_platform.eventbus.outbox.relay.Relay` publishes it, in this process or another. Events leave in the
order of their commits: SQLite has one writer at a time.
"""

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiosqlite
from mts1b_foundation.subjects import DurableSubject
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.errors import StoreError
from mts1b_platform.eventbus.outbox.message import Backlog, Row, seal

_TABLES = """
CREATE TABLE IF NOT EXISTS mts1b_outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    subject TEXT NOT NULL,
    headers TEXT NOT NULL,
    payload BLOB NOT NULL,
    added_at REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    parked_at REAL
);
CREATE TABLE IF NOT EXISTS mts1b_outbox_lease (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    owner TEXT NOT NULL,
    until REAL NOT NULL
);
"""
_ADD = "INSERT INTO mts1b_outbox (subject, headers, payload, added_at) VALUES (?, ?, ?, ?)"
# One statement, so that two relays cannot both read an expired lease.
_HOLD = """
INSERT INTO mts1b_outbox_lease (one, owner, until) VALUES (1, :owner, :until)
ON CONFLICT (one) DO UPDATE SET owner = :owner, until = :until WHERE owner = :owner OR until < :now
"""


class SqliteOutbox:
    """Events that wait in the SQLite file ``path`` until a relay has published them.

    Args:
        path: the database file of the business transactions.
        service: the repo whose events these are, such as ``mts1b-oms``.
        actor: who acts when a payload does not say.
        busy_timeout: seconds to wait for another writer.
    """

    def __init__(self, path: str | Path, *, service: str, actor: str | None = None, busy_timeout: float = 30.0) -> None:
        self.path = Path(path)
        self.service = service
        self._actor = actor
        self._busy_timeout = busy_timeout
        self._db: aiosqlite.Connection | None = None
        self._held: tuple[str, float] | None = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> bool:
        """Open the file and create the outbox's tables where they are missing; False when it was open before.

        Raises:
            StoreError: it cannot be opened.
        """
        if self._db is not None:
            return False
        db: aiosqlite.Connection | None = None
        try:
            db = await aiosqlite.connect(self.path, timeout=self._busy_timeout, isolation_level=None)
            await db.execute("PRAGMA journal_mode=WAL")
            await db.execute("PRAGMA synchronous=FULL")
            await db.executescript(_TABLES)
        except sqlite3.Error as error:
            if db is not None:
                await db.close()
            raise StoreError(
                f"outbox {self.path} cannot be opened: {error}; check that the directory exists and is writable"
            ) from error
        self._db = db
        return True

    async def close(self) -> None:
        """Close the outbox's own connection."""
        db, self._db = self._db, None
        if db is not None:
            await db.close()

    async def add(
        self,
        tx: aiosqlite.Connection,
        subject: DurableSubject[T],
        event: T,
        *,
        msg_id: str | None = None,
        trace_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Write ``event`` in the transaction that is open on ``tx``: published if that commits, never if not.

        Raises:
            SubjectError: the event is not of the subject's payload type.
            NotTheProducer: the subject belongs to another service.
            StoreError: ``tx`` is in no transaction, or to a file without this outbox.
        """
        sealed = seal(
            subject,
            event,
            service=self.service,
            actor=self._actor,
            msg_id=msg_id,
            trace_id=trace_id,
            headers=headers,
        )
        if not tx.in_transaction:
            raise StoreError(
                f"{sealed.subject}: no transaction is open, so the event would not stand or fall with anything: BEGIN "
                "one, write, add, and commit"
            )
        try:
            await tx.execute(_ADD, (sealed.subject, sealed.header_text, sealed.payload, time.time()))
        except sqlite3.OperationalError as error:
            raise StoreError(
                f"{sealed.subject}: the outbox cannot be written: {error}; open the outbox ({self.path}) before, and "
                "use a connection to the same file"
            ) from error

    # What a relay asks.

    async def hold(self, owner: str, seconds: float) -> bool:
        """Take or renew the right to publish from this outbox; False while another relay has it."""
        now = time.time()
        if self._held is not None and self._held[0] == owner and now < self._held[1] - seconds * 2 / 3 < now + seconds:
            return True  # nobody else can have it for most of its time: renewing costs a disk write
        held = await self._write(_HOLD, {"owner": owner, "until": now + seconds, "now": now}) == 1
        self._held = (owner, now + seconds) if held else None
        return held

    async def release(self, owner: str) -> None:
        """Give the right to publish back."""
        self._held = None
        await self._write("DELETE FROM mts1b_outbox_lease WHERE owner = ?", (owner,))

    async def pending(self, limit: int) -> list[Row]:
        """The next events, in the order in which they were added."""
        rows = await self._read(
            "SELECT number, subject, headers, payload, attempts FROM mts1b_outbox WHERE parked_at IS NULL "
            "ORDER BY number LIMIT ?",
            (limit,),
        )
        return [Row(row[0], row[1], json.loads(row[2]), row[3], row[4]) for row in rows]

    async def remove(self, rows: Sequence[Row]) -> None:
        """Forget events that are stored in their stream."""
        numbers = json.dumps([row.number for row in rows])
        await self._write("DELETE FROM mts1b_outbox WHERE number IN (SELECT value FROM json_each(?))", (numbers,))

    async def failed(self, row: Row, error: str, *, park: bool) -> None:
        """Count a refused publish; with ``park`` set the event aside, so that those behind it may go."""
        parked = time.time() if park else None
        await self._write(
            "UPDATE mts1b_outbox SET attempts = attempts + 1, error = ?, parked_at = ? WHERE number = ?",
            (error, parked, row.number),
        )

    # What an operator asks.

    async def backlog(self) -> Backlog:
        """How much waits, and for how long."""
        rows = await self._read(
            "SELECT count(*) - count(parked_at), min(added_at) FILTER (WHERE parked_at IS NULL), count(parked_at) "
            "FROM mts1b_outbox"
        )
        waiting, oldest, parked = rows[0]
        return Backlog(waiting, max(0.0, time.time() - oldest) if oldest else 0.0, parked)

    async def unpark(self) -> int:
        """Have every event that was set aside tried again, at its old place; how many there were."""
        return await self._write("UPDATE mts1b_outbox SET parked_at = NULL, attempts = 0 WHERE parked_at IS NOT NULL")

    def _opened(self) -> aiosqlite.Connection:
        if self._db is None:
            raise StoreError(f"outbox {self.path} is not open: use `async with` or await open() first")
        return self._db

    async def _read(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        try:
            return list(await self._opened().execute_fetchall(statement, values))
        except sqlite3.Error as error:
            raise StoreError(f"outbox {self.path} cannot be read: {error}") from error

    async def _write(self, statement: str, values: Any = ()) -> int:
        """One statement, a transaction by itself; how many rows it changed."""
        try:
            return (await self._opened().execute(statement, values)).rowcount
        except sqlite3.Error as error:
            raise StoreError(f"outbox {self.path} cannot be written: {error}; events wait where they are") from error
