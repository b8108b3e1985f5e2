"""The life of an order: every step that is allowed, and every one that is not."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mts1b_foundation.errors import IllegalTransition, Mts1bError
from mts1b_foundation.orders import Order, OrderStatus, OrderType, Side
from mts1b_foundation.samples import FILL, ORDER, ORDER_V2
from pydantic import ValidationError

NOW = ORDER.created_at
HALF = ORDER.quantity / 2
PRICE = Decimal(40_000)

IN_STATE: dict[OrderStatus, Order] = {
    OrderStatus.CREATED: ORDER,
    OrderStatus.ACCEPTED: ORDER.accept(NOW),
    OrderStatus.REJECTED: ORDER.reject("too big", NOW),
    OrderStatus.PARTIALLY_FILLED: ORDER.accept(NOW).fill(HALF, PRICE, NOW),
    OrderStatus.FILLED: ORDER.accept(NOW).fill(ORDER.quantity, PRICE, NOW),
    OrderStatus.CANCELED: ORDER.cancel("no longer wanted", NOW),
}

STEPS: dict[OrderStatus, Callable[[Order], Order]] = {
    OrderStatus.ACCEPTED: lambda order: order.accept(NOW),
    OrderStatus.REJECTED: lambda order: order.reject("too big", NOW),
    OrderStatus.PARTIALLY_FILLED: lambda order: order.fill(order.remaining / 2 or HALF, PRICE, NOW),
    OrderStatus.FILLED: lambda order: order.fill(order.remaining or HALF, PRICE, NOW),
    OrderStatus.CANCELED: lambda order: order.cancel("no longer wanted", NOW),
}

ALLOWED = {
    (OrderStatus.CREATED, OrderStatus.ACCEPTED),
    (OrderStatus.CREATED, OrderStatus.REJECTED),
    (OrderStatus.CREATED, OrderStatus.CANCELED),
    (OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED),
    (OrderStatus.ACCEPTED, OrderStatus.FILLED),
    (OrderStatus.ACCEPTED, OrderStatus.CANCELED),
    (OrderStatus.ACCEPTED, OrderStatus.REJECTED),
    (OrderStatus.PARTIALLY_FILLED, OrderStatus.PARTIALLY_FILLED),
    (OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED),
    (OrderStatus.PARTIALLY_FILLED, OrderStatus.CANCELED),
}

EVERY_PAIR = [(now, following) for now in OrderStatus for following in STEPS]


@pytest.mark.parametrize(("now", "following"), [pair for pair in EVERY_PAIR if pair in ALLOWED])
def test_an_allowed_step_returns_the_order_in_its_next_state(now: OrderStatus, following: OrderStatus):
    before = IN_STATE[now]
    after = STEPS[following](before)
    assert after.status is following
    assert before.status is now


@pytest.mark.parametrize(("now", "following"), [pair for pair in EVERY_PAIR if pair not in ALLOWED])
def test_an_illegal_step_is_refused_and_names_the_order(now: OrderStatus, following: OrderStatus):
    with pytest.raises(IllegalTransition, match=ORDER.order_id):
        STEPS[following](IN_STATE[now])


@pytest.mark.parametrize("status", OrderStatus)
def test_a_state_is_final_when_no_step_leaves_it(status: OrderStatus):
    assert status.is_final == (status not in {now for now, _ in ALLOWED})
    assert {following for following in OrderStatus if status.allows(following)} == {
        following for now, following in ALLOWED if now is status
    }


def test_an_illegal_step_is_an_error_of_the_project():
    assert issubclass(IllegalTransition, Mts1bError)


@pytest.mark.parametrize("quantity", ["0", "-1", "NaN", "Infinity"])
def test_a_fill_of_nothing_is_refused(quantity: str):
    with pytest.raises(IllegalTransition, match="is no fill"):
        IN_STATE[OrderStatus.ACCEPTED].fill(Decimal(quantity), PRICE, NOW)


@pytest.mark.parametrize("price", ["0", "-1", "NaN", "Infinity"])
def test_a_fill_at_no_price_is_refused(price: str):
    with pytest.raises(IllegalTransition, match="is no fill"):
        IN_STATE[OrderStatus.ACCEPTED].fill(HALF, Decimal(price), NOW)


def test_an_order_is_never_filled_beyond_its_quantity():
    with pytest.raises(IllegalTransition, match=r"0\.25 of 0\.5 remain"):
        IN_STATE[OrderStatus.PARTIALLY_FILLED].fill(ORDER.quantity, PRICE, NOW)


@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 10**9)), min_size=1, max_size=20))
def test_quantity_and_notional_add_up_exactly_over_any_fills(fills: list[tuple[int, int]]):
    total = sum(quantity for quantity, _ in fills)
    order = Order.model_validate({**dict(ORDER), "quantity": Decimal(total) / 1000}).accept(NOW)
    for quantity, price in fills:
        order = order.fill(Decimal(quantity) / 1000, Decimal(price) / 100, NOW)
    assert order.status is OrderStatus.FILLED
    assert order.remaining == 0
    assert order.filled_notional * 100_000 == sum(quantity * price for quantity, price in fills)


def test_the_average_price_weighs_fills_by_quantity():
    order = IN_STATE[OrderStatus.ACCEPTED].fill(HALF, Decimal(100), NOW).fill(HALF, Decimal(200), NOW)
    assert order.average_price == 150
    assert ORDER.average_price is None


def test_a_step_carries_its_time_and_reason():
    later = NOW + timedelta(seconds=1)
    assert ORDER.reject("too big", later).rejected_reason == "too big"
    assert ORDER.cancel("halt", later).canceled_reason == "halt"
    assert ORDER.accept(later).updated_at == later
    assert ORDER.accept(later).created_at == NOW


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"order_type": OrderType.MARKET}, "limit_price belongs to limit orders"),
        ({"limit_price": None}, "limit_price belongs to limit orders"),
        ({"rejected_reason": "why"}, "rejected_reason belongs to rejected orders"),
        ({"status": OrderStatus.REJECTED}, "rejected_reason belongs to rejected orders"),
        ({"canceled_reason": "why"}, "canceled_reason belongs to canceled orders"),
        ({"status": OrderStatus.CANCELED}, "canceled_reason belongs to canceled orders"),
        ({"status": OrderStatus.FILLED}, "filled when its whole quantity is"),
        ({"filled_quantity": ORDER.quantity, "filled_notional": PRICE}, "filled when its whole quantity is"),
        ({"filled_quantity": ORDER.quantity * 2, "filled_notional": PRICE}, "exceeds quantity"),
        ({"filled_quantity": HALF, "filled_notional": PRICE}, "created has no fills"),
        ({"status": OrderStatus.PARTIALLY_FILLED}, "partially filled order has a filled_quantity"),
        ({"status": OrderStatus.PARTIALLY_FILLED, "filled_quantity": HALF}, "grow together"),
    ],
)
def test_an_order_that_contradicts_itself_is_refused(changes: dict[str, object], said: str):
    with pytest.raises(ValidationError, match=said):
        Order.model_validate({**dict(ORDER), **changes})


def test_a_side_signs_the_change_of_the_position():
    assert [side.sign for side in (Side.BUY, Side.SELL)] == [1, -1]


LONGEST = Decimal("1." + "0" * 36 + "1")
"""A quantity of 38 digits."""


def test_a_quantity_of_38_digits_fills_to_exactly_nothing():
    order = ORDER.model_copy(update={"quantity": LONGEST}).accept(NOW)
    tick = Decimal("1e-37")
    order = order.fill(tick, PRICE, NOW)
    assert order.remaining == 1
    order = order.fill(Decimal(1), PRICE, NOW)
    assert order.status is OrderStatus.FILLED
    assert order.remaining == 0


def test_the_notional_of_fills_has_every_digit():
    price = Decimal("12345678901234567890.1234567891")
    order = ORDER.model_copy(update={"quantity": Decimal("3.0000000001")}).accept(NOW)
    order = order.fill(Decimal("0.0000000001"), price, NOW).fill(Decimal(3), price, NOW)
    assert order.filled_notional == Decimal("37037036704938271560.49382715631234567891")


def test_what_follows_from_a_fill_has_every_digit():
    long = Decimal("0.12345678901234567890123456789")
    fill = FILL.model_copy(update={"quantity": long, "price": long, "fee": Decimal("1e-58")})
    assert fill.position_change == long
    assert -fill.cash_change == Decimal("0.0152415787532388367504953515624666819051205301021336199121") + Decimal(
        "1e-58"
    )


def test_fills_at_zero_and_negative_prices_add_up():
    order = ORDER_V2.accept(NOW).fill(HALF, Decimal("-37.63"), NOW)
    assert order.filled_notional == HALF * Decimal("-37.63")
    order = order.fill(order.remaining, Decimal("37.63"), NOW)
    assert (order.status, order.filled_notional) == (OrderStatus.FILLED, 0)
    assert type(order).model_validate_json(order.model_dump_json()) == order


def test_the_first_version_takes_positive_prices_only():
    with pytest.raises(IllegalTransition, match="quantity and price must be positive"):
        ORDER.accept(NOW).fill(HALF, Decimal(0), NOW)
    with pytest.raises(IllegalTransition, match="quantity must be positive"):
        ORDER_V2.accept(NOW).fill(Decimal(0), Decimal(1), NOW)


def test_a_product_of_the_longest_quantity_and_the_longest_price_is_kept():
    order = ORDER_V2.model_copy(update={"quantity": LONGEST}).accept(NOW).fill(LONGEST, LONGEST.copy_negate(), NOW)
    assert len(order.filled_notional.as_tuple().digits) == 75
    assert order.remaining == 0
