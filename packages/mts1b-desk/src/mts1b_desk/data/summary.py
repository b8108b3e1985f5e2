"""What market data files hold, in figures and in words."""

from dataclasses import dataclass
from datetime import datetime

from mts1b_desk.data.formats import Kind
from mts1b_desk.data.tick import BarTick

_NAMED = 5
"""Most files and symbols that a short account names."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a whole file or folder holds, after every row of it was checked."""

    kind: Kind
    ticks: int
    symbols: tuple[str, ...]
    first: datetime
    last: datetime
    interval: str | None
    """Length of the bars of a file of bars."""
    derived_symbol: str | None
    """The symbol, when it was derived from the file's name."""
    columns: tuple[str, ...]
    """What the columns of each file were taken for."""
    gaps: int = 0
    """How often a bar does not begin where the one before it of its symbol ended; closed markets are gaps too."""
    longest_gap: tuple[datetime, datetime] | None = None

    @property
    def span(self) -> str:
        """From when to when it goes."""
        return f"{_words(self.first)} to {_words(self.last)} UTC"

    def told(self) -> list[str]:
        """Everything, in lines."""
        kind = f"{self.kind} of {self.interval}" if self.interval else f"{self.kind}"
        lines = [*self.columns, f"{self.ticks} {kind} of {', '.join(self.symbols)}, {self.span}"]
        if self.longest_gap is not None:
            start, end = (_words(at) for at in self.longest_gap)
            closed = "closed markets are gaps too"
            gaps = "1 gap" if self.gaps == 1 else f"{self.gaps} gaps"
            lines.append(f"{gaps} between bars ({closed}), the longest from {start} to {end} UTC")
        return lines

    def columns_in_short(self) -> list[str]:
        """What the columns of the first files were taken for."""
        lines = list(self.columns[:_NAMED])
        if (more := len(self.columns) - len(lines)) > 0:
            lines.append(f"and {more} more files; `mts1b-desk look` tells of each")
        return lines

    def symbols_in_short(self) -> str:
        """The first symbols, and where a single one comes from."""
        if self.derived_symbol is not None:
            return f"{self.derived_symbol} (no symbol column; taken from the file's name, --symbol overrides)"
        return ", ".join(self.symbols[:_NAMED]) + (" …" if len(self.symbols) > _NAMED else "")


class Gaps:
    """Counts the gaps between bars."""

    def __init__(self) -> None:
        self.count = 0
        self.longest: tuple[datetime, datetime] | None = None
        self._ends: dict[str, datetime] = {}

    def add(self, bar: BarTick) -> None:
        """The next bar of its symbol."""
        end = self._ends.get(bar.symbol)
        self._ends[bar.symbol] = bar.end
        if end is not None and bar.start > end:
            self.count += 1
            if self.longest is None or bar.start - end > self.longest[1] - self.longest[0]:
                self.longest = end, bar.start


def _words(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"
