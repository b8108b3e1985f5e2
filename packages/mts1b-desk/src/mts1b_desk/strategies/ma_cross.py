"""Moving-average crossover: long while the fast average is above the slow one, short while it is below."""

from collections.abc import Sequence

from mts1b_foundation.signals import Direction

from mts1b_desk.settings import StrategySettings


class MovingAverageCross:
    """The textbook trend follower; ``fast`` and ``slow`` are numbers of bars."""

    def __init__(self, settings: StrategySettings) -> None:
        self.window = settings.slow
        self._fast = settings.fast

    def decide(self, closes: Sequence[float]) -> Direction | None:
        """Long above, short below, no opinion while the averages are equal."""
        fast = sum(closes[-self._fast :]) / self._fast
        slow = sum(closes) / len(closes)
        if fast == slow:
            return None
        return Direction.LONG if fast > slow else Direction.SHORT
