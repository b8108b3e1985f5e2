"""Prices of one symbol over a session, sampled evenly however long it is: a pure function of the ticks."""

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FINEST: Final = timedelta(milliseconds=100)
MOST: Final = 500
"""Most samples of a symbol."""

Sample = tuple[datetime, float]


class Sampler:
    """The first price of every interval; the interval doubles whenever there are too many."""

    __slots__ = ("_interval", "_next", "_samples")

    def __init__(self) -> None:
        self._interval = _FINEST
        self._next: datetime | None = None
        self._samples: list[Sample] = []

    def due(self, at: datetime) -> bool:
        """Whether a price of the time ``at`` is to be added."""
        return self._next is None or at >= self._next

    def add(self, at: datetime, price: float) -> None:
        """Keep the price of the time ``at``, which is due."""
        self._samples.append((at, price))
        if len(self._samples) > 2 * MOST:
            self._samples, self._interval = _thinned(self._samples, self._interval, MOST)
        self._next = at - (at - _EPOCH) % self._interval + self._interval

    def samples(self, at: datetime, price: float) -> list[Sample]:
        """What was kept, thinned to the most that are told, and the last price of the session."""
        kept, _ = _thinned(self._samples, self._interval, MOST - 1)
        return kept if kept and kept[-1][0] == at else [*kept, (at, price)]


def _thinned(samples: list[Sample], interval: timedelta, most: int) -> tuple[list[Sample], timedelta]:
    """The first of each interval, which is doubled until they are not more than ``most``."""
    while len(samples) > most:
        interval *= 2
        firsts: dict[int, Sample] = {}
        for sample in samples:
            firsts.setdefault((sample[0] - _EPOCH) // interval, sample)
        samples = list(firsts.values())
    return samples, interval
