"""From a typed event to an :class:`Outgoing` with its envelope, and from that to what goes on the wire."""

from collections.abc import Mapping
from typing import Any, Final

from mts1b_foundation.event import Event as Payload
from mts1b_foundation.subjects import Subject

from mts1b_platform.eventbus.errors import (
    InvalidHeader,
)
from mts1b_platform.eventbus.events.outgoing import Draft, Outgoing
from mts1b_platform.eventbus.events.trace import trace_id_for
from mts1b_platform.eventbus.protocol.envelope import (
    ACTOR,
    CONTENT_TYPE,
    MSG_ID,
    SCHEMA,
    SOURCE_REPO,
    TRACE_ID,
    canonical,
)
from mts1b_platform.eventbus.protocol.headers import NO_LINES, HeaderError, header_lines
from mts1b_platform.eventbus.publishing.context import PublishContext

_IN_TEMPLATE: Final = frozenset({MSG_ID, CONTENT_TYPE, TRACE_ID, SOURCE_REPO, SCHEMA, ACTOR})


def prepare(
    context: PublishContext,
    subject: Subject[Any],
    event: Payload,
    *,
    msg_id: str | None = None,
    trace_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Outgoing:
    """Subject, bytes and envelope of ``event``.

    Raises:
        SubjectError: the event is not of the subject's payload type.
        NotTheProducer: this process does not speak as the subject's producer.
        InvalidHeader: an extra header cannot go on the wire.
    """
    draft = draft_for(context, subject, event, trace_id_for(trace_id), msg_id)
    out = Outgoing.of(subject, draft.template.subject, draft, context.publisher(subject).encoder.actor(event))
    if headers:
        extra = canonical(headers)
        for reserved in out.headers:
            extra.pop(reserved, None)
        out.headers.update(extra)
    return out


def draft_for(
    context: PublishContext, subject: Subject[Any], event: Payload, trace_id: str, msg_id: str | None = None
) -> Draft:
    """``event`` ready for the wire, with the plain envelope; raises as :func:`prepare`."""
    encoder = context.publisher(subject).encoder
    template = encoder.template(event)
    data = bytes(memoryview(encoder.encode(event)))  # kept until the ack: a copy, as orjson's own bytes sit in 8 KiB
    return Draft(template, data, trace_id, context.own_id(msg_id or subject.message_id(event)))


def draft_of(context: PublishContext, subject: Subject[Any], out: Outgoing) -> Draft:
    """``out`` ready for the wire.

    Raises:
        InvalidHeader: a header cannot go on the wire.
    """
    if (ready := out.draft) is not None:
        return ready
    headers = out.headers
    template = context.publisher(subject).encoder.template_of(headers[ACTOR], out.subject)
    extra = NO_LINES
    try:
        if len(headers) > len(_IN_TEMPLATE) - (MSG_ID not in headers):
            extra = header_lines({name: value for name, value in headers.items() if name not in _IN_TEMPLATE})
    except HeaderError as error:
        raise InvalidHeader(f"{out.subject}: {error}") from None
    return Draft(template, out.payload, headers[TRACE_ID], context.own_id(headers.get(MSG_ID)), extra)
