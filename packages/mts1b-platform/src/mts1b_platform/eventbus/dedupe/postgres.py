"""The dedupe store in PostgreSQL: effect and mark in one transaction, so the effect happens exactly once.

::

    store = PostgresDedupe("postgresql://…/books")
    async with event, event.once(store) as tx:      # tx: a psycopg connection inside a transaction
        await tx.execute("UPDATE positions SET …")

Handlers run concurrently, each on a connection of its own. Of two with the same key the second waits until the first
has committed (then it is done) or rolled back (then it is the second's turn); a crash of the first ends its
transaction, so there is no lease to wait for.

A database that is away is asked again without growing pauses, so that effects go on within seconds of its return.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from mts1b_platform.eventbus.dedupe.mark_clock import MarkClock
from mts1b_platform.eventbus.dedupe.store import Memory
from mts1b_platform.eventbus.errors import AlreadyDone, StoreError, StoreMisused, Superseded
from mts1b_platform.eventbus.events.once import Term
from mts1b_platform.eventbus.limits import check_count, check_seconds

Connection = AsyncConnection[Any]
Pool = AsyncConnectionPool[Connection]

# The lock keeps two processes that start together from creating the table at the same moment, which would fail.
_TABLE = """
SELECT pg_advisory_xact_lock(7742001);
CREATE TABLE IF NOT EXISTS mts1b_dedupe (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer TEXT NOT NULL,
    key TEXT NOT NULL,
    done_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    UNIQUE (consumer, key)
);
CREATE INDEX IF NOT EXISTS mts1b_dedupe_done_at ON mts1b_dedupe (done_at);
CREATE TABLE IF NOT EXISTS mts1b_terms (durable TEXT PRIMARY KEY, term BIGINT NOT NULL);
"""
_FENCE: Final = """
SELECT set_config('idle_in_transaction_session_timeout', %s, true),
       (SELECT term FROM mts1b_terms WHERE durable = %s AND term >= %s FOR SHARE)
"""
"""Handlers of one term share the row. Who comes with a greater one waits until those of the one before have committed,
or the database has ended them because they stand still."""
_TAKE_OVER: Final = """
INSERT INTO mts1b_terms (durable, term) VALUES (%s, %s)
ON CONFLICT (durable) DO UPDATE SET term = greatest(excluded.term, mts1b_terms.term) RETURNING term
"""
_PRUNE_EVERY = 1000
_RECONNECT: Final = 2.0
"""Seconds after which the pool ends a series of attempts to connect; the pauses within one double. With the pool's own
300 s the next attempt after an outage of 95 s comes half a minute late."""
_ASK_AGAIN: Final = 1.0
"""Seconds to wait for the pool before it is asked again, which begins a new series."""
_NOTICE: Final = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""A host that does not answer at all is noticed within seconds, where the caller says nothing else."""
_OUTAGES: Final = ("08", "53", "57P", "58", "25006")
"""SQLSTATEs of a connection lost, no room or memory, a shutdown, an I/O error, a server that became a standby."""


class PostgresDedupe:
    """Marks in the table ``mts1b_dedupe`` of the database that holds the effects. Implements ``DedupeStore``.

    Opens by :meth:`open` or at first use; ``async with`` or :meth:`close` closes it, but never a pool that was handed
    in.

    Args:
        where: a connection string, or the pool that the service has anyway; give that one a ``reconnect_timeout`` of
            a few seconds, or it may take minutes to come back after an outage.
        memory: how much is remembered; pruned once per thousand events.
        connections: most connections of the pool made from a connection string: handlers at work at a time.
        timeout: seconds to wait for a connection before the event is left for later.
        frozen: seconds without a statement after which the database ends the transaction of one of several instances,
            so that one that stands still keeps no heir waiting.
    """

    def __init__(
        self,
        where: str | Pool,
        *,
        memory: Memory | None = None,
        connections: int = 8,
        timeout: float = 10.0,
        frozen: float = 10.0,
    ) -> None:
        check_count("connections", connections)
        check_seconds("timeout", timeout)
        check_seconds("frozen", frozen)
        self.memory = memory or Memory()
        self._frozen = f"{max(1, round(frozen * 1000))}ms"
        self._timeout = timeout
        self._owned = isinstance(where, str)
        if isinstance(where, str):
            self._pool: Pool = AsyncConnectionPool(
                where,
                kwargs={name: value for name, value in _NOTICE.items() if name not in conninfo_to_dict(where)},
                min_size=1,
                max_size=connections,
                timeout=timeout,
                reconnect_timeout=_RECONNECT,
                open=False,
                check=_check,
            )
        else:
            self._pool = where
        self._clock = MarkClock()
        self._ready = False
        self._since_prune = 0

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def once(self, consumer: str, key: str) -> AbstractAsyncContextManager[Connection]:
        """A transaction that also holds the mark of ``key``; committed when the block is left well.

        Raises:
            AlreadyDone: ``consumer`` handled ``key`` before.
            StoreError: the database does not answer, or can store nothing.
        """
        return self._once(consumer, key, None)

    def once_in_term(self, consumer: str, key: str, term: Term) -> AbstractAsyncContextManager[Connection]:
        """As :meth:`once`, by one of several instances: refused when the database knows a greater term.

        Raises:
            Superseded: another instance has taken over; nothing was written.
        """
        return self._once(consumer, key, term)

    async def mark(self, tx: Connection, consumer: str, key: str) -> None:
        """Mark ``key`` too in the transaction ``tx`` that :meth:`once` has given.

        Raises:
            AlreadyDone: ``consumer`` handled ``key`` before; ``tx`` is as it was.
            StoreMisused: no transaction is open.
        """
        if tx.info.transaction_status is not TransactionStatus.INTRANS:
            raise StoreMisused(f"dedupe store: {key!r} is to be marked in the transaction of `once`, and none is open")
        await self._mark(tx, consumer, key)

    @asynccontextmanager
    async def _once(self, consumer: str, key: str, term: Term | None) -> AsyncGenerator[Connection, None]:
        await self.open()
        async with self._connection() as connection:
            async with connection.transaction():
                if term is not None:
                    await self._fence(connection, term)
                await self._mark(connection, consumer, key)
                yield connection
            await self._prune(connection)

    async def open(self) -> None:
        """Connect and create the table where it is missing, so that an outage is known before the first event.

        Raises:
            StoreError: the database does not answer.
        """
        if self._ready:
            return
        if self._owned:
            await self._pool.open()
        async with self._connection() as connection, connection.transaction():
            await connection.execute(_TABLE)
            newest = await connection.execute(
                "SELECT extract(epoch FROM done_at)::float8 FROM mts1b_dedupe ORDER BY seq DESC LIMIT 1"
            )
            row = await newest.fetchone()
            self._clock.start(None if row is None else row[0])
        self._ready = True

    async def close(self) -> None:
        """Close the pool that was made from a connection string."""
        if self._owned:
            await self._pool.close()

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[Connection, None]:
        connection = await self._asked()
        try:
            yield connection
        except psycopg.Error as error:
            if connection.broken or (error.sqlstate or "").startswith(_OUTAGES):
                raise StoreError(f"dedupe store: PostgreSQL broke off or can store nothing: {error}") from error
            raise
        finally:
            await self._pool.putconn(connection)

    async def _asked(self) -> Connection:
        clock = asyncio.get_running_loop()
        end = clock.time() + self._timeout
        while True:
            rest = end - clock.time()
            try:
                return await self._pool.getconn(max(0.001, min(rest, _ASK_AGAIN)))
            except PoolTimeout as error:
                if rest > _ASK_AGAIN:
                    continue
                problem: Exception = error
            except PoolClosed as error:
                problem = error
            raise StoreError(
                f"dedupe store: no PostgreSQL connection within {self._timeout:g} s ({problem}); check that the server "
                "runs, takes this user, and has connections left"
            ) from problem

    async def _fence(self, connection: Connection, term: Term) -> None:
        """Have the transaction hold that no greater term is known."""
        known = await (await connection.execute(_FENCE, (self._frozen, *term))).fetchone()
        if known is None or known[1] is None:
            known = await (await connection.execute(_TAKE_OVER, term)).fetchone()
        held = term.number if known is None else int(known[-1])
        if held > term.number:
            raise Superseded(term.durable, term.number, held)

    async def _mark(self, connection: Connection, consumer: str, key: str) -> None:
        # Asked first because an insert that conflicts uses up a number, and numbers decide what is oldest.
        known = await connection.execute("SELECT 1 FROM mts1b_dedupe WHERE consumer = %s AND key = %s", (consumer, key))
        if await known.fetchone() is None:
            marked = await connection.execute(
                "INSERT INTO mts1b_dedupe (consumer, key, done_at) VALUES (%s, %s, to_timestamp(%s)) "
                "ON CONFLICT DO NOTHING",
                (consumer, key, self._clock.now()),
            )
            if marked.rowcount == 1:
                self._since_prune += 1
                return
        raise AlreadyDone(f"{consumer} handled {key} before")

    async def _prune(self, connection: Connection) -> None:
        if self._since_prune < min(_PRUNE_EVERY, self.memory.limit):
            return
        self._since_prune = 0
        async with connection.transaction():
            await connection.execute(
                "DELETE FROM mts1b_dedupe WHERE done_at < to_timestamp(%s)", (self._clock.now() - self.memory.keep,)
            )
            await connection.execute(
                "DELETE FROM mts1b_dedupe WHERE seq <= (SELECT max(seq) FROM mts1b_dedupe) - %s", (self.memory.limit,)
            )


async def _check(connection: Connection) -> None:
    """Whether a pooled connection still stands: the server may have restarted since it was used."""
    await AsyncConnectionPool.check_connection(connection)
