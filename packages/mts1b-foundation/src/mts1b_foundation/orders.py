"""Orders and their life cycle.

::

    created ──► accepted ──► partially_filled ──► filled
       │ │         │ │             │ ▲ │
       │ └─────────┼─┴► rejected   └─┘ │
       │           ▼                   ▼
       └───────► canceled ◄────────────┘

An ``Order`` is a value: each step returns a new one and refuses a step that its state does not allow, so that
an event which arrives twice or late can never bend the books.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar, Final, Self

from pydantic import model_validator

from mts1b_foundation.arithmetic import minus, plus, times
from mts1b_foundation.errors import IllegalTransition
from mts1b_foundation.event import (
    Event,
    Identifier,
    NonNegative,
    Notional,
    Price,
    Quantity,
    SignedPrice,
    Symbol,
    Text,
    UtcDatetime,
)
from mts1b_foundation.passes import PRESENT, passes_when


class Side(StrEnum):
    """Direction of an order or a fill."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell: what a quantity is multiplied with to become a position change."""
        return 1 if self is Side.BUY else -1


class OrderType(StrEnum):
    """How an order is priced."""

    MARKET = "market"
    LIMIT = "limit"


class TimeInForce(StrEnum):
    """How long an order works: immediate-or-cancel, until the session ends, or until canceled."""

    IOC = "ioc"
    DAY = "day"
    GTC = "gtc"


class OrderStatus(StrEnum):
    """Where an order stands in its life."""

    CREATED = "created"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        """Whether nothing can happen to the order any more."""
        return not _NEXT[self]

    def allows(self, following: "OrderStatus") -> bool:
        """Whether an order in this state may go to ``following``."""
        return following in _NEXT[self]


_NEXT: Final[dict[OrderStatus, frozenset[OrderStatus]]] = {
    OrderStatus.CREATED: frozenset({OrderStatus.ACCEPTED, OrderStatus.REJECTED, OrderStatus.CANCELED}),
    OrderStatus.ACCEPTED: frozenset(
        {OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.REJECTED}
    ),
    OrderStatus.PARTIALLY_FILLED: frozenset({OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED, OrderStatus.CANCELED}),
    OrderStatus.REJECTED: frozenset(),
    OrderStatus.FILLED: frozenset(),
    OrderStatus.CANCELED: frozenset(),
}

_CREATED: Final = OrderStatus.CREATED
_ACCEPTED: Final = OrderStatus.ACCEPTED
_LIMIT: Final = OrderType.LIMIT
_MAY_HOLD_FILLS: Final = frozenset({OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED, OrderStatus.CANCELED})
_UNTOUCHED: Final[dict[str, tuple[object, ...]]] = {
    "status": (_CREATED, _ACCEPTED),
    "filled_quantity": (Decimal(0),),
    "filled_notional": (Decimal(0),),
    "rejected_reason": (None,),
    "canceled_reason": (None,),
}
"""What nothing has happened to."""


class Order(Event):
    """An order of one fund, in the state that its last event left it in.

    ``idempotency_key`` names the intent: however often a producer repeats the same intent, consumers act on it
    once. Quantities are in units of the instrument, prices in the fund's currency per unit.
    """

    order_id: Identifier
    idempotency_key: Identifier
    fund_id: Identifier
    actor: Identifier
    """Who wanted it: a strategy account or a person, such as ``crypto_dual_paper``."""
    symbol: Symbol
    side: Side
    order_type: OrderType = OrderType.MARKET
    time_in_force: TimeInForce = TimeInForce.IOC
    quantity: Quantity
    limit_price: Price | None = None
    """Worst acceptable price; set for limit orders and only for them."""
    reference_price: Price | None = None
    """Price at which the decision was made; risk values the order with it."""
    broker: Identifier = "paper"
    """The broker that works the order: the ``<broker>`` token of ``mts.v1.brokers.<broker>.fills.raw``."""
    signal_id: Identifier | None = None
    """The signal that caused the order, when one did."""
    status: OrderStatus = OrderStatus.CREATED
    filled_quantity: NonNegative = Decimal(0)
    filled_notional: NonNegative = Decimal(0)
    """Sum of price times quantity over all fills, exact, in the fund's currency."""
    rejected_reason: Text | None = None
    canceled_reason: Text | None = None
    created_at: UtcDatetime
    updated_at: UtcDatetime

    signed_prices: ClassVar[bool] = False
    """Whether prices may be zero or negative."""

    @model_validator(mode="after")
    @passes_when(
        {**_UNTOUCHED, "order_type": (OrderType.MARKET,), "limit_price": (None,)},
        {**_UNTOUCHED, "order_type": (_LIMIT,), "limit_price": PRESENT},
    )
    def _consistent(self) -> Self:
        if not _is_untouched(self.__dict__):
            self._check()
        return self

    def _check(self) -> None:
        if (self.order_type is OrderType.LIMIT) != (self.limit_price is not None):
            raise ValueError("limit_price belongs to limit orders, and every limit order needs one")
        if (self.status is OrderStatus.REJECTED) != (self.rejected_reason is not None):
            raise ValueError("rejected_reason belongs to rejected orders, and every rejected order needs one")
        if (self.status is OrderStatus.CANCELED) != (self.canceled_reason is not None):
            raise ValueError("canceled_reason belongs to canceled orders, and every canceled order needs one")
        if self.filled_quantity > self.quantity:
            raise ValueError(f"filled_quantity {self.filled_quantity} exceeds quantity {self.quantity}")
        if (self.status is OrderStatus.FILLED) != (self.filled_quantity == self.quantity):
            raise ValueError("an order is filled when its whole quantity is, and only then")
        if self.status in _MAY_HOLD_FILLS:
            if self.status is OrderStatus.PARTIALLY_FILLED and not self.filled_quantity:
                raise ValueError("a partially filled order has a filled_quantity")
        elif self.filled_quantity:
            raise ValueError(f"an order that is {self.status} has no fills: filled_quantity must be 0")
        if not self.filled_quantity and self.filled_notional:
            raise ValueError("an order without fills has no filled_notional")
        if self.filled_quantity and not self.filled_notional and not self.signed_prices:
            raise ValueError("filled_quantity and filled_notional grow together: both are 0 or neither is")

    @property
    def remaining(self) -> Decimal:
        """Quantity that is not filled yet, in units of the instrument."""
        return minus(self.quantity, self.filled_quantity)

    @property
    def average_price(self) -> Decimal | None:
        """Average price of the fills so far; None before the first. Rounded to Decimal's context."""
        return self.filled_notional / self.filled_quantity if self.filled_quantity else None

    def accept(self, at: datetime) -> Self:
        """The order after risk let it through.

        Raises:
            IllegalTransition: when the order is not in the state created.
        """
        return self._to(OrderStatus.ACCEPTED, at)

    def reject(self, reason: str, at: datetime) -> Self:
        """The order after it was refused, by risk or later by its broker, with the reason for the people who ask.

        Raises:
            IllegalTransition: when something of the order was filled, or it has ended.
        """
        return self._to(OrderStatus.REJECTED, at, rejected_reason=reason)

    def cancel(self, reason: str, at: datetime) -> Self:
        """The order after its remaining quantity was withdrawn.

        Raises:
            IllegalTransition: when the order has already ended.
        """
        return self._to(OrderStatus.CANCELED, at, canceled_reason=reason)

    def fill(self, quantity: Decimal, price: Decimal, at: datetime) -> Self:
        """The order after ``quantity`` more units were filled at ``price``.

        Raises:
            IllegalTransition: when the order is not working, has less than ``quantity`` left, or the fill is none
                (a quantity that is zero, negative or not a number; a price that the order does not take).
        """
        priced = price.is_finite() and (self.signed_prices or price > 0)
        if not (quantity.is_finite() and quantity > 0 and priced):
            must = "quantity must be positive" if self.signed_prices else "quantity and price must be positive"
            raise IllegalTransition(f"order {self.order_id}: {quantity} at {price} is no fill; {must}")
        if quantity > self.remaining:
            raise IllegalTransition(
                f"order {self.order_id}: cannot fill {quantity}, {self.remaining} of {self.quantity} remain"
            )
        filled = plus(self.filled_quantity, quantity)
        status = OrderStatus.FILLED if filled == self.quantity else OrderStatus.PARTIALLY_FILLED
        notional = plus(self.filled_notional, times(quantity, price))
        return self._to(status, at, filled_quantity=filled, filled_notional=notional)

    def _to(self, status: OrderStatus, at: datetime, **changes: object) -> Self:
        if not self.status.allows(status):
            raise IllegalTransition(f"order {self.order_id} is {self.status}: it cannot become {status}")
        return type(self).model_validate({**self.__dict__, "status": status, "updated_at": at, **changes})


def _is_untouched(fields: Mapping[str, object]) -> bool:
    """Whether nothing has happened to an order, which most events say, and nothing needs a closer look.

    Compares by identity, as validation is on the hot path.
    """
    status = fields["status"]
    return (
        (status is _CREATED or status is _ACCEPTED)
        and not fields["filled_quantity"]
        and not fields["filled_notional"]
        and fields["rejected_reason"] is None
        and fields["canceled_reason"] is None
        and (fields["limit_price"] is None) is (fields["order_type"] is not _LIMIT)
    )


class OrderV2(Order):
    """An order whose prices, and ``filled_notional`` with them, may be zero or negative."""

    schema_version: ClassVar[int] = 2
    signed_prices: ClassVar[bool] = True

    limit_price: SignedPrice | None = None
    """Worst acceptable price; set for limit orders and only for them."""
    reference_price: SignedPrice | None = None
    """Price at which the decision was made; risk values the order with it."""
    filled_notional: Notional = Decimal(0)
    """Sum of price times quantity over all fills, exact and signed, in the fund's currency."""

    @classmethod
    def schema_name(cls) -> str:
        """That of the first version."""
        return Order.schema_name()
