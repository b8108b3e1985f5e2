"""Exact arithmetic for the books: either a result is exact, or computing it raises.

Sums and products of decimals are exact as long as the context has enough digits; :func:`exactly` gives plenty and traps
the rest. The few places that must round (a quantity to its lot, a fee to its quantum) say so by name.
"""

from contextlib import AbstractContextManager
from decimal import ROUND_HALF_UP, Context, Decimal, DivisionByZero, InvalidOperation, Overflow, localcontext

from mts1b_foundation.arithmetic import DIGITS, EXACT

_ROUNDED = Context(prec=DIGITS, traps=[InvalidOperation, DivisionByZero, Overflow])

HALF = Decimal("0.5")
BASIS_POINT = Decimal("0.0001")


def exactly() -> AbstractContextManager[Context]:
    """Inside the block a decimal result that would have to be rounded raises ``decimal.Inexact``."""
    return localcontext(EXACT)


def whole_lots(value: Decimal, price: Decimal, lot: Decimal) -> Decimal:
    """The largest multiple of ``lot`` that is worth ``value`` at most at ``price``, in units of the instrument.

    A negative price counts like its amount.

    Raises:
        decimal.DivisionByZero: the price is 0, at which any quantity is worth nothing.
    """
    return _ROUNDED.divide_int(value, _ROUNDED.multiply(abs(price), lot)) * lot


def fee_of(notional: Decimal, basis_points: Decimal, quantum: Decimal) -> Decimal:
    """The commission on the amount of ``notional``, rounded half up to ``quantum``, in its currency."""
    return _ROUNDED.multiply(abs(notional), _ROUNDED.multiply(basis_points, BASIS_POINT)).quantize(
        quantum, rounding=ROUND_HALF_UP, context=_ROUNDED
    )


def ratio(part: Decimal, whole: Decimal) -> Decimal:
    """``part / whole`` to six places, for people; decisions compare products instead."""
    return _ROUNDED.divide(part, whole).quantize(Decimal("0.000001"), rounding=ROUND_HALF_UP, context=_ROUNDED)


def mean(total: Decimal, count: Decimal) -> Decimal:
    """``total / count``, rounded, for estimates."""
    return _ROUNDED.divide(total, count)


def digits(value: Decimal) -> int:
    """How many digits ``value`` has when it is written out."""
    _, figures, exponent = value.as_tuple()
    assert isinstance(exponent, int)  # noqa: S101 - it is finite
    return max(len(figures) + max(exponent, 0), -exponent)


def plain(value: Decimal) -> str:
    """``value`` without exponent and trailing zeros: equal amounts are equal texts."""
    text = f"{value:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text
