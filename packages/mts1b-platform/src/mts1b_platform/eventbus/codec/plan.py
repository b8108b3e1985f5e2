"""Plans: what the compiled core needs to know of a payload model, taken from its core schema.

A second reader of pydantic's schemas has to be sure of each word in them. What is not listed here (a type of node, an
option, a setting, a class that does more than hold fields, a pydantic that the equality tests have not been run with)
makes a model that has no plan: the pure codec serves it then. All registered payloads have one.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache, partial
from inspect import getattr_static, isabstract
from types import WrapperDescriptorType
from typing import Any, Final, cast, get_origin

from mts1b_foundation.errors import words_of
from mts1b_foundation.event import Bytes, Event, refuse_endless_zeros, refuse_other_zones
from mts1b_foundation.passes import Case, cases_of
from pydantic import VERSION, BaseModel, TypeAdapter
from pydantic_core import SchemaValidator, core_schema

from mts1b_platform.eventbus.core import CORE, AfterPlan, CasePlan, FieldPlan, ItemPlan, Plan
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.core")

_KNOWN_PYDANTIC: Final = ("2.14",)
_SLOTS: Final = ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
_CHARACTERS: Final = {
    None: None,
    r"^[!-~]+$": "identifier",
    r"^[^\x00-\x1f\x7f]+$": "symbol",
    r"^[1-9][0-9]*(ms|s|m|h|d)$": "interval",
}
_DECIMAL: Final = r"^-?[0-9]+(\.[0-9]+)?([Ee][+-]?[0-9]+)?$"
_INSTANT: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
    r"(Z|\+[0-9]{2}:[0-9]{2}|-(0[1-9]|[1-9][0-9]):[0-9]{2}|-00:(0[1-9]|[1-9][0-9]))?$"
)
_FEWEST_DIGITS: Final = 36
"""The compiled core reads at most so many digits, within every larger limit, and does not count them."""
_CONFIG: Final[Mapping[str, Callable[[Any], bool]]] = {
    "allow_inf_nan": lambda value: value is False,
    "extra_fields_behavior": lambda value: value == "forbid",
    "frozen": lambda _: True,
    "strict": lambda value: value is True,
    "title": lambda _: True,
}
_NEEDED: Final = ("allow_inf_nan", "extra_fields_behavior", "strict")
_IMMUTABLE: Final = (type(None), bool, int, float, str, Decimal)
_ANYWHERE: Final = frozenset({"type", "metadata", "ref"})

Node = Mapping[str, Any]


class NoPlan(Exception):
    """The model has something that is not known here; says what."""


def plan(model: type[Event], decode: Callable[[bytes], Any], encode: Callable[[Any], bytes]) -> Plan | None:
    """The plan of ``model``; None when it has none, or pure Python is at work.

    Args:
        model: a payload.
        decode: reads what the compiled core leaves.
        encode: writes what the compiled core leaves.
    """
    if CORE is None:
        return None
    try:
        fields, after = planned(model)
        return CORE.Plan(
            model,
            fields,
            slots=[vars(BaseModel)[name] for name in _SLOTS],
            after=after,
            utc=_utc(),
            decode=decode,
            encode=encode,
            changed=partial(say_changed, model),
        )
    except Exception as why:  # noqa: BLE001 - NoPlan, what the core refuses, a schema of a form that nobody has met yet
        log.debug("a payload without a plan: the pure codec serves it", model=model.__qualname__, why=words_of(why))
        return None


@lru_cache(maxsize=1024)
def say_changed(model: type[Event]) -> None:
    """Say, once, that pydantic itself serves ``model`` from now on."""
    log.warning("a payload model has changed while in use: pydantic serves it", model=model.__qualname__)


def planned(model: type[Event]) -> tuple[list[FieldPlan], AfterPlan | None]:
    """The fields of ``model``, and what validates it as a whole.

    Raises:
        NoPlan: it has something that is not known.
    """
    _check_pydantic()
    return _model(model, cast("Node", model.__pydantic_core_schema__))


def _model(model: type[BaseModel], node: Node) -> tuple[list[FieldPlan], AfterPlan | None]:
    """The fields of ``model`` by its schema ``node``, and what validates it as a whole."""
    _check_class(model)
    after: Callable[[Any], Any] | None = None
    if node["type"] == "function-after":
        _only(node, "function", "schema")
        function: Node = node["function"]
        if function["type"] != "no-info":
            raise NoPlan("a validator that is given more than the model")
        after, node = function["function"], node["schema"]
    if node["type"] != "model":
        raise NoPlan(f"{node['type']} around the model")
    _only(node, "cls", "config", "custom_init", "root_model", "schema")
    if node["cls"] is not model or node.get("custom_init") or node.get("root_model"):
        raise NoPlan("a constructor of its own, a root model, or another class")
    config: Node = node.get("config", {})
    for key in {*config, *_NEEDED}:
        if key not in config or key not in _CONFIG or not _CONFIG[key](config[key]):
            raise NoPlan(f"setting {key}={config.get(key)!r}")
    inner: Node = node["schema"]
    if inner["type"] != "model-fields" or inner.get("computed_fields"):
        raise NoPlan(f"{inner['type']}, or computed fields")
    _only(inner, "fields", "model_name", "computed_fields")
    fields = list(_fields(inner["fields"]))
    return fields, None if after is None else (after, [_case(case, fields) for case in cases_of(after)])


def _case(case: Case, fields: list[FieldPlan]) -> CasePlan:
    """``case`` with places of fields, and objects to be held against: a default stands for whatever equals it."""
    places = {name: (at, default) for at, (name, *_, default) in enumerate(fields)}
    if unknown := case.keys() - places.keys():
        raise NoPlan(f"a case of its validator with {', '.join(sorted(unknown))}, which is no field")
    found: CasePlan = []
    for name, values in case.items():
        at, default = places[name]
        same = [default if type(each) is type(default) and each == default else each for each in values]
        found.append((at, same))
    return found


def _check_pydantic() -> None:
    if ".".join(VERSION.split(".")[:2]) not in _KNOWN_PYDANTIC:
        _say_unknown_pydantic()
        raise NoPlan(f"pydantic {VERSION}")
    if not isinstance(getattr_static(Decimal, "__str__"), WrapperDescriptorType):
        raise NoPlan("decimals written in Python")


@lru_cache(maxsize=1)
def _say_unknown_pydantic() -> None:
    log.warning("the compiled codec does not know this pydantic: the pure one is at work", pydantic=VERSION)


def _check_class(model: type[BaseModel]) -> None:
    """See that an instance is what its fields say, and nothing more happens when one is made."""
    if model.__new__ is not object.__new__ or isabstract(model):
        raise NoPlan("a class that makes its instances itself")
    for name in _SLOTS:
        found = getattr_static(model, name)
        if found is not vars(BaseModel)[name] and (CORE is None or type(found) is not CORE.FieldsSet):
            raise NoPlan(f"{name} of its own")
    if model.__private_attributes__ or model.model_post_init is not BaseModel.model_post_init:
        raise NoPlan("private attributes, or something to do after its making")


def _fields(nodes: Mapping[str, Node]) -> Iterator[FieldPlan]:
    for name, field in nodes.items():
        if field["type"] != "model-field":
            raise NoPlan(f"{field['type']} for the field {name}")
        _only(field, "schema", "frozen")
        node: Node = field["schema"]
        needed, default = True, None
        if node["type"] == "default":
            needed, default = False, _default(node)
            node = node["schema"]
        kind, options, nullable = _item(node)
        yield name, kind, options, nullable, needed, default


def _default(node: Node) -> Any:
    """What a field holds that is left out: a value that is shared, or an empty dict, of which each gets its own."""
    factory = node.get("default_factory")
    if factory is dict or get_origin(factory) is dict:
        _only(node, "default_factory", "default_factory_takes_data", "schema")
        if not node.get("default_factory_takes_data"):
            return {}
    _only(node, "default", "schema")
    default = node["default"]
    if type(default) not in _IMMUTABLE and not isinstance(default, StrEnum):
        raise NoPlan(f"a default of type {type(default).__name__}")
    return default


def _item(node: Node) -> ItemPlan:
    """The kind of a value, its options, and whether it may be null."""
    nullable = node["type"] == "nullable"
    if nullable:
        _only(node, "schema")
        node = node["schema"]
    return (*_leaf(node), nullable)


def _leaf(node: Node) -> tuple[str, dict[str, Any]]:
    """The kind of a value, and its options."""
    kind: str = node["type"]
    match kind:
        case "str":
            _only(node, "min_length", "max_length", "pattern")
            if node.get("pattern") not in _CHARACTERS:
                raise NoPlan(f"pattern {node['pattern']!r}")
            characters = _CHARACTERS[node.get("pattern")]
            least = max(node.get("min_length") or 0, 1 if characters else 0)
            return "text", {"characters": characters, "min_length": least, "max_length": node.get("max_length")}
        case "float":
            _only(node, "gt", "ge")
            return kind, _numbers(node, (int, float))
        case "int":
            _only(node, "ge")
            return kind, _numbers(node, (int,))
        case "bool":
            _only(node)
            return kind, {}
        case "datetime":
            _check_instant(node)
            return kind, {}
        case "enum":
            _only(node, "cls", "members", "sub_type")
            if node.get("sub_type") != "str" or not issubclass(node["cls"], StrEnum):
                raise NoPlan(f"enumeration {node['cls'].__name__}")
            members = cast("list[StrEnum]", node["members"])
            if any(type(member.value) is not str or str.__ne__(member, member.value) for member in members):
                raise NoPlan(f"enumeration {node['cls'].__name__}, whose members are not their values")
            return kind, {"cls": node["cls"], "members": members}
        case "json-or-python":
            if node == _bytes():
                return "bytes", {}
            _only(node, "json_schema", "python_schema")
            return _from_text(node["json_schema"], node["python_schema"])
        case "dict":
            _only(node, "keys_schema", "values_schema")
            name, keys, nullable = _item(node["keys_schema"])
            if name != "text" or nullable:
                raise NoPlan("a dict whose keys are no text")
            return kind, {"keys": keys, "values": _item(node["values_schema"])}
        case "tuple":
            _only(node, "items_schema", "variadic_item_index", "min_length")
            items = node["items_schema"]
            if len(items) != 1 or node.get("variadic_item_index") != 0:
                raise NoPlan("a tuple of several types, or of a certain length")
            return kind, {"items": _item(items[0]), "min_length": node.get("min_length")}
        case "model" | "function-after":
            model = node.get("cls") or node["schema"].get("cls")
            if model is None:
                raise NoPlan("a validator of its own")
            fields, after = _model(model, node)
            return "model", {"cls": model, "fields": fields, "after": after}
        case _:
            raise NoPlan(kind)


def _from_text(node: Node, in_python: Node) -> tuple[str, dict[str, Any]]:
    """A decimal or an instant, which travel as text of one form and are checked when they are made of it."""
    steps: list[Node] = node["steps"] if node["type"] == "chain" else []
    if len(steps) != 2 or steps[0]["type"] != "str":
        raise NoPlan("two forms, and none of them a text that is read")
    _only(node, "steps")
    text, made = steps
    _only(text, "pattern")
    if made["type"] == "function-after" and text["pattern"] == _DECIMAL:
        return "decimal", _decimal(_after(made, refuse_endless_zeros), _after(in_python, refuse_endless_zeros))
    if made["type"] == "datetime" and text["pattern"] == _INSTANT:
        _check_instant(made)
        _check_instant(_after(in_python, refuse_other_zones))
        return "datetime", {}
    raise NoPlan(f"{made['type']} of another form")


def _after(node: Node, known: Callable[..., Any]) -> Node:
    """What ``known``, which lets pass whatever the compiled core makes, looks at afterwards."""
    if node["type"] != "function-after" or node["function"] != {"type": "no-info", "function": known}:
        raise NoPlan(f"{node['type']}, and a validator that is not known")
    _only(node, "function", "schema")
    return node["schema"]


def _check_instant(node: Node) -> None:
    if node["type"] != "datetime":
        raise NoPlan(f"{node['type']} for an instant")
    _only(node, "strict", "tz_constraint", "microseconds_precision")
    zone = node.get("tz_constraint")
    if type(zone) is not int or zone != 0 or node.get("microseconds_precision") != "truncate":
        raise NoPlan("a moment in another zone than UTC")


def _decimal(exact: Node, in_python: Node) -> dict[str, Any]:
    """The limits of a decimal."""
    for node in (exact, in_python):
        if node["type"] != "decimal":
            raise NoPlan(f"{node['type']} for a decimal")
        _only(node, "strict", "gt", "ge", "le", "max_digits")
    if exact.get("max_digits", _FEWEST_DIGITS) < _FEWEST_DIGITS or exact.get("gt", 0) != 0 or exact.get("ge", 0) != 0:
        raise NoPlan("a decimal within other limits than zero")
    return {"above_zero": "gt" in exact, "not_negative": "ge" in exact, "le": exact.get("le")}


def _numbers(node: Node, types: tuple[type, ...]) -> dict[str, Any]:
    """The limits of ``node``, which are plain numbers."""
    limits = {key: node[key] for key in ("gt", "ge") if node.get(key) is not None}
    if any(type(limit) not in types or abs(limit) > 2**53 for limit in limits.values()):
        raise NoPlan(f"limits {limits}")
    return limits


def _only(node: Node, *known: str) -> None:
    if unknown := node.keys() - _ANYWHERE - {*known}:
        raise NoPlan(f"{node['type']} with {', '.join(sorted(unknown))}")


@lru_cache(maxsize=1)
def _bytes() -> Node:
    """How bytes are described that travel as base64."""
    return cast("Node", TypeAdapter(Bytes).core_schema)


@lru_cache(maxsize=1)
def _utc() -> Any:
    """The zone that pydantic gives to moments in UTC."""
    utc = SchemaValidator(core_schema.datetime_schema(tz_constraint=0))
    read: datetime = utc.validate_json('"2021-01-08T12:00:00Z"')
    return read.tzinfo
