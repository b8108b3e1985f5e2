"""Payloads to JSON and back, faster than pydantic's own way and never different from it.

Guarantees:

- :func:`encoder`: the same bytes as ``model.model_dump_json()``. Payloads of plain fields (text, numbers, decimals,
  enums, instants) are written by orjson, which does it in under half the time; everything else, and whatever orjson
  refuses, by pydantic.
- :func:`decoder`: accepts what ``model.model_validate_json()`` accepts, with an equal result, and raises its error.
  A leaner form of the model's core schema is tried first: it takes short plain decimals only, which saves counting
  their digits. What that form refuses, pydantic's own validator decides.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any, Final, cast

import orjson
from mts1b_foundation.event import Event
from pydantic import ValidationError
from pydantic_core import CoreSchema, SchemaValidator, core_schema

Encode = Callable[[Any], bytes]
Decode = Callable[[bytes], Any]

_LEAVES: Final = frozenset({"bool", "datetime", "decimal", "enum", "float", "int", "literal", "str"})
_WRAPPERS: Final = frozenset({"chain", "default", "function-after", "json-or-python", "nullable"})
"""Node types of a core schema that a plain field is made of, and those that may stand around them."""
_OPTIONS: Final = orjson.OPT_UTC_Z
_DIGITS: Final = r"[0-9]{1,18}(\.[0-9]{1,18})?"
"""At most 36 digits and no exponent: within every limit on digits of at least 36, without counting."""
_FEWEST_DIGITS: Final = 36


@lru_cache(maxsize=1024)
def encoder(model: type[Event]) -> Encode:
    """What writes an event of ``model`` as JSON."""
    by_pydantic: Encode = model.__pydantic_serializer__.to_json
    if not _is_flat(model.__pydantic_core_schema__) or _caches(model):
        return by_pydantic
    dumps, text, options, refused = orjson.dumps, str, _OPTIONS, orjson.JSONEncodeError

    def encode(event: Event) -> bytes:
        try:
            return dumps(event.__dict__, text, options)
        except refused:  # an integer of more than 64 bits, a lone surrogate
            return by_pydantic(event)

    return encode


@lru_cache(maxsize=1024)
def decoder(model: type[Event]) -> Decode:
    """What reads an event of ``model`` from JSON; raises pydantic's ``ValidationError``."""
    by_pydantic: Decode = model.__pydantic_validator__.validate_json
    schema = model.__pydantic_core_schema__
    lean = _lean(schema)
    if lean == schema:
        return by_pydantic
    validate, refused = SchemaValidator(lean).validate_json, ValidationError

    def decode(data: bytes) -> Any:
        try:
            return validate(data)
        except refused:
            return by_pydantic(data)

    return decode


def _is_flat(node: Mapping[str, Any]) -> bool:
    """Whether the core schema of a model has plain fields only, and none of them a way of its own to be written."""
    while node["type"] in {"function-after", "model"} and "serialization" not in node:
        node = node["schema"]
    if node["type"] != "model-fields" or node.get("computed_fields"):
        return False
    return all("serialization" not in field and _is_plain(field["schema"]) for field in node["fields"].values())


def _is_plain(node: Mapping[str, Any]) -> bool:
    if "serialization" in node or node["type"] not in _LEAVES | _WRAPPERS:
        return False
    inner = [node[key] for key in ("schema", "json_schema", "python_schema") if key in node]
    return all(map(_is_plain, [*inner, *node.get("steps", ())]))


def _caches(model: type[Event]) -> bool:
    """Whether something but fields may stand in ``__dict__``."""
    return any(isinstance(value, cached_property) for base in model.__mro__ for value in vars(base).values())


def _lean(node: Any) -> Any:
    """The core schema ``node`` with every decimal read the short way."""
    if isinstance(node, dict):
        found = cast("dict[str, Any]", node)
        if found.get("type") == "json-or-python" and (short := _short_decimal(found["json_schema"])) is not None:
            return short
        return {key: _lean(value) for key, value in found.items()}
    if isinstance(node, list):
        return [_lean(value) for value in cast("list[Any]", node)]
    return node


def _short_decimal(node: Mapping[str, Any]) -> CoreSchema | None:
    """For the schema of a decimal that travels as text, one that takes part of it and checks less."""
    steps: list[dict[str, Any]] = node.get("steps", []) if node.get("type") == "chain" else []
    if [step["type"] for step in steps] != ["str", "decimal"]:
        return None
    exact = dict(steps[1])
    if exact.pop("max_digits", _FEWEST_DIGITS) < _FEWEST_DIGITS or "decimal_places" in exact:
        return None
    if exact.get("ge") == 0 and not {"gt", "le", "lt", "multiple_of"} & exact.keys():
        return core_schema.no_info_after_validator_function(Decimal, core_schema.str_schema(pattern=f"^{_DIGITS}$"))
    return core_schema.chain_schema([core_schema.str_schema(pattern=f"^-?{_DIGITS}$"), cast("CoreSchema", exact)])
