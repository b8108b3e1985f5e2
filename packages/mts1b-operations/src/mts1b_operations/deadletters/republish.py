"""Publishing the message of a dead letter again: what is carried over, and whether it is stored already."""

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from mts1b_foundation.deadletters import DeadLetter
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.errors import (
    AccessDenied,
    NoResponders,
    OutboundBufferFull,
    PayloadTooLarge,
    RequestTimeout,
    ServerUnavailable,
)
from mts1b_platform.eventbus.jetstream.api import ApiError, js_api
from mts1b_platform.eventbus.jetstream.stored import read_stored
from mts1b_platform.eventbus.protocol.envelope import (
    ACTOR,
    CONTENT_TYPE,
    MSG_ID,
    ORIGINAL_MSG_ID,
    SCHEMA,
    SOURCE_REPO,
    TRACE_ID,
    TRACEPARENT,
)
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode

from mts1b_operations.deadletters.advisories import read_original
from mts1b_operations.deadletters.ends import DeadLetterError, NotRequeued

_ATTEMPTS: Final = 10
_TIMEOUT: Final = 2.0
_ENVELOPE: Final = frozenset({ACTOR, CONTENT_TYPE, SCHEMA, SOURCE_REPO, TRACE_ID, TRACEPARENT})
_OWN: Final = re.compile(r"(?!nats-|mts-)[a-z0-9_-]+", re.IGNORECASE)
"""Headers that publishers add. Those that begin with ``Nats-`` tell the server what to do with a message."""


async def message_of(bus: EventBus, dead: DeadLetter) -> tuple[Mapping[str, str], bytes]:
    """Headers and payload of the message that ``dead`` is about; from its stream when the letter holds a part only.

    Raises:
        NotRequeued: the stream does not hold it any more.
    """
    if dead.original_size is None:
        return dead.headers, dead.payload
    original = await read_original(bus, dead.stream, dead.sequence)
    if original is None or original.stored_at != dead.stored_at:
        raise NotRequeued(
            f"{dead.dead_letter_id}: the letter holds {len(dead.payload)} of the message's {dead.original_size} bytes, "
            f"and {dead.stream} does not hold the original under {dead.sequence} any more: it cannot be requeued; "
            "discard the letter"
        )
    return original.headers, original.payload


def carried(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of ``headers`` that a requeued message keeps: its envelope, its identity, and what its publisher added."""
    kept = {name: value for name, value in headers.items() if name.lower() in _ENVELOPE or _OWN.fullmatch(name)}
    first = header(headers, ORIGINAL_MSG_ID) or header(headers, MSG_ID)
    return kept | {ORIGINAL_MSG_ID: first} if first else kept


def header(headers: Mapping[str, str], name: str) -> str | None:
    """The header ``name``, in whatever case it was sent."""
    return next((value for key, value in headers.items() if key.lower() == name.lower()), None)


async def last_of(bus: EventBus, stream: str) -> int:
    """The last sequence of ``stream``; 0 when there is no such stream."""
    try:
        return int((await js_api(bus, f"STREAM.INFO.{stream}"))["state"]["last_seq"])
    except ApiError as error:
        if error.err_code == ErrorCode.STREAM_NOT_FOUND:
            return 0
        raise


async def stored_after(bus: EventBus, stream: str, subject: str, after: int, msg_id: str) -> int | None:
    """Where ``stream`` holds the message with ``msg_id`` on ``subject``, stored after the sequence ``after``."""
    seq = after + 1
    while (message := await read_stored(bus, stream, seq=seq, next_by=subject)) is not None:
        if header(message.wire.headers.readable(), MSG_ID) == msg_id:
            return message.seq
        seq = message.seq + 1
    return None


async def store(bus: EventBus, subject: str, payload: bytes, headers: dict[str, str]) -> int:
    """Publish until the stream has it; its sequence.

    Raises:
        NotRequeued: no stream took it.
        DeadLetterError: the stream did not answer: it may have it or not.
    """
    problem, asked = "no connection", False
    for attempt in range(_ATTEMPTS):
        await bus.wait_connected(_TIMEOUT)
        try:
            answer = await bus.request(subject, payload, timeout=_TIMEOUT, headers=headers)
            document: dict[str, Any] = json.loads(answer.data)
        except (NoResponders, OutboundBufferFull, RequestTimeout, ServerUnavailable) as error:
            asked = asked or not isinstance(error, (NoResponders, OutboundBufferFull))
            problem = str(error)
            await asyncio.sleep(0.1 * attempt)
        except (AccessDenied, PayloadTooLarge) as error:
            raise NotRequeued(
                f"{subject}: the message was not stored again ({error}); the dead letter stays"
            ) from error
        except ValueError:
            problem = "what answers on the subject is no stream"
            break
        else:
            if (refused := document.get("error")) is None:
                return int(document["seq"])
            problem = f"{refused.get('description')} (error {refused.get('err_code')})"
            break
    if asked:
        raise DeadLetterError(
            f"{subject}: it is not known whether the message was stored again ({problem}); the dead letter stays, and "
            "requeuing it once more finds out"
        )
    raise NotRequeued(f"{subject}: the message was not stored again ({problem}); the dead letter stays")
