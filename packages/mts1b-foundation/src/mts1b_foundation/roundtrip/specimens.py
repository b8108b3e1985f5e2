"""Values that a field may hold, made from its core schema: the same ones every time.

They need not be valid: whoever takes them validates them, and leaves out what is refused. What is made is chosen to be
different from what comes back when types are lost on the way: decimals beside texts of digits, bytes that are no text.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, Final, cast

from pydantic import BaseModel

from mts1b_foundation.roundtrip.values import (
    MOMENT,
    NUMBERS,
    OTHERS,
    PLAIN,
    TEXTS,
    Node,
    accepted,
    numbers,
    parsed,
    validator_of,
)

_MOST: Final = 24
"""Values of one node, enumerations apart."""
_ROUNDS: Final = 12
"""Combinations of values that are tried before a model counts as one of which nothing is known."""


@dataclass
class Specimens:
    """Makes values for the nodes of core schemas.

    Attributes:
        guessed: whether a node was met whose values can only be guessed.
    """

    definitions: dict[str, Node] = field(default_factory=dict[str, Node])
    guessed: bool = False
    _within: list[Any] = field(default_factory=list[Any])
    _made: dict[type[BaseModel], list[Any]] = field(default_factory=dict[type[BaseModel], list[Any]])

    def of(self, node: Node) -> list[Any]:
        """Values for ``node``."""
        kind: str = node["type"]
        if kind in PLAIN:
            return [*PLAIN[kind]]
        if kind in NUMBERS:
            return numbers(node, *NUMBERS[kind])
        make = getattr(self, "_" + kind.replace("-", "_"), None)
        return self._guess(node) if make is None else make(node)

    def models(self, model: type[BaseModel]) -> Iterator[tuple[str | None, BaseModel]]:
        """Valid instances: one, and others that differ from it in the field that is named with them."""
        if model in self._within:
            return
        self._within.append(model)
        try:
            choices = self.fields(model)
        finally:
            self._within.pop()
        required = {name for name, info in model.model_fields.items() if info.is_required()}
        drawn = ({name: choices[name][n % len(choices[name])] for name in names if choices[name]}
                 for names in (required, choices) for n in range(_ROUNDS))  # fmt: skip
        base = next((values for values in drawn if valid(model, values) is not None), None)
        if base is None:
            return
        for name, values in (("", [None]), *choices.items()):
            for value in values:
                instance = valid(model, {**base, **({name: value} if name else {})})
                if instance is not None:
                    yield name or None, instance

    def fields(self, model: type[BaseModel]) -> dict[str, list[Any]]:
        """Values for each field of ``model``."""
        nodes = self.nodes(model)
        return {
            name: [*(info.examples or ()), *self.of(nodes[name])] if name in nodes else []
            for name, info in model.model_fields.items()
        }

    def nodes(self, model: type[BaseModel]) -> dict[str, Node]:
        """The core schema of each field of ``model``."""
        node: Any = model.__pydantic_core_schema__
        while "fields" not in node:
            self._remember(node)
            if node["type"] == "definition-ref":
                node = self.definitions[node["schema_ref"]]
            elif node.get("root_model"):
                return {"root": node["schema"]}
            else:
                node = node["schema"]
        return {name: each["schema"] for name, each in node["fields"].items()}

    # Nodes. Each is named like its type.

    def _str(self, node: Node) -> list[Any]:
        shortest: int = node.get("min_length") or 0
        return accepted(node, (*TEXTS, "a" * shortest, "1" * shortest, "A" * shortest))

    def _datetime(self, node: Node) -> list[Any]:
        zone = None if node.get("tz_constraint") == "naive" else UTC
        return [MOMENT.replace(tzinfo=zone), MOMENT.replace(tzinfo=zone, microsecond=123456)]

    def _literal(self, node: Node) -> list[Any]:
        return list(node["expected"])

    def _enum(self, node: Node) -> list[Any]:
        return list(node["members"])

    def _is_subclass(self, node: Node) -> list[Any]:
        return [node["cls"]]

    def _nullable(self, node: Node) -> list[Any]:
        return [*self.of(node["schema"]), None]

    def _default(self, node: Node) -> list[Any]:
        return self.of(node["schema"])

    def _json_or_python(self, node: Node) -> list[Any]:
        return accepted(node, self.of(node["python_schema"])) or self._guess(node)

    def _function_after(self, node: Node) -> list[Any]:
        values = self.of(node["schema"])
        return accepted(node, values) or values

    def _chain(self, node: Node) -> list[Any]:
        return accepted(node, [value for step in node["steps"] for value in self.of(step)])

    def _union(self, node: Node) -> list[Any]:
        choices = cast("list[Node | tuple[Node, str]]", node["choices"])
        return _some([self.of(each[0] if isinstance(each, tuple) else each) for each in choices])

    def _tagged_union(self, node: Node) -> list[Any]:
        choices = cast("dict[str, Node]", node["choices"])
        return _some([self.of(each) for each in choices.values()])

    def _list(self, node: Node) -> list[Any]:
        return [[value] * max(1, node.get("min_length") or 0) for value in self._items(node)] + [[]]

    def _set(self, node: Node) -> list[Any]:
        return [{value} for value in _hashable(self._items(node))] + [set[Any]()]

    def _frozenset(self, node: Node) -> list[Any]:
        return [frozenset(each) for each in self._set(node)]

    def _tuple(self, node: Node) -> list[Any]:
        items = [self.of(each) for each in node["items_schema"]]
        if not all(items):
            return []
        made = [tuple(drawn.values()) for drawn in _varied(dict(enumerate(items)))]
        return [*made, ()] if node.get("variadic_item_index") is not None else made

    def _dict(self, node: Node) -> list[Any]:
        keys = _hashable(self._items(node, "keys_schema"))
        values = self._items(node, "values_schema")
        if not keys or not values:
            return [{}]
        return [{key: values[0]} for key in keys] + [{keys[0]: value} for value in values] + [{}]

    def _typed_dict(self, node: Node) -> list[Any]:
        return list(_varied({name: self.of(each["schema"]) for name, each in node["fields"].items()}))

    def _dataclass(self, node: Node) -> list[Any]:
        made: list[Any] = []
        arguments = {each["name"]: self.of(each["schema"]) for each in node["schema"].get("fields", ())}
        for drawn in _varied({name: values for name, values in arguments.items() if values}):
            try:
                made.append(node["cls"](**drawn))
            except Exception:  # noqa: BLE001, S112 - whatever the class says to a value: it takes it, or it does not
                continue
        return made

    def _model(self, node: Node) -> list[Any]:
        model: type[BaseModel] = node["cls"]
        if model not in self._made:
            made = [instance for _, instance in self.models(model)]
            if model in self._within:
                return made
            self._made[model] = made
        return self._made[model]

    def _definitions(self, node: Node) -> list[Any]:
        self._remember(node)
        return self.of(node["schema"])

    def _definition_ref(self, node: Node) -> list[Any]:
        name = node["schema_ref"]
        if name in self._within or name not in self.definitions:
            return []
        self._within.append(name)
        try:
            return self.of(self.definitions[name])
        finally:
            self._within.pop()

    def _items(self, node: Node, key: str = "items_schema") -> list[Any]:
        return self.of(node[key]) if key in node else self.of({"type": "any"})

    def _guess(self, node: Node) -> list[Any]:
        self.guessed = True
        inner = self.of(node["schema"]) if "schema" in node else []
        validator = validator_of(node)
        if validator is None:
            return inner
        return accepted(node, [*inner, *parsed(validator), *TEXTS, *OTHERS])

    def _remember(self, node: Node) -> None:
        self.definitions.update({each["ref"]: each for each in node.get("definitions", ())})


def valid(model: type[BaseModel], values: Mapping[str, Any]) -> BaseModel | None:
    """The model with these values by field name, when it accepts them."""
    data = values["root"] if "root" in values and "root" in model.model_fields else dict(values)
    try:
        return model.__pydantic_validator__.validate_python(data, by_alias=False, by_name=True)
    except Exception:  # noqa: BLE001 - validators are users' code: whatever they raise, they do not take it
        return None


def _varied(choices: Mapping[Any, Sequence[Any]]) -> Iterator[dict[Any, Any]]:
    base = {name: values[0] for name, values in choices.items() if values}
    yield base
    for name, values in choices.items():
        for value in values[1:]:
            yield {**base, name: value}


def _some(groups: Sequence[Sequence[Any]]) -> list[Any]:
    each = max(2, _MOST // max(1, len(groups)))
    return [value for group in groups for value in group[:each]]


def _hashable(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if type(value).__hash__ is not None]
