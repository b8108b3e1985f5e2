"""A histogram of seconds in plain integers: one bisection and two additions an observation, rendered when scraped."""

from bisect import bisect_left
from itertools import accumulate
from typing import Final

BOUNDS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Upper bounds of the buckets in seconds: from a local ack to a consumer that stood still for a minute."""

_LABELS: Final = (*map(str, BOUNDS), "+Inf")


class Histogram:
    """Counts of observations by bucket, and their sum."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        """Count one observation, or several alike; a clock that ran backwards counts as no time."""
        if seconds < 0.0:
            seconds = 0.0
        self.counts[bisect_left(BOUNDS, seconds)] += times
        self.total += seconds * times

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts as Prometheus wants them."""
        return list(zip(_LABELS, accumulate(map(float, self.counts)), strict=True))
