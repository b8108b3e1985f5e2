"""Market data: numbers the ticks of a source as quotes, builds bars from them, and closes the session.

Bars are aligned to the clock (a 1s bar starts at a whole second UTC) and made of the middle of each quote. A bar is
published as soon as any tick of the market shows that its time is over, before that tick's own quote; bars that end at
the same time go out in the order of their symbols, and a bar that the end of the data cut short is not published. The
whole output is a function of the ticks: whoever runs the same source again can publish, or retransmit, the same again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from mts1b_foundation.marketdata import BarV2, ClosingMarkV2, QuoteV2, SessionClosedV2, SessionPrices, exact

from mts1b_desk.cores.sampling import Sampler
from mts1b_desk.data.tick import BarTick, Tick
from mts1b_desk.intervals import duration
from mts1b_desk.money import HALF
from mts1b_desk.settings import DeskSettings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_HELD = 15
"""A number of so few digits is the one that was meant."""


def middle(bid: float, ask: float) -> float:
    """The middle of two prices as they were printed: a sum of doubles may have digits that no market shows."""
    near = (bid + ask) / 2
    return near if len(repr(near)) <= _HELD else float((exact(bid) + exact(ask)) * HALF)


@dataclass(slots=True)
class _Forming:
    """A bar whose time is not over."""

    start: datetime
    end: datetime
    open: float
    high: float
    low: float
    close: float
    quotes: int = 1


@dataclass(slots=True)
class _Symbol:
    """What was published of one symbol."""

    quotes: int = 0
    last: QuoteV2 | None = None
    bars: dict[str, int] = field(default_factory=dict[str, int])
    prices: Sampler = field(default_factory=Sampler)


class Marketdata:
    """The market data service of a desk: ticks in, quotes and bars out."""

    service: ClassVar[str] = "marketdata"
    repo: ClassVar[str] = "mts1b-marketdata"

    def __init__(self, settings: DeskSettings, source: str) -> None:
        self._session = settings.session
        self._source = source
        self._intervals = {interval: duration(interval) for interval in settings.intervals}
        self._symbols: dict[str, _Symbol] = {}
        self._forming: dict[tuple[str, str], _Forming] = {}
        self._due: datetime | None = None  # end of the forming bar that ends first
        self.quotes = 0
        self.bars = dict.fromkeys(self._intervals, 0)

    def on_tick(self, tick: Tick | BarTick) -> list[QuoteV2 | BarV2]:
        """The bars that the tick closes, and its quote."""
        out: list[QuoteV2 | BarV2] = []
        if isinstance(tick, BarTick):
            out.append(self._given(tick))
            tick = tick.closing()
            mid = tick.bid
        else:
            if self._due is not None and tick.timestamp >= self._due:
                out += self._close_bars(tick.timestamp)
            mid = middle(tick.bid, tick.ask)
            self._form(tick, mid)
        out.append(self._quote(tick, mid))
        return out

    def close(self) -> SessionClosedV2:
        """The end of the session: closing marks, and how much of each symbol was published.

        Raises:
            ValueError: when there was no tick at all.
        """
        marks: list[ClosingMarkV2] = []
        for symbol, seen in sorted(self._symbols.items()):
            last = seen.last
            if last is not None:
                marks.append(
                    ClosingMarkV2(
                        symbol=symbol,
                        bid=last.bid,
                        ask=last.ask,
                        timestamp=last.timestamp,
                        quotes=seen.quotes,
                        bars={interval: seen.bars.get(interval, 0) for interval in self.bars},
                    )
                )
        if not marks:
            raise ValueError("a session without a single quote cannot be closed")
        return SessionClosedV2(
            session=self._session,
            source=self._source,
            marks=tuple(marks),
            closed_at=max(mark.timestamp for mark in marks),
        )

    def prices(self) -> list[SessionPrices]:
        """The prices of every symbol over the session, sampled."""
        found: list[SessionPrices] = []
        for symbol, seen in sorted(self._symbols.items()):
            if (last := seen.last) is None:
                continue
            samples = seen.prices.samples(last.timestamp, middle(last.bid, last.ask))
            start = samples[0][0]
            found.append(
                SessionPrices(
                    session=self._session,
                    source=self._source,
                    symbol=symbol,
                    start=start,
                    after_ms=tuple((at - start) // _MILLISECOND for at, _ in samples),
                    prices=tuple(price for _, price in samples),
                )
            )
        return found

    def _quote(self, tick: Tick, mid: float) -> QuoteV2:
        seen = self._symbols.get(tick.symbol)
        if seen is None:
            seen = self._symbols[tick.symbol] = _Symbol()
        seen.quotes += 1
        self.quotes += 1
        seen.prices.add(tick.timestamp, mid)
        seen.last = quote = QuoteV2(
            symbol=tick.symbol,
            bid=tick.bid,
            ask=tick.ask,
            bid_size=tick.bid_size,
            ask_size=tick.ask_size,
            timestamp=tick.timestamp,
            sequence=seen.quotes,
            session=self._session,
            source=self._source,
            feed_sequence=self.quotes,
        )
        return quote

    def _form(self, tick: Tick, mid: float) -> None:
        for interval, length in self._intervals.items():
            bar = self._forming.get((tick.symbol, interval))
            if bar is None:
                start = tick.timestamp - (tick.timestamp - _EPOCH) % length
                end = start + length
                self._forming[tick.symbol, interval] = _Forming(start, end, mid, mid, mid, mid)
                self._due = end if self._due is None else min(self._due, end)
            else:
                bar.high = max(bar.high, mid)
                bar.low = min(bar.low, mid)
                bar.close = mid
                bar.quotes += 1

    def _close_bars(self, now: datetime) -> Iterable[BarV2]:
        over = sorted((bar.end, key) for key, bar in self._forming.items() if bar.end <= now)
        closed = [self._bar(*key, self._forming.pop(key)) for _, key in over]
        self._due = min((bar.end for bar in self._forming.values()), default=None)
        return closed

    def _bar(self, symbol: str, interval: str, bar: _Forming, volume: float | None = None) -> BarV2:
        counts = self._symbols.setdefault(symbol, _Symbol()).bars
        counts[interval] = counts.get(interval, 0) + 1
        self.bars[interval] += 1
        return BarV2(
            symbol=symbol,
            interval=interval,
            start=bar.start,
            end=bar.end,
            open=bar.open,
            high=bar.high,
            low=bar.low,
            close=bar.close,
            volume=volume,
            quotes=bar.quotes,
            sequence=counts[interval],
            session=self._session,
            source=self._source,
            feed_sequence=self.bars[interval],
        )

    def _given(self, tick: BarTick) -> BarV2:
        forming = _Forming(tick.start, tick.end, tick.open, tick.high, tick.low, tick.close)
        return self._bar(tick.symbol, tick.interval, forming, tick.volume)
