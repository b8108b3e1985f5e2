"""Channel breakout: long when a close rises above all closes before it, short when it falls below them."""

from collections.abc import Sequence

from mts1b_foundation.signals import Direction

from mts1b_desk.settings import StrategySettings


class ChannelBreakout:
    """Follows a break of the range of the last ``slow`` closes until the opposite side breaks; ``fast`` is not used."""

    def __init__(self, settings: StrategySettings) -> None:
        self.window = settings.slow + 1

    def decide(self, closes: Sequence[float]) -> Direction | None:
        """Long or short on a break of the channel, no opinion inside it."""
        last, before = closes[-1], closes[:-1]
        if last > max(before):
            return Direction.LONG
        return Direction.SHORT if last < min(before) else None
