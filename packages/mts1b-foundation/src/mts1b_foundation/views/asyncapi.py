"""The registry as an AsyncAPI 3.0 document, for the tools that speak it."""

import json
from collections.abc import Iterable
from typing import Any, Final, cast

from mts1b_foundation.schemas.document import schema_document
from mts1b_foundation.subjects.subject import FUND, Subject

_DROPPED: Final = ("$schema", "$id", "$defs", "examples")


def asyncapi(subjects: Iterable[Subject[Any]], *, version: str) -> dict[str, Any]:
    """The document of ``subjects``: a channel for each form on the wire, sent by its one producer.

    Args:
        subjects: what is described.
        version: of the document, such as the version of the package that declares the subjects.
    """
    listed = list(subjects)
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for subject in listed:
        name = _name(subject)
        for suffix in ("", f".fund.{{{FUND}}}") if subject.fund_scoped else ("",):
            key = subject.pattern.replace("{", "").replace("}", "") + (".fund" if suffix else "")
            channels[key] = _channel(subject, suffix)
            operations[f"send.{key}"] = {
                "action": "send",
                "title": f"{subject.producer} publishes {subject.pattern}{suffix}",
                "channel": {"$ref": f"#/channels/{key}"},
                "messages": [{"$ref": f"#/channels/{key}/messages/{subject.payload.__name__}"}],
                "tags": [{"name": subject.producer}],
            }
        if name not in schemas:
            document = schema_document(subject.payload)
            schemas |= _schemas(name, document)
            messages[name] = _message(subject, name, document)
    return {
        "asyncapi": "3.0.0",
        "id": "urn:mts1b:events",
        "info": {
            "title": "MTS1B events",
            "version": version,
            "description": "Every subject of MTS1B's event bus on NATS. Rendered from the registry.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
            "contact": {"name": "MTS1B", "url": "https://nats.io"},
            "tags": [{"name": producer} for producer in sorted({subject.producer for subject in listed})],
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }


def _channel(subject: Subject[Any], suffix: str) -> dict[str, Any]:
    parameters = [*subject.parameters, *([FUND] if suffix else [])]
    return {
        "address": f"{subject.pattern}{suffix}",
        "title": subject.pattern,
        "description": subject.description,
        "messages": {subject.payload.__name__: {"$ref": f"#/components/messages/{_name(subject)}"}},
        **(
            {"parameters": {name: {"description": _parameter(subject, name)} for name in parameters}}
            if parameters
            else {}
        ),
        "tags": [{"name": subject.producer}],
        "x-mts-producer": subject.producer,
        "x-mts-tier": subject.tier.value,
        **({"x-mts-message-id": subject.dedupe_key} if subject.dedupe_key else {}),
        **({"x-mts-replaces": subject.replaces.pattern} if subject.replaces else {}),
    }


def _parameter(subject: Subject[Any], name: str) -> str:
    return f"{subject.payload.__name__}.{name}, bytes outside A-Z a-z 0-9 _ - written as =XX"


def _message(subject: Subject[Any], name: str, document: dict[str, Any]) -> dict[str, Any]:
    examples = [{"name": f"example{n}", "payload": each} for n, each in enumerate(document.get("examples", ()), 1)]
    return {
        "name": subject.schema_id,
        "title": subject.payload.__name__,
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "required": ["mts-schema", "mts-source-repo"],
            "properties": {
                "Nats-Msg-Id": {"type": "string", "description": "Names the event; the server drops repetitions."},
                "content-type": {"type": "string", "const": "application/json"},
                "mts-schema": {"type": "string", "const": subject.schema_id},
                "mts-source-repo": {"type": "string", "description": "The one producer of the subject."},
                "mts-actor": {"type": "string", "description": "Who wanted it."},
                "mts-trace-id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
            },
        },
        "payload": {"$ref": f"#/components/schemas/{name}"},
        **({"examples": examples} if examples else {}),
    }


def _schemas(name: str, document: dict[str, Any]) -> dict[str, Any]:
    """The payload's schema and its definitions, references rewritten to where they stand in the document."""
    definitions: dict[str, Any] = document.get("$defs", {})
    text = json.dumps({name: {key: value for key, value in document.items() if key not in _DROPPED}} | {
        f"{name}.{inner}": value for inner, value in definitions.items()
    })  # fmt: skip
    for inner in definitions:
        text = text.replace(f'"#/$defs/{inner}"', f'"#/components/schemas/{name}.{inner}"')
    return cast("dict[str, Any]", json.loads(text))


def _name(subject: Subject[Any]) -> str:
    return subject.schema_id.replace(":", ".")
