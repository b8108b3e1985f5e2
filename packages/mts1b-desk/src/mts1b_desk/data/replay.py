"""Market data files as a source of ticks.

- Quotes become ticks as they stand; sizes may be missing.
- A trade becomes a tick whose bid and ask are its price, without sizes: what traded is not what is on offer.
- A bar is passed on as it is, followed by a tick at its end that shows its close without a spread. ``timestamp`` is its
  start; its length is the column ``interval``, or the smallest step between two bars of a symbol.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import repeat
from pathlib import Path
from typing import Any

from mts1b_desk.data.columns import Kind, Layout, layout_of
from mts1b_desk.data.table_file import Columns, batches, column_names
from mts1b_desk.data.tick import BarTick, Tick
from mts1b_desk.data.values import Cells
from mts1b_desk.errors import DataError
from mts1b_desk.settings import ReplaySettings

_WORDS = frozenset({"ticks", "tick", "quotes", "quote", "trades", "trade", "bars", "bar", "data"})
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))
_INTERVAL = re.compile(r"([1-9][0-9]*)(ms|s|m|h|d)")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a whole file holds, after every row of it was checked."""

    kind: Kind
    ticks: int
    symbols: tuple[str, ...]
    first: datetime
    last: datetime
    interval: str | None
    """Length of the bars of a file of bars."""
    derived_symbol: str | None
    """The symbol, when it was derived from the file's name."""


class Replay:
    """One market data file. Opening it checks its columns; reading it checks every row.

    Raises:
        DataError: the file cannot be read, or says something that makes no sense.
    """

    def __init__(self, settings: ReplaySettings) -> None:
        self.path = settings.path
        self.label = "replay:" + (re.sub(r"[^!-~]", "_", settings.path.name)[:180] or "file")
        self._layout: Layout = layout_of(self.path, column_names(self.path))
        self._cells = Cells(self.path, utc=settings.utc)
        self._only = settings.symbol if self._layout.has("symbol") else None
        self.derived_symbol: str | None = None
        self._symbol = settings.symbol
        if not self._layout.has("symbol") and settings.symbol is None:
            self._symbol = self.derived_symbol = _symbol_of(self.path)

    @property
    def kind(self) -> Kind:
        """What the file holds."""
        return self._layout.kind

    def ticks(self) -> Iterator[Tick | BarTick]:
        """The ticks in the order of the file, which is checked to be the order of time."""
        read = {Kind.QUOTES: self._quotes, Kind.TRADES: self._trades, Kind.BARS: self._bars}[self.kind]
        names = list(self._layout.columns.values())
        row = 0
        before: datetime | None = None
        for columns in batches(self.path, names):
            for tick in read(columns, row + 1):
                row += 1
                at = tick.timestamp
                if before is not None and at < before:
                    raise self._cells.error(
                        row,
                        self._layout.columns["timestamp"],
                        f"{at.isoformat()} is earlier than the row before it; sort the file by time",
                    )
                before = at
                if self._only is None or tick.symbol == self._only:
                    yield tick

    def check(self) -> Summary:
        """Read the whole file once.

        Raises:
            DataError: at the first row that is wrong, or when there is none at all.
        """
        ticks = 0
        symbols: dict[str, None] = {}
        intervals: dict[str, None] = {}
        first: Tick | BarTick | None = None
        last: Tick | BarTick | None = None
        for tick in self.ticks():
            ticks += 1
            first = first or tick
            last = tick
            symbols[tick.symbol] = None
            if isinstance(tick, BarTick):
                intervals[tick.interval] = None
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
        )

    def _quotes(self, columns: Columns, row: int) -> Iterator[Tick]:
        cells = self._cells
        at, bid, ask = (self._layout.columns[name] for name in ("timestamp", "bid", "ask"))
        sizes = [self._layout.columns.get(name) for name in ("bid_size", "ask_size")]
        values = [columns[name] if name else repeat(None) for name in sizes]
        rows = zip(columns[at], self._symbols(columns), columns[bid], columns[ask], *values)  # noqa: B905 - repeat
        for number, (time, symbol, bid_price, ask_price, bid_size, ask_size) in enumerate(rows, row):
            yield Tick(
                self._name(number, symbol),
                cells.time(number, at, time),
                cells.price(number, bid, bid_price),
                cells.price(number, ask, ask_price),
                cells.size(number, sizes[0] or "bid_size", bid_size),
                cells.size(number, sizes[1] or "ask_size", ask_size),
            )

    def _trades(self, columns: Columns, row: int) -> Iterator[Tick]:
        at, price = self._layout.columns["timestamp"], self._layout.columns["price"]
        quantity = self._layout.columns.get("quantity")
        quantities = columns[quantity] if quantity else repeat(None)
        rows = zip(columns[at], self._symbols(columns), columns[price], quantities)  # noqa: B905 - repeat
        for number, (time, symbol, traded, size) in enumerate(rows, row):
            value = self._cells.price(number, price, traded)
            self._cells.size(number, quantity or "quantity", size)
            yield Tick(self._name(number, symbol), self._cells.time(number, at, time), value, value)

    def _bars(self, columns: Columns, row: int) -> Iterator[BarTick]:
        cells = self._cells
        names = {meaning: self._layout.columns[meaning] for meaning in ("timestamp", "open", "high", "low", "close")}
        volume, interval = self._layout.columns.get("volume"), self._layout.columns.get("interval")
        volumes = columns[volume] if volume else repeat(None)
        intervals = columns[interval] if interval else repeat(None)
        values = (columns[name] for name in names.values())
        for number, (symbol, units, length, time, *prices) in enumerate(
            zip(self._symbols(columns), volumes, intervals, *values),  # noqa: B905 - repeat
            row,
        ):
            start = cells.time(number, names["timestamp"], time)
            step, written = self._length(number, interval, length)
            opened, high, low, close = (
                cells.price(number, name, price) for name, price in zip(list(names.values())[1:], prices, strict=True)
            )
            if not low <= min(opened, close) <= max(opened, close) <= high:
                raise cells.error(number, names["high"], "high and low do not enclose open and close; fix the row")
            size = cells.size(number, volume or "volume", units)
            yield BarTick(self._name(number, symbol), written, start, start + step, opened, high, low, close, size)

    def _length(self, row: int, column: str | None, value: Any) -> tuple[timedelta, str]:
        if column is None:
            return self._step
        match = _INTERVAL.fullmatch(str(value).strip())
        if match is None:
            raise self._cells.error(row, column, f"{value!r} is no interval; write 500ms, 1s, 5m, 1h or 1d")
        return timedelta(milliseconds=int(match[1]) * dict(_UNITS)[match[2]]), match[0]

    @property
    def _step(self) -> tuple[timedelta, str]:
        """The smallest step between two bars of a symbol in the first batch of the file."""
        if self._inferred is None:
            at = self._layout.columns["timestamp"]
            last: dict[str, datetime] = {}
            steps: set[timedelta] = set()
            for columns in batches(self.path, list(self._layout.columns.values())):
                for number, (time, symbol) in enumerate(zip(columns[at], self._symbols(columns)), 1):  # noqa: B905
                    name, now = self._name(number, symbol), self._cells.time(number, at, time)
                    if (before := last.get(name)) is not None and now > before:
                        steps.add(now - before)
                    last[name] = now
                break
            if not steps:
                raise DataError(f"{self.path}: one bar does not tell how long it is; add a column interval")
            step = min(steps)
            milliseconds = round(step / timedelta(milliseconds=1))
            unit, size = next((unit, size) for unit, size in _UNITS if milliseconds % size == 0)
            self._inferred = step, f"{milliseconds // size}{unit}"
        return self._inferred

    _inferred: tuple[timedelta, str] | None = None

    def _symbols(self, columns: Columns) -> Any:
        return columns[self._layout.columns["symbol"]] if self._layout.has("symbol") else repeat(self._symbol)

    def _name(self, row: int, value: Any) -> str:
        if value == self._symbol and value is not None:
            return value
        return self._cells.symbol(row, self._layout.columns.get("symbol", "symbol"), value)


def _symbol_of(path: Path) -> str:
    parts = [part for part in re.split(r"[-_. ]+", path.stem) if part and part.lower() not in _WORDS]
    if not parts:
        raise DataError(f"{path} has no symbol column, and its name tells none; pass --symbol BTC/USD")
    return "-".join(parts).upper()[:64]
