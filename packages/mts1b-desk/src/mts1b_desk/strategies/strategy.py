"""What a strategy is, and how one is found by name.

A strategy is a plugin: any package may register one under the entry point group ``mts1b_desk.strategies``, a callable
that takes :class:`~mts1b_desk.settings.StrategySettings` and returns a :class:`Strategy`.
"""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

from mts1b_foundation.signals import Direction

from mts1b_desk.errors import DeskError
from mts1b_desk.settings import StrategySettings

GROUP = "mts1b_desk.strategies"


class Strategy(Protocol):
    """Decides from the last ``window`` closing prices of one symbol and keeps nothing in between."""

    window: int
    """How many closing prices it wants to see, at least one."""

    def decide(self, closes: Sequence[float]) -> Direction | None:
        """The position to hold after these closes (oldest first, ``window`` of them); None for no opinion."""
        ...


def make_strategy(settings: StrategySettings) -> Strategy:
    """The strategy that ``settings`` name.

    Raises:
        DeskError: when no plugin has that name.
    """
    plugins = _plugins()
    if settings.name not in plugins:
        raise DeskError(f"no strategy is called {settings.name!r}: there are {', '.join(sorted(plugins))}")
    strategy: Strategy = plugins[settings.name].load()(settings)
    return strategy


@cache
def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
