"""Dead letters: messages that a consumer gave up on, with everything needed to understand and requeue them.

A message that does not fit into a letter is stored shortened: the letter's header ``mts-original-size`` then says how
large the original is, which stays in its stream under the letter's ``stream`` and ``sequence``.
"""

import traceback
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field

from mts1b_foundation.errors import words_of
from mts1b_foundation.event import Bytes, Event, Identifier, UtcDatetime, utc_now

ORIGINAL_SIZE: Final = "mts-original-size"
"""In the headers of a letter that holds a part of its message only: the bytes of the whole, headers and payload."""

_HEADERS: Final = 4096
"""Bytes that a letter's own headers take at most."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


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

    The id is made of stream, sequence, storing time and consumer, so that however many parties notice the same failure,
    one dead letter is stored.
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

    @property
    def original_size(self) -> int | None:
        """Bytes of the message when the letter holds only its beginning; None when it holds all of it."""
        size = self.headers.get(ORIGINAL_SIZE, "")
        return int(size) if size.isdecimal() else None

    def fitted(self, max_payload: int) -> Self:
        """This letter, or a shortened one: with its own headers it fits a server that takes ``max_payload`` bytes."""
        most = max_payload - min(_HEADERS, max_payload // 4)
        if len(self.model_dump_json()) <= most:
            return self
        size = len(self.payload) + sum(len(name) + len(value) for name, value in self.headers.items())
        part = most // 64  # a character takes up to six bytes
        headers, room = dict[str, str](), part
        for name, value in self.headers.items():
            if (room := room - len(name) - len(value)) >= 0:
                headers[name] = value
        short = self.model_copy(
            update={
                "headers": headers | {ORIGINAL_SIZE: str(size)},
                "error": self.error[:part],
                "traceback": self.traceback and self.traceback[-part:],
                "payload": b"",
            }
        )
        rest = most - len(short.model_dump_json())
        return short.model_copy(update={"payload": self.payload[: max(0, rest // 4 * 3 - 3)]})

    @staticmethod
    def id_for(stream: str, sequence: int, stored_at: datetime, consumer: str) -> str:
        """The one id of the failure of this message at this consumer.

        Its last six digits are of the storing time: a stream that is made again or restored gives its sequences out a
        second time.
        """
        microseconds = (stored_at - _EPOCH) // timedelta(microseconds=1)
        return f"{stream}:{sequence}:{consumer}:{microseconds & 0xFFFFFF:06x}"

    @classmethod
    def of_stored(
        cls,
        *,
        subject: str,
        headers: Mapping[str, str],
        payload: bytes,
        stream: str,
        sequence: int,
        stored_at: datetime,
        consumer: str,
        deliveries: int,
        reason: DeadLetterReason,
        error: BaseException | str,
    ) -> Self:
        """The dead letter of a stored message that ``consumer`` gives up on now.

        Args:
            subject: what the message was published on.
            headers: of the message.
            payload: of the message, its bytes as they were.
            stream: where it is stored.
            sequence: its number there.
            stored_at: when the stream stored it.
            consumer: who gives it up.
            deliveries: how often it was delivered; a message that was never delivered counts as one.
            reason: why it is given up.
            error: the exception, of which the traceback is kept, or its text.
        """
        raised = isinstance(error, BaseException)
        return cls(
            dead_letter_id=cls.id_for(stream, sequence, stored_at, consumer),
            reason=reason,
            subject=subject,
            headers={name: value for name, value in headers.items() if name.lower() != ORIGINAL_SIZE},
            payload=payload,
            stream=stream,
            sequence=sequence,
            consumer=consumer,
            deliveries=max(1, deliveries),
            error=words_of(error),
            traceback="".join(traceback.format_exception(error)) if raised else None,
            stored_at=stored_at,
            failed_at=utc_now(),
        )


class DeadLetterNote(Event):
    """What somebody knows about a dead letter or a group of them, for everybody who sees these.

    The newest about the same takes the place of those before it; one without text takes the note away.
    """

    note_id: Identifier
    about: Identifier
    """The id of a dead letter, or the key of a group."""
    consumer: Identifier
    """The durable that gave up."""
    text: Annotated[str, Field(max_length=2000)] = ""
    actor: Identifier
    noted_at: UtcDatetime
