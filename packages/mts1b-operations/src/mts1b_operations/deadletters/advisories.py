"""The server's advisories about messages that a consumer gave up: stored in a stream, so that none is missed.

NATS moves no message by itself. It publishes ``MAX_DELIVERIES`` once when a message was delivered as often as its
consumer allows (for a pull consumer only at the next pull), and ``MSG_TERMINATED`` when a reader terminated it.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from mts1b_foundation.deadletters import DeadLetterReason
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.jetstream.api import ApiError
from mts1b_platform.eventbus.jetstream.stored import read_stored
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode

_LONGEST_NAME: Final = 120


@dataclass(frozen=True, slots=True)
class Advisory:
    """A consumer gave up on one message."""

    stream: str
    sequence: int
    consumer: str
    deliveries: int
    reason: DeadLetterReason
    error: str

    @classmethod
    def parse(cls, data: bytes) -> "Advisory":
        """The advisory in the server's JSON.

        Raises:
            ValueError: it is none.
        """
        try:
            document: dict[str, Any] = json.loads(data)
            terminated = document["type"].endswith("terminated")
            said = str(document.get("reason") or "")
            deliveries = int(document["deliveries"])
            if not terminated:
                reason = DeadLetterReason.MAX_DELIVERIES
                error = f"delivered {deliveries} times and never acknowledged; its consumer allows no more"
            elif said in {reason.value for reason in DeadLetterReason}:
                reason, error = DeadLetterReason(said), f"terminated by its reader: {said}"
            else:
                reason = DeadLetterReason.REJECTED
                error = f"terminated by its reader{f': {said}' if said else ', without a reason'}"
            return cls(document["stream"], int(document["stream_seq"]), document["consumer"], deliveries, reason, error)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"no advisory that a message was given up: {error!r} in {data[:200]!r}") from error


def nameable(consumer: str) -> str:
    """``consumer`` as a dead letter can hold it: foreign clients give names that are long or not ASCII."""
    name = quote(consumer, safe="!$&'()+,:;=@[]")
    if len(name) <= _LONGEST_NAME:
        return consumer if consumer.isascii() and consumer.isprintable() and " " not in consumer else name
    return f"{name[:_LONGEST_NAME]}~{hashlib.sha256(consumer.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Original:
    """A message as its stream holds it."""

    subject: str
    headers: dict[str, str]
    payload: bytes
    stored_at: datetime


async def read_original(bus: EventBus, stream: str, sequence: int) -> Original | None:
    """The message; None when the stream has it no more.

    Raises:
        JetStreamUnavailable: nobody answers.
        ApiError: the server refuses to say.
    """
    try:
        message = await read_stored(bus, stream, seq=sequence)
    except ApiError as error:
        if error.err_code == ErrorCode.STREAM_NOT_FOUND:
            return None
        raise
    if message is None:
        return None
    wire = message.wire
    return Original(wire.subject.decode(), wire.headers.readable(), wire.payload, message.time)
