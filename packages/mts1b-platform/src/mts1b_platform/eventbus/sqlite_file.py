"""A SQLite file that holds marks or an outbox: made for its owner alone, watched for being taken away.

SQLite goes on writing to a file that was deleted or replaced under it, and says nothing.
"""

import os
import sqlite3
from pathlib import Path
from typing import Final

_PRIVATE: Final = 0o600
_OUTAGES: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
_PRIMARY: Final = 0xFF
"""The bits of an error's code that name its kind; the others say more about it."""


class SqliteFile:
    """Which file on disk a connection to ``path`` writes to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: tuple[int, int] | None = None

    def make(self) -> None:
        """Create the file, readable by its owner alone, when it is missing; one that exists keeps its permissions.

        Raises:
            OSError: it cannot be created.
        """
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, _PRIVATE))
        except FileExistsError:
            return

    def opened(self) -> None:
        """Remember the file that ``path`` names now."""
        self._opened = self._named()

    @property
    def missing(self) -> bool:
        """Whether ``path`` names no file any more."""
        return self._named() is None

    @property
    def replaced(self) -> bool:
        """Whether ``path`` names another file than the one that was opened, or none."""
        return self._named() != self._opened

    def _named(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - asked twice per event, at half of what Path.stat() costs
        except OSError:
            return None
        return found.st_dev, found.st_ino


def is_outage(error: BaseException) -> bool:
    """Whether ``error`` tells of the file (disk full, locked, damaged), not of a wrong statement."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & _PRIMARY in _OUTAGES
