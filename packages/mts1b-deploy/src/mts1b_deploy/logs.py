"""Reading the logs: the last lines, and what comes after them, over rotations."""

import os
import re
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from mts1b_deploy.errors import DeployError
from mts1b_deploy.layout import Layout

Source = Literal["server", "supervisor", "output"]

_LINE = re.compile(r"\[(\d+)\] (\d{4})/(\d\d)/(\d\d) (\d\d:\d\d:\d\d\.\d+) \[(\w{3})\] (.*)")
_POLL = 0.2


class LogLine(BaseModel):
    """One line, taken apart where it has the usual form."""

    source: Source
    time: str | None
    """UTC, ISO 8601."""
    level: str | None
    pid: int | None
    text: str


def log_path(layout: Layout, source: Source) -> Path:
    """The file in which a source writes."""
    return {
        "server": layout.nats_log,
        "supervisor": layout.supervisor_log,
        "output": layout.nats_output,
    }[source]


def last_lines(layout: Layout, source: Source, count: int) -> tuple[list[str], int]:
    """The last ``count`` lines, and the offset behind them.

    Raises:
        DeployError: there is no such log, or it may not be read.
    """
    path = log_path(layout, source)
    try:
        with path.open("rb") as file:
            lines = deque(file, maxlen=count)
            return [_text(line) for line in lines], file.tell()
    except FileNotFoundError as error:
        raise DeployError(f"there is no log {path} yet: `mts1b-deploy start` begins one") from error
    except PermissionError as error:
        raise DeployError(f"no permission to read {path}: read it as the user who installed it") from error


def follow(layout: Layout, source: Source, offset: int) -> Iterator[str]:
    """Lines as they are written, without end. A log that was rotated is read to its end, then the new one."""
    path = log_path(layout, source)
    file = path.open("rb")
    try:
        file.seek(offset)
        while True:
            replaced = _replaced(path, file.fileno())  # asked first: what came before is still read
            start = file.tell()
            line = file.readline()
            if line.endswith(b"\n"):
                yield _text(line)
                continue
            file.seek(start)  # half a line: come back for all of it
            if replaced:
                file.close()
                file = path.open("rb")
                continue
            time.sleep(_POLL)
    finally:
        file.close()


def parse(source: Source, line: str) -> LogLine:
    """Take a line apart."""
    match = _LINE.fullmatch(line)
    if match is None:
        return LogLine(source=source, time=None, level=None, pid=None, text=line)
    pid, year, month, day, clock, level, text = match.groups()
    return LogLine(source=source, time=f"{year}-{month}-{day}T{clock}Z", level=level, pid=int(pid), text=text)


def _replaced(path: Path, handle: int) -> bool:
    try:
        return path.stat().st_ino != os.fstat(handle).st_ino
    except FileNotFoundError:
        return False


def _text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\n")
