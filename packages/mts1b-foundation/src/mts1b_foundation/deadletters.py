"""Dead letters: messages that a consumer gave up on, with everything needed to understand and requeue them."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from mts1b_foundation.event import Bytes, Event, Identifier, UtcDatetime


class DeadLetterReason(StrEnum):
    """Why a message was given up."""

    SCHEMA_MISMATCH = "schema_mismatch"
    """The ``mts-schema`` header is missing or names another schema than the subject's."""
    INVALID_PAYLOAD = "invalid_payload"
    """The payload is not a valid document of its schema."""
    UNEXPECTED_SUBJECT = "unexpected_subject"
    """The subject is none that the consumer asked for."""
    MAX_DELIVERIES = "max_deliveries"
    """The handler failed as often as the retry policy allows."""
    REJECTED = "rejected"
    """The handler said that trying again is of no use."""


class DeadLetter(Event):
    """One message that one consumer gave up on.

    The id is made of stream, sequence and consumer, so that however many parties notice the same failure, one
    dead letter is stored.
    """

    dead_letter_id: Identifier
    reason: DeadLetterReason
    subject: Annotated[str, Field(min_length=1)]
    headers: dict[str, str]
    payload: Bytes
    """The message's bytes as they were; in JSON as standard base64."""
    stream: Identifier
    sequence: Annotated[int, Field(ge=1)]
    consumer: Identifier
    deliveries: Annotated[int, Field(ge=1)]
    error: str
    traceback: str | None = None
    stored_at: UtcDatetime
    """When the stream stored the original."""
    failed_at: UtcDatetime
