"""Risk: the limits of a fund, and the answers of the gate in front of the order management."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from mts1b_foundation.event import Event, Fraction, Identifier, Money, NonNegative, Symbol, Text, UtcDatetime


class RiskRule(StrEnum):
    """The limit that an order would break."""

    ORDER_NOTIONAL = "order_notional"
    POSITION_NOTIONAL = "position_notional"
    ORDER_RATE = "order_rate"
    DRAWDOWN = "drawdown"
    HALTED = "halted"
    NO_ENVELOPE = "no_envelope"


class RiskEnvelope(Event):
    """The limits in force for one fund. A later ``version`` replaces an earlier one.

    Notionals are in the fund's currency, the rate in orders per minute of market time, the drawdown as a
    fraction of the highest NAV (0.2 = 20 %).
    """

    fund_id: Identifier
    version: Annotated[int, Field(ge=1)]
    max_order_notional: NonNegative
    max_position_notional: NonNegative
    max_orders_per_minute: Annotated[int, Field(ge=0)]
    max_drawdown: Fraction
    effective_at: UtcDatetime


class OrderApproval(Event):
    """The gate let an order through; the order management may accept it."""

    order_id: Identifier
    fund_id: Identifier
    envelope_version: Annotated[int, Field(ge=1)]
    decided_at: UtcDatetime


class OrderRejection(Event):
    """The gate refused an order: which rule, what the limit is, what the order would have made of it.

    ``limit`` and ``observed`` are in the unit of the rule: the fund's currency for notionals, orders per minute
    for the rate, a fraction for the drawdown.
    """

    order_id: Identifier
    idempotency_key: Identifier
    fund_id: Identifier
    symbol: Symbol
    rule: RiskRule
    reason: Text
    limit: Money | None = None
    observed: Money | None = None
    decided_at: UtcDatetime
