"""The fields of a payload in words, for terminals and pages: what a value may be, as the JSON Schema says it."""

from collections.abc import Mapping
from typing import Any

from mts1b_foundation.event import Event
from mts1b_foundation.schemas.document import schema_document

_FORMATS = {"date-time": "UTC timestamp", "decimal": "decimal", "date": "date", "time": "time", "uuid": "UUID"}
_BOUNDS = (
    ("exclusiveMinimum", ">"),
    ("minimum", ">="),
    ("exclusiveMaximum", "<"),
    ("maximum", "<="),
)


def fields_in_words(model: type[Event]) -> dict[str, str]:
    """Each field by the name it has on the wire, such as ``decimal > 0, at most 38 digits, or null; default null``."""
    document = schema_document(model)
    defined: Mapping[str, Any] = document.get("$defs", {})
    required = set(document.get("required", ()))
    return {
        name: in_words(schema, defined) + _default(schema, required=name in required)
        for name, schema in document.get("properties", {}).items()
    }


def in_words(schema: Mapping[str, Any], defined: Mapping[str, Any]) -> str:
    """What a value of this schema may be. What has no words of its own here is named by its type."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        target: Mapping[str, Any] = defined[name]
        return in_words(target, defined) if "enum" in target else name
    if "enum" in schema:
        return " | ".join(map(_value, schema["enum"]))
    if "const" in schema:
        return _value(schema["const"])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            options = [in_words(each, defined) for each in schema[union]]
            return ", or ".join(dict.fromkeys(options))
    kind = schema.get("type")
    if kind == "array":
        return f"list of {in_words(schema.get('items', {}), defined)}"
    if kind == "object":
        values: Mapping[str, Any] | bool = schema.get("additionalProperties", False)
        return "map" if isinstance(values, bool) else f"map of text to {in_words(values, defined)}"
    return _scalar(schema)


def _scalar(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type", "any value")
    name = "text" if kind == "string" else str(kind)
    if kind == "string":
        name = _FORMATS.get(schema.get("format", ""), name)
    if "contentEncoding" in schema:
        name = "bytes in base64"
    bounds = [
        f"{sign} {limit}" for word, sign in _BOUNDS if (limit := schema.get(word, schema.get(f"x-{word}"))) is not None
    ]
    parts = [" ".join((name, " and ".join(bounds))) if bounds else name]
    if (digits := schema.get("x-maxDigits")) is not None:
        parts.append(f"at most {digits} digits")
    parts += _length(schema)
    return ", ".join(parts)


def _length(schema: Mapping[str, Any]) -> list[str]:
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength")
    if longest is not None:
        return [f"{shortest} to {longest} characters" if shortest else f"at most {longest} characters"]
    return ["not empty"] if shortest == 1 else [f"at least {shortest} characters"] if shortest else []


def _default(schema: Mapping[str, Any], *, required: bool) -> str:
    return "" if required or "default" not in schema else f"; default {_value(schema['default'])}"


def _value(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case "":
            return '""'
        case _:
            return str(value)
