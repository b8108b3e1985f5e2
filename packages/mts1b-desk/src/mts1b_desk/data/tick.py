"""What a source gives: ticks in the order of market time."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Tick:
    """Best bid and ask of one symbol at one moment; a trade is a tick whose bid and ask are its price."""

    symbol: str
    timestamp: datetime
    bid: float
    ask: float
    bid_size: float | None = None
    ask_size: float | None = None


@dataclass(frozen=True, slots=True)
class BarTick:
    """A bar that the source has made itself."""

    symbol: str
    interval: str
    start: datetime
    end: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float | None = None

    @property
    def timestamp(self) -> datetime:
        """When the bar is known: its end."""
        return self.end

    def closing(self) -> Tick:
        """The market at the bar's end, as far as the bar tells: its close, without a spread."""
        return Tick(self.symbol, self.end, self.close, self.close)


class Source(Protocol):
    """Ticks that can be read again from the start, and are the same each time."""

    label: str
    """Where the data comes from, for ``Quote.source``."""

    def ticks(self) -> Iterator[Tick | BarTick]:
        """The ticks in the order of their timestamps."""
        ...
