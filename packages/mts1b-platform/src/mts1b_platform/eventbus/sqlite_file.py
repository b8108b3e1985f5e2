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
_WAL_WRITE_LOCK: Final = 120
"""The byte of the shared-memory file that who writes has locked, by SQLite's file format."""
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

    def holder(self) -> str:
        """Who writes to it now, for people: on Linux its process id, and what to do when it is stopped."""
        found = _writer(self._path.with_name(f"{self._path.name}-shm"))
        if found is None:
            return "another process"
        if not _is_stopped(found):
            return f"process {found}"
        return f"process {found}, which is stopped (`kill -CONT {found}` or `kill -9 {found}` frees the file),"

    def _named(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - asked twice per event, at half of what Path.stat() costs
        except OSError:
            return None
        return found.st_dev, found.st_ino


def _writer(shared: Path) -> int | None:
    """The process that has the write lock of the WAL file that ``shared`` belongs to, as the kernel knows it."""
    try:
        inode = str(shared.stat().st_ino)
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            where = fields[-3].rpartition(":")[2]
            if "WRITE" in fields and where == inode and int(fields[-2]) <= _WAL_WRITE_LOCK <= int(fields[-1]):
                return int(fields[-4])
    except (OSError, ValueError, IndexError):
        return None
    return None


def _is_stopped(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
    except (OSError, IndexError):
        return False


def is_outage(error: BaseException) -> bool:
    """Whether ``error`` tells of the file (disk full, locked, damaged), not of a wrong statement."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & _PRIMARY in _OUTAGES
