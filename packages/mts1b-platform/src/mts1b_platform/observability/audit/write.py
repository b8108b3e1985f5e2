"""Writing the audit log: append only, one writer a chain, rotated, safe to kill at any moment.

``<directory>/<service>.<n>/000001.jsonl`` and so on: a chain per directory. A process that finds a chain in use by
another takes the next number, so that processes never share one.

Guarantees: a record is with the operating system when :meth:`AuditLog.record` returns, so it survives ``kill -9``;
after a power cut the last seconds may be missing (files are synced when they are closed). A line cut off by a crash
stays as it is and is accounted for by the next line.
"""

import hashlib
import os
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mts1b_platform.file_lock import try_lock
from mts1b_platform.observability.audit.errors import AuditError
from mts1b_platform.observability.audit.line import GENESIS, LONGEST, RECOVERED, encode, is_record, is_whole, parse
from mts1b_platform.observability.audit.read import files


class AuditLog:
    """One chain of the audit log, open for appending.

    Args:
        directory: where the chains of all services live.
        service: whose chain; part of the directory's name.
        max_bytes: size at which a file is closed and the next one begun.

    Raises:
        AuditError: the directory cannot be written to, or the chain's last line was altered.
    """

    def __init__(self, directory: Path, service: str, *, max_bytes: int = 100_000_000) -> None:
        self.directory, self._lock = _claim(directory, service)
        self.failures = 0
        """Records that could not be written."""
        self.written = 0
        """Records that this object wrote."""
        self._max_bytes = max_bytes
        self._torn: bytes | None = None
        self._unended = False
        self._size = 0
        self._fd = -1
        try:
            self._number, self._digest = self._resume()
            self._open_last()
            self._end_line()
        except BaseException:
            os.close(self._lock)
            raise

    def record(self, kind: str, **fields: Any) -> None:
        """Append one record; the time is added.

        Raises:
            AuditError: it could not be written; the next record accounts for what was cut off.
        """
        if self._fd < 0:
            raise AuditError(f"the audit log {self.directory} is closed")
        self._end_line()
        if self._torn is not None:
            self._account_for(self._torn)
        self._append({"at": datetime.now(UTC).isoformat(), "kind": kind, **fields})
        self.written += 1

    def close(self) -> None:
        """Sync and close the file, and give the chain free."""
        if self._fd >= 0:
            os.fsync(self._fd)
            os.close(self._fd)
            os.close(self._lock)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # Appending.

    def _append(self, fields: dict[str, Any]) -> None:
        if self._size >= self._max_bytes:
            self._rotate()
        line, digest = encode(self._number + 1, self._digest, fields)
        self._put(line)
        self._number += 1
        self._digest = digest

    def _put(self, data: bytes) -> None:
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            self.failures += 1
            raise AuditError(f"audit log {self.directory}: {error.strerror}; the record was not written") from error
        self._size += written
        if 0 < written == len(data) - 1:
            self._unended = True  # all of it was written but the line feed
        elif written < len(data):
            self.failures += 1
            self._torn = data[:written]
            raise AuditError(f"audit log {self.directory}: the disk is full; the record was cut off")

    def _end_line(self) -> None:
        if self._unended:
            self._put(b"\n")
            self._unended = False

    def _account_for(self, torn: bytes) -> None:
        if not torn.endswith(b"\n"):
            self._put(b"\n")
        self._torn = None
        content = torn.rstrip(b"\n")
        self._append(
            {
                "at": datetime.now(UTC).isoformat(),
                "kind": RECOVERED,
                "torn_bytes": len(content),
                "torn_sha256": hashlib.sha256(content).hexdigest(),
            }
        )

    def _rotate(self) -> None:
        os.fsync(self._fd)
        os.close(self._fd)
        number = int(files(self.directory)[-1].stem) + 1
        self._open(self.directory / f"{number:06}.jsonl")

    # Opening.

    def _open_last(self) -> None:
        found = files(self.directory)
        self._open(found[-1] if found else self.directory / "000001.jsonl")

    def _open(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise AuditError(f"audit log {path} cannot be opened: {error.strerror}") from error
        self._size = os.fstat(self._fd).st_size

    def _resume(self) -> tuple[int, str]:
        """Number and hash of the last whole line; notes a torn one after it."""
        for path in reversed(files(self.directory)):
            lines = _last_lines(path)
            if lines and parse(lines[-1]) is None:
                self._torn = lines.pop()
            elif lines and not lines[-1].endswith(b"\n"):
                self._unended = True  # all of it was written but the line feed
            if lines:
                document = parse(lines[-1])
                if document is None or not is_record(document) or not is_whole(lines[-1]):
                    raise AuditError(
                        f"audit log {path}: its last line was altered; keep the file as evidence, move "
                        f"{self.directory} aside and start again"
                    )
                return document["n"], document["hash"]
        return 0, GENESIS


def _last_lines(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2 * LONGEST))
        lines = file.read().split(b"\n")  # a carriage return in what was damaged ends no line
    return [*(line + b"\n" for line in lines[:-1]), *(line for line in lines[-1:] if line)][-2:]


def _claim(directory: Path, service: str) -> tuple[Path, int]:
    """The first chain of ``service`` that nobody else writes, and the lock that makes it ours."""
    for number in count(1):
        chain = directory / f"{service}.{number}"
        try:
            chain.mkdir(parents=True, exist_ok=True)
            lock = os.open(chain / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise AuditError(
                f"audit log {chain} cannot be written: {error.strerror}; make it writable, or name another with "
                "MTS1B_AUDIT_DIR"
            ) from error
        if not try_lock(lock):
            os.close(lock)
            continue
        return chain, lock
    raise AssertionError("unreachable")
