"""Payloads of which everything is known: how they are written, and that they are read as they were.

The lists below allow; what is not in them (a node of another type, an option, a setting, whatever a later pydantic
adds) makes a payload one that is not plain. Nothing is wrong with such a payload: pydantic decides what becomes of it.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, Final, cast, get_origin

from pydantic import BaseModel

from mts1b_foundation.event import refuse_endless_zeros, refuse_other_zones
from mts1b_foundation.roundtrip.values import Node

_ALWAYS: Final = frozenset({"type", "metadata", "ref", "strict"})
_LIMITS: Final = frozenset({"ge", "gt", "le", "lt", "multiple_of"})
_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "bool": frozenset(),
    "chain": frozenset({"steps"}),
    "datetime": frozenset({"tz_constraint", "microseconds_precision"}) | _LIMITS,
    "decimal": frozenset({"allow_inf_nan", "decimal_places", "max_digits"}) | _LIMITS,
    "default": frozenset({"default", "default_factory", "default_factory_takes_data", "schema", "validate_default"}),
    "dict": frozenset({"keys_schema", "values_schema", "min_length", "max_length"}),
    "function-after": frozenset({"function", "schema"}),
    "enum": frozenset({"cls", "members", "missing", "sub_type"}),
    "float": frozenset({"allow_inf_nan"}) | _LIMITS,
    "int": _LIMITS,
    "json-or-python": frozenset({"json_schema", "python_schema"}),
    "list": frozenset({"items_schema", "min_length", "max_length"}),
    "literal": frozenset({"expected"}),
    "model": frozenset({"cls", "config", "custom_init", "generic_origin", "root_model", "schema"}),
    "model-field": frozenset({"frozen", "schema"}),
    "model-fields": frozenset({"computed_fields", "fields", "model_name"}),
    "nullable": frozenset({"schema"}),
    "str": frozenset({"max_length", "min_length", "pattern", "regex_engine"}),
    "tuple": frozenset({"items_schema", "max_length", "min_length", "variadic_item_index"}),
}
"""The options that are known, by type of node."""

_REFUSING: Final = (refuse_endless_zeros, refuse_other_zones)
"""Functions that refuse values or give them back as they are."""

_CONFIG: Final[Mapping[str, Callable[[Any], bool]]] = {
    "allow_inf_nan": lambda _: True,  # looked at where it matters
    "cache_strings": lambda _: True,
    "extra_fields_behavior": lambda value: value in ("forbid", "ignore"),
    "frozen": lambda _: True,
    "hide_input_in_errors": lambda _: True,
    "regex_engine": lambda _: True,
    "ser_json_bytes": lambda value: value == "utf8",
    "ser_json_inf_nan": lambda value: value == "null",
    "ser_json_temporal": lambda value: value == "iso8601",
    "ser_json_timedelta": lambda value: value == "iso8601",
    "serialize_by_alias": lambda value: value is False,
    "strict": lambda _: True,
    "title": lambda _: True,
    "validate_default": lambda _: True,
}
"""The settings that are known, and those of their values that change nothing."""

_TYPES: Final[Mapping[str, type[Any]]] = {
    "bool": bool, "datetime": datetime, "decimal": Decimal, "float": float, "int": int, "str": str,
}  # fmt: skip

Config = Mapping[str, Any]


def plain_fields(model: type[BaseModel]) -> tuple[Config, Mapping[str, Node]] | None:
    """The settings and the core schema of each field when nothing but the fields says what is written of ``model``.

    Validators that look at the model as a whole when its fields are read may stand around them.
    """
    node = _unchecked(model.__pydantic_core_schema__)
    if not _known(node, "model") or node.get("custom_init") or node.get("root_model"):
        return None
    config: Config = node.get("config", {})
    fields: Node = node["schema"]
    if not all(key in _CONFIG and _CONFIG[key](value) for key, value in config.items()):
        return None
    if not _known(fields, "model-fields") or fields.get("computed_fields"):
        return None
    found: Mapping[str, Node] = fields["fields"]
    if not all(_known(field, "model-field") for field in found.values()):
        return None
    return config, {name: field["schema"] for name, field in found.items()}


def leaf(node: Node, config: Config) -> str | None:
    """The type of the one value that a field of this schema holds, beside null; None when that is not known."""
    kind: str = node["type"]
    if not _known(node, kind):
        return None
    match kind:
        case "bool" | "int" | "str":
            return kind
        case "float" | "decimal":
            return kind if node.get("allow_inf_nan", config.get("allow_inf_nan", True)) is False else None
        case "datetime":
            return kind if node.get("tz_constraint") == 0 and type(node["tz_constraint"]) is int else None
        case "enum":
            return kind if _alike([member.value for member in cast("list[Enum]", node["members"])]) else None
        case "literal":
            return kind if _alike(node["expected"]) else None
        case "nullable":
            return leaf(node["schema"], config)
        case "default":
            held = leaf(node["schema"], config)
            return held if held is not None and _fits(node.get("default"), held) else None
        case "chain":
            kinds = [leaf(step, config) for step in node["steps"]]
            return kinds[-1] if None not in kinds else None
        case "function-after":
            return leaf(node["schema"], config) if node["function"].get("function") in _REFUSING else None
        case "json-or-python":
            kinds = [leaf(node[key], config) for key in ("json_schema", "python_schema")]
            return kinds[0] if kinds[0] == kinds[1] else None
        case _:
            return None


@lru_cache(maxsize=1024)
def plain(model: type[BaseModel]) -> bool:
    """Whether ``model`` is known to be read as it is written, without a try."""
    found = plain_fields(model)
    return found is not None and all(_plain(node, found[0]) for node in found[1].values())


def _plain(node: Node, config: Config) -> bool:
    factory = node.get("default_factory")
    if (get_origin(factory) or factory) not in (None, dict, list, tuple):
        return False
    if leaf(node, config) is not None:
        return True
    inner = _unchecked(node)
    if inner["type"] == "model":
        return plain(inner["cls"])
    if not _known(node, node["type"]):
        return False
    match node["type"]:
        case "nullable":
            return _plain(node["schema"], config)
        case "default":
            return not node.get("default") and _plain(node["schema"], config)
        case "list":
            return "items_schema" in node and _plain(node["items_schema"], config)
        case "tuple":
            return all(_plain(item, config) for item in node["items_schema"])
        case "dict":
            texts = "keys_schema" in node and leaf(node["keys_schema"], config) == "str"
            return texts and "values_schema" in node and _plain(node["values_schema"], config)
        case _:
            return False


def _unchecked(node: Node) -> Node:
    """Without the functions around ``node`` that look at what was read."""
    while node["type"] == "function-after" and "serialization" not in node:
        node = node["schema"]
    return node


def _known(node: Node, kind: str) -> bool:
    return node["type"] == kind and kind in _KEYS and node.keys() <= _KEYS[kind] | _ALWAYS


def _fits(default: Any, kind: str) -> bool:
    """Whether a default is of the type that the field holds, at which pydantic does not look."""
    return default is None or kind in ("enum", "literal") or type(default) is _TYPES[kind]


def _alike(values: list[Any]) -> bool:
    """Whether the values are all texts, or all integers, as they stand in JSON."""
    return {type(value) for value in values} in ({str}, {int})
