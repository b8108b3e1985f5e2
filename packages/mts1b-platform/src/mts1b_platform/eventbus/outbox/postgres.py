"""The outbox in PostgreSQL: the event is written in the business transaction itself.

::

    async with PostgresOutbox("postgresql://…/oms", service="mts1b-oms") as outbox:
        async with connection.transaction():                      # connection: a psycopg connection to that database
            await connection.execute("INSERT INTO orders …")
            await outbox.add(connection, OMS_ORDERS_CREATED, order)

A :class:`~mts1b_platform.eventbus.outbox.relay.Relay` publishes it, in this process or another. Order: of two
transactions one of which began after the other had committed (as those that lock the same business row do), the
earlier one's events leave first; transactions side by side have no order of their own. Of several relays one holds an
advisory lock and works; when its connection or process dies, PostgreSQL gives the lock to the next at once.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import psycopg
from mts1b_foundation.subjects import DurableSubject
from mts1b_foundation.subjects.subject import T
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from mts1b_platform.eventbus.errors import StoreError, StoreMisused
from mts1b_platform.eventbus.outbox.message import Backlog, Row, seal

Connection = AsyncConnection[Any]

# The lock keeps two processes that start together from creating the table at the same moment, which would fail.
_TABLE = """
SELECT pg_advisory_xact_lock(7742002);
CREATE TABLE IF NOT EXISTS mts1b_outbox (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject TEXT NOT NULL,
    headers TEXT NOT NULL,
    payload BYTEA NOT NULL,
    added_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    attempts INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    parked_at TIMESTAMPTZ
);
"""
_RELAY_LOCK = 7_742_003


class PostgresOutbox:
    """Events that wait in the table ``mts1b_outbox`` until a relay has published them.

    Args:
        url: connection string of the database of the business transactions.
        service: the repo whose events these are, such as ``mts1b-oms``.
        actor: who acts when a payload does not say.
        timeout: seconds to wait for a connection.
    """

    def __init__(self, url: str, *, service: str, actor: str | None = None, timeout: float = 10.0) -> None:
        self.service = service
        self._url = url
        self._actor = actor
        self._timeout = timeout
        self._own: Connection | None = None
        self._held = False
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> bool:
        """Connect and create the outbox's table where it is missing; False when it was open before.

        Raises:
            StoreError: the database does not answer.
        """
        if self._own is not None:
            return False
        async with self._asked() as connection, connection.transaction():
            await connection.execute(_TABLE)
        return True

    async def close(self) -> None:
        """Close the outbox's own connection, and with it give back the right to publish."""
        own, self._own, self._held = self._own, None, False
        if own is not None:
            await own.close()

    async def add(
        self,
        tx: Connection,
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
            StoreMisused: ``tx`` would commit this alone, or its database has no outbox.
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
        if tx.autocommit and tx.info.transaction_status == TransactionStatus.IDLE:
            raise StoreMisused(
                f"{sealed.subject}: no transaction is open, so the event would not stand or fall with anything: use "
                "`async with connection.transaction()`, write, and add inside"
            )
        try:
            await tx.execute(
                "INSERT INTO mts1b_outbox (subject, headers, payload) VALUES (%s, %s, %s)",
                (sealed.subject, sealed.header_text, sealed.payload),
            )
        except psycopg.errors.UndefinedTable as error:
            raise StoreMisused(
                f"{sealed.subject}: the database of this connection has no outbox: open the outbox before, and use a "
                "connection to the same database"
            ) from error

    # What a relay asks.

    async def hold(self, owner: str, seconds: float) -> bool:  # noqa: ARG002 - the connection is owner and lease
        """Take or keep the right to publish from this outbox; False while another relay has it."""
        async with self._asked() as connection:
            if self._held:
                await connection.execute("SELECT 1")  # a dead connection has lost the lock
                return True
            row = await (await connection.execute("SELECT pg_try_advisory_lock(%s)", (_RELAY_LOCK,))).fetchone()
            self._held = bool(row and row[0])
            return self._held

    async def release(self, owner: str) -> None:  # noqa: ARG002 - as above
        """Give the right to publish back."""
        async with self._asked() as connection:
            if self._held:
                await connection.execute("SELECT pg_advisory_unlock(%s)", (_RELAY_LOCK,))
        self._held = False

    async def pending(self, limit: int) -> list[Row]:
        """The next events, in the order in which they were added."""
        async with self._asked() as connection:
            rows = await connection.execute(
                "SELECT number, subject, headers, payload, attempts FROM mts1b_outbox WHERE parked_at IS NULL "
                "ORDER BY number LIMIT %s",
                (limit,),
            )
            return [Row(row[0], row[1], json.loads(row[2]), bytes(row[3]), row[4]) for row in await rows.fetchall()]

    async def remove(self, rows: Sequence[Row]) -> None:
        """Forget events that are stored in their stream."""
        numbers = [row.number for row in rows]
        async with self._asked() as connection:
            await connection.execute("DELETE FROM mts1b_outbox WHERE number = ANY(%s)", (numbers,))

    async def failed(self, row: Row, error: str, *, park: bool) -> None:
        """Count a refused publish; with ``park`` set the event aside, so that those behind it may go."""
        async with self._asked() as connection:
            await connection.execute(
                "UPDATE mts1b_outbox SET attempts = attempts + 1, error = %s, "
                "parked_at = CASE WHEN %s THEN now() END WHERE number = %s",
                (error, park, row.number),
            )

    # What an operator asks.

    async def backlog(self) -> Backlog:
        """How much waits, and for how long."""
        async with self._asked() as connection:
            rows = await connection.execute(
                "SELECT count(*) - count(parked_at), extract(epoch FROM now() - min(added_at) FILTER "
                "(WHERE parked_at IS NULL)), count(parked_at) FROM mts1b_outbox"
            )
            waiting, oldest, parked = await rows.fetchone() or (0, 0, 0)
        return Backlog(waiting, max(0.0, float(oldest or 0)), parked)

    async def unpark(self) -> int:
        """Have every event that was set aside tried again, at its old place; how many there were."""
        async with self._asked() as connection:
            done = await connection.execute(
                "UPDATE mts1b_outbox SET parked_at = NULL, attempts = 0 WHERE parked_at IS NOT NULL"
            )
            return done.rowcount

    @asynccontextmanager
    async def _asked(self) -> AsyncGenerator[Connection, None]:
        """The outbox's own connection, made anew when it broke; one question at a time.

        Raises:
            StoreError: PostgreSQL does not answer.
        """
        async with self._turn:
            try:
                if self._own is None or self._own.closed:
                    self._held = False
                    wait = max(2, int(self._timeout))
                    self._own = await AsyncConnection.connect(self._url, autocommit=True, connect_timeout=wait)
                yield self._own
            except psycopg.OperationalError as error:
                raise StoreError(
                    f"outbox of {self.service}: PostgreSQL does not answer ({error}); events wait where they are"
                ) from error
