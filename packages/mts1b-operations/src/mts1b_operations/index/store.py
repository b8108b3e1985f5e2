"""The index as a SQLite file: keys and sequences, nothing of the events; made anew from the streams at any time.

Each stream has its position: up to there it is indexed. It is written in the transaction of the keys, so that the file
is right whenever its writer is killed. The keys of a stream lie in one table for each half million sequences: what the
stream has thrown away is forgotten by dropping tables.
"""

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from mts1b_foundation.errors import Mts1bError
from mts1b_platform.file_lock import try_lock

SEGMENT: Final = 500_000
"""Sequences in a table."""
_FORMAT: Final = 1
_COLUMNS: Final = "(key INTEGER, seq INTEGER, PRIMARY KEY (key, seq)) WITHOUT ROWID"
_STREAMS: Final = "CREATE TABLE streams (no INTEGER PRIMARY KEY, name TEXT UNIQUE, position INT, stamp TEXT)"


class IndexFileError(Mts1bError):
    """The index cannot be used."""


class Mark(NamedTuple):
    """How far a stream is indexed."""

    position: int
    """The last sequence that is."""
    stamp: str
    """When its message was stored: a stream that was made again gives its sequences out a second time."""


class IndexStore:
    """The file. One process writes; any number read meanwhile.

    Args:
        path: the file.
        write: whether to write it; it is made when it is missing.

    Raises:
        IndexFileError: it cannot be opened, is no index, or another process writes it.
    """

    def __init__(self, path: Path, *, write: bool = False) -> None:
        self.path = path
        self._lock = self._locked() if write else None
        try:
            self._db = self._connected(write=write)
        except BaseException as error:
            self._unlock()
            if not isinstance(error, sqlite3.Error):
                raise
            raise IndexFileError(
                f"the index {path} cannot be opened: {error}; `mts1b index run` makes it, and makes it anew when it is "
                "deleted"
            ) from None
        self._streams: dict[str, int] = dict(self._db.execute("SELECT name, no FROM streams"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()
        self._unlock()

    @property
    def bytes(self) -> int:
        """Its size on disk."""
        beside = self.path.with_name(f"{self.path.name}-wal")
        return sum(each.stat().st_size for each in (self.path, beside) if each.exists())

    def marks(self) -> dict[str, Mark]:
        """How far each stream is indexed."""
        rows = self._db.execute("SELECT name, position, stamp FROM streams")
        return {name: Mark(position, stamp) for name, position, stamp in rows}

    def keys(self) -> int:
        """How many keys there are."""
        count = "SELECT count(*) FROM {}"
        return sum(self._db.execute(count.format(table)).fetchone()[0] for table in self._tables())

    def add(self, stream: str, rows: Iterable[tuple[int, int]], mark: Mark) -> None:
        """Take the keys of a stream's next messages, as pairs of key and sequence, and how far it is indexed with them.

        Raises:
            IndexFileError: the file cannot be written.
        """
        parts: dict[int, list[tuple[int, int]]] = {}
        for row in sorted(rows):
            parts.setdefault(row[1] // SEGMENT, []).append(row)
        with self._transaction():
            number = self._number(stream)
            for segment, part in parts.items():
                table = f"k_{number}_{segment}"
                self._db.execute(f"CREATE TABLE IF NOT EXISTS {table} {_COLUMNS}")
                self._db.executemany(f"INSERT OR IGNORE INTO {table} VALUES (?, ?)", part)  # noqa: S608
            self._db.execute("UPDATE streams SET position = ?, stamp = ? WHERE no = ?", (*mark, number))

    def forget(self, stream: str, *, before: int | None = None) -> int:
        """Drop the tables of what a stream holds no more: all that lies before a sequence, or everything.

        Returns:
            How many tables were dropped.
        """
        if stream not in self._streams:
            return 0
        prefix = f"k_{self._streams[stream]}_"
        dropped = [
            table
            for table in self._tables()
            if table.startswith(prefix)
            and (before is None or (int(table.removeprefix(prefix)) + 1) * SEGMENT <= before)
        ]
        with self._transaction():
            for table in dropped:
                self._db.execute(f"DROP TABLE {table}")
            if before is None:
                self._db.execute("UPDATE streams SET position = 0, stamp = '' WHERE name = ?", (stream,))
        return len(dropped)

    def find(self, key: int) -> list[tuple[str, int]]:
        """Where events with this key lie, as stream and sequence; some may be gone, or about something else."""
        found: list[tuple[str, int]] = []
        names = {number: name for name, number in self._db.execute("SELECT name, no FROM streams")}
        for table in self._tables():
            number = int(table.split("_")[1])
            rows = self._db.execute(f"SELECT seq FROM {table} WHERE key = ?", (key,))  # noqa: S608
            found += [(names[number], seq) for (seq,) in rows]
        return found

    def _tables(self) -> list[str]:
        rows = self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'k_[0-9]*_[0-9]*'")
        return [name for (name,) in rows]

    def _number(self, stream: str) -> int:
        if stream not in self._streams:
            made = self._db.execute("INSERT INTO streams (name, position, stamp) VALUES (?, 0, '')", (stream,))
            self._streams[stream] = int(made.lastrowid or 0)
        return self._streams[stream]

    def _connected(self, *, write: bool) -> sqlite3.Connection:
        where = str(self.path) if write else f"{self.path.absolute().as_uri()}?mode=ro"
        db = sqlite3.connect(where, isolation_level=None, check_same_thread=False, uri=not write)
        try:
            self._prepare(db, write=write)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection, *, write: bool) -> None:
        if write:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = OFF")  # what a power cut takes is read from the streams again
            db.execute("PRAGMA cache_size = -65536")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if not version and write:
            db.execute(_STREAMS)
            db.execute(f"PRAGMA user_version = {_FORMAT}")
        elif version != _FORMAT:
            raise IndexFileError(
                f"{self.path} is no index of this version: delete it, and `mts1b index run` makes it anew"
            )

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._db, self.path)

    def _locked(self) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
        if not try_lock(lock):
            os.close(lock)
            raise IndexFileError(f"another process keeps the index {self.path}: one is enough")
        return lock

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class _Transaction:
    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self._path = path

    def __enter__(self) -> None:
        self._do("BEGIN IMMEDIATE")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._do("COMMIT")
            return
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise self._said(error) from error

    def _do(self, statement: str) -> None:
        try:
            self._db.execute(statement)
        except sqlite3.Error as error:
            raise self._said(error) from error

    def _said(self, error: sqlite3.Error) -> IndexFileError:
        return IndexFileError(f"the index {self._path} cannot be written: {error}")
