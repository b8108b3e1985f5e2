"""Publishing typed events: the tier of the subject decides what is promised.

*Best effort*: handed to the connection and forgotten; while the connection is away the event is dropped and counted,
because a stale quote that is flushed on reconnect is worse than none.

*At least once*: sent until JetStream acknowledges that it is stored, through restarts and reconnects, always with the
same message id, so that the stream keeps one however often it was sent. After the deadline the caller is told that
the event may have been stored or not.
"""

import asyncio
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import nats.errors
from mts1b_foundation.event import Event as Payload
from mts1b_foundation.subjects import DurableSubject, Subject

from mts1b_platform.eventbus.api import ApiError, js_api, no_jetstream, where
from mts1b_platform.eventbus.envelope import JSON, canonical
from mts1b_platform.eventbus.errors import (
    BusClosed,
    JetStreamUnavailable,
    NoStream,
    PayloadTooLarge,
    PublishError,
    PublishUncertain,
)
from mts1b_platform.eventbus.headers import ACTOR, CONTENT_TYPE, MSG_ID, SCHEMA, SOURCE_REPO, TRACE_ID
from mts1b_platform.eventbus.hooks import Hooks
from mts1b_platform.eventbus.trace import trace_id_for
from mts1b_platform.logs import get_logger

if TYPE_CHECKING:
    from mts1b_platform.eventbus.bus import EventBus
    from mts1b_platform.eventbus.event import Heard

log = get_logger("mts1b.eventbus.publish")

_ATTEMPT = 2.0
_BACKOFF = (0.05, 1.0)
_TRANSIENT_CODES = frozenset({503, 408})


@dataclass(frozen=True, slots=True)
class Ack:
    """JetStream's word that an event is stored.

    ``duplicate`` says that an event with the same message id was stored before and this one was not stored again;
    ``seq`` is then that of the first.
    """

    stream: str
    seq: int
    duplicate: bool
    subject: str
    msg_id: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One event ready for the wire."""

    subject: str
    pattern: str
    payload: bytes
    headers: dict[str, str]


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
        PayloadTooLarge: the event has more bytes than the server takes.
    """
    bus.publisher(subject)
    name = subject.format(event)
    data = event.__pydantic_serializer__.to_json(event)
    if len(data) > bus.max_payload > 0:
        raise PayloadTooLarge(
            f"{name}: the event has {len(data)} bytes, the server takes {bus.max_payload}; send a reference to the "
            "data instead, or raise max_payload on the server"
        )
    envelope = canonical(headers) if headers else {}
    if (identity := msg_id or subject.message_id(event)) is not None:
        envelope[MSG_ID] = identity
    envelope[CONTENT_TYPE] = JSON
    envelope[TRACE_ID] = trace_id_for(trace_id)
    envelope[SOURCE_REPO] = subject.producer
    envelope[SCHEMA] = subject.schema_id
    envelope[ACTOR] = event.__dict__.get("actor") or bus.actor
    return Outgoing(name, subject.pattern, data, envelope)


async def send(bus: "EventBus", subject: Subject[Any], out: Outgoing, *, deadline: float) -> Ack | None:
    """Send with the guarantee of the subject's tier; raises what the two below raise."""
    if isinstance(subject, DurableSubject):
        return await send_durable(bus, subject, out, deadline=deadline)
    await send_best_effort(bus, out)
    return None


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


async def send_best_effort(bus: "EventBus", out: Outgoing) -> None:
    """Hand the event to the connection, or drop and count it while there is none.

    Raises:
        BusClosed: the bus was closed.
    """
    if bus.is_connected:
        try:
            await bus.publish(out.subject, out.payload, headers=out.headers)
        except nats.errors.OutboundBufferLimitError:
            pass
        except (nats.errors.ConnectionClosedError, nats.errors.ConnectionDrainingError):
            raise BusClosed(f"{out.subject}: the bus is closed; the event was not sent") from None
        else:
            bus.counters.published[out.pattern] += 1
            return
    elif bus.is_closed:
        raise BusClosed(f"{out.subject}: the bus is closed; the event was not sent")
    bus.counters.publish_dropped[out.pattern] += 1


async def send_durable(bus: "EventBus", subject: DurableSubject[Any], out: Outgoing, *, deadline: float) -> Ack:
    """Send until stored. ``deadline`` is in seconds from now.

    Raises:
        PublishUncertain: no ack in time; the event may have been stored or not.
        NoStream: no stream stores the subject.
        JetStreamUnavailable: the server runs without JetStream.
        PublishError: JetStream refused the event.
        BusClosed: the bus was closed.
    """
    end = time.monotonic() + deadline
    attempt = 0
    reason = "no connection"
    while (left := end - time.monotonic()) > 0:
        if attempt:
            bus.counters.publish_retries[out.pattern] += 1
            log.warning("publish is retried", subject=out.subject, attempt=attempt, reason=reason)
        attempt += 1
        if not await bus.wait_connected(min(left, _ATTEMPT)):
            reason = "no connection to a NATS server"
            continue
        try:
            answer = await bus.request(
                out.subject, out.payload, timeout=min(end - time.monotonic(), _ATTEMPT), headers=out.headers
            )
            return _acknowledged(bus, subject, out, json.loads(answer.data))
        except nats.errors.NoRespondersError:
            await _explain_no_responders(bus, out)
            reason = "no stream leader answers"
        except nats.errors.TimeoutError:
            reason = f"no ack within {_ATTEMPT:g} s"
        except _Unavailable as error:
            reason = str(error)
        except nats.errors.OutboundBufferLimitError:
            reason = "the connection is away and its buffer is full"
        except nats.errors.MaxPayloadError:
            raise PayloadTooLarge(f"{out.subject}: event and headers exceed {bus.max_payload} bytes") from None
        except (nats.errors.ConnectionClosedError, nats.errors.ConnectionDrainingError):
            raise BusClosed(f"{out.subject}: the bus is closed; the event may not have been stored") from None
        await asyncio.sleep(min(_pause(attempt), max(0.0, end - time.monotonic())))
    bus.counters.publish_failed[out.pattern] += 1
    raise PublishUncertain(
        f"{out.subject}: no ack within {deadline:g} s after {attempt} attempts at {where(bus)} ({reason}). The event "
        f"{out.headers[MSG_ID]!r} may have been stored or not; publishing it again with the same message id is safe"
    )


class _Unavailable(Exception):
    """JetStream answered that it cannot store right now."""


def _acknowledged(bus: "EventBus", subject: DurableSubject[Any], out: Outgoing, document: dict[str, Any]) -> Ack:
    if (error := document.get("error")) is not None:
        if error.get("code") in _TRANSIENT_CODES:
            raise _Unavailable(error.get("description", "JetStream is unavailable"))
        bus.counters.publish_failed[out.pattern] += 1
        raise PublishError(
            f"{out.subject}: JetStream did not store the event: {error.get('description')} "
            f"(error {error.get('err_code')})"
        )
    ack = Ack(
        stream=document["stream"],
        seq=document["seq"],
        duplicate=bool(document.get("duplicate")),
        subject=out.subject,
        msg_id=out.headers[MSG_ID],
    )
    bus.counters.published[subject.pattern] += 1
    if ack.duplicate:
        bus.counters.publish_duplicates[subject.pattern] += 1
    log.debug("stored", subject=ack.subject, stream=ack.stream, seq=ack.seq, duplicate=ack.duplicate, id=ack.msg_id)
    return ack


async def _explain_no_responders(bus: "EventBus", out: Outgoing) -> None:
    """Raise when retrying cannot help: no JetStream at all, or no stream that stores the subject."""
    if not bus.has_jetstream:
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
