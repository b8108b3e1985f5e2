"""The envelope: the headers that every event carries, written one way and read any way.

Measured on the server: only ``Nats-Msg-Id`` in exactly this case is recognised for deduplication; ``NATS-Msg-Id`` is
stored twice without a word. Callers may therefore write reserved headers in any case; what goes out is canonical.
"""

from collections.abc import Mapping
from typing import Final

from mts1b_platform.eventbus.errors import InvalidHeader

MSG_ID: Final = "Nats-Msg-Id"
CONTENT_TYPE: Final = "content-type"
TRACE_ID: Final = "mts-trace-id"
TRACEPARENT: Final = "traceparent"
SOURCE_REPO: Final = "mts-source-repo"
SCHEMA: Final = "mts-schema"
ACTOR: Final = "mts-actor"
ORIGINAL_MSG_ID: Final = "mts-original-msg-id"
"""On a requeued or replayed message: the message id of its first publication, by which consumers recognise it."""
ONLY_DURABLE: Final = "mts-only-durable"
"""On a message requeued for one durable: every other one acknowledges it unseen."""
REQUEUES: Final = "mts-requeues"
"""How often the message was requeued from the dead letters."""

JSON: Final = "application/json"

_RESERVED: Final = {
    name.lower(): name
    for name in (
        MSG_ID,
        CONTENT_TYPE,
        TRACE_ID,
        TRACEPARENT,
        SOURCE_REPO,
        SCHEMA,
        ACTOR,
        ORIGINAL_MSG_ID,
        REQUEUES,
        ONLY_DURABLE,
        "Nats-Expected-Stream",
        "Nats-Expected-Last-Msg-Id",
        "Nats-Expected-Last-Sequence",
        "Nats-Expected-Last-Subject-Sequence",
        "Nats-Expected-Last-Subject-Sequence-Subject",
        "Nats-Rollup",
        "Nats-TTL",
        "Nats-Batch-Id",
        "Nats-Batch-Sequence",
        "Nats-Batch-Commit",
        "Nats-Required-Api-Level",
        "Nats-Schedule",
        "Nats-Schedule-Target",
        "Nats-Schedule-TTL",
    )
}


def canonical(headers: Mapping[str, str]) -> dict[str, str]:
    """``headers`` with reserved names in the case that the server and consumers look for; a new dict.

    Raises:
        InvalidHeader: when two names differ only by case, or a value could not arrive as it is.
    """
    result: dict[str, str] = {}
    spelled: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.strip().lower()
        if lower in spelled:
            raise InvalidHeader(f"headers {spelled[lower]!r} and {name!r} differ only by case: send one of them")
        spelled[lower] = name
        if any(character in value for character in "\r\n\0"):
            raise InvalidHeader(f"header {name!r} holds a line break or NUL: {value!r}")
        result[_RESERVED.get(lower, name)] = value
    return result


def static_headers(*, source_repo: str, schema: str, actor: str) -> dict[str, str]:
    """The headers that one publisher repeats with every event of a subject."""
    return {CONTENT_TYPE: JSON, SOURCE_REPO: source_repo, SCHEMA: schema, ACTOR: actor}


def envelope(*, source_repo: str, schema: str, actor: str, trace_id: str, msg_id: str | None) -> dict[str, str]:
    """The whole envelope of one event."""
    headers = {} if msg_id is None else {MSG_ID: msg_id}
    return headers | {TRACE_ID: trace_id} | static_headers(source_repo=source_repo, schema=schema, actor=actor)
