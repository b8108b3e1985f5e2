"""The state of a service in a PostgreSQL database of its own."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import psycopg
from mts1b_platform.eventbus import Event
from mts1b_platform.eventbus.dedupe.postgres import PostgresDedupe
from mts1b_platform.eventbus.errors import StoreError
from mts1b_platform.eventbus.outbox import Outbox
from mts1b_platform.eventbus.outbox.postgres import PostgresOutbox
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from mts1b_desk.cores.core import Emit
from mts1b_desk.state.store import Rows
from mts1b_desk.tables import Change

Connection = AsyncConnection[Any]

# The lock keeps two processes that start together from creating the table at the same moment, which would fail.
_TABLE = """
SELECT pg_advisory_xact_lock(7742004);
CREATE TABLE IF NOT EXISTS desk_rows (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session TEXT NOT NULL,
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    data BYTEA NOT NULL,
    UNIQUE (session, name, key)
)
"""
_SAVE = (
    "INSERT INTO desk_rows (session, name, key, data) VALUES (%s, %s, %s, %s) "
    "ON CONFLICT (session, name, key) DO UPDATE SET data = excluded.data"
)
_READ = "SELECT data FROM desk_rows WHERE session = %s AND name = %s AND key = %s"
_HOLD = f"SELECT set_config('idle_in_transaction_session_timeout', '10s', true), ({_READ} FOR SHARE)"
_HOLD_ALONE = _HOLD.replace("FOR SHARE", "FOR UPDATE")
_DELETE = "DELETE FROM desk_rows WHERE session = %s AND name = %s AND key = %s"


class PostgresStore:
    """State in the database ``url``, which belongs to one running service. Implements ``Store``.

    Args:
        url: connection string; the database exists, its tables are made when missing.
        session: whose rows these are.
        repo: the repo that the service speaks as.
        actor: who acts when an event does not say.
    """

    keeps = True

    def __init__(self, url: str, *, session: str, repo: str, actor: str) -> None:
        self._url = url
        self._session = session
        self._repo = repo
        self._dedupe = PostgresDedupe(url, connections=2)
        self._outbox = PostgresOutbox(url, service=repo, actor=actor)
        self._relayed = PostgresOutbox(url, service=repo, actor=actor)
        self._connection: AsyncConnection[TupleRow] | None = None

    @property
    def waiting(self) -> Outbox:
        """The events that are stored and not published yet."""
        return self._relayed

    async def connect(self) -> None:
        """Connect; nothing when it is connected.

        Raises:
            StoreError: the database does not answer.
        """
        if self._connection is not None:
            return
        await self._outbox.open()
        try:
            self._connection = await AsyncConnection.connect(self._url, autocommit=True)
            await self._connection.execute(_TABLE)
        except psycopg.Error as error:
            raise self._unusable(error) from error

    async def open(self) -> Rows:
        """Connect and read the session's rows.

        Raises:
            StoreError: the database does not answer.
        """
        await self.connect()
        try:
            found = await self._connected().execute(
                "SELECT name, key, data FROM desk_rows WHERE session = %s ORDER BY number", (self._session,)
            )
            rows: dict[str, list[tuple[str, bytes]]] = {}
            for name, key, data in await found.fetchall():
                rows.setdefault(name, []).append((key, bytes(data)))
        except psycopg.Error as error:
            raise self._unusable(error) from error
        return rows

    async def backlog(self) -> int:
        """How many events wait to be published."""
        return (await self._outbox.backlog()).waiting

    def once(self, event: Event[Any]) -> AbstractAsyncContextManager[Connection]:
        """A transaction that handles ``event``; raises ``AlreadyDone`` when one before did."""
        return event.once(self._dedupe)

    async def mark(self, tx: Connection, event: Event[Any]) -> None:
        """Handle ``event`` too in ``tx``; raises ``AlreadyDone`` when one before did."""
        await event.mark(self._dedupe, tx)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """A transaction; rolled back when the block raises."""
        connection = self._connected()
        async with connection.transaction():
            yield connection

    async def read(self, tx: Connection | None, table: str, key: str, *, alone: bool = False) -> bytes | None:
        """One row: in ``tx`` kept from change until it ends, which the database sees to when its owner is frozen."""
        statement = _READ if tx is None else _HOLD_ALONE if alone else _HOLD
        found = await (tx or self._connected()).execute(statement, (self._session, table, key))
        row = await found.fetchone()
        return bytes(row[-1]) if row is not None and row[-1] is not None else None

    async def write(self, tx: Connection, changes: Sequence[Change], emits: Sequence[tuple[Emit, str | None]]) -> None:
        """Store rows and events in ``tx``."""
        saved = [
            (self._session, change.table, change.key, change.data) for change in changes if change.data is not None
        ]
        gone = [(self._session, change.table, change.key) for change in changes if change.data is None]
        async with tx.cursor() as cursor:
            if saved:
                await cursor.executemany(_SAVE, saved)
            if gone:
                await cursor.executemany(_DELETE, gone)
        for emit, trace_id in emits:
            await self._outbox.add(tx, emit.subject, emit.payload, msg_id=emit.msg_id, trace_id=trace_id)

    def _unusable(self, error: psycopg.Error) -> StoreError:
        return StoreError(
            f"the state of {self._repo} cannot be read: PostgreSQL says {error}; check the database that --database "
            "names, and that it exists for this service"
        )

    def _connected(self) -> AsyncConnection[TupleRow]:
        if self._connection is None:
            raise StoreError(f"the state of {self._repo} is not open")
        return self._connection

    async def close(self) -> None:
        """Close every connection."""
        await self._dedupe.close()
        await self._outbox.close()
        await self._relayed.close()
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
