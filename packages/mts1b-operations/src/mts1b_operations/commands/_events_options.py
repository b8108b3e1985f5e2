"""Options that the commands about stored events share, and what they make of them."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from time import monotonic
from types import TracebackType
from typing import Annotated, Self

import typer
from mts1b_foundation.errors import Mts1bError

from mts1b_operations.export.run import Forwards
from mts1b_operations.history.matching import nonsense
from mts1b_operations.history.moments import moment
from mts1b_operations.history.query import Query, parse
from mts1b_operations.history.search import Searched

From = Annotated[
    str | None, typer.Option("--from", help="Nothing before: 10m (ago), 03:12, 2026-11-29T03:12:03Z.", metavar="TIME")
]
To = Annotated[str | None, typer.Option("--to", help="Nothing after; written the same way.", metavar="TIME")]
Streams = Annotated[
    list[str] | None, typer.Option("--stream", help="This stream only; may be repeated.", metavar="STREAM")
]


class QueryError(Mts1bError):
    """A query cannot be understood."""


def understood(text: str) -> Query:
    """The query in ``text``.

    Raises:
        QueryError: something in it cannot be understood; says where.
    """
    parsed = parse(text)
    if parsed.problems:
        problem = parsed.problems[0]
        raise QueryError(
            f"the query cannot be understood: {problem.words}\n  {text}\n  {' ' * problem.at}^\n"
            "`mts1b events find --help` shows how queries are written"
        )
    if (why := nonsense(parsed.query)) is not None:
        raise QueryError(why)
    return parsed.query


def nanoseconds_at(text: str | None) -> int | None:
    """The moment of an option; None without it."""
    return None if text is None else moment(text, datetime.now(UTC))


def width() -> int | None:
    """Columns of the terminal that standard output is; None when it is none."""
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return None
    return shutil.get_terminal_size().columns


@contextlib.contextmanager
def progress_line() -> Generator[Callable[[Forwards, int, float], None]]:
    """What shows how far reading is, in one line of standard error, when that is a terminal."""
    shown = 0.0

    def show(source: Forwards, events: int, seconds: float) -> None:
        nonlocal shown
        if sys.stderr.isatty() and seconds - shown > 0.2:
            shown = seconds
            sys.stderr.write(
                f"\r\033[K{source.read:,} of {source.of:,} read, {events:,} events, {source.read / seconds:,.0f}/s"
            )
            sys.stderr.flush()

    try:
        yield show
    finally:
        if shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


class Searching:
    """Shows how far a search is, in one line of standard error, when that is a terminal; gone with the block."""

    def __init__(self) -> None:
        self._last = monotonic()
        self._there = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.clear()

    def __call__(self, searched: Searched) -> None:
        """Show it, some times a second."""
        if sys.stderr.isatty() and monotonic() - self._last > 0.3:
            self._last, self._there = monotonic(), True
            sys.stderr.write(f"\r\033[K{searched.looked_at:,} of {searched.of:,} searched")
            sys.stderr.flush()

    def clear(self) -> None:
        """Make room for something else."""
        if self._there:
            self._there = False
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def stopped_by_signals() -> asyncio.Event:
    """Set when somebody wants the command to end; where no signals arrive (in a thread), never."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ValueError, RuntimeError):
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
    return stop


def tell(text: str) -> None:
    """One line for people beside the output, on standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
