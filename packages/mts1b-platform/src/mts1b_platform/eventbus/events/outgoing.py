"""What is published: an event on its way out, its form on the wire, and the server's acknowledgement.

Data only. ``publishing/`` makes and sends them; hooks look at them.
"""

from typing import Any, NamedTuple

from mts1b_foundation.subjects import Subject, registry

from mts1b_platform.eventbus.protocol.envelope import (
    ACTOR,
    MSG_ID,
    TRACE_ID,
    TRACEPARENT,
    envelope,
)
from mts1b_platform.eventbus.protocol.envelope_reader import MessageIds
from mts1b_platform.eventbus.protocol.frames import FrameTemplate
from mts1b_platform.eventbus.protocol.headers import NO_LINES, HeaderLines


class Draft(NamedTuple):
    """One message, ready for the wire but for where its ack goes."""

    template: FrameTemplate
    payload: bytes
    trace_id: str
    msg_id: str | None = None
    extra: HeaderLines = NO_LINES


class Ack(NamedTuple):
    """JetStream's word that an event is stored.

    ``duplicate`` says that an event with the same message id was stored before and this one was not stored again;
    ``seq`` is then that of the first.
    """

    stream: str
    seq: int
    duplicate: bool
    subject: str
    msg_id: str


class Outgoing:
    """One event ready for the wire. Its envelope is written out only when somebody looks at it."""

    __slots__ = ("_draft", "_headers", "_traceparent", "pattern", "payload", "subject")

    def __init__(self, subject: str, pattern: str, payload: bytes, headers: dict[str, str] | None = None) -> None:
        self.subject = subject
        self.pattern = pattern
        self.payload = payload
        self._headers = headers
        self._draft: tuple[Draft, Subject[Any], str] | None = None
        self._traceparent = ""

    @classmethod
    def of(cls, subject: Subject[Any], name: str, draft: Draft, actor: str) -> "Outgoing":
        """An event of a registered subject with the plain envelope."""
        out = cls(name, subject.pattern, draft.payload)
        out._draft = draft, subject, actor
        return out

    @classmethod
    def of_draft(cls, pattern: str, draft: Draft) -> "Outgoing":
        """An event of which only the draft is left: enough to say what became of it, not to send it."""
        return cls(draft.template.subject, pattern, draft.payload, {MSG_ID: draft.msg_id or ""})

    @property
    def draft(self) -> Draft | None:
        """The event with its ready header block; None when its envelope was looked at, and may have been added to."""
        if self._draft is None or self._headers is not None:
            return None
        draft = self._draft[0]
        if not self._traceparent:
            return draft
        template, payload, trace_id, msg_id, extra = draft
        line = b"traceparent: %b\r\n" % self._traceparent.encode()
        return Draft(template, payload, trace_id, msg_id, HeaderLines(extra + line))

    @property
    def msg_id(self) -> str:
        """The message id; empty for a best-effort event."""
        if self._headers is not None:
            return self._headers.get(MSG_ID, "")
        return self._draft[0].msg_id or "" if self._draft is not None else ""

    @property
    def actor(self) -> str | None:
        """Who acts."""
        if self._headers is None and self._draft is not None:
            return self._draft[2]
        return self.headers.get(ACTOR)

    def begin_span(self, traceparent: str) -> None:
        """Name the span in which it is published; W3C's form. This does not write the envelope out."""
        if self._headers is None and self._draft is not None:
            self._traceparent = traceparent
        else:
            self.headers[TRACEPARENT] = traceparent

    @property
    def ids(self) -> MessageIds:
        """Its message id and trace ids; looking at them does not write the envelope out."""
        if self._headers is None and self._draft is not None:
            draft = self._draft[0]
            return MessageIds(draft.msg_id or "", draft.trace_id, self._traceparent)
        headers = self.headers
        return MessageIds(headers.get(MSG_ID, ""), headers.get(TRACE_ID, ""), headers.get(TRACEPARENT, ""))

    @property
    def headers(self) -> dict[str, str]:
        """The whole envelope in canonical case; what is added to it goes out with the event."""
        if self._headers is None:
            if self._draft is None:
                self._headers = {}
            else:
                draft, subject, actor = self._draft
                self._headers = envelope(
                    source_repo=registry().producer_of(subject, self.subject),
                    schema=subject.schema_id,
                    actor=actor,
                    trace_id=draft.trace_id,
                    msg_id=draft.msg_id,
                )
                if self._traceparent:
                    self._headers[TRACEPARENT] = self._traceparent
        return self._headers
