"""SQLite for simulated processes: statements take virtual time, a locked file is tried again, a kill commits nothing.

Real files and real SQLite underneath; only the thread of ``aiosqlite`` and its waiting in C are replaced.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from mts1b_platform.eventbus.dedupe import sqlite as dedupe_sqlite
from mts1b_platform.eventbus.outbox import sqlite as outbox_sqlite
from mts1b_platform.testing.simulation.process import running
from mts1b_platform.testing.simulation.world import World

_STATEMENT: Final = (0.00005, 0.002)
"""Seconds that a statement takes."""
_LOCKED: Final = 0.01
"""Seconds after which a locked file is tried again."""


class Cursor:
    """What a statement has found; as far as the bus asks."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self.rowcount = cursor.rowcount
        self._rows = cursor.fetchall()

    async def fetchone(self) -> Any:
        return self._rows[0] if self._rows else None

    async def fetchall(self) -> list[Any]:
        return self._rows


class Database:
    """A connection to a file; stands for ``aiosqlite.Connection``."""

    def __init__(self, world: World, path: str | Path, timeout: float) -> None:
        process = running(world)
        assert process is not None
        self._world, self._process, self._timeout = world, process, timeout
        self._db = sqlite3.connect(path, timeout=0, isolation_level=None)
        self._queue: deque[tuple[asyncio.Future[Any], Callable[[], Any]]] = deque()
        self._since: float | None = None
        self._process.at_exit.append(self._db.close)

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    async def execute(self, statement: str, values: Any = ()) -> Cursor:
        return await self._asked(lambda: Cursor(self._db.execute(statement, values)))

    async def executescript(self, script: str) -> None:
        await self._asked(lambda: self._db.executescript(script).close())

    async def execute_fetchall(self, statement: str, values: Any = ()) -> Iterable[Any]:
        return await self._asked(lambda: self._db.execute(statement, values).fetchall())

    async def commit(self) -> None:
        await self._asked(self._db.commit)

    async def rollback(self) -> None:
        await self._asked(self._db.rollback)

    async def close(self) -> None:
        await self._asked(self._db.close)

    async def _asked(self, call: Callable[[], Any]) -> Any:
        """Have it done in turn, whether the caller still waits for it or not: that is how a thread works."""
        done = self._process.loop.create_future()
        self._queue.append((done, call))
        if len(self._queue) == 1:
            self._later(self._world.rng.uniform(*_STATEMENT))
        return await done

    def _later(self, seconds: float) -> None:
        self._process.loop.call_later(seconds, self._do)

    def _do(self) -> None:
        done, call = self._queue[0]
        result, problem = None, None
        try:
            result = call()
        except sqlite3.Error as error:
            since = self._since = self._since if self._since is not None else self._process.now
            if "locked" in str(error) and self._process.now - since < self._timeout:
                self._later(_LOCKED)
                return
            problem = error
        self._since = None
        self._queue.popleft()
        if not done.done() and problem is not None:
            done.set_exception(problem)
        elif not done.done():
            done.set_result(result)
        if self._queue:
            self._later(self._world.rng.uniform(*_STATEMENT))


async def open_database(world: World, path: str | Path, timeout: float = 30.0) -> Database:
    """A connection of the process that runs."""
    await asyncio.sleep(world.rng.uniform(*_STATEMENT))
    return Database(world, path, timeout)


@contextmanager
def simulated_sqlite(world: World) -> Generator[None]:
    """Outbox and dedupe store open their files through the simulation."""

    async def connect(path: str | Path, *, timeout: float = 5.0, **options: Any) -> Database:
        del options
        return await open_database(world, path, timeout)

    modules = (outbox_sqlite, dedupe_sqlite)
    originals = [module.aiosqlite for module in modules]
    stand_in = SimpleNamespace(Connection=Database, connect=connect)
    for module in modules:
        setattr(module, "aiosqlite", stand_in)  # noqa: B010 - for the type checker it is a module
    try:
        yield
    finally:
        for module, original in zip(modules, originals, strict=True):
            setattr(module, "aiosqlite", original)  # noqa: B010 - as above
