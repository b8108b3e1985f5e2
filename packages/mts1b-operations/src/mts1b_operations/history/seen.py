"""A message as people look at it: decoded when something asks, with the refusal of a strict consumer beside it.

Fields that are marked sensitive are masked here, before anything is compared, shown or written, unless the
:class:`Decoders` are of somebody who may see them. What a strict consumer makes of a message is asked of its own bytes.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from functools import cached_property
from typing import Any, Final, cast

from mts1b_foundation.deadletters import DeadLetter
from mts1b_foundation.event import Event as Payload
from mts1b_foundation.sensitive import sensitive_fields
from mts1b_foundation.subjects import Registry, Subject
from mts1b_foundation.subjects.subject import FUND
from mts1b_foundation.summaries import summary
from mts1b_platform.eventbus.codec.decoder import Decoder, Refused
from mts1b_platform.eventbus.history.recorded import Recorded, nanoseconds, stamp_of
from mts1b_platform.eventbus.protocol.envelope import ACTOR, MSG_ID, SCHEMA, SOURCE_REPO, TRACE_ID, TRACEPARENT
from mts1b_platform.eventbus.protocol.headers import HeaderError, Headers, header_block
from mts1b_platform.eventbus.protocol.message import RawMsg, WireMsg

from mts1b_operations.history.masking import WHOLE, WHY, in_words, masked_letter, masked_payload

_EXCERPT: Final = 160
_MOST_SUBJECTS: Final = 10_000
"""Concrete subjects that are remembered."""


class Decoders:
    """The decoder of a strict consumer, for each registered subject, and what somebody may see of its events.

    Args:
        registry: the subjects.
        masks: whether fields that are marked sensitive are masked.
    """

    def __init__(self, registry: Registry, *, masks: bool = True) -> None:
        self.registry = registry
        self.masks = masks
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

    def hidden(self, subject: Subject[Any]) -> frozenset[str]:
        """The names of fields that are masked in events of ``subject``."""
        return sensitive_fields(subject.payload) if self.masks else frozenset()

    def shown(self, recorded: Recorded) -> Recorded:
        """A message as it may be seen: the same, or one with a masked payload; one that is refused is masked whole."""
        if not self.masks:
            return recorded
        wire = recorded.wire
        if (subject := self.subject(wire.subject)) is None:
            return recorded
        if subject.payload is DeadLetter:
            payload = self._letter_shown(subject, wire)
        elif fields := sensitive_fields(subject.payload):
            payload = WHOLE if self.refuses(wire) else masked_payload(wire.payload, fields)
        else:
            return recorded
        return recorded if payload is wire.payload else recorded._replace(wire=wire._replace(payload=payload))

    def shown_letter(self, letter: DeadLetter) -> DeadLetter:
        """A dead letter as it may be seen: where its message has masked fields, error and traceback are masked too."""
        original = original_of(letter)
        shown = self.shown(original)
        return letter if shown is original else masked_letter(letter, shown.wire.payload)

    def shown_refusal(self, subject: Subject[Any], refused: Refused) -> Refused:
        """A refusal as it may be seen: its own words may quote the payload."""
        hides = self._hides_anything if subject.payload is DeadLetter else bool(self.hidden(subject))
        return Refused(refused.reason, WHY, refused.pattern) if hides else refused

    def _letter_shown(self, subject: Subject[Any], wire: WireMsg) -> bytes:
        if not self._hides_anything:
            return wire.payload
        try:
            letter = self.decode(subject, wire)
        except Refused:
            return WHOLE  # nobody knows what its message is
        shown = self.shown_letter(cast("DeadLetter", letter))
        return wire.payload if shown is letter else shown.model_dump_json().encode()

    @cached_property
    def _hides_anything(self) -> bool:
        return any(self.hidden(subject) for subject in self.registry)

    def _decoder(self, subject: Subject[Any]) -> Decoder:
        decoder = self._decoders.get(subject.pattern)
        if decoder is None:
            decoder = self._decoders[subject.pattern] = Decoder([subject])
        return decoder


class Seen:
    """One message, stored or live.

    Args:
        recorded: the message as it is stored; sequence 0 for one that was heard as it passed.
        decoders: what strict consumers make of it, and what may be seen of it.
    """

    def __init__(self, recorded: Recorded, decoders: Decoders) -> None:
        self.recorded = decoders.shown(recorded)
        self.message: RawMsg = recorded.wire
        """It as it came off the wire, nothing masked: not to be shown."""
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
        """What a strict consumer makes of it, nothing masked."""
        if self.registered is None:
            return None, None
        try:
            return self._decoders.decode(self.registered, self.message), None
        except Refused as refused:
            return None, refused.with_traceback(None)  # which would keep what was at work alive

    @cached_property
    def payload(self) -> Payload | None:
        """The payload as a consumer gets it; None when it is refused, masked, or its subject is not registered."""
        payload = self._decoded[0]
        if isinstance(payload, DeadLetter):
            return self._decoders.shown_letter(payload)
        return None if self.registered is None or self._decoders.hidden(self.registered) else payload

    @cached_property
    def refused(self) -> Refused | None:
        """Why a strict consumer refuses it; None when it does not, or nobody registered the subject."""
        refused = self._decoded[1]
        if refused is None or self.registered is None:
            return None
        return self._decoders.shown_refusal(self.registered, refused)

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
        if self.registered is not None:
            return in_words(self.document)
        return self.recorded.wire.payload[:_EXCERPT].decode(errors="replace")

    def _original(self) -> "Seen | None":
        """The message that a dead letter holds."""
        letter = self._decoded[0] if self.registered is not None and self.registered.payload is DeadLetter else None
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
        return self._decoders.shown(Recorded("", 0, self._stamp, WireMsg(*self.message)))


def names_of(decoders: Decoders, subject: bytes, document: Any) -> dict[str, str]:
    """What a payload is about; nothing for a subject that nobody registered."""
    registered = decoders.subject(subject)
    if registered is None or not isinstance(document, dict):
        return {}
    hidden = decoders.hidden(registered)
    found = registered.names_of(cast("dict[str, Any]", document))
    return {name: value for name, value in found.items() if registered.names[name] not in hidden}


def original_of(letter: DeadLetter) -> Recorded:
    """The message that ``letter`` holds, where it lies in its stream."""
    try:
        head = header_block(letter.headers)
    except HeaderError:
        head = b""
    wire = WireMsg(letter.subject.encode(), b"", head, letter.payload)
    return Recorded(letter.stream, letter.sequence, stamp_of(nanoseconds(letter.stored_at)), wire)
