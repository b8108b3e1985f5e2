"""Publishing many events of one subject, pipelined.

Up to ``window`` events are under way at a time, fewer where storing them takes long; each gets its own ack. What the
connection loses is sent again with the same message id, from the first event without an ack, so that the order holds.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice, repeat
from operator import attrgetter
from typing import Final

from mts1b_platform.eventbus.core import CORE
from mts1b_platform.eventbus.errors import (
    BusError,
    raise_first,
)
from mts1b_platform.eventbus.events.outgoing import Ack, Draft, Outgoing
from mts1b_platform.eventbus.protocol.frames import split_frame
from mts1b_platform.eventbus.protocol.headers import HeaderError
from mts1b_platform.eventbus.protocol.puback import PubAck
from mts1b_platform.eventbus.publishing.bulk_acks import BulkAcks
from mts1b_platform.eventbus.publishing.context import PublishContext
from mts1b_platform.eventbus.publishing.durable import send_durable
from mts1b_platform.eventbus.publishing.failures import publish_error
from mts1b_platform.eventbus.publishing.send_many import SendMany, make_ack, next_chunk
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.publish")
_YIELD_EVERY: Final = 4
"""Chunks, some milliseconds of work, after which other tasks of the event loop get a turn."""
_REFILL: Final = 4
"""A full window is waited for until a part of it is free, so that not every ack wakes the sender."""
_FIRST_WINDOW: Final = 256
_LONG_WAIT: Final = 0.5
"""Seconds; a window that is waited for as long is halved. A server acknowledges all that it found waiting at once, so
that each of them waits for an fsync of all the others, and after some seconds its ack would count as missing."""
_SUBJECT: Final = attrgetter("subject")


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


async def send_pipelined(many: SendMany, events: Iterable[Draft]) -> None:
    """Send ``events`` in order as they are asked for, ``window`` under way at a time; an ack each.

    Raises:
        PublishError, BusClosed: of the first that failed; those before it are stored, those behind it may be.
    """
    source = iter(events)
    while await _send_until_one_fails(many, source):
        pass


async def _send_until_one_fails(many: SendMany, source: Iterator[Draft]) -> int:
    """Send once each; what the first failure finds under way is waited for, and what failed sent again; how many.

    Nothing later is sent before that, as it must not overtake those that may be lost, too.
    """
    if not many.client.is_connected:
        return await _send_one(many, source)
    bulk, sent = BulkAcks(), _Sent()
    refused: list[BusError] = []
    try:
        try:
            await _send_once(many, bulk, source, sent)
        except BusError as error:
            refused.append(error)
        await bulk.settled()
    finally:
        _count(many, bulk)
    await _see_what_became(many, bulk, sent)
    raise_first(refused)
    return len(sent.frames)


async def _send_one(many: SendMany, source: Iterator[Draft]) -> int:
    """Send the next event by itself, which waits for a connection."""
    for template, payload, trace_id, msg_id, extra in islice(source, 1):
        out = _from_frame(many, template.encode(payload, trace_id, msg_id, b"", extra))
        many.acks.append(await send_durable(many.context, many.subject, out, deadline=many.deadline))
        return 1
    return 0


async def _send_once(many: SendMany, bulk: BulkAcks, source: Iterator[Draft], sent: _Sent) -> None:
    """Send what ``source`` yields until a publish fails; raises when one cannot be sent at all."""
    context, window = many.context, min(many.window, _FIRST_WINDOW)
    chunks = count(1)
    while not bulk.failures and (chunk := next_chunk(source, window - bulk.under_way)):
        _send_chunk(context, bulk, chunk, sent)
        context.client.connection.flush_out()  # the server stores these while the next ones are encoded
        if next(chunks) % _YIELD_EVERY == 0:
            await asyncio.sleep(0)
        while bulk.under_way >= window and not bulk.failures:
            began = time.monotonic()
            await bulk.wait(window - 1 - window // _REFILL)
            window = _next_window(window, many.window, time.monotonic() - began)
        if not context.client.is_connected:
            return
        if context.client.connection.above_high_water:
            try:
                async with asyncio.timeout(many.deadline):
                    await context.client.connection.writable()
            except TimeoutError:
                return  # what is under way has no ack by now either: sending it again says why
            except BusError as error:
                raise publish_error(context.client, many.pattern, 0, error) from None


def _next_window(window: int, most: int, waited: float) -> int:
    """How many may be under way after a wait of so many seconds for a part of ``window``."""
    if waited >= _LONG_WAIT:
        return max(1, window // 2)
    return min(most, window * 2) if waited < _LONG_WAIT / _REFILL else window


def _send_chunk(context: PublishContext, bulk: BulkAcks, chunk: Sequence[Draft], sent: _Sent) -> None:
    """Send; raises for the first that cannot go, with those before it sent."""
    try:
        frames = context.pipeline.publish_many(bulk, chunk)
    except (BusError, HeaderError) as error:
        name, size = chunk[0].template.subject, len(chunk[0].payload)
        if len(chunk) > 1:
            for draft in chunk:
                _send_chunk(context, bulk, [draft], sent)
        else:
            raise publish_error(context.client, name, size, error) from None
    else:
        sent.add(chunk, frames)


async def _see_what_became(many: SendMany, bulk: BulkAcks, sent: _Sent) -> None:
    """Keep the acks; what has none is sent again, with the same id and all that a single publish knows of failures."""
    acks, stream = many.acks, bulk.stream
    many.latencies.extend(bulk.latencies())
    if bulk.plain and not bulk.failures:
        if CORE is not None:
            acks += CORE.plain_acks(Ack, stream, bulk.acks, sent.names, sent.msg_ids)
            return
        duplicate = False
        fields = zip(repeat(stream), bulk.acks.values(), repeat(duplicate), sent.names, sent.msg_ids)
        acks += map(make_ack, repeat(Ack), fields)
        return
    for name, msg_id, frame, ack in zip(sent.names, sent.msg_ids, sent.frames, bulk.acks.values(), strict=True):
        if isinstance(ack, int):
            acks.append(make_ack(Ack, (stream, ack, False, name, msg_id)))
        elif ack is not None:
            acks.append(make_ack(Ack, (ack.stream, ack.seq, ack.duplicate, name, msg_id)))
        else:
            began = time.perf_counter()
            acks.append(
                await send_durable(many.context, many.subject, _from_frame(many, frame), deadline=many.deadline)
            )
            many.latencies.append((time.perf_counter() - began, 1))


def _count(many: SendMany, bulk: BulkAcks) -> None:
    counters = many.client.counters
    counters.published[many.pattern] += len(bulk.acks) - len(bulk.failures) - bulk.under_way
    if not bulk.plain:
        for ack in bulk.acks.values():
            if isinstance(ack, PubAck) and ack.duplicate:
                counters.publish_duplicates[many.pattern] += 1


def _from_frame(many: SendMany, frame: bytes) -> Outgoing:
    """The event in a frame of ours, which keeps it as it was sent: the encoder's own bytes are not kept."""
    sent = split_frame(frame)
    return Outgoing(sent.subject.decode(), many.pattern, sent.payload, sent.headers.to_dict())
