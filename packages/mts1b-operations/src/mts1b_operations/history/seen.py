"""A message as people look at it: decoded when something asks, with the refusal of a strict consumer beside it."""

import json
from collections.abc import Callable
from decimal import Decimal
from functools import cached_property
from typing import Any, Final, cast

from mts1b_foundation.deadletters import DeadLetter
from mts1b_foundation.event import Event as Payload
from mts1b_foundation.subjects import Registry, Subject
from mts1b_foundation.subjects.subject import FUND
from mts1b_foundation.summaries import summary
from mts1b_platform.eventbus.codec.decoder import Decoder, Refused
from mts1b_platform.eventbus.history.recorded import Recorded, nanoseconds, stamp_of
from mts1b_platform.eventbus.protocol.envelope import ACTOR, MSG_ID, SCHEMA, SOURCE_REPO, TRACE_ID, TRACEPARENT
from mts1b_platform.eventbus.protocol.headers import HeaderError, Headers, header_block
from mts1b_platform.eventbus.protocol.message import RawMsg, WireMsg

_EXCERPT: Final = 160
_MOST_SUBJECTS: Final = 10_000
"""Concrete subjects that are remembered."""


class Decoders:
    """The decoder of a strict consumer, for each registered subject.

    Args:
        registry: the subjects.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._subjects: dict[bytes, Subject[Any] | None] = {}
        self._decoders: dict[str, Decoder] = {}
        self._strict: dict[bytes, Callable[[RawMsg], object]] = {}

    def subject(self, name: bytes) -> Subject[Any] | None:
        """The registered subject that a concrete one belongs to."""
        try:
            return self._subjects[name]
        except KeyError:
            if len(self._subjects) > _MOST_SUBJECTS:
                self._subjects.clear()
            found = self._subjects[name] = self.registry.find(name.decode(errors="replace"))
            return found

    def decode(self, subject: Subject[Any], message: RawMsg) -> Payload:
        """The payload as a strict consumer of ``subject`` gets it.

        Raises:
            Refused: it gets none, with the reason.
        """
        return self._decoder(subject).decode(message)[2]

    def refuses(self, message: RawMsg) -> bool:
        """Whether a strict consumer refuses ``message``: without the reason, for those who ask of every message."""
        name = message[0]
        decode = self._strict.get(name)
        if decode is None:
            if (subject := self.subject(name)) is None:
                return False
            if len(self._strict) > _MOST_SUBJECTS:
                self._strict.clear()
            decode = self._strict[name] = self._decoder(subject).decode
        try:
            decode(message)
        except Refused:
            return True
        return False

    def _decoder(self, subject: Subject[Any]) -> Decoder:
        decoder = self._decoders.get(subject.pattern)
        if decoder is None:
            decoder = self._decoders[subject.pattern] = Decoder([subject])
        return decoder


class Seen:
    """One message, stored or live.

    Args:
        recorded: the message; sequence 0 for one that was heard as it passed.
        decoders: what strict consumers make of it.
    """

    def __init__(self, recorded: Recorded, decoders: Decoders) -> None:
        self.recorded = recorded
        self.message: RawMsg = recorded.wire
        """It as it came off the wire."""
        self._decoders = decoders

    @property
    def place(self) -> str:
        """Stream and sequence; empty for a live message."""
        return f"{self.recorded.stream}:{self.recorded.seq}" if self.recorded.seq else ""

    @cached_property
    def subject(self) -> str:
        """What it was published on."""
        return self.recorded.wire.subject.decode(errors="replace")

    @cached_property
    def registered(self) -> Subject[Any] | None:
        """The registered subject; None when nobody registered it."""
        return self._decoders.subject(self.message[0])

    def is_of(self, subject: Subject[Any]) -> bool:
        """Whether it is an event of ``subject``, whatever the version of its payload."""
        return self.registered is not None and self.registered.is_a(subject)

    @cached_property
    def headers(self) -> dict[str, str]:
        """The headers as far as they can be read, as they were spelled."""
        return Headers(self.recorded.wire.head).readable()

    def header(self, name: str) -> str | None:
        """One header, whatever its case; None without it, or when it cannot be read."""
        try:
            return Headers(self.recorded.wire.head).get(name)
        except HeaderError:
            return None

    @cached_property
    def document(self) -> Any:
        """The payload as JSON, numbers exact; None when it is none."""
        try:
            return json.loads(self.recorded.wire.payload, parse_float=Decimal)
        except (ValueError, RecursionError):
            return None

    @cached_property
    def _decoded(self) -> tuple[Payload | None, Refused | None]:
        if self.registered is None:
            return None, None
        try:
            return self._decoders.decode(self.registered, self.message), None
        except Refused as refused:
            return None, refused.with_traceback(None)  # which would keep what was at work alive

    @property
    def payload(self) -> Payload | None:
        """The payload as a consumer gets it; None when it is refused, or its subject is not registered."""
        return self._decoded[0]

    @cached_property
    def refused(self) -> Refused | None:
        """Why a strict consumer refuses it; None when it does not, or nobody registered the subject."""
        return self._decoded[1]

    def judge(self) -> bool:
        """Whether a strict consumer refuses it. Nothing is kept of what was found out, for those who keep many."""
        return self._decoders.refuses(self.message)

    @property
    def by(self) -> str:
        """The repo that says it published it."""
        return self.header(SOURCE_REPO) or ""

    @property
    def actor(self) -> str:
        """Who acted."""
        return self.header(ACTOR) or ""

    @property
    def schema(self) -> str:
        """The schema that it says it has."""
        return self.header(SCHEMA) or ""

    @property
    def message_id(self) -> str:
        """Its message id."""
        return self.header(MSG_ID) or ""

    @property
    def trace_id(self) -> str:
        """The trace that it belongs to."""
        if found := self.header(TRACE_ID):
            return found
        parts = (self.header(TRACEPARENT) or "").split("-")
        return parts[1] if len(parts) == 4 else ""

    @cached_property
    def names(self) -> dict[str, str]:
        """What it is about: order, signal and so on; of a dead letter, what its message was about."""
        original = self._original()
        return (
            names_of(self._decoders, self.recorded.wire.subject, self.document) if original is None else original.names
        )

    @property
    def fund(self) -> str | None:
        """The fund that it is about."""
        document: Any = self.document
        found: Any = cast("dict[str, Any]", document).get(FUND) if isinstance(document, dict) else None
        return found if isinstance(found, str) else None

    @property
    def summary(self) -> str:
        """It in one line: what it says, or why a strict consumer refuses it."""
        if self.refused is not None:
            return f"REFUSED {self.refused.reason.value}: {self.refused}"
        if self.payload is not None:
            return summary(self.payload)
        return self.recorded.wire.payload[:_EXCERPT].decode(errors="replace")

    def _original(self) -> "Seen | None":
        """The message that a dead letter holds."""
        letter = self.payload if self.registered is not None and self.registered.payload is DeadLetter else None
        if not isinstance(letter, DeadLetter):
            return None
        return Seen(original_of(letter), self._decoders)

    def to_json(self) -> dict[str, Any]:
        """It as a JSON document: numbers as they came, what is no JSON as text."""
        wire = self.recorded.wire
        try:
            payload = json.loads(wire.payload)
        except (ValueError, RecursionError):
            payload = None
        found: dict[str, Any] = {
            "stream": self.recorded.stream or None,
            "seq": self.recorded.seq or None,
            "time": self.recorded.stamp,
            "subject": self.subject,
            "registered": self.registered.pattern if self.registered else None,
            "by": self.by or None,
            "trace": self.trace_id or None,
            "names": self.names,
            "summary": self.summary,
            "refused": None
            if self.refused is None
            else {"reason": self.refused.reason.value, "why": str(self.refused)},
            "headers": self.headers,
            "payload": payload,
        }
        if payload is None:
            found["payload_text"] = wire.payload.decode(errors="backslashreplace")
        return found


class Heard(Seen):
    """A message that was heard as it passed: it is taken apart when something asks, as most are only counted.

    Args:
        message: as it came off the wire.
        stamp: when it was heard.
        decoders: what strict consumers make of it.
    """

    def __init__(self, message: RawMsg, stamp: str, decoders: Decoders) -> None:
        self.message = message
        self._stamp = stamp
        self._decoders = decoders

    @cached_property
    def recorded(self) -> Recorded:
        """The message, without a place."""
        return Recorded("", 0, self._stamp, WireMsg(*self.message))


def names_of(decoders: Decoders, subject: bytes, document: Any) -> dict[str, str]:
    """What a payload is about; nothing for a subject that nobody registered."""
    registered = decoders.subject(subject)
    if registered is None or not isinstance(document, dict):
        return {}
    return registered.names_of(cast("dict[str, Any]", document))


def original_of(letter: DeadLetter) -> Recorded:
    """The message that ``letter`` holds, where it lies in its stream."""
    try:
        head = header_block(letter.headers)
    except HeaderError:
        head = b""
    wire = WireMsg(letter.subject.encode(), b"", head, letter.payload)
    return Recorded(letter.stream, letter.sequence, stamp_of(nanoseconds(letter.stored_at)), wire)
