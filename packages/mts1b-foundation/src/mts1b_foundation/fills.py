"""Fills: what a broker reports in its own words, and what the order management books."""

from decimal import Decimal
from typing import ClassVar

from pydantic import Field

from mts1b_foundation.arithmetic import minus, times
from mts1b_foundation.event import (
    Event,
    Identifier,
    Money,
    NonNegative,
    Price,
    Quantity,
    SignedPrice,
    Symbol,
    Text,
    UtcDatetime,
)
from mts1b_foundation.orders import Side


class Fill(Event):
    """One execution as the order management booked it; positions and cash follow from fills alone.

    ``quantity`` in units of the instrument, ``price`` in the fund's currency per unit, ``fee`` in the fund's
    currency (never negative; it always reduces cash).
    """

    fill_id: Identifier
    order_id: Identifier
    fund_id: Identifier
    symbol: Symbol
    side: Side
    quantity: Quantity
    price: Price
    fee: NonNegative = Decimal(0)
    broker: Identifier
    execution_id: Identifier
    """The broker's own number of this execution, unique within the broker."""
    executed_at: UtcDatetime

    @property
    def position_change(self) -> Decimal:
        """Signed change of the position, in units of the instrument."""
        return times(self.side.sign, self.quantity)

    @property
    def cash_change(self) -> Decimal:
        """Signed change of the fund's cash, fee included, exact."""
        return minus(times(-self.side.sign, times(self.quantity, self.price)), self.fee)


class BrokerFill(Event):
    """One execution as the broker reported it: the facts that every broker knows, and its native record.

    The order management turns it into a :class:`Fill` after it found the order. ``execution_id`` is what
    duplicates are recognised by: a broker that repeats a report after a reconnect repeats this number.
    """

    broker: Identifier
    execution_id: Identifier
    client_order_id: Identifier
    """The ``order_id`` under which the order was sent."""
    broker_order_id: Identifier
    symbol: Symbol
    side: Side
    last_quantity: Quantity
    """Quantity of this execution, in units of the instrument."""
    last_price: Price
    """Price of this execution, in the fund's currency per unit."""
    commission: NonNegative = Decimal(0)
    """In the fund's currency."""
    transacted_at: UtcDatetime
    native: dict[str, str] = Field(default_factory=dict[str, str])
    """The broker's own fields, name to text, kept as they came for later disputes."""


class BrokerCancel(Event):
    """The broker's last word on an order that it did not fill completely: the rest is withdrawn.

    ``filled_quantity`` is what it executed in all, so that a reader who has seen less knows that fills are still on
    their way and waits for them.
    """

    broker: Identifier
    client_order_id: Identifier
    """The ``order_id`` under which the order was sent."""
    broker_order_id: Identifier
    symbol: Symbol
    filled_quantity: NonNegative
    """Sum of all executions of the order, in units of the instrument."""
    reason: Text
    transacted_at: UtcDatetime
    native: dict[str, str] = Field(default_factory=dict[str, str])
    """The broker's own fields, name to text."""


class BrokerRejection(Event):
    """The broker refuses an order that it was sent: nothing of it was executed, and nothing will be."""

    broker: Identifier
    client_order_id: Identifier
    """The ``order_id`` under which the order was sent."""
    symbol: Symbol
    reason: Text
    transacted_at: UtcDatetime
    native: dict[str, str] = Field(default_factory=dict[str, str])
    """The broker's own fields, name to text."""


class FillV2(Fill):
    """One execution as it was booked, at a price that may be zero or negative, with a fee that may be a rebate."""

    schema_version: ClassVar[int] = 2

    price: SignedPrice
    fee: Money = Decimal(0)
    """In the fund's currency; it reduces cash, a negative one adds to it."""

    @classmethod
    def schema_name(cls) -> str:
        """That of the first version."""
        return Fill.schema_name()


class BrokerFillV2(BrokerFill):
    """One execution as the broker reported it, at a price that may be zero or negative."""

    schema_version: ClassVar[int] = 2

    last_price: SignedPrice
    """Price of this execution, in the fund's currency per unit."""
    commission: Money = Decimal(0)
    """In the fund's currency; negative for a rebate."""

    @classmethod
    def schema_name(cls) -> str:
        """That of the first version."""
        return BrokerFill.schema_name()
