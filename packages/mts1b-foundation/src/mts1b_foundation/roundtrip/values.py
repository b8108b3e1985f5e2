"""The values that fields are tried with, and which of them a node of a core schema accepts."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, cast
from uuid import UUID

from pydantic_core import CoreSchema, SchemaValidator

Node = Mapping[str, Any]

TEXTS: Final = (
    "alpha", "1", "1.5", "A", "a", 'é\n"', "", "2021-01-08", "2021-01-08T09:30:00Z", "127.0.0.1", "USD",
    "https://example.org/", "00000000-0000-4000-8000-000000000001", "P1DT1S", "1m", "a@example.org",
)  # fmt: skip
OTHERS: Final = (1, 1.5, True, Decimal("1.5"), ("a", "b"), ["a"], {"a": "b"}, b"\xff\x00", None)
MOMENT: Final = datetime(2021, 1, 8, 9, 30, 15, tzinfo=UTC)
PLAIN: Final[Mapping[str, tuple[Any, ...]]] = {
    "any": (Decimal("1.5"), "alpha", ("a", "b"), b"\xff", MOMENT, 1, None),
    "bool": (True, False),
    "bytes": (b"alpha", b"\xff\x00", b""),
    "complex": (1 + 2j,),
    "date": (MOMENT.date(), date(1, 1, 1)),
    "multi-host-url": ("postgresql://example.org/alpha",),
    "none": (None,),
    "time": (time(9, 30, 15), time(9, 30, 15, tzinfo=UTC)),
    "timedelta": (timedelta(days=1, seconds=1), timedelta(seconds=-1)),
    "url": ("https://example.org/",),
    "uuid": (UUID("00000000-0000-4000-8000-000000000001"),),
}
NUMBERS: Final[Mapping[str, tuple[Callable[[Any], Any], tuple[Any, ...]]]] = {
    "decimal": (Decimal, ("1.5", "1", "0", "-2.50", "1E+3", "0.1", "NaN", "Infinity")),
    "float": (float, (1.5, 1.0, 0.0, -2.5, 1e300, "inf", "-inf", "nan")),
    "int": (int, (1, 0, -1, 10, 2**70)),
}


def numbers(node: Node, make: Callable[[Any], Any], plain: Sequence[Any]) -> list[Any]:
    """Numbers that ``node`` accepts, among them those at its limits."""
    limits = [node[key] for key in ("gt", "ge", "lt", "le", "multiple_of") if node.get(key) is not None]
    near = [make(limit) + step for limit in limits for step in (0, 1, -1)]
    return accepted(node, [*map(make, plain), *near])


def accepted(node: Node, values: Sequence[Any]) -> list[Any]:
    """Those of ``values`` that ``node`` accepts; all, when it cannot be asked alone."""
    validator = validator_of(node)
    if validator is None:
        return [*values]
    found: list[Any] = []
    for value in values:
        try:
            validator.validate_python(value)
        except Exception:  # noqa: BLE001, S112 - validators are users' code: whatever they raise, they do not take it
            continue
        found.append(value)
    return found


def parsed(validator: SchemaValidator) -> Iterator[Any]:
    """What a reader makes of some texts, such as a path or an address."""
    for text in TEXTS:
        try:
            yield validator.validate_json(json.dumps(text))
        except Exception:  # noqa: BLE001, S112 - as above
            continue


def validator_of(node: Node) -> SchemaValidator | None:
    """What validates ``node`` alone, if it can stand alone."""
    try:
        return SchemaValidator(cast("CoreSchema", node))
    except Exception:  # noqa: BLE001 - a part that refers to definitions elsewhere cannot stand alone
        return None
