"""What a report says, computed from a session's events alone: valuations, fills and rejected orders."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from mts1b_foundation.event import Money, UtcDatetime
from mts1b_foundation.fills import FillV2
from mts1b_foundation.orders import OrderV2
from mts1b_foundation.treasury import NavSnapshotV2
from pydantic import BaseModel, ConfigDict

from mts1b_desk.money import exactly, ratio

_ZERO = Decimal(0)


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)


class Point(_Document):
    """One fund at one moment."""

    at: UtcDatetime
    nav: Money
    drawdown: Decimal
    """Share of the highest NAV so far that is lost, to six places."""
    gross: Money
    """Sum of the amounts of the positions' values."""
    net: Money
    """Sum of the positions' values."""


class Trade(_Document):
    """One fill."""

    at: UtcDatetime
    symbol: str
    side: str
    quantity: Decimal
    price: Decimal
    fee: Money
    broker: str
    order_id: str


class FundReport(_Document):
    """One fund over the session."""

    fund_id: str
    final: bool
    """Whether the last valuation is the final one of the session."""
    nav: Money
    cash: Money
    realised_pnl: Money
    unrealised_pnl: Money
    fees: Money
    max_drawdown: Decimal
    max_drawdown_at: UtcDatetime
    rejections: dict[str, int]
    """Rejected orders by the rule that refused them."""
    positions: dict[str, Decimal]
    points: tuple[Point, ...]
    trades: tuple[Trade, ...]


class Report(_Document):
    """All funds of one session, sorted by name."""

    session: str
    first: UtcDatetime
    last: UtcDatetime
    funds: tuple[FundReport, ...]


def report_of(
    session: str, valuations: Iterable[NavSnapshotV2], fills: Iterable[FillV2], rejected: Iterable[OrderV2]
) -> Report:
    """The report of a session.

    Args:
        session: its name.
        valuations: every NAV of the session, at least one.
        fills: every fill of it.
        rejected: every order of it that was rejected.

    Raises:
        ValueError: there is no valuation.
    """
    by_fund: dict[str, list[NavSnapshotV2]] = {}
    for snapshot in valuations:
        by_fund.setdefault(snapshot.fund_id, []).append(snapshot)
    if not by_fund:
        raise ValueError(f"session {session} has no valuation")
    trades: dict[str, list[Trade]] = {}
    for fill in fills:
        trades.setdefault(fill.fund_id, []).append(_trade(fill))
    rules: dict[str, Counter[str]] = {}
    for order in rejected:
        rule = (order.rejected_reason or "").partition(":")[0]
        rules.setdefault(order.fund_id, Counter())[rule] += 1
    with exactly():
        funds = tuple(
            _fund(sorted(each, key=lambda nav: nav.sequence), trades.get(fund, []), rules.get(fund, Counter()))
            for fund, each in sorted(by_fund.items())
        )
    times = [point.at for fund in funds for point in fund.points]
    return Report(session=session, first=min(times), last=max(times), funds=funds)


def _fund(valuations: list[NavSnapshotV2], trades: list[Trade], rules: Counter[str]) -> FundReport:
    last = valuations[-1]
    points: list[Point] = []
    peak, worst, worst_at = valuations[0].nav, _ZERO, valuations[0].as_of
    for nav in valuations:
        peak = max(peak, nav.nav)
        drawdown = ratio(peak - nav.nav, peak) if peak > 0 else _ZERO
        if drawdown > worst:
            worst, worst_at = drawdown, nav.as_of
        points.append(_point(nav, drawdown))
    return FundReport(
        fund_id=last.fund_id,
        final=last.final,
        nav=last.nav,
        cash=last.cash,
        realised_pnl=last.realised_pnl,
        unrealised_pnl=last.unrealised_pnl,
        fees=last.fees,
        max_drawdown=worst,
        max_drawdown_at=worst_at,
        rejections=dict(sorted(rules.items())),
        positions={position.symbol: position.quantity for position in last.positions},
        points=tuple(points),
        trades=tuple(sorted(trades, key=_when)),
    )


def _point(nav: NavSnapshotV2, drawdown: Decimal) -> Point:
    values = [position.value for position in nav.positions]
    gross = sum((abs(value) for value in values), _ZERO)
    return Point(at=nav.as_of, nav=nav.nav, drawdown=drawdown, gross=gross, net=sum(values, _ZERO))


def _trade(fill: FillV2) -> Trade:
    return Trade(
        at=fill.executed_at,
        symbol=fill.symbol,
        side=fill.side.value,
        quantity=fill.quantity,
        price=fill.price,
        fee=fill.fee,
        broker=fill.broker,
        order_id=fill.order_id,
    )


def _when(trade: Trade) -> datetime:
    return trade.at
