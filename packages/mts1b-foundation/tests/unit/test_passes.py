"""What a validator is said to pass, it passes."""

from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from mts1b_foundation.orders import Order, OrderStatus, OrderType, OrderV2
from mts1b_foundation.passes import PRESENT, Case, cases_of, passes_when
from mts1b_foundation.samples import ORDER, ORDER_V2
from pydantic import ValidationError

ZERO, ONE = Decimal(0), Decimal(1)
STATES: dict[str, tuple[Any, ...]] = {
    "status": tuple(OrderStatus),
    "order_type": tuple(OrderType),
    "limit_price": (None, ONE),
    "filled_quantity": (ZERO, ONE),
    "filled_notional": (ZERO, ONE),
    "rejected_reason": (None, "because"),
    "canceled_reason": (None, "because"),
}


def holds(case: Case, fields: dict[str, Any]) -> bool:
    return all(
        fields[name] is not None if values == PRESENT else fields[name] in values for name, values in case.items()
    )


@pytest.mark.parametrize("order", [ORDER, ORDER_V2], ids=lambda order: type(order).__name__)
def test_an_order_is_valid_in_each_case_in_which_it_is_said_to_be(order: Order):
    cases = cases_of(Order._consistent)  # pyright: ignore[reportPrivateUsage, reportArgumentType]
    said, refused = 0, 0
    for values in product(*STATES.values()):
        fields = dict(zip(STATES, values, strict=True))
        in_a_case = any(holds(case, fields) for case in cases)
        said += in_a_case
        try:
            type(order).model_validate({**dict(order), **fields})
        except ValidationError:
            refused += 1
            assert not in_a_case, fields
    assert said == 4  # created and accepted, for each type of order
    assert refused > 300


def test_what_a_price_is_makes_no_difference():
    limited = {**dict(ORDER_V2), "order_type": OrderType.LIMIT}
    for price in (Decimal(-1), ZERO, ONE):
        assert OrderV2.model_validate({**limited, "limit_price": price}).limit_price == price


def test_nothing_is_said_of_other_validators():
    def silent(order: Any) -> Any:
        return order

    assert cases_of(silent) == ()
    said = passes_when({"a": (1,)})(silent)
    assert cases_of(said) == ({"a": (1,)},)
