"""The envelope: the headers that every event carries, written one way and read any way.

Measured on the server: only ``Nats-Msg-Id`` in exactly this case is recognised for deduplication; ``NATS-Msg-Id`` is
stored twice without a word. Callers may therefore write reserved headers in any case; what goes out is canonical.
"""

from collections.abc import Mapping
from typing import Final

from mts1b_platform.eventbus.errors import InvalidHeader
from mts1b_platform.eventbus.headers import (
    ACTOR,
    CONTENT_TYPE,
    MSG_ID,
    ONLY_DURABLE,
    ORIGINAL_MSG_ID,
    REQUEUES,
    SCHEMA,
    SOURCE_REPO,
    TRACE_ID,
    TRACEPARENT,
)

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
