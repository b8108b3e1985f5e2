"""Two versions of a payload's schema, compared field by field.

A schema is taken as the set of documents that it accepts. Each difference is judged on its own: *backward* when it
takes nothing away from the set, *forward* when it adds nothing to it. Payloads are closed (unknown fields are
refused), so that adding a field, even an optional one, is never forward compatible: old readers refuse it.

Where inclusion cannot be decided (one regular expression against another), the answer is breaking. What Python code
in a model checks beyond its fields is not in the schema; the examples kept in the snapshots catch a part of that.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from mts1b_foundation.schemas import bounds
from mts1b_foundation.schemas.changes import Change
from mts1b_foundation.sensitive import MARK, is_marked

Schema = Mapping[str, Any]

_ANNOTATIONS: Final = frozenset(
    {"title", "description", "examples", "deprecated", "default", "discriminator", "$id", "$schema", "$defs", "$ref"}
    | {MARK}
)
_STRUCTURE: Final = frozenset(
    {"type", "enum", "const", "anyOf", "oneOf", "properties", "required", "additionalProperties"}
    | {"patternProperties", "items", "prefixItems", "pattern", "format", "contentEncoding", "uniqueItems"}
)
_MISSING: Final = object()


def diff(old: Schema, new: Schema) -> list[Change]:
    """Every difference that matters to a reader, in the order of the fields; empty when both accept the same."""
    return list(_Comparison(old, new).nodes(old, new, ""))


class _Comparison:
    """The two documents, whose definitions references point into."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self._old_definitions: Schema = old.get("$defs", {})
        self._new_definitions: Schema = new.get("$defs", {})
        self._open: set[tuple[int, int]] = set()

    def nodes(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        before, after = _choices(old, self._old_definitions), _choices(new, self._new_definitions)
        apart = _ambiguous(before) | _ambiguous(after)
        yield from self._alternatives(_by_kind(before, apart), _by_kind(after, apart), path)

    def _alternatives(self, old: dict[str, Schema], new: dict[str, Schema], path: str) -> Iterator[Change]:
        for kind in sorted(old.keys() & new.keys()):
            pair = (id(old[kind]), id(new[kind]))
            if pair in self._open:
                continue  # a model that holds itself: this pair is being compared further up
            self._open.add(pair)
            yield from self._same_kind(old[kind], new[kind], path)
            self._open.discard(pair)
        gone, come = old.keys() - new.keys(), new.keys() - old.keys()
        if "integer" in gone and "number" in come:
            yield Change(path, "integer became any number", backward=True, forward=False)
            yield from self._same_kind(old["integer"], new["number"], path)
            gone, come = gone - {"integer"}, come - {"number"}
        elif "number" in gone and "integer" in come:
            yield Change(path, "number became whole numbers only", backward=False, forward=True)
            yield from self._same_kind(old["number"], new["integer"], path)
            gone, come = gone - {"number"}, come - {"integer"}
        if "any" in gone or "any" in come:
            yield Change(
                path, f"type changed from {_say(old)} to {_say(new)}", backward="any" in come, forward="any" in gone
            )
        elif gone and come:
            yield Change(path, f"type changed from {_say(old)} to {_say(new)}", backward=False, forward=False)
        elif come:
            yield Change(path, f"may also be {' or '.join(sorted(come))}", backward=True, forward=False)
        elif gone:
            yield Change(path, f"may no longer be {' or '.join(sorted(gone))}", backward=False, forward=True)

    def _same_kind(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        yield from _values(old, new, path)
        yield from bounds.compare_bounds(old, new, path)
        for word in ("pattern", "format", "contentEncoding", "uniqueItems"):
            yield from _narrowing(old, new, word, path)
        if "properties" in old or "properties" in new:
            yield from self._fields(old, new, path)
        yield from self._entries(old, new, path)
        yield from self._items(old, new, path)
        for word in sorted((old.keys() | new.keys()) - _ANNOTATIONS - _STRUCTURE - bounds.KEYWORDS):
            if old.get(word) != new.get(word):
                yield Change(
                    path, f"{word} changed from {old.get(word)} to {new.get(word)}", backward=False, forward=False
                )

    def _fields(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        before: dict[str, Schema] = dict(old.get("properties", {}))
        after: dict[str, Schema] = dict(new.get("properties", {}))
        needed_before, needed_after = set(old.get("required", ())), set(new.get("required", ()))
        renamed = _renamed(before, after, needed_before, needed_after)
        for name in [*before, *(name for name in after if name not in before)]:
            field = f"{path}.{name}" if path else name
            if name in renamed:
                yield Change(field, f"renamed to {renamed[name]}", backward=False, forward=False)
            elif name in renamed.values():
                continue
            elif name not in after:
                kind = "required" if name in needed_before else "optional"
                yield Change(field, f"{kind} field removed", backward=_is_open(new), forward=name not in needed_before)
            elif name not in before:
                kind = "required" if name in needed_after else "optional"
                yield Change(
                    field,
                    f"{kind} field added",
                    backward=name not in needed_after and not _is_open(old),
                    forward=_is_open(old),
                )
            else:
                if (was := name in needed_before) != (name in needed_after):
                    what = "became optional" if was else "became required"
                    yield Change(field, what, backward=was, forward=not was)
                elif not was and before[name].get("default", _MISSING) != after[name].get("default", _MISSING):
                    what = f"default changed from {before[name].get('default')!r} to {after[name].get('default')!r}"
                    yield Change(
                        field, f"{what}: an event without it means something else", backward=False, forward=False
                    )
                marked = is_marked(after[name], self._new_definitions)
                if marked != is_marked(before[name], self._old_definitions):
                    what = "marked sensitive" if marked else "no longer marked sensitive"
                    yield Change(field, what, backward=True, forward=True)
                yield from self.nodes(before[name], after[name], field)

    def _entries(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        if old.get("type") != "object":
            return
        before, after = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from self.nodes(cast("Schema", before), cast("Schema", after), f"{path}{{}}")
        elif before != after:
            wider = after is True or before is False
            what = "unknown fields are taken" if wider else "unknown fields are refused"
            yield Change(path, what, backward=wider, forward=not wider)
        named_before: dict[str, Schema] = dict(old.get("patternProperties", {}))
        named_after: dict[str, Schema] = dict(new.get("patternProperties", {}))
        if named_before.keys() != named_after.keys():
            yield Change(path, "the pattern of the keys changed", backward=False, forward=False)
        for pattern in named_before.keys() & named_after.keys():
            yield from self.nodes(named_before[pattern], named_after[pattern], f"{path}{{}}")

    def _items(self, old: Schema, new: Schema, path: str) -> Iterator[Change]:
        if old.get("type") != "array":
            return
        before: Sequence[Schema] = old.get("prefixItems", ())
        after: Sequence[Schema] = new.get("prefixItems", ())
        if len(before) != len(after):
            yield Change(path, f"has {len(after)} fixed items instead of {len(before)}", backward=False, forward=False)
        for number, (one, other) in enumerate(zip(before, after, strict=False)):
            yield from self.nodes(one, other, f"{path}[{number}]")
        yield from self.nodes(old.get("items", {}), new.get("items", {}), f"{path}[]")


def _choices(schema: Schema, definitions: Schema) -> list[Schema]:
    """The alternatives that ``schema`` allows, references followed."""
    found: list[Schema] = []
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if "$ref" in node:
            waiting.append(definitions[str(node["$ref"]).rpartition("/")[2]])
        elif "anyOf" in node or "oneOf" in node:
            waiting += [*node.get("anyOf", ()), *node.get("oneOf", ())]
        elif isinstance(node.get("type"), list):
            waiting += [{**node, "type": each} for each in node["type"]]
        else:
            found.append(node)
    return found


def _ambiguous(choices: list[Schema]) -> set[str]:
    kinds = [_kind(node) for node in choices]
    return {kind for kind in kinds if kinds.count(kind) > 1}


def _by_kind(choices: list[Schema], apart: set[str]) -> dict[str, Schema]:
    """The choices under their types; where one type stands twice, models under their names, others by what they are."""
    return {_kind(node) if _kind(node) not in apart else _identity(node): node for node in choices}


def _identity(node: Schema) -> str:
    return f"{_kind(node)} {node.get('title') or repr(sorted((key, repr(value)) for key, value in node.items()))}"


def _kind(node: Schema) -> str:
    if "type" in node:
        return str(node["type"])
    return "value" if "enum" in node or "const" in node else "any"


def _say(alternatives: Mapping[str, Schema]) -> str:
    return " or ".join(
        f"{kind} ({node['format']})" if "format" in node else kind for kind, node in sorted(alternatives.items())
    )


def _values(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    before, after = _enumerated(old), _enumerated(new)
    if before is None and after is not None:
        yield Change(path, "now one of " + ", ".join(map(repr, after)), backward=False, forward=True)
    elif before is not None and after is None:
        yield Change(path, "no longer one of a list", backward=True, forward=False)
    elif before is not None and after is not None:
        if gone := [value for value in before if value not in after]:
            yield Change(path, f"no longer {', '.join(map(repr, gone))}", backward=False, forward=True)
        if come := [value for value in after if value not in before]:
            yield Change(path, f"may also be {', '.join(map(repr, come))}", backward=True, forward=False)


def _enumerated(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _narrowing(old: Schema, new: Schema, word: str, path: str) -> Iterator[Change]:
    before, after = old.get(word), new.get(word)
    if before == after or (not before and not after):
        return
    if not before:
        yield Change(path, f"{word} {after} is asked for", backward=False, forward=True)
    elif not after:
        yield Change(path, f"{word} {before} is no longer asked for", backward=True, forward=False)
    else:
        yield Change(path, f"{word} changed from {before} to {after}", backward=False, forward=False)


def _is_open(schema: Schema) -> bool:
    return schema.get("additionalProperties", True) is not False


def _renamed(
    before: dict[str, Schema], after: dict[str, Schema], needed_before: set[str], needed_after: set[str]
) -> dict[str, str]:
    """Fields that left under one name and came under another: the only pair with that schema."""
    gone = {name: _shape(before[name], needed=name in needed_before) for name in before.keys() - after.keys()}
    come = {name: _shape(after[name], needed=name in needed_after) for name in after.keys() - before.keys()}
    found: dict[str, str] = {}
    for name, shape in gone.items():
        twins = [other for other, its in come.items() if its == shape]
        if len(twins) == 1 and sum(its == shape for its in gone.values()) == 1:
            found[name] = twins[0]
    return found


def _shape(schema: Schema, *, needed: bool) -> tuple[bool, str]:
    return needed, repr(sorted((key, repr(value)) for key, value in schema.items() if key != "title"))
