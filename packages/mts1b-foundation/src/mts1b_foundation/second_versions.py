"""How events of the first version of a payload are read as the second one.

The second versions drop one rule: that prices are positive. Market data, signals, orders, fills and valuations follow.
"""

from typing import Any, Final

from mts1b_foundation.fills import BrokerFill, BrokerFillV2, Fill, FillV2
from mts1b_foundation.marketdata import Bar, BarV2, ClosingMarkV2, Quote, QuoteV2, SessionClosed, SessionClosedV2
from mts1b_foundation.orders import Order, OrderV2
from mts1b_foundation.signals import Signal, SignalV2
from mts1b_foundation.treasury import NavSnapshot, NavSnapshotV2, PositionV2
from mts1b_foundation.upcasting import Upcaster, upcaster


@upcaster
def order_v1_to_v2(old: Order) -> OrderV2:
    """As it is."""
    return OrderV2(**dict(old))


@upcaster
def fill_v1_to_v2(old: Fill) -> FillV2:
    """As it is."""
    return FillV2(**dict(old))


@upcaster
def broker_fill_v1_to_v2(old: BrokerFill) -> BrokerFillV2:
    """As it is."""
    return BrokerFillV2(**dict(old))


@upcaster
def quote_v1_to_v2(old: Quote) -> QuoteV2:
    """As it is."""
    return QuoteV2(**dict(old))


@upcaster
def bar_v1_to_v2(old: Bar) -> BarV2:
    """As it is."""
    return BarV2(**dict(old))


@upcaster
def session_closed_v1_to_v2(old: SessionClosed) -> SessionClosedV2:
    """As it is, its marks in their second version."""
    marks = tuple(ClosingMarkV2(**dict(mark)) for mark in old.marks)
    return SessionClosedV2.model_validate({**dict(old), "marks": marks})


@upcaster
def signal_v1_to_v2(old: Signal) -> SignalV2:
    """As it is."""
    return SignalV2(**dict(old))


@upcaster
def nav_v1_to_v2(old: NavSnapshot) -> NavSnapshotV2:
    """As it is, its positions in their second version."""
    positions = tuple(PositionV2(**dict(position)) for position in old.positions)
    return NavSnapshotV2.model_validate({**dict(old), "positions": positions})


SECOND_VERSIONS: Final[tuple[Upcaster[Any, Any], ...]] = (
    order_v1_to_v2,
    fill_v1_to_v2,
    broker_fill_v1_to_v2,
    quote_v1_to_v2,
    bar_v1_to_v2,
    session_closed_v1_to_v2,
    signal_v1_to_v2,
    nav_v1_to_v2,
)
