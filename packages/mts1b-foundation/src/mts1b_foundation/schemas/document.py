"""The JSON Schema of a payload, as it is kept and published."""

import json
from typing import Any, Final, cast

from mts1b_foundation.event import Event

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema_document(model: type[Event]) -> dict[str, Any]:
    """What a reader of ``model`` accepts, as JSON Schema; with examples, for those payloads that have samples."""
    from mts1b_foundation.samples import SAMPLES  # only tools need it, services never

    document = _plain(model.model_json_schema())
    examples = [json.loads(event.model_dump_json()) for event in SAMPLES if type(event) is model]
    examples = examples or document.pop("examples", [])
    return {
        "$schema": DIALECT,
        "$id": f"urn:mts1b:{model.schema_id()}",
        "title": model.__name__,
        **{key: value for key, value in document.items() if key not in ("title", "examples")},
        **({"examples": examples} if examples else {}),
    }


def render(document: dict[str, Any]) -> str:
    """``document`` as it is written to a file: the same text for the same schema."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def file_name(model: type[Event]) -> str:
    """The name of the file that keeps the schema, such as ``mts1b_foundation.orders.Order.v1.json``."""
    return f"{model.schema_name()}.v{model.schema_version}.json"


def _plain(node: Any, *, names: bool = False) -> Any:
    """Without the titles that pydantic makes of field names; ``names``: the keys are names, not keywords."""
    if isinstance(node, dict):
        items = cast("dict[str, Any]", node)
        return {
            key: _plain(value, names=key in ("properties", "$defs", "patternProperties"))
            for key, value in items.items()
            if names or key != "title" or items.get("type") == "object"
        }
    return [_plain(item) for item in cast("list[Any]", node)] if isinstance(node, list) else node
