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
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import nats.errors
from mts1b_foundation.subjects import DurableSubject
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.api import ApiError, js_api, where
from mts1b_platform.eventbus.durables import stream_of
from mts1b_platform.eventbus.errors import (
    BusClosed,
    BusError,
    JetStreamUnavailable,
    PublishError,
    PublishUncertain,
)
from mts1b_platform.eventbus.headers import MSG_ID, NO_LINES, HeaderError, Headers
from mts1b_platform.eventbus.hooks import Hooks
from mts1b_platform.eventbus.pipeline import MAX_BATCH, Batch, Bulk, Draft
from mts1b_platform.eventbus.puback import PubAck, PublishFailed, PublishRefused
from mts1b_platform.eventbus.publish import (
    Ack,
    Outgoing,
    draft_of,
    publish_error,
    reason_to_retry,
    send_durable,
)
from mts1b_platform.eventbus.publisher import Publisher
from mts1b_platform.eventbus.trace import trace_id_for
from mts1b_platform.eventbus.wire import split_frame
from mts1b_platform.logs import get_logger

if TYPE_CHECKING:
    from mts1b_platform.eventbus.bus import EventBus

log = get_logger("mts1b.eventbus.publish")

_DUPLICATE_IN_BATCH: Final = 10201
_NO_MESSAGE: Final = 10037
_PAUSE: Final = 0.1
_REFILL: Final = 4
"""A full window is waited for until a part of it is free, so that not every ack wakes the sender."""
# Half the cost of calling the classes; the stub is generic in a way that a cast cannot name.
_DRAFT: Final = cast("Callable[..., Draft]", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]
_ACK: Final = cast("Callable[..., Ack]", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]


class Many(NamedTuple):
    """Many events of one subject on their way out."""

    bus: "EventBus"
    subject: DurableSubject[Any]
    deadline: float
    """Seconds until the publish of one event, or of one atomic batch, gives up."""
    window: int
    """Most events under way at a time, when they are not sent as batches."""
    acks: list[Ack]
    """Of those that are known to be stored, in their order; also after an error."""

    @property
    def pattern(self) -> str:
        """The subject's pattern."""
        return self.subject.pattern


def drafts(
    subject: DurableSubject[T], publisher: Publisher[T], events: Sequence[T], trace_id: str | None
) -> Iterator[Draft]:
    """``events`` ready for the wire as they are asked for."""
    template, encode, message_id = publisher.template, publisher.encode, subject.message_id
    for event in events:
        yield _DRAFT(Draft, (template(event), encode(event), trace_id_for(trace_id), message_id(event), NO_LINES))


async def send_pipelined(many: Many, events: Iterable[Draft]) -> None:
    """Send ``events`` in order as they are asked for, ``window`` under way at a time; an ack each.

    Raises:
        PublishError, BusClosed: of the first that failed; those before it are stored, those behind it may be.
    """
    source = iter(events)
    while await _send_until_one_fails(many, source):
        pass


async def _send_until_one_fails(many: Many, source: Iterator[Draft]) -> int:
    """Send once each; what the first failure finds under way is waited for, and what failed sent again; how many.

    Nothing later is sent before that, as it must not overtake those that may be lost, too.
    """
    bus, window, enough = many.bus, many.window, many.window - 1 - many.window // _REFILL
    bulk, lane, send = Bulk(), bus.lane, bus.pipeline.bulk_nowait
    sent: list[tuple[str, str | None, bytes]] = []
    try:
        for template, payload, trace_id, msg_id, extra in source:
            try:
                frame = send(bulk, template, payload, trace_id, msg_id, extra)
            except nats.errors.Error as error:
                raise publish_error(bus, template.subject, len(payload), error) from None
            sent.append((template.subject, msg_id, frame))
            if bulk.under_way >= window:
                await bulk.wait(enough)
            if lane.crowded or not bus.is_connected:
                await bus.wait_connected(many.deadline)
                await lane.room()
            if bulk.failures:
                break
        await bulk.settled()
    finally:
        _count(many, bulk.acks)
    acks = many.acks
    for (name, msg_id, frame), ack in zip(sent, bulk.acks, strict=True):
        if ack is not None:
            acks.append(_ACK(Ack, (ack[0], ack[1], ack[2], name, msg_id)))
        else:  # again, with the same id and everything that a single publish knows about failures
            acks.append(await send_durable(bus, many.subject, _from_frame(many, frame), deadline=many.deadline))
    return len(sent)


def _count(many: Many, acks: Sequence[PubAck | None]) -> None:
    counters = many.bus.counters
    counters.published[many.pattern] += len(acks) - acks.count(None)
    if duplicates := sum([ack is not None and ack[2] for ack in acks]):
        counters.publish_duplicates[many.pattern] += duplicates


def _from_frame(many: Many, frame: bytes) -> Outgoing:
    """The event in a frame of ours, which keeps it as it was sent: the encoder's own bytes are not kept."""
    sent = split_frame(frame)
    return Outgoing(sent.subject.decode(), many.pattern, sent.payload, sent.headers.to_dict())


async def send_many_watched(
    hooks: Hooks,
    many: Many,
    outs: Iterable[Outgoing],
    send: Callable[[Many, Iterable[Draft]], Awaitable[None]],
) -> None:
    """``send(many, outs)``, with the hooks told of each event: when it is about to be sent, and what became of it."""
    begun: list[tuple[Any, Outgoing]] = []

    def told() -> Iterator[Draft]:
        for out in outs:
            begun.append((hooks.publishing(many.subject, None, out, None), out))
            yield draft_of(many.bus, many.subject, out)

    failure: BaseException | None = None
    try:
        await send(many, told())
    except BaseException as error:
        failure = error
        raise
    finally:
        for (mark, out), ack in zip_longest(begun, many.acks):
            hooks.published(mark, out, ack, None if ack is not None else failure)


async def send_atomic(many: Many, events: Iterable[Draft]) -> None:
    """Send ``events`` in batches of 1000, each stored whole or not at all; one is encoded while another is stored.

    Raises:
        PublishError: a batch was refused and none of it is stored; those before it are.
        PublishUncertain: the ack of a batch was lost, and nobody could say before the deadline whether it is stored.
        BusClosed: the bus was closed.
    """
    stream = await stream_of(many.bus, [many.subject])
    source, encode = iter(events), many.bus.pipeline.batch
    batch = encode(first) if (first := list(islice(source, MAX_BATCH))) else None
    while batch is not None:
        under_way = batch.drafts
        storing = asyncio.create_task(_store_batch(many, stream, batch))
        try:
            await asyncio.sleep(0)  # it sends,
            await asyncio.sleep(0)  # and the connection writes
        except asyncio.CancelledError:
            storing.cancel()
            raise
        try:
            batch = encode(following) if (following := list(islice(source, MAX_BATCH))) else None
        finally:  # what cannot be encoded does not keep from knowing what became of those before it
            _stored(many, under_way, await storing)


def _stored(many: Many, stored: Sequence[Draft], last: PubAck) -> None:
    first, counters = last.seq - len(stored) + 1, many.bus.counters
    counters.published[many.pattern] += len(stored)
    if last.duplicate:
        counters.publish_duplicates[many.pattern] += len(stored)
    many.acks.extend(
        _ACK(Ack, (last.stream, seq, last.duplicate, draft[0].subject, draft[3]))
        for seq, draft in enumerate(stored, first)
    )


async def _store_batch(many: Many, stream: str, batch: Batch) -> PubAck:
    bus, pattern, size = many.bus, many.pattern, len(batch.drafts)
    last = batch.drafts[-1]
    if batch.largest > bus.max_payload:
        raise _too_large(many, batch)
    end = time.monotonic() + many.deadline
    began = time.time()
    reason, sent = "no connection to a NATS server", False
    while (left := end - time.monotonic()) > 0:
        if not await bus.wait_connected(left):
            continue
        try:
            if sent and (found := await _find(bus, stream, last, since=began - 5)) is not None:
                return PubAck(stream, found, duplicate=True)
            again, sent = sent, True
            return await bus.pipeline.store(bus.pipeline.batch(batch.drafts) if again else batch)
        except PublishRefused as error:
            if error.err_code == _DUPLICATE_IN_BATCH:
                raise _known_ids(bus, pattern, size) from None
            reason = await reason_to_retry(bus, Outgoing.of_draft(pattern, batch.drafts[0]), error)
        except PublishFailed as error:
            reason = await reason_to_retry(bus, Outgoing.of_draft(pattern, batch.drafts[0]), error)
        except (JetStreamUnavailable, ApiError) as error:
            reason = str(error)
        except nats.errors.Error as error:
            failure = publish_error(bus, pattern, batch.largest, error)
            if isinstance(failure, BusClosed):
                raise failure from None
            reason = str(failure)
        bus.counters.publish_retries[pattern] += 1
        log.warning("atomic batch is retried", subject=pattern, events=size, reason=reason)
        await asyncio.sleep(min(_PAUSE, max(0.0, end - time.monotonic())))
    bus.counters.publish_failed[pattern] += size
    raise PublishUncertain(
        f"{pattern}: no word on an atomic batch of {size} events within {many.deadline:g} s at {where(bus)} "
        f"({reason}). All of it or none may have been stored; look for message id {last.msg_id!r}"
    )


def _too_large(many: Many, batch: Batch) -> BusError:
    many.bus.counters.publish_failed[many.pattern] += len(batch.drafts)
    longest = max(batch.drafts, key=lambda draft: len(draft.payload))
    return publish_error(many.bus, longest.template.subject, len(longest.payload), nats.errors.MaxPayloadError())


def _known_ids(bus: "EventBus", pattern: str, size: int) -> PublishError:
    bus.counters.publish_failed[pattern] += size
    return PublishError(
        f"{pattern}: none of the {size} events was stored, because the stream knows the message id of "
        "at least one of them already: leave out those that were published before, or publish without atomic=True"
    )


async def _find(bus: "EventBus", stream: str, sent: Draft, *, since: float) -> int | None:
    """Sequence of the stored message with the id of ``sent``, looked for from ``since`` (seconds since 1970) on."""
    wanted, name = sent.msg_id, sent.template.subject
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since))
    ask: dict[str, Any] = {"start_time": moment, "next_by_subj": name}
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
        ask = {"seq": seq + 1, "next_by_subj": name}


def _msg_id(head: bytes) -> str | None:
    try:
        return Headers(head).get(MSG_ID)
    except HeaderError:
        return None
