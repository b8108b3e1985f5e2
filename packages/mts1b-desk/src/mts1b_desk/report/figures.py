"""What a report says, computed from a session's events alone: valuations, fills, prices and rejected orders."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from mts1b_foundation.event import Money, UtcDatetime
from mts1b_foundation.fills import FillV2
from mts1b_foundation.marketdata import SessionPrices
from mts1b_foundation.orders import OrderV2
from mts1b_foundation.treasury import NavSnapshotV2
from pydantic import BaseModel, ConfigDict

from mts1b_desk.money import exactly
from mts1b_desk.report.curve import Point, curve, points_of


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)


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
    """Units by symbol."""
    marks: dict[str, Decimal]
    """What a unit of each is valued at."""
    points: tuple[Point, ...]
    trades: tuple[Trade, ...]


class Report(_Document):
    """All funds of one session, sorted by name."""

    session: str
    first: UtcDatetime
    last: UtcDatetime
    funds: tuple[FundReport, ...]


def report_of(
    session: str,
    valuations: Iterable[NavSnapshotV2],
    fills: Iterable[FillV2],
    rejected: Iterable[OrderV2],
    prices: Sequence[SessionPrices] = (),
) -> Report:
    """The report of a session.

    Args:
        session: its name.
        valuations: every NAV of the session, at least one.
        fills: every fill of it.
        rejected: every order of it that was rejected.
        prices: of every symbol over the session; none while it runs: the funds are then as the treasury has valued
            them.

    Raises:
        ValueError: there is no valuation.
    """
    by_fund: dict[str, list[NavSnapshotV2]] = {}
    for snapshot in valuations:
        by_fund.setdefault(snapshot.fund_id, []).append(snapshot)
    if not by_fund:
        raise ValueError(f"session {session} has no valuation")
    booked: dict[str, list[FillV2]] = {}
    for fill in fills:
        booked.setdefault(fill.fund_id, []).append(fill)
    rules: dict[str, Counter[str]] = {}
    for order in rejected:
        rule = (order.rejected_reason or "").partition(":")[0]
        rules.setdefault(order.fund_id, Counter())[rule] += 1
    with exactly():
        funds = tuple(
            _fund(sorted(each, key=lambda nav: nav.sequence), booked.get(fund, []), rules.get(fund, Counter()), prices)
            for fund, each in sorted(by_fund.items())
        )
    times = [point.at for fund in funds for point in fund.points]
    return Report(session=session, first=min(times), last=max(times), funds=funds)


def _fund(
    valuations: list[NavSnapshotV2], fills: list[FillV2], rules: Counter[str], prices: Sequence[SessionPrices]
) -> FundReport:
    last = valuations[-1]
    if prices and last.final:
        opening = last.nav - last.realised_pnl - last.unrealised_pnl + last.fees
        points = curve(opening, fills, prices)
    else:
        points = points_of(
            (nav.as_of, nav.nav, {position.symbol: position.value for position in nav.positions}) for nav in valuations
        )
    worst = max(points, key=lambda point: point.drawdown)
    return FundReport(
        fund_id=last.fund_id,
        final=last.final,
        nav=last.nav,
        cash=last.cash,
        realised_pnl=last.realised_pnl,
        unrealised_pnl=last.unrealised_pnl,
        fees=last.fees,
        max_drawdown=worst.drawdown,
        max_drawdown_at=worst.at,
        rejections=dict(sorted(rules.items())),
        positions={position.symbol: position.quantity for position in last.positions},
        marks={position.symbol: position.mark for position in last.positions},
        points=tuple(points),
        trades=tuple(sorted(map(_trade, fills), key=_when)),
    )


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
