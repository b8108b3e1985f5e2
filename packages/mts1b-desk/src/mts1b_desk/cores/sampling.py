"""Prices of one symbol over a session, sampled evenly however long it is: a pure function of the ticks.

Of every interval the first price is kept, the lowest and the highest: what a fund lost at worst shows in a sample of
its prices only when their extremes are in it.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FINEST: Final = timedelta(milliseconds=100)
MOST: Final = 1_000
"""Most samples of a symbol."""

Sample = tuple[datetime, float]
_time = itemgetter(0)
_price = itemgetter(1)


class Sampler:
    """The first, the lowest and the highest price of every interval, which doubles whenever there are too many."""

    __slots__ = ("_end", "_first", "_high", "_interval", "_low", "_samples")

    def __init__(self) -> None:
        self._interval = _FINEST
        self._end: datetime | None = None
        self._samples: list[Sample] = []

    def add(self, at: datetime, price: float) -> None:
        """The next price, of the time ``at``."""
        if self._end is None or at >= self._end:
            self._begin((at, price))
        elif price < self._low[1]:
            self._low = at, price
        elif price > self._high[1]:
            self._high = at, price

    def samples(self, at: datetime, price: float) -> list[Sample]:
        """What was kept, thinned to the most that are told, and the last price of the session."""
        kept, _ = _thinned([*self._samples, *self._interval_so_far()], self._interval, MOST - 1)
        return kept if kept and kept[-1] == (at, price) else [*kept, (at, price)]

    def _begin(self, sample: Sample) -> None:
        self._samples += self._interval_so_far()
        if len(self._samples) > 2 * MOST:
            self._samples, self._interval = _thinned(self._samples, self._interval, MOST)
        self._first = self._low = self._high = sample
        self._end = sample[0] - (sample[0] - _EPOCH) % self._interval + self._interval

    def _interval_so_far(self) -> Iterable[Sample]:
        return () if self._end is None else _of_one((self._first, self._low, self._high))


def _of_one(samples: Iterable[Sample]) -> list[Sample]:
    """The first, the lowest and the highest of an interval's samples, each once, in their order."""
    ordered = sorted(samples, key=_time)
    kept = {ordered[0], min(ordered, key=_price), max(ordered, key=_price)}
    return [sample for sample in dict.fromkeys(ordered) if sample in kept]


def _thinned(samples: list[Sample], interval: timedelta, most: int) -> tuple[list[Sample], timedelta]:
    """Those of intervals that are doubled until they are not more than ``most``."""
    while len(samples := _grouped(samples, interval)) > most:
        interval *= 2
    return samples, interval


def _grouped(samples: list[Sample], interval: timedelta) -> list[Sample]:
    together = groupby(samples, key=lambda sample: (sample[0] - _EPOCH) // interval)
    return [sample for _, group in together for sample in _of_one(group)]
