"""Constraints with an order: limits of numbers, lengths and counts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from mts1b_foundation.schemas.changes import Change


@dataclass(frozen=True, slots=True)
class _Bound:
    """One side of a range: the keywords that set it, and whether it is the lower side."""

    words: str
    inclusive: str
    exclusive: str | None
    lower: bool


_BOUNDS: Final = (
    _Bound("minimum", "minimum", "exclusiveMinimum", lower=True),
    _Bound("maximum", "maximum", "exclusiveMaximum", lower=False),
    _Bound("minimum", "x-minimum", "x-exclusiveMinimum", lower=True),
    _Bound("maximum", "x-maximum", "x-exclusiveMaximum", lower=False),
    _Bound("number of digits allowed", "x-maxDigits", None, lower=False),
    _Bound("minimal length", "minLength", None, lower=True),
    _Bound("maximal length", "maxLength", None, lower=False),
    _Bound("minimal number of items", "minItems", None, lower=True),
    _Bound("maximal number of items", "maxItems", None, lower=False),
    _Bound("minimal number of entries", "minProperties", None, lower=True),
    _Bound("maximal number of entries", "maxProperties", None, lower=False),
)

KEYWORDS: Final = frozenset(word for bound in _BOUNDS for word in (bound.inclusive, bound.exclusive) if word)
"""The schema keywords that this module compares."""


def compare_bounds(old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[Change]:
    """The limits that became tighter or looser."""
    for bound in _BOUNDS:
        before, after = _read(old, bound), _read(new, bound)
        if before == after:
            continue
        tighter = _tightness(after, bound) > _tightness(before, bound)
        what = (
            f"{bound.words} changed from {_say(before)} to {_say(after)}, which is {'tighter' if tighter else 'looser'}"
        )
        yield Change(path, what, backward=not tighter, forward=tighter)


def _read(schema: Mapping[str, Any], bound: _Bound) -> tuple[Decimal, bool] | None:
    """The limit as (value, exclusive); None when there is none. A minimal length of 0 is none."""
    found = [(Decimal(str(schema[bound.inclusive])), False)] if bound.inclusive in schema else []
    if bound.exclusive is not None and bound.exclusive in schema:
        found.append((Decimal(str(schema[bound.exclusive])), True))
    if not found:
        return None
    tightest = max(found, key=lambda limit: _tightness(limit, bound))
    return None if bound.inclusive.startswith("min") and "imum" not in bound.inclusive and not tightest[0] else tightest


def _tightness(limit: tuple[Decimal, bool] | None, bound: _Bound) -> tuple[Decimal, bool]:
    if limit is None:
        return (Decimal("-Infinity"), False)
    value, exclusive = limit
    return (value if bound.lower else -value, exclusive)


def _say(limit: tuple[Decimal, bool] | None) -> str:
    if limit is None:
        return "none"
    value, exclusive = limit
    return f"{'beyond ' if exclusive else ''}{value}"
