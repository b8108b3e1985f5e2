"""Published market data for retransmission: the latest from memory, the rest by running the source again."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from datetime import datetime

from mts1b_foundation.marketdata import BarV2, QuoteV2

from mts1b_desk.cores.marketdata import Marketdata
from mts1b_desk.data.source import open_source
from mts1b_desk.protocol import PAGE
from mts1b_desk.settings import DeskSettings

_TURN = 500
"""Ticks read again before other tasks get their turn."""


class Archive:
    """The session so far; at most ``size`` quotes of it, and as many bars per interval, are in memory."""

    def __init__(self, settings: DeskSettings, *, size: int = 20_000) -> None:
        self._settings = settings
        self._quotes: deque[QuoteV2] = deque(maxlen=size)
        self._bars: dict[str, deque[BarV2]] = {interval: deque(maxlen=size) for interval in settings.intervals}

    def add(self, item: QuoteV2 | BarV2) -> None:
        """Remember ``item``, which is about to be published."""
        if isinstance(item, QuoteV2):
            self._quotes.append(item)
        else:
            self._bars[item.interval].append(item)

    async def quotes(self, first: int, last: int) -> tuple[QuoteV2, ...]:
        """The quotes at positions ``first`` to ``last``, at most a page of them."""
        last = min(last, first + PAGE - 1, _end(self._quotes))
        if self._quotes and first >= (oldest := _position(self._quotes[0])):
            return tuple(self._quotes[at - oldest] for at in range(first, last + 1))
        found: list[QuoteV2] = []
        async for item in self._again():
            if isinstance(item, QuoteV2):
                if _position(item) > last:
                    break
                if _position(item) >= first:
                    found.append(item)
        return tuple(found)

    async def bars(self, interval: str, first: int, last: int) -> tuple[BarV2, ...]:
        """The bars of ``interval`` at positions ``first`` to ``last``, at most a page of them."""
        kept = self._bars.get(interval, deque[BarV2]())
        last = min(last, first + PAGE - 1, _end(kept))
        if kept and first >= (oldest := _position(kept[0])):
            return tuple(kept[at - oldest] for at in range(first, last + 1))
        found: list[BarV2] = []
        async for item in self._again():
            if isinstance(item, BarV2) and item.interval == interval:
                if _position(item) > last:
                    break
                if _position(item) >= first:
                    found.append(item)
        return tuple(found)

    async def history(self, symbol: str, since: datetime, after: int) -> tuple[QuoteV2, ...]:
        """Quotes of ``symbol`` at or after ``since`` and behind position ``after``, at most a page of them."""
        found: list[QuoteV2] = []
        end = _end(self._quotes)
        if self._quotes and (after >= _position(self._quotes[0]) or self._quotes[0].timestamp < since):
            for item in self._quotes:
                if _wanted(item, symbol, since, after):
                    found.append(item)
                    if len(found) == PAGE:
                        break
            return tuple(found)
        async for item in self._again():
            if isinstance(item, QuoteV2):
                if _position(item) > end or len(found) == PAGE:
                    break
                if _wanted(item, symbol, since, after):
                    found.append(item)
        return tuple(found)

    async def _again(self) -> AsyncIterator[QuoteV2 | BarV2]:
        source = open_source(self._settings)
        core = Marketdata(self._settings, source.label)
        for number, tick in enumerate(source.ticks()):
            if number % _TURN == 0:
                await asyncio.sleep(0)
            for item in core.on_tick(tick):
                yield item


def _position(item: QuoteV2 | BarV2) -> int:
    return item.feed_sequence or item.sequence


def _end(items: "deque[QuoteV2] | deque[BarV2]") -> int:
    return _position(items[-1]) if items else 0


def _wanted(quote: QuoteV2, symbol: str, since: datetime, after: int) -> bool:
    return quote.symbol == symbol and quote.timestamp >= since and _position(quote) > after
