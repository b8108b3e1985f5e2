"""Exact arithmetic: either a result is exact, or computing it raises.

Python rounds decimals to 28 digits unless told otherwise, which is fewer than a quantity may have. Sums and products
are exact with enough digits: the context has more than any amount, quantity or price of a payload can need together.
"""

from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from typing import Final

DIGITS: Final = 200

EXACT: Final = Context(prec=DIGITS, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
"""Raises ``decimal.Inexact`` where a result would have to be rounded."""


def plus(one: Decimal, other: Decimal) -> Decimal:
    """The sum."""
    return EXACT.add(one, other)


def minus(one: Decimal, other: Decimal) -> Decimal:
    """The difference."""
    return EXACT.subtract(one, other)


def times(one: Decimal | int, other: Decimal) -> Decimal:
    """The product."""
    return EXACT.multiply(one, other)
