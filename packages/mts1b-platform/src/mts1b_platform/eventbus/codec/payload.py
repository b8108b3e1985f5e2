"""Payloads to JSON and back, faster than pydantic's own way and never different from it.

Guarantees:

- :func:`encoder`: the same bytes as ``model.model_dump_json()``. Payloads of plain fields (text, numbers, decimals,
  enums, instants) are written by orjson, which does it in under half the time; everything that is not known for certain
  to be written alike, and whatever orjson refuses, by pydantic. An event that was not validated may hold a number of
  another type, such as ``model_copy(update={"bid": 100})``: orjson writes 100, pydantic and the compiled core 100.0.
- :func:`decoder`: accepts what ``model.model_validate_json()`` accepts, with an equal result, and raises its error.
  A leaner form of the model's core schema is tried first: it takes short plain decimals only, which saves counting
  their digits. What that form refuses, pydantic's own validator decides.

Where the compiled core is at work and knows the model (``plan.py``), it does both, and hands on what it does not take.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, cast

import orjson
from mts1b_foundation.event import Event, refuse_endless_zeros
from mts1b_foundation.roundtrip import leaf, plain_fields
from pydantic import ValidationError
from pydantic_core import CoreSchema, SchemaValidator, core_schema

from mts1b_platform.eventbus.codec.plan import plan, say_changed
from mts1b_platform.eventbus.core import Plan

Encode = Callable[[Any], bytes]
Decode = Callable[[bytes], Any]

_INNER: Final[Mapping[str, tuple[str, ...]]] = {
    "default": ("schema",),
    "dict": ("values_schema",),
    "function-after": ("schema",),
    "list": ("items_schema",),
    "model": ("schema",),
    "model-field": ("schema",),
    "nullable": ("schema",),
}
"""The types of nodes that take what their inner node takes, and nothing else; and where that stands."""
_OPTIONS: Final = orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_DATACLASS
_DIGITS: Final = r"[0-9]{1,18}(\.[0-9]{1,18})?"
"""At most 36 digits and no exponent: within every limit on digits of at least 36, without counting."""
_FEWEST_DIGITS: Final = 36


def encoder(model: type[Event]) -> Encode:
    """What writes an event of ``model`` as JSON."""
    made = plan_of(model)
    return pure_encoder(model) if made is None else made.encode


def decoder(model: type[Event]) -> Decode:
    """What reads an event of ``model`` from JSON; raises pydantic's ``ValidationError``."""
    made = plan_of(model)
    return pure_decoder(model) if made is None else made.decode


@lru_cache(maxsize=1024)
def plan_of(model: type[Event]) -> Plan | None:
    """The compiled core's plan of ``model``; None where the pure codec serves it.

    What the core leaves when it writes may hold what the model does not say, and pydantic writes it: without warnings,
    as orjson has none for the same event.
    """
    quietly = _is_plain(model)

    def written(event: Event) -> bytes:
        return event.__pydantic_serializer__.to_json(event, warnings=not quietly)

    return plan(model, pure_decoder(model), written)


@lru_cache(maxsize=1024)
def pure_encoder(model: type[Event]) -> Encode:
    """As :func:`encoder`, without the compiled core."""
    theirs, now = model.__pydantic_serializer__, vars(model)

    def by_pydantic(event: Event) -> bytes:
        if model.__pydantic_serializer__ is not theirs:
            say_changed(model)
        return event.__pydantic_serializer__.to_json(event)

    if not _is_plain(model):
        return by_pydantic
    dumps, text, options, refused = orjson.dumps, Decimal.__str__, _OPTIONS, orjson.JSONEncodeError
    size = len(model.model_fields)

    def encode(event: Event) -> bytes:
        fields = event.__dict__
        # a cached property, or whatever else was put there; or the model is another one by now
        if len(fields) != size or now["__pydantic_serializer__"] is not theirs:
            return by_pydantic(event)
        try:
            return dumps(fields, text, options)
        except refused:  # an integer of more than 64 bits, a lone surrogate, a value of another type
            return by_pydantic(event)

    return encode


def _is_plain(model: type[Event]) -> bool:
    """Whether orjson writes the values of ``model`` as pydantic does."""
    known = plain_fields(model)
    return known is not None and all(leaf(node, known[0]) is not None for node in known[1].values())


@lru_cache(maxsize=1024)
def pure_decoder(model: type[Event]) -> Decode:
    """As :func:`decoder`, without the compiled core."""
    theirs, now = model.__pydantic_validator__, vars(model)
    schema = model.__pydantic_core_schema__
    lean = _lean(schema)
    known = lean == schema
    validate = theirs.validate_json if known else SchemaValidator(lean).validate_json
    refused = () if known else ValidationError

    def decode(data: bytes) -> Any:
        if now["__pydantic_validator__"] is not theirs:
            say_changed(model)
            return model.__pydantic_validator__.validate_json(data)
        try:
            return validate(data)
        except refused:
            return theirs.validate_json(data)

    return decode


def _lean(node: Any) -> Any:
    """The core schema ``node`` with every decimal read the short way that can be reached through known nodes.

    Under any other node, as a union, a function or a default that replaces errors, a refusal of the short way would be
    taken for one of pydantic's.
    """
    kind = node["type"]
    if kind == "json-or-python":
        short = _short_decimal(node["json_schema"]) if "serialization" not in node else None
        return node if short is None else short
    if kind == "default" and node.get("on_error", "raise") != "raise":
        return node
    if kind == "model-fields":
        return {**node, "fields": {name: _lean(field) for name, field in node["fields"].items()}}
    if kind == "tuple":
        return {**node, "items_schema": [_lean(item) for item in node["items_schema"]]}
    inner = [key for key in _INNER.get(kind, ()) if key in node]
    return {**node, **{key: _lean(node[key]) for key in inner}} if inner else node


def _short_decimal(node: Mapping[str, Any]) -> CoreSchema | None:
    """For the schema of a decimal that travels as text, one that takes part of it and checks less."""
    steps: list[dict[str, Any]] = node.get("steps", []) if node.get("type") == "chain" else []
    if [step["type"] for step in steps] != ["str", "function-after"]:
        return None
    if steps[1]["function"].get("function") is not refuse_endless_zeros:  # a zero without an exponent is none of those
        return None
    exact = dict(steps[1]["schema"])
    if exact["type"] != "decimal":
        return None
    if exact.pop("max_digits", _FEWEST_DIGITS) < _FEWEST_DIGITS or "decimal_places" in exact:
        return None
    if exact.get("ge") == 0 and not {"gt", "le", "lt", "multiple_of"} & exact.keys():
        return core_schema.no_info_after_validator_function(Decimal, core_schema.str_schema(pattern=f"^{_DIGITS}$"))
    return core_schema.chain_schema([core_schema.str_schema(pattern=f"^-?{_DIGITS}$"), cast("CoreSchema", exact)])
