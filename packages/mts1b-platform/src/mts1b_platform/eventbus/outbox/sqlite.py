"""The outbox in a SQLite file: the event is written in the business transaction itself.

::

    async with SqliteOutbox("oms.db", service="mts1b-oms") as outbox:
        await db.execute("BEGIN IMMEDIATE")                       # db: an aiosqlite connection to oms.db
        await db.execute("INSERT INTO orders …")
        await outbox.add(db, OMS_ORDERS_CREATED, order)
        await db.commit()                                         # both, or neither

A :class:`~mts1b_platform.eventbus.outbox.relay.Relay` publishes it, in this process or another. Events leave in the
order of their commits: SQLite has one writer at a time. The file is readable by its owner alone when the outbox
creates it.
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

from mts1b_platform.eventbus.errors import StoreError, StoreMisused
from mts1b_platform.eventbus.lease import Lease, Renewed, Watched
from mts1b_platform.eventbus.limits import check_seconds
from mts1b_platform.eventbus.outbox.message import Backlog, Row, seal
from mts1b_platform.eventbus.sqlite_file import SqliteFile, is_outage
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.outbox")

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
    until REAL NOT NULL,
    seconds REAL
);
"""
# When a lease is over is observed (``lease.py``). ``until`` changes with each renewal; relays of earlier versions that
# still run beside this one take it for the lease's end.
_HELD = "SELECT owner, until, seconds FROM mts1b_outbox_lease"
_TAKE_FREE = "INSERT INTO mts1b_outbox_lease (one, owner, until, seconds) VALUES (1, ?, ?, ?) ON CONFLICT DO NOTHING"
_TAKE = "UPDATE mts1b_outbox_lease SET owner = ?, until = ?, seconds = ? WHERE owner = ? AND until = ?"
_ADD = "INSERT INTO mts1b_outbox (subject, headers, payload, added_at) VALUES (?, ?, ?, ?)"


class SqliteOutbox:
    """Events that wait in the SQLite file ``path`` until a relay has published them.

    Args:
        path: the database file of the business transactions.
        service: the repo whose events these are, such as ``mts1b-oms``.
        actor: who acts when a payload does not say.
        busy_timeout: seconds to wait for another writer.

    Attributes:
        takeovers: how often a lease was taken over whose relay had not renewed it; each is logged.
    """

    def __init__(self, path: str | Path, *, service: str, actor: str | None = None, busy_timeout: float = 30.0) -> None:
        self.path = Path(path)
        self.service = service
        self._actor = actor
        check_seconds("busy_timeout", busy_timeout)
        self._busy_timeout = busy_timeout
        self.takeovers = 0
        self._file = SqliteFile(self.path)
        self._db: aiosqlite.Connection | None = None
        self._renewed = Renewed()
        self._other = Watched()

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
            self._file.make()
            db = await aiosqlite.connect(self.path, timeout=self._busy_timeout, isolation_level=None)
            await db.execute("PRAGMA journal_mode=WAL")
            # Events are added by the business transaction, which syncs. What a relay writes reaches the disk with the
            # next one: a power cut may bring back what was published since, and never takes an event.
            await db.execute("PRAGMA synchronous=NORMAL")
            await db.executescript(_TABLES)
            if "seconds" not in [row[1] for row in await db.execute_fetchall("PRAGMA table_info(mts1b_outbox_lease)")]:
                await db.execute("ALTER TABLE mts1b_outbox_lease ADD COLUMN seconds REAL")
        except (sqlite3.Error, OSError) as error:
            if db is not None:
                await db.close()
            raise StoreError(
                f"outbox {self.path} cannot be opened: {error}; check that the directory exists and is writable"
            ) from error
        self._file.opened()
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
            StoreMisused: ``tx`` is in no transaction, or to a file without this outbox.
            StoreError: the file cannot be written.
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
            raise StoreMisused(
                f"{sealed.subject}: no transaction is open, so the event would not stand or fall with anything: BEGIN "
                "one, write, add, and commit"
            )
        try:
            await tx.execute(_ADD, (sealed.subject, sealed.header_text, sealed.payload, time.time()))
        except sqlite3.OperationalError as error:
            wrong = StoreError if is_outage(error) else StoreMisused
            raise wrong(
                f"{sealed.subject}: the outbox cannot be written: {error}; open the outbox ({self.path}) before, and "
                "use a connection to the same file"
            ) from error

    # What a relay asks.

    async def hold(self, owner: str, seconds: float) -> bool:
        """Take or renew the right to publish from this outbox; False while another relay has it.

        That of a relay that died ends when nobody has renewed it for its length since it was first seen here.
        """
        if self._file.replaced:
            raise StoreError(
                f"outbox {self.path} was deleted or replaced while in use: start the service again; what was added to "
                "the new file waits there"
            )
        if self._renewed.is_fresh(owner, seconds):
            return True
        found = [Lease(row[0], row[1], row[2] or seconds) for row in await self._read(_HELD)]
        taken = await self._take(owner, seconds, found[0] if found else None)
        if taken:
            self._renewed.by(owner)
            self._other.forget()
        else:
            self._renewed.lost()
        return taken

    async def _take(self, owner: str, seconds: float, lease: Lease | None) -> bool:
        mine = (owner, time.time() + seconds, seconds)
        if lease is None:
            return await self._write(_TAKE_FREE, mine) == 1
        if lease.owner != owner and not self._other.is_over(lease):
            return False
        # Two that see the same end: one finds the row as it was read.
        if await self._write(_TAKE, (*mine, lease.owner, lease.stamp)) != 1:
            return False
        if lease.owner != owner:
            self.takeovers += 1
            log.warning(
                "outbox taken over from a relay that did not renew its lease",
                path=str(self.path),
                relay=lease.owner,
                lease_seconds=lease.seconds,
                end_by_its_clock_in_seconds=round(lease.stamp - time.time(), 1),
            )
        return True

    async def release(self, owner: str) -> None:
        """Give the right to publish back."""
        self._renewed.lost()
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
