"""What a fund was worth over the market time of a session: a function of its fills and of the market's prices.

The treasury's valuations say what it knew when it made them: at full speed the market is ahead of the fills that belong
to it. Here every fill counts from the moment at which it was executed. Between two samples of its price a position is
valued at the one before, or at the fill that came since.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from operator import itemgetter

from mts1b_foundation.event import Money, UtcDatetime
from mts1b_foundation.fills import FillV2
from mts1b_foundation.marketdata import SessionPrices, exact
from pydantic import BaseModel, ConfigDict

from mts1b_desk.money import ratio

_ZERO = Decimal(0)


class Point(BaseModel):
    """One fund at one moment."""

    model_config = ConfigDict(frozen=True)

    at: UtcDatetime
    nav: Money
    drawdown: Decimal
    """Share of the highest NAV so far that is lost, to six places."""
    gross: Money
    """Sum of the amounts of the positions' values."""
    net: Money
    """Sum of the positions' values."""


@dataclass(slots=True)
class Peak:
    """The highest value so far."""

    nav: Decimal

    def drawdown(self, nav: Decimal) -> Decimal:
        """The share of the highest value that is lost at ``nav``."""
        self.nav = max(self.nav, nav)
        return ratio(self.nav - nav, self.nav) if self.nav > 0 else _ZERO


def curve(opening: Decimal, fills: Iterable[FillV2], prices: Sequence[SessionPrices]) -> list[Point]:
    """The fund at every moment at which something of it changed, from the first price of the session to its last.

    Args:
        opening: cash before the first fill.
        fills: all of the fund's.
        prices: of every symbol of the session.
    """
    fund = _Fund(opening)
    fills = sorted(fills, key=lambda fill: fill.executed_at)
    traded = {fill.symbol for fill in fills}
    steps: list[tuple[datetime, FillV2 | tuple[str, Decimal] | None]] = [(fill.executed_at, fill) for fill in fills]
    for each in prices:
        times = [each.start + timedelta(milliseconds=after) for after in each.after_ms]
        if each.symbol in traded:
            steps += [(at, (each.symbol, exact(price))) for at, price in zip(times, each.prices, strict=True)]
        else:
            steps += [(times[0], None), (times[-1], None)]
    steps.sort(key=itemgetter(0))  # of the same moment a fill comes before the price that the market showed then
    points: list[Point] = []
    peak = Peak(opening)
    for at, together in groupby(steps, key=itemgetter(0)):
        for _, step in together:
            fund.take(step)
        points.append(fund.at(at, peak))
    return points


def points_of(valuations: Iterable[tuple[datetime, Decimal, Mapping[str, Decimal]]]) -> list[Point]:
    """What the treasury said while a session runs: time, NAV and the values of the positions."""
    points: list[Point] = []
    peak: Peak | None = None
    for at, nav, values in valuations:
        peak = peak or Peak(nav)
        points.append(_point(at, nav, values.values(), peak))
    return points


@dataclass(slots=True)
class _Fund:
    cash: Decimal
    held: dict[str, Decimal] = field(default_factory=dict[str, Decimal])
    marks: dict[str, Decimal] = field(default_factory=dict[str, Decimal])

    def take(self, step: FillV2 | tuple[str, Decimal] | None) -> None:
        """A fill, or a price."""
        if isinstance(step, FillV2):
            self.cash += step.cash_change
            self.held[step.symbol] = self.held.get(step.symbol, _ZERO) + step.position_change
            self.marks[step.symbol] = step.price
        elif step is not None:
            self.marks[step[0]] = step[1]

    def at(self, at: datetime, peak: Peak) -> Point:
        """The fund now."""
        values = [held * self.marks[symbol] for symbol, held in self.held.items() if held]
        return _point(at, self.cash + sum(values, _ZERO), values, peak)


def _point(at: datetime, nav: Decimal, values: Iterable[Decimal], peak: Peak) -> Point:
    values = list(values)
    gross = sum((abs(value) for value in values), _ZERO)
    return Point(at=at, nav=nav, drawdown=peak.drawdown(nav), gross=gross, net=sum(values, _ZERO))
