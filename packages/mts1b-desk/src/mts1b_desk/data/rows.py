"""Rows of a file as ticks.

- Quotes become ticks as they stand; sizes may be missing.
- A trade becomes a tick whose bid and ask are its price, without sizes: what traded is not what is on offer.
- A bar is passed on as it is, followed by a tick at its end that shows its close without a spread. ``timestamp`` is its
  start; its length is the column ``interval``, or the smallest step between two bars of a symbol.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import repeat
from pathlib import Path
from typing import Any, Final, NamedTuple

from mts1b_desk.data.formats import Kind
from mts1b_desk.data.table_file import Columns, open_table, stem_of
from mts1b_desk.data.tick import BarTick, Tick
from mts1b_desk.data.values import Cells
from mts1b_desk.errors import DataError
from mts1b_desk.intervals import LONGEST, duration, written

_WORDS = frozenset(
    {"ticks", "tick", "quotes", "quote", "trades", "trade", "bars", "bar", "data", "aggtrades", "bookticker", "klines"}
    | {"candlestick", "bid", "ask", "intraday", "daily", "weekly", "monthly", "full", "adjusted"}
)
_LENGTH = re.compile(r"[0-9]+(ms|s|m|min|h|d|w|mo)", re.IGNORECASE)
_ADDED = re.compile(r"[0-9]*(ms|s|m|min|h|d|w|mo)?|[mhdw][0-9]+|mn1?", re.IGNORECASE)
"""What may stand behind the symbol in a file's name: lengths of bars and dates."""
_CALENDAR = ((28, 31), (90, 92), (181, 184), (365, 366))
"""The shortest and the longest month, quarter, half-year and year, in days."""


WHOLE: Final = object()
"""The identity of a row that is all of its values."""


class Row(NamedTuple):
    """One row of a file."""

    number: int
    """Counts from 1 behind the names of the columns."""
    tick: Tick | BarTick
    identity: Any
    """What no other row of the symbol at the same time has: the id of a trade, the start of a bar. ``WHOLE`` for a
    quote, which only its neighbour must not repeat. None when rows cannot be told apart."""


class RowReader:
    """The rows of one file in the order of the file.

    Args:
        path: the file.
        symbol: of a file without a column of symbols; None for the one that the file or its name tells.
        utc: whether times without a zone mean UTC.
        signed: symbols whose prices may be zero or negative.

    Raises:
        DataError: the file cannot be read, or says something that makes no sense.
    """

    def __init__(self, path: Path, *, symbol: str | None, utc: bool, signed: frozenset[str] = frozenset()) -> None:
        self.path = path
        self._file = open_table(path)
        self.layout = self._file.layout
        known = self.layout.format
        self._utc = utc or (known is not None and known.utc)
        self._signed = signed
        self._nothing = known.nothing if known else ()
        self._carried = known is not None and known.carried
        self.cells = self._new_cells()
        self._last: dict[str, Any] = {}
        self.derived_symbol: str | None = None
        self._symbol = symbol
        if not self.layout.has("symbol") and symbol is None:
            named = self._file.symbol or _symbol_of(path)
            self._symbol = self.derived_symbol = named if known is None else known.symbol_in(named)

    @property
    def kind(self) -> Kind:
        """What the file holds."""
        return self.layout.kind

    @property
    def time_column(self) -> str:
        """The name of the column of times."""
        return self.layout.columns["timestamp"]

    @property
    def newest_first(self) -> bool:
        """Whether this is a file of bars that begins with the newest."""
        if self.kind is not Kind.BARS:
            return False
        times = [at for _, at in self._first_times()]
        return len(times) > 1 and times[0] > times[-1] and times == sorted(times, reverse=True)

    def describe(self) -> str:
        """What the file's columns were taken for; complete once rows were read."""
        words = self.cells.times.words
        told = f"{self.path.name}: {self.layout.describe()}"
        if words:
            told += f"; times are {words}"
        if self.cells.rounded:
            told += f"; {self.cells.rounded} numbers have more digits than prices and sizes hold, and were rounded"
        return told if self.derived_symbol is None else f"{told}; symbol {self.derived_symbol}"

    def rows(self) -> Iterator[Row]:
        """Every row, checked.

        Raises:
            DataError: at the first row that is wrong.
        """
        self.cells = self._new_cells()
        self._last = {}
        read = {Kind.QUOTES: self._quotes, Kind.TRADES: self._trades, Kind.BARS: self._bars}[self.kind]
        number = 1
        for columns in self._file.batches():
            for row in read(columns, number):
                number = row.number + 1
                yield row

    def _new_cells(self) -> Cells:
        return Cells(self.path, utc=self._utc, nothing=self._nothing, signed=self._signed)

    def _quotes(self, columns: Columns, first: int) -> Iterator[Row]:
        cells = self.cells
        at, bid, ask = (self.layout.columns[name] for name in ("timestamp", "bid", "ask"))
        sizes = [self.layout.columns.get(name) for name in ("bid_size", "ask_size")]
        values = [columns[name] if name else repeat(None) for name in sizes]
        bids, asks = columns[bid], columns[ask]
        if self._carried:
            bids, asks = self._carry("bid", bids), self._carry("ask", asks)
        rows = zip(self._times(columns), self._symbols(columns), bids, asks, *values)  # noqa: B905 - repeat
        for number, (time, symbol, bid_price, ask_price, bid_size, ask_size) in enumerate(rows, first):
            tick = Tick(
                name := self._name(number, symbol),
                cells.time(number, at, time),
                cells.price(number, bid, bid_price, name),
                cells.price(number, ask, ask_price, name),
                cells.size(number, sizes[0] or "bid_size", bid_size),
                cells.size(number, sizes[1] or "ask_size", ask_size),
            )
            cells.check_spread(number, ask, tick.bid, tick.ask)
            yield Row(number, tick, WHOLE)

    def _carry(self, side: str, values: list[Any]) -> list[Any]:
        last = self._last.get(side)
        carried = [last := value or last for value in values]
        self._last[side] = last
        return carried

    def _trades(self, columns: Columns, first: int) -> Iterator[Row]:
        at, price = self.time_column, self.layout.columns["price"]
        quantity, identity = self.layout.columns.get("quantity"), self.layout.columns.get("id")
        quantities = columns[quantity] if quantity else repeat(None)
        ids = columns[identity] if identity else repeat(None)
        rows = zip(self._times(columns), self._symbols(columns), columns[price], quantities, ids)  # noqa: B905 - repeat
        for number, (time, symbol, traded, size, trade_id) in enumerate(rows, first):
            name = self._name(number, symbol)
            value = self.cells.price(number, price, traded, name)
            self.cells.size(number, quantity or "quantity", size)
            tick = Tick(name, self.cells.time(number, at, time), value, value)
            yield Row(number, tick, trade_id)

    def _bars(self, columns: Columns, first: int) -> Iterator[Row]:
        cells = self.cells
        names = {meaning: self.layout.columns[meaning] for meaning in ("open", "high", "low", "close")}
        volume, interval = self.layout.columns.get("volume"), self.layout.columns.get("interval")
        volumes = columns[volume] if volume else repeat(None)
        intervals = columns[interval] if interval else repeat(None)
        values = (columns[name] for name in names.values())
        for number, (time, symbol, units, length, *prices) in enumerate(
            zip(self._times(columns), self._symbols(columns), volumes, intervals, *values),  # noqa: B905 - repeat
            first,
        ):
            start = cells.time(number, self.time_column, time)
            step, written = self._length(number, interval, length)
            of = self._name(number, symbol)
            opened, high, low, close = (
                cells.price(number, name, price, of) for name, price in zip(names.values(), prices, strict=True)
            )
            if not low <= min(opened, close) <= max(opened, close) <= high:
                raise cells.error(number, names["high"], "high and low do not enclose open and close; fix the row")
            size = cells.size(number, volume or "volume", units)
            try:
                end = start + step
            except OverflowError:
                what = f"the bar of {start.isoformat()} is {step.days} days long; fix its time or its length"
                raise cells.error(number, self.time_column, what) from None
            tick = BarTick(of, written, start, end, opened, high, low, close, size)
            yield Row(number, tick, start)

    def _length(self, row: int, column: str | None, value: Any) -> tuple[timedelta, str]:
        if column is None:
            return self._step
        text = str(value).strip()
        try:
            return duration(text), text
        except ValueError as error:
            raise self.cells.error(row, column, str(error)) from None

    @property
    def _step(self) -> tuple[timedelta, str]:
        """The smallest step between two bars of a symbol in the first batch of the file, by the clock of its zone."""
        if self._inferred is None:
            last: dict[str, datetime] = {}
            steps: set[timedelta] = set()
            for name, at in self._first_times():
                now = at.replace(tzinfo=None)  # a day is a day when the clocks change
                if (before := last.get(name)) is not None and now != before:
                    steps.add(abs(now - before))
                last[name] = now
            if not steps:
                raise DataError(f"{self.path}: one bar does not tell how long it is; add a column interval")
            step = _whole_months(min(steps))
            if step > LONGEST:
                raise DataError(
                    f"{self.path}: bars {step.days} days apart, and bars are {LONGEST.days} days long at most; add a "
                    "column interval"
                )
            if step % timedelta(milliseconds=1):
                raise DataError(
                    f"{self.path}: bars {step / timedelta(milliseconds=1):g} ms apart, and bars are whole milliseconds "
                    "long; fix their times, or add a column interval"
                )
            self._inferred = step, written(step)
        return self._inferred

    _inferred: tuple[timedelta, str] | None = None

    def _first_times(self) -> list[tuple[str, datetime]]:
        """Symbols and times of the first batch."""
        cells = self._new_cells()
        found: list[tuple[str, datetime]] = []
        for columns in self._file.batches():
            for number, (time, symbol) in enumerate(zip(self._times(columns), self._symbols(columns)), 1):  # noqa: B905
                found.append((self._name(number, symbol), cells.local_time(number, self.time_column, time)))
            break
        return found

    def _times(self, columns: Columns) -> list[Any]:
        times = columns[self.time_column]
        clock = self.layout.columns.get("clock")
        return times if clock is None else [f"{day} {time}" for day, time in zip(times, columns[clock], strict=True)]

    def _symbols(self, columns: Columns) -> Any:
        return columns[self.layout.columns["symbol"]] if self.layout.has("symbol") else repeat(self._symbol)

    def _name(self, row: int, value: Any) -> str:
        if value == self._symbol and value is not None:
            return value
        return self.cells.symbol(row, self.layout.columns.get("symbol", "symbol"), value)


def _whole_months(step: timedelta) -> timedelta:
    """``step``, or for bars of months the longest that it can be: no close may be told before its bar has ended."""
    return next((timedelta(longest) for least, longest in _CALENDAR if least <= step.days <= longest), step)


def _symbol_of(path: Path) -> str:
    """The symbol in a file's name, without what exports add: lengths of bars, dates, words."""
    parts: list[str] = []
    for part in re.split(r"[-_. ]+", stem_of(path)):
        if part.lower() not in _WORDS and not (_ADDED.fullmatch(part) if parts else _LENGTH.fullmatch(part)):
            parts.append(part)
    symbol = "-".join(part for part in parts if part).upper()[:64]
    if not symbol:
        raise DataError(f"{path} has no symbol column, and its name tells none; pass --symbol BTC/USD")
    return symbol
