"""Market data files as a source of ticks: one file, or a folder of files in the order of time.

Rows have to come in ascending order of time; a file of bars that begins with the newest is read from its end, and
``sort`` sorts any other. The same quote or bar twice is refused.
"""

import heapq
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from datetime import datetime
from itertools import islice
from typing import Any

from mts1b_desk.data.digest import files_of
from mts1b_desk.data.formats import Kind
from mts1b_desk.data.rows import WHOLE, Row, RowReader
from mts1b_desk.data.summary import Gaps, Summary
from mts1b_desk.data.tick import BarTick, Tick
from mts1b_desk.errors import DataError
from mts1b_desk.settings import ReplaySettings


class Replay:
    """Market data files. Opening them checks their columns; reading them checks every row.

    Args:
        settings: which files, and how to read them.
        signed: symbols whose prices may be zero or negative.

    Raises:
        DataError: a file cannot be read, or says something that makes no sense.
    """

    def __init__(self, settings: ReplaySettings, signed: Iterable[str] = ()) -> None:
        self.path = settings.path
        self.label = "replay:" + (re.sub(r"[^!-~]", "_", settings.path.name)[:180] or "file")
        self._sort = settings.sort
        folder = settings.path.is_dir()
        paths = files_of(settings.path)
        symbol = None if folder else settings.symbol
        self._readers = [RowReader(path, symbol=symbol, utc=settings.utc, signed=frozenset(signed)) for path in paths]
        self._only = settings.symbol if folder or self._readers[0].layout.has("symbol") else None
        self.derived_symbol = None if folder else self._readers[0].derived_symbol
        for reader in self._readers:
            if reader.kind is not self.kind:
                raise DataError(
                    f"{reader.path} holds {reader.kind}, {self._readers[0].path} {self.kind}; keep one kind per folder"
                )

    @property
    def kind(self) -> Kind:
        """What the files hold."""
        return self._readers[0].kind

    def ticks(self) -> Iterator[Tick | BarTick]:
        """The ticks in the order of time, those of the same time in the order of the files and their rows."""
        repetition = _Repetition()
        for reader, row in self._merged():
            if repetition.is_one(row):
                raise reader.cells.error(
                    row.number,
                    reader.time_column,
                    f"{_shown(row)} of {row.tick.symbol} was there before; drop one of the rows",
                )
            if self._only is None or row.tick.symbol == self._only:
                yield row.tick

    def check(self) -> Summary:
        """Read everything once.

        Raises:
            DataError: at the first row that is wrong, or when there is none at all.
        """
        ticks = 0
        symbols: dict[str, None] = {}
        intervals: dict[str, None] = {}
        first: Tick | BarTick | None = None
        last: Tick | BarTick | None = None
        gaps = Gaps()
        for tick in self.ticks():
            ticks += 1
            first = first or tick
            last = tick
            symbols[tick.symbol] = None
            if isinstance(tick, BarTick):
                intervals[tick.interval] = None
                gaps.add(tick)
        if first is None or last is None:
            what = f"no row of symbol {self._only!r}" if self._only else "no row"
            raise DataError(f"{self.path} has {what}: there is nothing to replay")
        if len(intervals) > 1:
            raise DataError(f"{self.path} mixes bars of {', '.join(intervals)}; keep one length per file")
        return Summary(
            self.kind,
            ticks,
            tuple(sorted(symbols)),
            first.timestamp,
            last.timestamp,
            next(iter(intervals), None),
            self.derived_symbol,
            tuple(reader.describe() for reader in self._readers),
            gaps.count,
            gaps.longest,
        )

    def _merged(self) -> Iterator[tuple[RowReader, Row]]:
        if len(self._readers) == 1:
            return self._ascending(self._readers[0])
        return self._by_time()

    def _by_time(self) -> Iterator[tuple[RowReader, Row]]:
        """The rows of all files; a file is opened when its first row is due, as a long history has many files."""
        heap: list[tuple[datetime, int, Iterator[tuple[RowReader, Row]] | None]] = []
        for number, reader in enumerate(self._readers):
            with closing(self._ascending(reader)) as rows:
                heap += [(row.tick.timestamp, number, None) for _, row in islice(rows, 1)]
        heapq.heapify(heap)
        due: dict[int, tuple[RowReader, Row]] = {}
        while heap:
            _, number, rows = heap[0]
            if rows is None:
                rows = self._ascending(self._readers[number])
                due[number] = next(rows)
            yield due[number]
            if (following := next(rows, None)) is None:
                heapq.heappop(heap)
            else:
                due[number] = following
                heapq.heapreplace(heap, (following[1].tick.timestamp, number, rows))

    def _ascending(self, reader: RowReader) -> Generator[tuple[RowReader, Row]]:
        rows: Iterable[Row] = reader.rows()
        if self._sort:
            rows = sorted(rows, key=lambda row: row.tick.timestamp)
        elif reader.newest_first:
            rows = reversed(list(rows))
        before: datetime | None = None
        for row in rows:
            at = row.tick.timestamp
            if before is not None and at < before:
                raise reader.cells.error(
                    row.number,
                    reader.time_column,
                    f"{_shown(row)} is earlier than the row before it; sort the file by time, or pass --sort",
                )
            before = at
            yield reader, row


class _Repetition:
    """Recognises a row that says what another row of its symbol at the same time said.

    A quote is compared with the quote before it, as a market may come back to a price; trades are compared by their
    ids, bars by their starts. Trades without ids cannot be told apart.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[datetime, set[Any]]] = {}
        self._last: dict[str, Tick | BarTick] = {}

    def is_one(self, row: Row) -> bool:
        tick = row.tick
        if row.identity is None:
            return False
        if row.identity is WHOLE:
            before, self._last[tick.symbol] = self._last.get(tick.symbol), tick
            return before == tick
        at, seen = self._seen.get(tick.symbol, (None, set[Any]()))
        if at != tick.timestamp:
            self._seen[tick.symbol] = tick.timestamp, {row.identity}
            return False
        if row.identity in seen:
            return True
        seen.add(row.identity)
        return False


def _shown(row: Row) -> str:
    tick = row.tick
    return f"the bar of {tick.start.isoformat()}" if isinstance(tick, BarTick) else tick.timestamp.isoformat()
