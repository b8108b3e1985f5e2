"""Publishing typed events: the tier of the subject decides what is promised.

*Best effort*: handed to the connection and forgotten; while the connection is away the event is dropped and counted,
because a stale quote that is flushed on reconnect is worse than none (``publisher.py``).

*At least once*: sent until JetStream acknowledges that it is stored, through restarts and reconnects, always with the
same message id, so that the stream keeps one however often it was sent. After the deadline the caller is told that
the event may have been stored or not.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import nats.errors
from mts1b_foundation.event import Event as Payload
from mts1b_foundation.subjects import DurableSubject, Subject

from mts1b_platform.eventbus.api import ApiError, js_api, no_jetstream, where
from mts1b_platform.eventbus.envelope import JSON, canonical
from mts1b_platform.eventbus.errors import (
    BusClosed,
    BusError,
    InvalidHeader,
    JetStreamUnavailable,
    NoStream,
    PayloadTooLarge,
    PublishError,
    PublishUncertain,
)
from mts1b_platform.eventbus.headers import (
    ACTOR,
    CONTENT_TYPE,
    MSG_ID,
    NO_LINES,
    SCHEMA,
    SOURCE_REPO,
    TRACE_ID,
    TRACEPARENT,
    HeaderError,
    MessageIds,
    header_lines,
)
from mts1b_platform.eventbus.hooks import Hooks
from mts1b_platform.eventbus.pipeline import Draft
from mts1b_platform.eventbus.puback import NoStreamResponse, PubAck, PublishFailed, PublishRefused
from mts1b_platform.eventbus.trace import trace_id_for
from mts1b_platform.logs import get_logger

if TYPE_CHECKING:
    from mts1b_platform.eventbus.bus import EventBus
    from mts1b_platform.eventbus.event import Heard

log = get_logger("mts1b.eventbus.publish")

_BACKOFF: Final = (0.05, 1.0)
_TRANSIENT_CODES: Final = frozenset({503, 408})
_IN_PROCESS: Final = 10158
"""A cluster still works on an earlier publish with the same message id: nobody knows yet how it ends."""
_IN_TEMPLATE: Final = frozenset({MSG_ID, CONTENT_TYPE, TRACE_ID, SOURCE_REPO, SCHEMA, ACTOR})


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

    __slots__ = ("_draft", "_headers", "pattern", "payload", "subject")

    def __init__(self, subject: str, pattern: str, payload: bytes, headers: dict[str, str] | None = None) -> None:
        self.subject = subject
        self.pattern = pattern
        self.payload = payload
        self._headers = headers
        self._draft: tuple[Draft, Subject[Any], str] | None = None

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
        return self._draft[0] if self._draft is not None and self._headers is None else None

    @property
    def msg_id(self) -> str:
        """The message id; empty for a best-effort event."""
        if self._headers is not None:
            return self._headers.get(MSG_ID, "")
        return self._draft[0].msg_id or "" if self._draft is not None else ""

    @property
    def ids(self) -> MessageIds:
        """Its message id and trace ids; looking at them does not write the envelope out."""
        if self._headers is None and self._draft is not None:
            draft = self._draft[0]
            return MessageIds(draft.msg_id or "", draft.trace_id, "")
        headers = self.headers
        return MessageIds(headers.get(MSG_ID, ""), headers.get(TRACE_ID, ""), headers.get(TRACEPARENT, ""))

    @property
    def headers(self) -> dict[str, str]:
        """The whole envelope in canonical case; what is added to it goes out with the event."""
        if self._headers is None:
            self._headers = dict[str, str]()
            if self._draft is not None:
                draft, subject, actor = self._draft
                if draft.msg_id is not None:
                    self._headers[MSG_ID] = draft.msg_id
                self._headers |= {
                    CONTENT_TYPE: JSON,
                    TRACE_ID: draft.trace_id,
                    SOURCE_REPO: subject.producer,
                    SCHEMA: subject.schema_id,
                    ACTOR: actor,
                }
        return self._headers


def prepare(
    bus: "EventBus",
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
    publisher = bus.publisher(subject)
    template = publisher.template(event)
    data = bytes(memoryview(publisher.encode(event)))  # kept until the ack: a copy, as orjson's own bytes sit in 8 KiB
    draft = Draft(template, data, trace_id_for(trace_id), msg_id or subject.message_id(event))
    out = Outgoing.of(subject, template.subject, draft, publisher.actor(event))
    if headers:
        extra = canonical(headers)
        for reserved in out.headers:
            extra.pop(reserved, None)
        out.headers.update(extra)
    return out


async def send_watched(
    bus: "EventBus",
    hooks: Hooks,
    subject: Subject[Any],
    event: Payload,
    out: Outgoing,
    *,
    cause: "Heard[Any] | None",
    deadline: float,
) -> Ack | None:
    """:func:`send`, with the hooks told."""
    if not (hooks.best_effort or isinstance(subject, DurableSubject)):
        return await send(bus, subject, out, deadline=deadline)
    mark = hooks.publishing(subject, event, out, cause)
    try:
        ack = await send(bus, subject, out, deadline=deadline)
    except BaseException as error:
        hooks.published(mark, out, None, error)
        raise
    hooks.published(mark, out, ack, None)
    return ack


async def send(bus: "EventBus", subject: Subject[Any], out: Outgoing, *, deadline: float) -> Ack | None:
    """Send with the guarantee of the subject's tier; raises what the two below raise."""
    if isinstance(subject, DurableSubject):
        return await send_durable(bus, subject, out, deadline=deadline)
    send_best_effort(bus, subject, out)
    return None


def send_best_effort(bus: "EventBus", subject: Subject[Any], out: Outgoing) -> None:
    """Hand the event to the connection, or drop and count it while there is none.

    Raises:
        BusClosed: the bus was closed.
        PayloadTooLarge: the event has more bytes than the server takes.
    """
    draft = draft_of(bus, subject, out)
    frame = draft.template.encode(draft.payload, draft.trace_id, draft.msg_id, b"", draft.extra)
    try:
        sent = bus.lane.send_now(frame, len(draft.payload))
    except nats.errors.Error as error:
        raise publish_error(bus, out.subject, len(out.payload), error) from None
    (bus.counters.published if sent else bus.counters.publish_dropped)[out.pattern] += 1


async def send_durable(bus: "EventBus", subject: DurableSubject[Any], out: Outgoing, *, deadline: float) -> Ack:
    """Send until stored. ``deadline`` is in seconds from now.

    Raises:
        PublishUncertain: no ack in time; the event may have been stored or not.
        NoStream: no stream stores the subject.
        JetStreamUnavailable: the server runs without JetStream.
        PublishError: JetStream refused the event.
        AccessDenied: the server lets this identity not publish here.
        BusClosed: the bus was closed.
    """
    draft = draft_of(bus, subject, out)
    end = time.monotonic() + deadline
    attempt = 0
    reason = "no connection to a NATS server"
    while (left := end - time.monotonic()) > 0:
        if attempt:
            bus.counters.publish_retries[out.pattern] += 1
            log.warning("publish is retried", subject=out.subject, attempt=attempt, reason=reason)
            await asyncio.sleep(min(_pause(attempt), left))
        attempt += 1
        if not await bus.wait_connected(max(0.0, end - time.monotonic())):
            continue
        try:
            with bus.denials.watch(out.subject):
                async with asyncio.timeout(end - time.monotonic()):
                    sent = await bus.pipeline.publish(*draft)
                    return acknowledged(bus, out, await sent)
        except TimeoutError as error:
            reason = str(error) or "no ack in time"
        except nats.errors.Error as error:
            if isinstance(
                failure := publish_error(bus, out.subject, len(out.payload), error), PublishError | BusClosed
            ):
                raise failure from None
            reason = str(failure)
        except PublishFailed as error:
            reason = await reason_to_retry(bus, out, error)
    bus.counters.publish_failed[out.pattern] += 1
    raise PublishUncertain(
        f"{out.subject}: no ack within {deadline:g} s after {attempt} attempts at {where(bus)} ({reason}). The event "
        f"{draft.msg_id!r} may have been stored or not; publishing it again with the same message id is safe"
    )


def acknowledged(bus: "EventBus", out: Outgoing, stored: PubAck) -> Ack:
    """Count ``stored`` and give it the event's names."""
    bus.counters.published[out.pattern] += 1
    if stored.duplicate:
        bus.counters.publish_duplicates[out.pattern] += 1
    return Ack(stored.stream, stored.seq, stored.duplicate, out.subject, out.msg_id)


def draft_of(bus: "EventBus", subject: Subject[Any], out: Outgoing) -> Draft:
    """``out`` ready for the wire.

    Raises:
        InvalidHeader: a header cannot go on the wire.
    """
    if (ready := out.draft) is not None:
        return ready
    headers = out.headers
    template = bus.publisher(subject).template_of(headers[ACTOR], out.subject)
    extra = NO_LINES
    try:
        if len(headers) > len(_IN_TEMPLATE) - (MSG_ID not in headers):
            extra = header_lines({name: value for name, value in headers.items() if name not in _IN_TEMPLATE})
    except HeaderError as error:
        raise InvalidHeader(f"{out.subject}: {error}") from None
    return Draft(template, out.payload, headers[TRACE_ID], headers.get(MSG_ID), extra)


def publish_error(bus: "EventBus", name: str, size: int, error: nats.errors.Error) -> BusError:
    """What nats-py's error means for the publisher of an event of ``size`` bytes on the subject ``name``."""
    if isinstance(error, nats.errors.MaxPayloadError):
        return PayloadTooLarge(
            f"{name}: the event has {size} bytes, the server takes {bus.max_payload} with its "
            "headers; send a reference to the data instead, or raise max_payload on the server"
        )
    if isinstance(error, nats.errors.ConnectionClosedError | nats.errors.ConnectionDrainingError):
        return BusClosed(f"{name}: the bus is closed; the event may not have been stored")
    return BusError(str(error) or type(error).__name__)


async def reason_to_retry(bus: "EventBus", out: Outgoing, error: PublishFailed) -> str:
    """Why to try again after ``error``; raises when that cannot help."""
    if isinstance(error, NoStreamResponse):
        await _explain_no_stream(bus, out)
        return "no stream leader answers"
    if isinstance(error, PublishRefused) and error.code not in _TRANSIENT_CODES and error.err_code != _IN_PROCESS:
        bus.counters.publish_failed[out.pattern] += 1
        raise PublishError(
            f"{out.subject}: JetStream did not store the event: {error.description} (error {error.err_code})"
        ) from None
    return str(error)


async def _explain_no_stream(bus: "EventBus", out: Outgoing) -> None:
    """Raise when retrying cannot help: no JetStream at all, or no stream that stores the subject."""
    if not bus.has_jetstream:
        bus.counters.publish_failed[out.pattern] += 1
        raise JetStreamUnavailable(f"{out.subject}: {no_jetstream(bus)}")
    try:
        names = await js_api(bus, "STREAM.NAMES", {"subject": out.subject}, timeout=1)
    except (JetStreamUnavailable, ApiError):
        return  # JetStream is on its way up or down: retry
    if not names.get("streams"):
        bus.counters.publish_failed[out.pattern] += 1
        raise NoStream(
            f"{out.subject}: no stream stores this subject, so the event was not stored. Create the streams with "
            "`mts1b streams apply`"
        )


def _pause(attempt: int) -> float:
    shortest, longest = _BACKOFF
    return min(longest, shortest * 2 ** min(attempt, 10)) * random.uniform(0.8, 1.2)  # noqa: S311
