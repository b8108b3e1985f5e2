"""Whether two values are the same to a reader: equal, of the same type, and so in all of their parts."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, cast

from pydantic import BaseModel


def same(one: Any, other: Any) -> bool:
    """Whether ``other`` is what was written as ``one``."""
    if type(one) is not type(other):
        return False
    if isinstance(one, BaseModel):
        return not different(one, other)
    if isinstance(one, Mapping):
        left, right = cast("Mapping[Any, Any]", one), cast("Mapping[Any, Any]", other)
        return len(left) == len(right) and all(
            same(a, b) and same(left[a], right[b]) for a, b in zip(left, right, strict=True)
        )
    if isinstance(one, (list, tuple)):
        pair = (cast("tuple[Any, ...]", one), cast("tuple[Any, ...]", other))
        return len(pair[0]) == len(pair[1]) and all(map(same, *pair))
    if isinstance(one, (set, frozenset)):
        return {(type(each), each) for each in cast("set[Any]", one)} == {(type(each), each) for each in other}
    if isinstance(one, (float, Decimal)) and math.isnan(one):
        return math.isnan(other)
    # what does not say when it is equal cannot be compared
    return type(one).__eq__ is object.__eq__ or bool(one == other)


def different(one: BaseModel, other: BaseModel) -> list[str]:
    """The fields that are not the same in two models of one type, apart from those that are not always written."""
    fields = type(one).model_fields
    left, right = one.__dict__, other.__dict__
    return [
        name
        for name, field in fields.items()
        if not field.exclude and field.exclude_if is None and not same(left.get(name), right.get(name))
    ]
