"""Sending one durable event until JetStream acknowledges that it is stored.

It is sent again through restarts and reconnects, always with the same message id, so that the stream keeps one however
often it was sent. After the deadline the caller is told that the event may have been stored or not.
"""

import asyncio
import random
import time
from typing import Any, Final

from mts1b_foundation.subjects import DurableSubject

from mts1b_platform.eventbus.errors import (
    BusError,
    OutboundBufferFull,
    PublishError,
    PublishUncertain,
    ServerUnavailable,
)
from mts1b_platform.eventbus.events.outgoing import Ack, Outgoing
from mts1b_platform.eventbus.jetstream.api import where
from mts1b_platform.eventbus.protocol.headers import HeaderError
from mts1b_platform.eventbus.protocol.puback import PubAck, PublishFailed, PublishRefused
from mts1b_platform.eventbus.publishing.context import PublishContext
from mts1b_platform.eventbus.publishing.failures import publish_error, reason_to_retry, words
from mts1b_platform.eventbus.publishing.prepare import draft_of
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.publish")

_BACKOFF: Final = (0.05, 1.0)


async def send_durable(context: PublishContext, subject: DurableSubject[Any], out: Outgoing, *, deadline: float) -> Ack:
    """Send until stored. ``deadline`` is in seconds from now.

    Raises:
        PublishUncertain: no ack in time; the event may have been stored or not.
        NoStream: no stream stores the subject.
        JetStreamUnavailable: the server runs without JetStream.
        InvalidHeader: a header, or an id that becomes one, cannot go on the wire.
        PublishError: JetStream refused the event, for good or until the deadline: it is not stored.
        AccessDenied: the server lets this identity not publish here.
        BusClosed: the bus was closed.
    """
    draft = draft_of(context, subject, out)
    end = time.monotonic() + deadline
    attempt = 0
    reason, refusal, unanswered = "no connection to a NATS server", "", False
    while (left := end - time.monotonic()) > 0:
        if attempt:
            pause = _pause(attempt)
            if refusal and pause >= left:
                break  # there is no time for another answer
            context.client.counters.publish_retries[out.pattern] += 1
            log.warning("publish is retried", subject=out.subject, attempt=attempt, reason=reason)
            await asyncio.sleep(min(pause, left))
        attempt += 1
        try:
            if not await context.client.wait_connected(max(0.0, end - time.monotonic())):
                continue
            with context.client.denials.watch(out.subject):
                async with asyncio.timeout(end - time.monotonic()):
                    sent = await context.pipeline.publish(*draft)
                    return acknowledged(context, out, await sent)
        except TimeoutError as error:
            reason, unanswered = str(error) or "no ack in time", True
        except (OutboundBufferFull, ServerUnavailable) as error:
            reason = str(error)
        except (BusError, HeaderError) as error:
            raise publish_error(context.client, out.subject, len(out.payload), error) from None
        except PublishFailed as error:
            reason = await reason_to_retry(context.client, out, error)
            if isinstance(error, PublishRefused):
                refusal = words(error)
            else:
                unanswered = True
    context.client.counters.publish_failed[out.pattern] += 1
    if refusal and not unanswered:
        raise PublishError(
            f"{out.subject}: JetStream did not store the event {draft.msg_id!r} in {attempt} attempts within "
            f"{deadline:g} s: {refusal}"
        )
    said = f"; the server's last word was: {refusal}" if refusal else ""
    raise PublishUncertain(
        f"{out.subject}: no ack within {deadline:g} s after {attempt} attempts at {where(context.client)} "
        f"({reason}{said}). "
        f"The event {draft.msg_id!r} may have been stored or not; publishing it again with the same message id is safe"
    )


def acknowledged(context: PublishContext, out: Outgoing, stored: PubAck) -> Ack:
    """Count ``stored`` and give it the event's names."""
    count_stored(context, out.pattern, stored)
    return Ack(stored.stream, stored.seq, stored.duplicate, out.subject, out.msg_id)


def count_stored(context: PublishContext, pattern: str, stored: PubAck) -> None:
    """Count an event of the subject ``pattern`` that a stream has."""
    counters = context.client.counters
    counters.published[pattern] += 1
    if stored.duplicate:
        counters.publish_duplicates[pattern] += 1


def _pause(attempt: int) -> float:
    shortest, longest = _BACKOFF
    return min(longest, shortest * 2 ** min(attempt, 10)) * random.uniform(0.8, 1.2)  # noqa: S311
