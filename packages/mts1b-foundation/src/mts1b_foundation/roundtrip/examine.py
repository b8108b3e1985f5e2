"""What of a payload no reader could read: each field with values of its own, written, read back and compared."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, cast

from pydantic import AliasChoices, AliasPath, BaseModel, PydanticUserError, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, ErrorDetails, SchemaSerializer, SchemaValidator

from mts1b_foundation.roundtrip.same import different, same
from mts1b_foundation.roundtrip.specimens import Specimens
from mts1b_foundation.roundtrip.values import Node

_TYPES: Final = (
    "declare the one type that a reader gets back, such as str, Money, UtcDatetime or Bytes (docs/schemas.md)"
)
_NAMES: Final = "let it be read by the name that it is written by: drop the alias, or set serialize_by_alias"
_DEFAULT: Final = "give the field a default, as it is never written"
_COMPUTED: Final = "make it a plain property, or a field"
_EXAMPLE: Final = "declare a type that JSON knows, or add an example to the field"
_SHOWN: Final = 80


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A part of a payload that is lost, changed or refused between writing and reading."""

    field: str
    reason: str
    remedy: str

    @property
    def about(self) -> str:
        """The field and what is wrong with it."""
        return f"{self.field}: {self.reason}" if self.field else self.reason


@lru_cache(maxsize=1024)
def unreadable(model: type[BaseModel]) -> tuple[Problem, ...]:
    """What is wrong with ``model``, one problem a field; nothing when its values are read as they were written."""
    found: dict[str, Problem] = {}
    for problem in _problems(model):
        found.setdefault(problem.field, problem)
    return tuple(found.values())


def unread(instance: BaseModel, varied: str = "") -> Iterator[Problem]:
    """What is wrong with ``instance`` when it has been written and read; ``varied``: the field that it is about."""
    model = type(instance)
    try:
        data = model.__pydantic_serializer__.to_json(instance, warnings=False)
    except Exception as error:  # noqa: BLE001 - serializers are users' code: whatever they raise, nothing is written
        name = next((each for each in model.model_fields if not _writes(instance, each)), varied)
        value = _short(repr(instance.__dict__.get(name, instance)))
        yield Problem(name, f"{value} cannot be written: {_short(str(error))}", _TYPES)
        return
    try:
        back = model.__pydantic_validator__.validate_json(data)
    except ValidationError as error:
        yield from (_refused(model, each) for each in error.errors(include_url=False, include_context=False))
        return
    except Exception as error:  # noqa: BLE001 - validators are users' code: whatever they raise, nothing is read
        yield Problem(varied, f"{_short(data.decode())} cannot be read: {_short(str(error))}", _TYPES)
        return
    for name in different(instance, back):
        was, now = (repr(each.__dict__.get(name)) for each in (instance, back))
        written = model.__pydantic_serializer__.to_json(instance, include={name}, warnings=False).decode()
        yield Problem(name, f"{_short(was)} is written as {_short(written)} and read as {_short(now)}", _TYPES)


def _writes(instance: BaseModel, name: str) -> bool:
    try:
        type(instance).__pydantic_serializer__.to_json(instance, include={name}, warnings=False)
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


def _problems(model: type[BaseModel]) -> Iterator[Problem]:
    if not model.__pydantic_complete__ and not model.model_rebuild(raise_errors=False):
        yield Problem("", f"{model.__name__} refers to types that are not defined", "define them before the subject")
        return
    specimens = Specimens()
    seen: set[str | None] = set()
    for name, instance in specimens.models(model):
        seen.add(name)
        yield from unread(instance, name or "")
    if not seen:
        yield from _names(model, specimens)
    unseen: list[str] = []
    for name, node in specimens.nodes(model).items():
        info = model.model_fields[name]
        if name in seen or info.exclude:
            continue
        values = specimens.of(node)
        yield from _alone(name, node, values, model)
        if not values and not info.examples:
            unseen.append(name)
    if unseen or specimens.guessed:
        yield from _schemas(model, unseen)


def _alone(name: str, node: Node, values: list[Any], model: type[BaseModel]) -> Iterator[Problem]:
    """A field apart from the others, for those of which no valid payload could be made."""
    config: Any = _config(model)
    try:
        schema = cast("CoreSchema", node)
        validator, serializer = SchemaValidator(schema, config), SchemaSerializer(schema, config)
    except Exception:  # noqa: BLE001 - a part that refers to definitions elsewhere cannot stand alone
        return
    for value in values:
        try:
            instance = validator.validate_python(value)
            data = serializer.to_json(instance, warnings=False)
        except Exception:  # noqa: BLE001, S112 - what needs the whole payload, or refuses the value
            continue
        try:
            back = validator.validate_json(data)
        except ValidationError as error:
            yield Problem(name, f"{_written(instance, data)}, which a reader refuses: {_message(error)}", _TYPES)
            return
        if not same(instance, back):
            yield Problem(name, f"{_written(instance, data)} and read as {_short(repr(back))}", _TYPES)
            return


def _names(model: type[BaseModel], specimens: Specimens) -> Iterator[Problem]:
    """Names that are written and not read, or the other way round, when no valid payload could be made."""
    values = {name: each[0] for name, each in specimens.fields(model).items() if each}
    try:
        instance = model.model_construct(**values)
        data = model.__pydantic_serializer__.to_json(instance, warnings=False)
        model.__pydantic_validator__.validate_json(data)
    except ValidationError as error:
        for each in error.errors(include_url=False, include_context=False):
            known = each["type"] == "missing" and _field(model, each) in values
            if len(each["loc"]) == 1 and (known or each["type"] == "extra_forbidden"):
                yield _refused(model, each)
    except Exception:  # noqa: BLE001 - it is no valid payload: nothing follows from what it raises
        return


def _schemas(model: type[BaseModel], unseen: list[str]) -> Iterator[Problem]:
    """Whether what is written has the schema of what is read, for those fields that no value is known of."""
    try:
        written, read = model.model_json_schema(mode="serialization"), model.model_json_schema()
    except PydanticUserError as error:
        name = unseen[0] if len(unseen) == 1 else next((each for each in unseen if each in str(error)), "")
        yield Problem(name, f"it has no JSON Schema: {_short(str(error).splitlines()[0], 160)}", _EXAMPLE)
        return
    for name in unseen:
        if written.get("properties", {}).get(name) != read.get("properties", {}).get(name):
            yield Problem(name, "what is written differs from what is read, and no value is known to try", _EXAMPLE)


def _refused(model: type[BaseModel], error: ErrorDetails) -> Problem:
    name, place = _field(model, error), ".".join(map(str, error["loc"]))
    nested = f" ({place})" if len(error["loc"]) > 1 else ""
    info = model.model_fields.get(name)
    if error["type"] == "extra_forbidden":
        remedy = _COMPUTED if nested or name in model.model_computed_fields else _NAMES
        return Problem(name, f"{place!r} is written, and a reader refuses what it does not know", remedy)
    if error["type"] == "missing":
        remedy = _DEFAULT if info is not None and info.exclude else _NAMES
        return Problem(name, f"a reader misses {place!r}, which is not written", remedy)
    value = _short(json.dumps(error["input"], default=repr))
    return Problem(name, f"it is written as {value}{nested}, which a reader refuses: {error['msg']}", _TYPES)


def _field(model: type[BaseModel], error: ErrorDetails) -> str:
    """The field that an error is about, which it names by the alias."""
    first = str(error["loc"][0]) if error["loc"] else ""
    fields = model.model_fields
    return first if first in fields else next((name for name, info in fields.items() if first in _aliases(info)), first)


def _aliases(info: FieldInfo) -> set[str]:
    """The names beside its own that a field is read or written by, at the first level."""
    read = info.validation_alias
    choices = read.choices if isinstance(read, AliasChoices) else [] if read is None else [read]
    first = (str(each.path[0]) if isinstance(each, AliasPath) else each for each in choices)
    return {name for name in (*first, info.alias, info.serialization_alias) if name is not None}


def _config(model: type[BaseModel]) -> Any:
    node: Any = model.__pydantic_core_schema__
    while "config" not in node and "schema" in node:
        node = node["schema"]
    return node.get("config")


def _written(value: Any, data: bytes) -> str:
    return f"{_short(repr(value))} is written as {_short(data.decode())}"


def _message(error: ValidationError) -> str:
    return error.errors(include_url=False, include_context=False)[0]["msg"]


def _short(text: str, most: int = _SHOWN) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
