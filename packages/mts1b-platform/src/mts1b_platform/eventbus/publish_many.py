"""Publishing many events of one subject: pipelined, or all or none.

*Pipelined*: up to ``window`` under way at a time, fewer where storing them takes long, an ack each. What the connection
loses is sent again with the same message id, from the first that has no ack, so that the order holds.

*Atomic*: the server stores all of a batch or none of it, with one fsync. It takes 1000 messages at a time; more are
split into batches of 1000, each atomic by itself, one after the other. When the ack of a batch is lost, the stream is
asked whether it holds the batch before anything is sent again: a known id would make the server refuse it whole.
"""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import count, islice, repeat, zip_longest
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import nats.errors
from mts1b_foundation.subjects import DurableSubject
from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.api import ApiError, js_api, where
from mts1b_platform.eventbus.bulk import Bulk
from mts1b_platform.eventbus.durables import stream_of
from mts1b_platform.eventbus.errors import (
    BusClosed,
    BusError,
    InvalidHeader,
    JetStreamUnavailable,
    PublishError,
    PublishUncertain,
)
from mts1b_platform.eventbus.headers import MSG_ID, NO_LINES, HeaderError, Headers
from mts1b_platform.eventbus.hooks import Hooks
from mts1b_platform.eventbus.pipeline import MAX_BATCH, Batch, Draft
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
from mts1b_platform.eventbus.trace import handled_trace_id, new_trace_id
from mts1b_platform.eventbus.wire import FrameTemplate, split_frame
from mts1b_platform.logs import get_logger

if TYPE_CHECKING:
    from mts1b_platform.eventbus.bus import EventBus

log = get_logger("mts1b.eventbus.publish")

_DUPLICATE_IN_BATCH: Final = 10201
_INCOMPLETE: Final = 10176
"""The server has given up the batch, or a part was lost with a connection; none of it is stored."""
_NO_MESSAGE: Final = 10037
_PAUSE: Final = 0.1
_HANDFUL: Final = 64
_HANDFUL_BYTES: Final = 128 * 1024
_BREATH: Final = 4
"""Handfuls after which whoever shares the event loop has a turn: some milliseconds of work."""
_REFILL: Final = 4
"""A full window is waited for until a part of it is free, so that not every ack wakes the sender."""
_FIRST_WINDOW: Final = 256
_LONG_WAIT: Final = 0.5
"""Seconds; a window that is waited for as long is halved. A server acknowledges all that it found waiting at once, so
that each of them waits for an fsync of all the others, and after some seconds its ack would count as missing."""
_SUBJECT: Final = attrgetter("subject")
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
    took: list[tuple[float, int]] | None
    """Seconds from sending to ack, and of how many of those; None when nobody wants to know."""

    @property
    def pattern(self) -> str:
        """The subject's pattern."""
        return self.subject.pattern


class _Sent:
    """What was handed to the connection, as lists side by side: a tuple for each would be the collector's to visit."""

    __slots__ = ("frames", "msg_ids", "names")

    def __init__(self) -> None:
        self.names: list[str] = []
        """Concrete subjects."""
        self.msg_ids: list[str | None] = []
        self.frames: list[bytes] = []

    def add(self, drafts: Sequence[Draft], frames: list[bytes]) -> None:
        """``drafts`` went out as ``frames``."""
        templates, _, _, msg_ids, _ = zip(*drafts, strict=True)
        self.names += map(_SUBJECT, templates)
        self.msg_ids += msg_ids
        self.frames += frames


def drafts(
    subject: DurableSubject[T],
    publisher: Publisher[T],
    templates: Iterable[FrameTemplate],
    events: Iterable[T],
    trace_id: str | None,
) -> Iterator[Draft]:
    """``events``, each with its template, ready for the wire as they are asked for."""
    encode, message_id, trace = publisher.encode, subject.message_id, trace_id or handled_trace_id()
    for template, event in zip(templates, events, strict=True):
        yield _DRAFT(Draft, (template, encode(event), trace or new_trace_id(), message_id(event), NO_LINES))


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
    if not many.bus.is_connected:
        return await _send_one(many, source)
    bulk, sent = Bulk(timed=many.took is not None), _Sent()
    refused: BusError | None = None
    try:
        try:
            await _send_once(many, bulk, source, sent)
        except BusError as error:
            refused = error
        await bulk.settled()
    finally:
        _count(many, bulk)
    await _see_what_became(many, bulk, sent)
    if refused is not None:
        raise refused
    return len(sent.frames)


async def _send_one(many: Many, source: Iterator[Draft]) -> int:
    """Send the next event by itself, which waits for a connection."""
    for template, payload, trace_id, msg_id, extra in islice(source, 1):
        out = _from_frame(many, template.encode(payload, trace_id, msg_id, b"", extra))
        many.acks.append(await send_durable(many.bus, many.subject, out, deadline=many.deadline))
        return 1
    return 0


async def _send_once(many: Many, bulk: Bulk, source: Iterator[Draft], sent: _Sent) -> None:
    """Send what ``source`` yields until a publish fails; raises when one cannot be sent at all."""
    bus, window = many.bus, min(many.window, _FIRST_WINDOW)
    handfuls = count(1)
    while not bulk.failures and (handful := _handful(source, window - bulk.under_way)):
        _send_handful(bus, bulk, handful, sent)
        bus.lane.push()  # the server stores these while the next ones are encoded
        if next(handfuls) % _BREATH == 0:
            await asyncio.sleep(0)
        while bulk.under_way >= window and not bulk.failures:
            began = time.monotonic()
            await bulk.wait(window - 1 - window // _REFILL)
            window = _next_window(window, many.window, time.monotonic() - began)
        if not bus.is_connected:
            return
        if bus.lane.crowded:
            try:
                async with asyncio.timeout(many.deadline):
                    await bus.lane.room()
            except TimeoutError:
                return  # what is under way has no ack by now either: sending it again says why
            except nats.errors.Error as error:
                raise publish_error(bus, many.pattern, 0, error) from None


def _next_window(window: int, most: int, waited: float) -> int:
    """How many may be under way after a wait of so many seconds for a part of ``window``."""
    if waited >= _LONG_WAIT:
        return max(1, window // 2)
    return min(most, window * 2) if waited < _LONG_WAIT / _REFILL else window


def _handful(source: Iterator[Draft], most: int) -> list[Draft]:
    """The next few, at most ``most``, that go to the connection together."""
    taken: list[Draft] = []
    size = 0
    for draft in islice(source, min(most, _HANDFUL)):
        taken.append(draft)
        size += len(draft[1])
        if size > _HANDFUL_BYTES:
            break
    return taken


def _send_handful(bus: "EventBus", bulk: Bulk, handful: Sequence[Draft], sent: _Sent) -> None:
    """Send; raises for the first that cannot go, with those before it sent."""
    try:
        frames = bus.pipeline.publish_many(bulk, handful)
    except (nats.errors.Error, HeaderError) as error:
        name, size = handful[0].template.subject, len(handful[0].payload)
        if len(handful) > 1:
            for draft in handful:
                _send_handful(bus, bulk, [draft], sent)
        elif isinstance(error, HeaderError):
            raise InvalidHeader(f"{name}: {error}") from None
        else:
            raise publish_error(bus, name, size, error) from None
    else:
        sent.add(handful, frames)


async def _see_what_became(many: Many, bulk: Bulk, sent: _Sent) -> None:
    """Keep the acks; what has none is sent again, with the same id and all that a single publish knows of failures."""
    acks, stream, took = many.acks, bulk.stream, many.took
    if took is not None:
        took.extend(bulk.times())
    if bulk.plain and not bulk.failures:
        duplicate = False
        fields = zip(repeat(stream), bulk.acks.values(), repeat(duplicate), sent.names, sent.msg_ids)
        acks += map(_ACK, repeat(Ack), fields)
        return
    for name, msg_id, frame, ack in zip(sent.names, sent.msg_ids, sent.frames, bulk.acks.values(), strict=True):
        if isinstance(ack, int):
            acks.append(_ACK(Ack, (stream, ack, False, name, msg_id)))
        elif ack is not None:
            acks.append(_ACK(Ack, (ack.stream, ack.seq, ack.duplicate, name, msg_id)))
        else:
            began = time.perf_counter()
            acks.append(await send_durable(many.bus, many.subject, _from_frame(many, frame), deadline=many.deadline))
            if took is not None:
                took.append((time.perf_counter() - began, 1))


def _count(many: Many, bulk: Bulk) -> None:
    counters = many.bus.counters
    counters.published[many.pattern] += len(bulk.acks) - len(bulk.failures) - bulk.under_way
    if not bulk.plain:
        for ack in bulk.acks.values():
            if isinstance(ack, PubAck) and ack.duplicate:
                counters.publish_duplicates[many.pattern] += 1


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
    """Send ``events`` in batches of 1000, each stored whole or not at all.

    While one is stored the next is encoded and sent but for its last message, which makes the server store it.

    Raises:
        PublishError: a batch was refused and none of it is stored; those before it are.
        PublishUncertain: the ack of a batch was lost, and nobody could say before the deadline whether it is stored.
        BusClosed: the bus was closed.
    """
    stream, source = await stream_of(many.bus, [many.subject]), iter(events)
    batch = await _filled(many.bus, source)
    while batch.drafts:
        storing = asyncio.create_task(_store(many, stream, batch))
        try:
            batch = await _filled(many.bus, source)
        except asyncio.CancelledError:
            storing.cancel()
            raise
        except BaseException:  # what cannot be encoded does not keep from knowing what became of those before it
            await storing
            raise
        await storing


async def _filled(bus: "EventBus", source: Iterator[Draft]) -> Batch:
    """The next batch, encoded and sent a handful at a time, as far as that goes without waiting for anything."""
    batch = Batch()
    while handful := _handful(source, MAX_BATCH - len(batch.drafts)):
        batch.add(handful)
        if bus.is_connected and batch.largest <= bus.max_payload:
            with suppress(PublishFailed, nats.errors.Error):  # storing it meets that again
                bus.pipeline.stage(batch)
        await asyncio.sleep(0)
    return batch


async def _store(many: Many, stream: str, batch: Batch) -> None:
    """Store ``batch`` and keep its acks."""
    began, size, counters = time.perf_counter(), len(batch.drafts), many.bus.counters
    last = await _store_batch(many, stream, batch)
    if many.took is not None:
        many.took.append((time.perf_counter() - began, size))
    counters.published[many.pattern] += size
    if last.duplicate:
        counters.publish_duplicates[many.pattern] += size
    many.acks.extend(
        _ACK(Ack, (last.stream, seq, last.duplicate, draft[0].subject, draft[3]))
        for seq, draft in enumerate(batch.drafts, last.seq - size + 1)
    )


async def _store_batch(many: Many, stream: str, batch: Batch) -> PubAck:
    bus, pattern, size = many.bus, many.pattern, len(batch.drafts)
    last, largest = batch.drafts[-1], batch.largest
    if largest > bus.max_payload:
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
            async with asyncio.timeout(end - time.monotonic()):
                return await bus.pipeline.store(Batch(batch.drafts) if again else batch)
        except PublishFailed as error:
            code = error.err_code if isinstance(error, PublishRefused) else 0
            if code == _DUPLICATE_IN_BATCH:
                raise _known_ids(bus, pattern, size) from None
            reason = str(error)
            if code != _INCOMPLETE:
                reason = await reason_to_retry(bus, Outgoing.of_draft(pattern, batch.drafts[0]), error)
        except (JetStreamUnavailable, ApiError) as error:
            reason = str(error)
        except TimeoutError:
            reason = "no ack in time"
        except nats.errors.Error as error:
            failure = publish_error(bus, pattern, largest, error)
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
