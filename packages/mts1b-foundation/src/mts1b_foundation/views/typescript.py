"""The payloads as TypeScript types, and the map from subjects to them."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from mts1b_foundation.event import Event
from mts1b_foundation.schemas.document import schema_document
from mts1b_foundation.subjects.subject import Subject

_HEAD = """\
// Rendered from the registry by `mts1b subjects render --format typescript`.

/** An exact decimal number, written out in digits. Never read it into a double when it is money. */
export type Decimal = string;
/** A point in time in UTC, such as 2021-01-08T09:30:00.123456Z. */
export type Instant = string;
/** Bytes in standard base64. */
export type Base64 = string;
"""


def typescript(subjects: Iterable[Subject[Any]]) -> str:
    """One module: an interface per payload and nested model, and ``Payloads`` from subject to payload.

    Payloads of the same name are told apart by their version: ``Order`` and ``OrderV2``.
    """
    listed = list(subjects)
    written: dict[str, str] = {}
    for model in dict.fromkeys(subject.payload for subject in listed):
        document, name = schema_document(model), _name(model)
        nested: dict[str, Any] = document.get("$defs", {})
        same = {inner: inner for inner in nested}
        names = {
            inner: inner if _fits(written, inner, declare(inner, nested[inner], same)) else f"{name}{inner}"
            for inner in nested
        }
        for inner, definition in nested.items():
            written[names[inner]] = declare(names[inner], definition, names)
        written[name] = declare(name, document, names)
    payloads = "\n".join(f"  {json.dumps(subject.pattern)}: {_name(subject.payload)};" for subject in listed)
    schemas = "\n".join(
        f"  {json.dumps(schema)}: {name};"
        for schema, name in sorted({s.schema_id: _name(s.payload) for s in listed}.items())
    )
    return (
        _HEAD
        + "".join(f"\n{text}" for text in written.values())
        + f"\n/** What each subject carries. */\nexport interface Payloads {{\n{payloads}\n}}\n"
        + f"\n/** What each value of the header `mts-schema` means. */\nexport interface Schemas {{\n{schemas}\n}}\n"
    )


def _name(model: type[Event]) -> str:
    name = model.schema_name().rpartition(".")[2]
    return name if model.schema_version == 1 else f"{name}V{model.schema_version}"


def _fits(written: Mapping[str, str], name: str, text: str) -> bool:
    return written.get(name, text) == text


def declare(name: str, schema: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """The interface, or type, of a JSON Schema.

    Args:
        name: what it is called.
        schema: its document.
        names: what the types are called that it refers to, by their names in ``$defs``.
    """
    comment = _comment(schema.get("description"), "")
    if "properties" not in schema:
        return f"{comment}export type {name} = {_type(schema, names)};\n"
    required = set(schema.get("required", ()))
    fields = "".join(
        f"{_comment(field.get('description'), '  ')}  {json.dumps(key) if not key.isidentifier() else key}"
        f"{'' if key in required else '?'}: {_type(field, names)};\n"
        for key, field in schema["properties"].items()
    )
    return f"{comment}export interface {name} {{\n{fields}}}\n"


def _type(schema: Mapping[str, Any], names: Mapping[str, str]) -> str:
    if "$ref" in schema:
        return names[str(schema["$ref"]).rpartition("/")[2]]
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_type(each, names) for each in schema["anyOf"]))
    if "const" in schema or "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    match schema.get("type"):
        case "string":
            named = {"decimal": "Decimal", "date-time": "Instant"}.get(schema.get("format", ""))
            return named or ("Base64" if schema.get("contentEncoding") == "base64" else "string")
        case "integer" | "number":
            return "number"
        case "boolean" | "null" as kind:
            return str(kind)
        case "array":
            if "prefixItems" in schema:
                return f"[{', '.join(_type(each, names) for each in schema['prefixItems'])}]"
            return f"Array<{_type(schema.get('items', {}), names)}>"
        case "object":
            entries = (
                [schema["additionalProperties"]] if isinstance(schema.get("additionalProperties"), Mapping) else []
            )
            entries += schema.get("patternProperties", {}).values()
            return f"Record<string, {' | '.join(_type(each, names) for each in entries) or 'unknown'}>"
        case _:
            return "unknown"


def _comment(text: str | None, indent: str) -> str:
    if not text:
        return ""
    lines = text.replace("*/", "* /").splitlines()
    if len(lines) == 1:
        return f"{indent}/** {lines[0]} */\n"
    body = "".join(f"{indent} * {line}".rstrip() + "\n" for line in lines)
    return f"{indent}/**\n{body}{indent} */\n"
