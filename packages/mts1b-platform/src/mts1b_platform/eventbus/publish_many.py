"""Publishing many events of one subject: pipelined, or all or none.

*Pipelined*: up to ``window`` under way at a time, an ack each. What the connection loses is sent again with the same
message id, from the first that has no ack, so that the order holds.

*Atomic*: the server stores all of a batch or none of it, with one fsync. It takes 1000 messages at a time; more are
split into batches of 1000, each atomic by itself, one after the other. When the ack of a batch is lost, the stream is
asked whether it holds the batch before anything is sent again: a known id would make the server refuse it whole.
"""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import nats.errors
from mts1b_foundation.subjects import DurableSubject

from mts1b_platform.eventbus.api import ApiError, js_api, where
from mts1b_platform.eventbus.durables import stream_of
from mts1b_platform.eventbus.errors import JetStreamUnavailable, PublishError, PublishUncertain
from mts1b_platform.eventbus.headers import MSG_ID, HeaderError, Headers
from mts1b_platform.eventbus.hooks import Hooks
from mts1b_platform.eventbus.pipeline import MAX_BATCH, Bulk
from mts1b_platform.eventbus.puback import PubAck, PublishFailed, PublishRefused
from mts1b_platform.eventbus.publish import (
    Ack,
    Outgoing,
    acknowledged,
    count_stored,
    draft_of,
    publish_error,
    reason_to_retry,
    send_durable,
    start_publish,
)
from mts1b_platform.logs import get_logger

if TYPE_CHECKING:
    from mts1b_platform.eventbus.bus import EventBus

log = get_logger("mts1b.eventbus.publish")

_DUPLICATE_IN_BATCH: Final = 10201
_NO_MESSAGE: Final = 10037
_PAUSE: Final = 0.1
_REFILL: Final = 4
"""A full window is waited for until a part of it is free, so that not every ack wakes the sender."""


async def send_pipelined(
    bus: "EventBus", subject: DurableSubject[Any], outs: Iterable[Outgoing], *, window: int, deadline: float
) -> list[Ack]:
    """Send ``outs`` in order as they are asked for, ``window`` under way at a time; an ack each.

    Raises:
        PublishError, BusClosed: of the first that failed; those before it are stored, those behind it may be.
    """
    source = iter(outs)
    acks: list[Ack] = []
    while some := await _send_until_one_fails(bus, subject, source, window=window, deadline=deadline):
        acks += some
    return acks


async def _send_until_one_fails(
    bus: "EventBus", subject: DurableSubject[Any], source: Iterator[Outgoing], *, window: int, deadline: float
) -> list[Ack]:
    """Send once each; what the first failure finds under way is waited for, and what failed sent again.

    Nothing later is sent before that, as it must not overtake those that may be lost, too.
    """
    bulk, lane = Bulk(), bus.lane
    sent: list[Outgoing] = []
    try:
        while not bulk.failures and (out := next(source, None)) is not None:
            start_publish(bus, subject, out, bulk)
            sent.append(out)
            if bulk.under_way >= window:
                await bulk.wait(window - 1 - window // _REFILL)
            if lane.crowded or not bus.is_connected:
                await bus.wait_connected(deadline)
                await lane.room()
        await bulk.settled()
    finally:
        count_stored(bus, subject.pattern, bulk.acks)
    return [
        Ack(ack.stream, ack.seq, ack.duplicate, out.subject, out.msg_id)
        if ack is not None  # again, with the same id and everything that a single publish knows about failures
        else await send_durable(bus, subject, out, deadline=deadline)
        for out, ack in zip(sent, bulk.acks, strict=True)
    ]


async def send_many_watched(
    hooks: Hooks | None,
    subject: DurableSubject[Any],
    outs: Iterable[Outgoing],
    send: Callable[[Iterable[Outgoing]], Awaitable[list[Ack]]],
) -> list[Ack]:
    """``send(outs)``, with the hooks told of each event: when it is about to be sent, and what became of it."""
    if hooks is None:
        return await send(outs)
    begun: list[tuple[Any, Outgoing]] = []

    def told() -> Iterator[Outgoing]:
        for out in outs:
            begun.append((hooks.publishing(subject, None, out, None), out))
            yield out

    try:
        acks = await send(told())
    except BaseException as error:
        for mark, out in begun:
            hooks.published(mark, out, None, error)
        raise
    for (mark, out), ack in zip(begun, acks, strict=True):
        hooks.published(mark, out, ack, None)
    return acks


async def send_atomic(
    bus: "EventBus", subject: DurableSubject[Any], outs: Iterable[Outgoing], *, deadline: float
) -> list[Ack]:
    """Send ``outs`` in batches of 1000, each stored whole or not at all.

    Raises:
        PublishError: a batch was refused and none of it is stored; those before it are.
        PublishUncertain: the ack of a batch was lost, and nobody could say before the deadline whether it is stored.
        BusClosed: the bus was closed.
    """
    stream = await stream_of(bus, [subject])
    acks: list[Ack] = []
    for chunk in _chunks(list(outs), MAX_BATCH):
        last = await _store_batch(bus, subject, stream, chunk, deadline=deadline)
        first = last.seq - len(chunk) + 1
        acks += [
            acknowledged(bus, out, PubAck(last.stream, first + number, last.duplicate))
            for number, out in enumerate(chunk)
        ]
    return acks


async def _store_batch(
    bus: "EventBus", subject: DurableSubject[Any], stream: str, chunk: Sequence[Outgoing], *, deadline: float
) -> PubAck:
    drafts = [draft_of(bus, subject, out) for out in chunk]
    end = time.monotonic() + deadline
    began = time.time()
    reason, sent = "no connection to a NATS server", False
    while (left := end - time.monotonic()) > 0:
        if not await bus.wait_connected(left):
            continue
        try:
            if sent and (found := await _find(bus, stream, chunk[-1], since=began - 5)) is not None:
                return PubAck(stream, found, duplicate=True)
            sent = True
            return await bus.pipeline.publish_atomic(drafts)
        except PublishRefused as error:
            if error.err_code == _DUPLICATE_IN_BATCH:
                raise _known_ids(bus, chunk) from None
            reason = await reason_to_retry(bus, chunk[0], error)
        except PublishFailed as error:
            reason = await reason_to_retry(bus, chunk[0], error)
        except (JetStreamUnavailable, ApiError) as error:
            reason = str(error)
        except nats.errors.Error as error:
            reason = str(publish_error(bus, chunk[0], error))
        bus.counters.publish_retries[subject.pattern] += 1
        log.warning("atomic batch is retried", subject=subject.pattern, events=len(chunk), reason=reason)
        await asyncio.sleep(min(_PAUSE, max(0.0, end - time.monotonic())))
    bus.counters.publish_failed[subject.pattern] += len(chunk)
    raise PublishUncertain(
        f"{subject.pattern}: no word on an atomic batch of {len(chunk)} events within {deadline:g} s at {where(bus)} "
        f"({reason}). All of it or none may have been stored; look for message id {chunk[-1].msg_id!r}"
    )


def _known_ids(bus: "EventBus", chunk: Sequence[Outgoing]) -> PublishError:
    bus.counters.publish_failed[chunk[0].pattern] += len(chunk)
    return PublishError(
        f"{chunk[0].pattern}: none of the {len(chunk)} events was stored, because the stream knows the message id of "
        "at least one of them already: leave out those that were published before, or publish without atomic=True"
    )


async def _find(bus: "EventBus", stream: str, out: Outgoing, *, since: float) -> int | None:
    """Sequence of the stored message with the id of ``out``, looked for from ``since`` (seconds since 1970) on."""
    wanted = out.msg_id
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since))
    ask: dict[str, Any] = {"start_time": moment, "next_by_subj": out.subject}
    while True:
        try:
            message = (await js_api(bus, f"STREAM.MSG.GET.{stream}", ask))["message"]
        except ApiError as error:
            if error.err_code == _NO_MESSAGE:
                return None
            raise
        seq: int = message["seq"]
        if _msg_id(base64.b64decode(message.get("hdrs", ""))) == wanted:
            return seq
        ask = {"seq": seq + 1, "next_by_subj": out.subject}


def _msg_id(head: bytes) -> str | None:
    try:
        return Headers(head).get(MSG_ID)
    except HeaderError:
        return None


def _chunks(outs: Sequence[Outgoing], size: int) -> Iterator[Sequence[Outgoing]]:
    for start in range(0, len(outs), size):
        yield outs[start : start + size]
