"""Publishing many events of one subject in atomic batches.

The server stores all of a batch or none of it, with one fsync. It takes 1000 messages at a time; more are split into
batches of 1000, each atomic by itself, one after the other. When the ack of a batch is lost, the stream is asked
whether it holds the batch before anything is sent again: a known message id makes the server refuse a batch whole.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from mts1b_platform.eventbus.connection.client import BusClient
from mts1b_platform.eventbus.errors import (
    AlreadyStored,
    BatchRefused,
    BusError,
    JetStreamUnavailable,
    OutboundBufferFull,
    PayloadTooLarge,
    PublishUncertain,
    ServerUnavailable,
)
from mts1b_platform.eventbus.events.outgoing import Ack, Draft, Outgoing
from mts1b_platform.eventbus.jetstream.api import ApiError, where
from mts1b_platform.eventbus.jetstream.durables import stream_of
from mts1b_platform.eventbus.jetstream.stored import read_stored
from mts1b_platform.eventbus.protocol.envelope import MSG_ID
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode
from mts1b_platform.eventbus.protocol.headers import HeaderError
from mts1b_platform.eventbus.protocol.message import WireMsg
from mts1b_platform.eventbus.protocol.puback import PubAck, PublishFailed, PublishRefused
from mts1b_platform.eventbus.publishing.batch import MAX_BATCH, Batch
from mts1b_platform.eventbus.publishing.context import PublishContext
from mts1b_platform.eventbus.publishing.failures import is_final, publish_error, reason_to_retry, words
from mts1b_platform.eventbus.publishing.send_many import SendMany, make_ack, next_chunk
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.publish")

_CLOCKS_APART: Final = timedelta(seconds=5)
"""By which the server's clock may be behind ours."""
_PAUSE: Final = 0.1
_GIVEN_UP: Final = 3
"""Times that the server may say that a batch is incomplete. It says so after a lost connection, and whenever the stream
does not take a message in the middle of the batch, one larger than its ``max_msg_size`` for example."""


async def send_atomic(many: SendMany, events: Iterable[Draft]) -> None:
    """Send ``events`` in batches of 1000, each stored whole or not at all.

    While one is stored the next is encoded and sent but for its last message, which makes the server store it.

    Raises:
        BatchRefused: a batch was refused and none of it is stored; those before it are.
        PublishUncertain: the ack of a batch was lost, and nobody could say before the deadline whether it is stored.
        BusClosed: the bus was closed.
    """
    stream, source = await stream_of(many.client, [many.subject]), iter(events)
    batch = await _filled(many.context, source)
    while batch.drafts:
        storing = asyncio.create_task(_store(many, stream, batch))
        try:
            batch = await _filled(many.context, source)
        except asyncio.CancelledError:
            storing.cancel()
            raise
        except BaseException:  # what cannot be encoded does not keep from knowing what became of those before it
            await storing
            raise
        else:
            await storing
        finally:
            del storing  # it keeps the error that it ended with


async def _filled(context: PublishContext, source: Iterator[Draft]) -> Batch:
    """The next batch, encoded and sent a chunk at a time, as far as that goes without waiting for anything."""
    batch = Batch()
    while chunk := next_chunk(source, MAX_BATCH - len(batch.drafts)):
        batch.add(chunk)
        if context.client.is_connected and batch.largest <= context.client.max_payload:
            with suppress(PublishFailed, BusError):  # storing it meets that again
                context.pipeline.stage(batch)
        await asyncio.sleep(0)
    return batch


async def _store(many: SendMany, stream: str, batch: Batch) -> None:
    """Store ``batch`` and keep its acks."""
    began, size, counters = time.perf_counter(), len(batch.drafts), many.client.counters
    last = await _store_batch(many, stream, batch)
    many.latencies.append((time.perf_counter() - began, size))
    counters.published[many.pattern] += size
    if last.duplicate:
        counters.publish_duplicates[many.pattern] += size
    many.acks.extend(
        make_ack(Ack, (last.stream, seq, last.duplicate, draft[0].subject, draft[3]))
        for seq, draft in enumerate(batch.drafts, last.seq - size + 1)
    )


async def _store_batch(many: SendMany, stream: str, batch: Batch) -> PubAck:
    client, pattern, size = many.client, many.pattern, len(batch.drafts)
    last, largest = batch.drafts[-1], batch.largest
    if largest > client.max_payload:
        raise _too_large(many, batch)
    end = time.monotonic() + many.deadline
    began = datetime.now(UTC)
    reason, sent, given_up = "no connection to a NATS server", False, 0
    refusal, unanswered = "", False
    while (left := end - time.monotonic()) > 0:
        try:
            if not await client.wait_connected(left):
                continue
            if sent and (found := await _find(client, stream, last, since=began - _CLOCKS_APART)) is not None:
                return PubAck(stream, found, duplicate=True)
            again, sent = sent, True
            async with asyncio.timeout(end - time.monotonic()):
                return await many.context.pipeline.store(Batch(batch.drafts) if again else batch)
        except PublishFailed as error:
            given_up += isinstance(error, PublishRefused) and (
                error.err_code == ErrorCode.ATOMIC_PUBLISH_INCOMPLETE_BATCH
            )
            if is_final(error) or given_up == _GIVEN_UP:
                raise _refused(client, pattern, size, error) from None
            reason = await reason_to_retry(client, Outgoing.of_draft(pattern, batch.drafts[0]), error)
            if isinstance(error, PublishRefused):
                refusal = words(error)
            else:
                unanswered = True
        except (JetStreamUnavailable, ApiError) as error:
            reason = str(error)
        except TimeoutError:
            reason, unanswered = "no ack in time", True
        except (OutboundBufferFull, ServerUnavailable) as error:
            reason = str(error)
        except (BusError, HeaderError) as error:
            raise publish_error(client, pattern, largest, error) from None
        client.counters.publish_retries[pattern] += 1
        log.warning("atomic batch is retried", subject=pattern, events=size, reason=reason)
        if refusal and end - time.monotonic() <= 2 * _PAUSE:
            break  # there is no time for another answer
        await asyncio.sleep(min(_PAUSE, max(0.0, end - time.monotonic())))
    client.counters.publish_failed[pattern] += size
    if refusal and not unanswered:
        raise BatchRefused(f"{pattern}: none of the {size} events was stored within {many.deadline:g} s: {refusal}")
    raise PublishUncertain(
        f"{pattern}: no word on an atomic batch of {size} events within {many.deadline:g} s at {where(client)} "
        f"({reason}). All of it or none may have been stored; look for message id {last.msg_id!r}"
    )


def _too_large(many: SendMany, batch: Batch) -> BusError:
    many.client.counters.publish_failed[many.pattern] += len(batch.drafts)
    longest = max(batch.drafts, key=lambda draft: len(draft.payload))
    return publish_error(many.client, longest.template.subject, len(longest.payload), PayloadTooLarge())


def _refused(client: BusClient, pattern: str, size: int, error: PublishFailed) -> BatchRefused:
    client.counters.publish_failed[pattern] += size
    none = f"{pattern}: none of the {size} events was stored"
    if isinstance(error, PublishRefused) and error.err_code == ErrorCode.ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE:
        return AlreadyStored(
            f"{none}, because the stream knows the message id of at least one of them already: leave out those that "
            "were published before, or publish without atomic=True"
        )
    return BatchRefused(f"{none}: {words(error)}")


async def _find(client: BusClient, stream: str, sent: Draft, *, since: datetime) -> int | None:
    """Sequence of the stored message with the id of ``sent``, looked for from ``since`` on."""
    name = sent.template.subject
    found = await read_stored(client, stream, since=since, next_by=name)
    while found is not None and _msg_id(found.wire) != sent.msg_id:
        found = await read_stored(client, stream, seq=found.seq + 1, next_by=name)
    return None if found is None else found.seq


def _msg_id(wire: WireMsg) -> str | None:
    try:
        return wire.headers.get(MSG_ID)
    except HeaderError:
        return None
