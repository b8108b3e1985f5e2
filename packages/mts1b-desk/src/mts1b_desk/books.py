"""What services tell of their state: documents that the runner, the ledger and the reconciliation read."""

from decimal import Decimal
from typing import Literal

from mts1b_foundation.event import Money, UtcDatetime
from mts1b_foundation.operations import HaltRequest
from pydantic import BaseModel, ConfigDict


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)


class FundOrders(_Document):
    """One fund in the books of the order management."""

    orders: dict[str, int]
    """Number of orders by their present state."""
    rejections: dict[str, int] = {}
    """Number of rejected orders by the rule that refused them, ``halted`` and ``broker`` among them."""
    passed_over: dict[str, int] = {}
    """Number of signals, or parts of reversals, that no order could be made of, by why."""
    fills: int
    positions: dict[str, Money]
    """Signed units by symbol; zeros left out."""
    cash_change: Money
    """Sum over all fills, fees included."""
    waiting: int
    """Signals that wait for the fund's working order."""


class OmsBook(_Document):
    """The books of the order management."""

    kind: Literal["oms"] = "oms"
    funds: dict[str, FundOrders]
    halts: tuple[HaltRequest, ...] = ()
    ignored: dict[str, int] = {}


class FundExecutions(_Document):
    """One fund's account at the brokers."""

    executions: int
    positions: dict[str, Money]
    cash_change: Money
    commissions: Money


class BrokerBook(_Document):
    """The books of the brokers."""

    kind: Literal["brokers"] = "brokers"
    funds: dict[str, FundExecutions]
    working: int
    """Orders that wait for a quote."""


class FundHoldings(_Document):
    """One fund in the books of the treasury."""

    cash: Money
    opening_cash: Money
    positions: dict[str, Money]
    marks: dict[str, Money]
    """Mark price per unit, by symbol of a position."""
    nav: Money
    realised_pnl: Money
    unrealised_pnl: Money
    fees: Money
    """Sum of all fees less rebates."""
    fills: int
    final: bool
    """Whether the session is over, every fill of it booked and every position valued at the closing marks."""
    as_of: UtcDatetime | None


class TreasuryBook(_Document):
    """The books of the treasury."""

    kind: Literal["treasury"] = "treasury"
    funds: dict[str, FundHoldings]


class OperationsBook(_Document):
    """What operations has seen: refusals by rule."""

    kind: Literal["operations"] = "operations"
    rejections: dict[str, dict[str, int]]
    """By fund, then by rule of the gate."""


Book = OmsBook | BrokerBook | TreasuryBook | OperationsBook

ZERO = Decimal(0)
