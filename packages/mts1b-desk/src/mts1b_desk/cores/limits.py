"""The limits of a fund, applied to one order: which rule it breaks, if any.

An order that only reduces its position, up to flat, breaks no limit of size and none of loss, whatever it is worth: a
limit must never keep a fund from getting out. Orders that work count, so that several reductions together never turn a
position. An order that would turn it is held to every limit, and is refused whole; the reason then says what would make
the position flat. The rate binds every order.
"""

from datetime import datetime
from decimal import Decimal

from mts1b_foundation.orders import OrderV2
from mts1b_foundation.risk import RiskEnvelope, RiskRule
from pydantic import BaseModel, ConfigDict

from mts1b_desk.money import plain, ratio

_ZERO = Decimal(0)


class Exposure(BaseModel):
    """One fund as the gate sees it."""

    model_config = ConfigDict(frozen=True)

    cash: Decimal
    peak: Decimal
    """Highest value that the fund was seen at."""
    positions: dict[str, Decimal] = {}
    prices: dict[str, Decimal] = {}
    passed: tuple[datetime, ...] = ()
    """When the orders of the last minute of market time were let through."""

    @property
    def equity(self) -> Decimal:
        """Cash and positions at the last reference prices; fees are not in it."""
        return self.cash + sum((held * self.prices[symbol] for symbol, held in self.positions.items()), _ZERO)


class Refusal(BaseModel):
    """The rule that an order breaks."""

    model_config = ConfigDict(frozen=True)

    rule: RiskRule
    reason: str
    limit: Decimal | None = None
    observed: Decimal | None = None


def broken_limit(
    order: OrderV2, price: Decimal | None, envelope: RiskEnvelope, seen: Exposure, working: Decimal
) -> Refusal | None:
    """The first limit that ``order`` breaks, None when it breaks none.

    Args:
        order: to be judged.
        price: what a unit is valued at; None when nobody knows.
        envelope: the limits.
        seen: the fund's exposure.
        working: units that orders of the fund for the same symbol and side, let through and not final, may still fill.
    """
    held = seen.positions.get(order.symbol, _ZERO)
    open_units = abs(held) - working if held * order.side.sign < 0 else _ZERO
    reduces = order.quantity <= open_units
    if not reduces and (refusal := _too_large(order, price, envelope)) is not None:
        return _told_flat(refusal, order, held, open_units)
    if len(seen.passed) >= envelope.max_orders_per_minute:
        return Refusal(
            rule=RiskRule.ORDER_RATE,
            reason=f"{len(seen.passed)} orders in the last minute, the limit is {envelope.max_orders_per_minute}",
            limit=Decimal(envelope.max_orders_per_minute),
            observed=Decimal(len(seen.passed)),
        )
    if reduces or price is None:
        return None
    after = held + order.side.sign * (working + order.quantity)
    refusal = _position_too_large(abs(after * price), envelope) or _lost_too_much(envelope, seen)
    return None if refusal is None else _told_flat(refusal, order, held, open_units)


def _told_flat(refusal: Refusal, order: OrderV2, held: Decimal, open_units: Decimal) -> Refusal:
    """``refusal``, and for an order against the position what would make it flat."""
    if held * order.side.sign >= 0:
        return refusal
    said = (
        f"a {order.side} of {plain(open_units)} would make the position flat"
        if open_units > 0
        else "the orders that work already make the position flat"
    )
    return refusal.model_copy(update={"reason": f"{refusal.reason}; {said}"})


def _too_large(order: OrderV2, price: Decimal | None, envelope: RiskEnvelope) -> Refusal | None:
    if price is None:
        return Refusal(rule=RiskRule.ORDER_NOTIONAL, reason="a market order without a reference price cannot be valued")
    notional, limit = order.quantity * abs(price), envelope.max_order_notional
    return _worth_too_much(RiskRule.ORDER_NOTIONAL, "the order is worth", notional, limit)


def _position_too_large(value: Decimal, envelope: RiskEnvelope) -> Refusal | None:
    limit = envelope.max_position_notional
    return _worth_too_much(RiskRule.POSITION_NOTIONAL, "the position would be worth", value, limit)


def _worth_too_much(rule: RiskRule, what: str, value: Decimal, limit: Decimal) -> Refusal | None:
    if value <= limit:
        return None
    reason = f"{what} {plain(value)}, the limit is {plain(limit)}"
    return Refusal(rule=rule, reason=reason, limit=limit, observed=value)


def _lost_too_much(envelope: RiskEnvelope, seen: Exposure) -> Refusal | None:
    lost = seen.peak - seen.equity
    if lost <= seen.peak * envelope.max_drawdown:
        return None
    observed = ratio(lost, seen.peak) if seen.peak > 0 else Decimal(1)
    return Refusal(
        rule=RiskRule.DRAWDOWN,
        reason=f"{plain(observed)} of the highest value is lost, the limit is {plain(envelope.max_drawdown)}",
        limit=envelope.max_drawdown,
        observed=observed,
    )
