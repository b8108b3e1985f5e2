"""Which fields of a payload are marked sensitive: what tools show masked to people without the right to see it.

::

    account: Annotated[str, Field(json_schema_extra={"sensitive": True})]

A mark may stand at a field, at a type that a field is made of, or at a model that a field holds.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final, cast, get_args

from pydantic import AliasChoices, AliasPath, BaseModel

from mts1b_foundation.event import Event

MARK: Final = "sensitive"
"""The keyword in a schema."""

_VALUES: Final = frozenset({"const", "default", "enum", "examples"})
"""Keywords that hold values, not schemas."""


@cache
def sensitive_fields(payload: type[Event]) -> frozenset[str]:
    """The names of the fields that are marked, of ``payload`` and of every model in it; with their aliases."""
    written: tuple[dict[str, Any], ...] = (
        payload.model_json_schema(by_alias=False),
        payload.model_json_schema(),
        payload.model_json_schema(mode="serialization"),
    )
    marked = frozenset(name for document in written for name in _marked(document))
    models: set[type[BaseModel]] = set()
    _models(payload, models)
    return marked | {
        alias
        for model in models
        for name, field in model.model_fields.items()
        if name in marked
        for alias in _also_read(field.validation_alias)
    }


def _models(annotation: Any, found: set[type[BaseModel]]) -> None:
    """Collect every model that values of this type may hold."""
    annotation = getattr(annotation, "__value__", annotation)  # of a `type` statement
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in found:
        found.add(annotation)
        for field in annotation.model_fields.values():
            _models(field.annotation, found)
    for each in get_args(annotation):
        _models(each, found)


def _also_read(alias: str | AliasPath | AliasChoices | None) -> Iterator[str]:
    """The members that a field is read from, beside the one that a schema names."""
    for choice in alias.choices if isinstance(alias, AliasChoices) else (alias,):
        first = choice.path[0] if isinstance(choice, AliasPath) else choice
        if isinstance(first, str):
            yield first


def _marked(document: Mapping[str, Any]) -> Iterator[str]:
    definitions: Mapping[str, Any] = document.get("$defs", {})
    yield from (
        name
        for holder in (document, *definitions.values())
        for name, field in holder.get("properties", {}).items()
        if holder.get(MARK) is True or is_marked(field, definitions)
    )


def is_marked(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> bool:
    """Whether the schema of a field, or of what it is made of, is marked; a model's own fields are not looked at."""
    return any(node.get(MARK) is True for node in _nodes(field, definitions, set()))


def _nodes(node: Any, definitions: Mapping[str, Any], followed: set[str]) -> Iterator[Mapping[str, Any]]:
    """The schemas that say what a field holds; not those of the fields of a model that it holds."""
    if isinstance(node, list):
        for each in cast("list[Any]", node):
            yield from _nodes(each, definitions, followed)
    elif isinstance(node, dict):
        schema = cast("dict[str, Any]", node)
        yield schema
        if (reference := str(schema.get("$ref", "")).rpartition("/")[2]) and reference not in followed:
            followed.add(reference)
            yield from _nodes(definitions[reference], definitions, followed)
        for word, value in schema.items():
            if word != "properties" and word not in _VALUES:
                yield from _nodes(value, definitions, followed)
