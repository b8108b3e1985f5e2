"""Lag in seconds: how old is the oldest matching message that a consumer has not acknowledged?

For every consumer on the server, written with this project or not. The server's own figures are in messages; seconds
are what people feel. 0 means that nothing waits, however long ago the last message came.

Cost: one request a page of 256 streams, one a page of 256 consumers of a stream, and one a filter of those consumers
that have something waiting; nothing on the services.

Right to the moment for consumers that settle every message, as ``bus.consume`` does. A consumer with ``max_deliver``
of its own, on which the server gave up, may seem to lag by the given-up message until it acknowledges a later one.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mts1b_platform.eventbus import EventBus, StreamError
from mts1b_platform.eventbus.jetstream.api import ApiError, js_api
from mts1b_platform.eventbus.jetstream.durables import SERVICE
from mts1b_platform.eventbus.jetstream.stored import StoredMessage, read_stored
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode
from mts1b_platform.eventbus.protocol.pins import is_pinned, pinned_at, pinned_client, takeover_of

_AT_ONCE = 16
"""Requests under way at a time, so that a look at hundreds of consumers is no burst for the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerLag:
    """One consumer, as the server described it at one moment.

    Attributes:
        stream: what it reads.
        consumer: its name.
        seconds: age of the oldest matching message that is not acknowledged; 0.0 when there is none.
        messages: how many such messages there are.
        ack_pending: how many of them were delivered.
        redelivered: how many of those more than once.
        waiting: pulls that wait on the server: somebody is there to read.
        oldest_seq: sequence of the oldest; None when there is none.
        oldest_subject: its subject.
        filters: the subjects that the consumer asked for; empty for all.
        durable: whether it outlives its reader.
        paused: whether it was paused on purpose.
        service: the repo that reads with it, by its metadata; empty when nobody says.
        reached: the last sequence that was delivered.
        floor: up to this sequence all is acknowledged.
        pending: matching messages that were not delivered yet.
        created: when it was made, RFC 3339.
        deliver: where it began: ``all``, ``new``, ``by_start_time`` …
        deliveries: how many messages it was given since it was made, repeated ones too; 0: nobody has ever read it.
        last_active: when it was last given a message, RFC 3339; None when not since the server was started.
        takeover: of a durable for several instances: seconds until another takes over; 0 of a plain one.
        pin: of whom is handed its messages then; empty when nobody is.
        pinned_at: since when, RFC 3339.
    """

    stream: str
    consumer: str
    seconds: float
    messages: int
    ack_pending: int
    redelivered: int
    waiting: int
    oldest_seq: int | None
    oldest_subject: str | None
    filters: tuple[str, ...]
    durable: bool
    paused: bool
    service: str = ""
    reached: int = 0
    floor: int = 0
    pending: int = 0
    created: str = ""
    deliver: str = "all"
    deliveries: int = 0
    last_active: str | None = None
    takeover: float = 0.0
    pin: str = ""
    pinned_at: str | None = None

    @property
    def reading(self) -> str:
        """Who is there: ``yes``, ``at work`` (no pull waits, something is under way), ``nobody`` or ``paused``."""
        if self.paused:
            return "paused"
        if self.waiting:
            return "yes"
        return "at work" if self.ack_pending else "nobody"


async def consumer_lags(bus: EventBus, *, stream: str | None = None) -> list[ConsumerLag]:
    """The lag of every consumer on the server (of one stream, when given), by stream and name.

    Raises:
        JetStreamUnavailable: JetStream does not answer.
        StreamError: there is no such stream.
        ApiError: this identity may not ask.
    """
    names = [info["config"]["name"] for info in await stream_infos(bus)]
    if stream is not None and stream not in names:
        raise StreamError(f"there is no stream {stream!r} on the server: `mts1b streams ls` lists those there are")
    return await lags_of(bus, names if stream is None else [stream])


async def lags_of(bus: EventBus, streams: Iterable[str]) -> list[ConsumerLag]:
    """The lag of the consumers of ``streams``; a stream or consumer that vanishes meanwhile is left out."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(info: dict[str, Any]) -> ConsumerLag:
        async with gate:
            return await lag_of(bus, info)

    listed = await asyncio.gather(*(consumer_infos(bus, name) for name in streams))
    lags = await asyncio.gather(*(one(info) for infos in listed for info in infos))
    return sorted(lags, key=lambda lag: (lag.stream, lag.consumer))


async def stream_infos(bus: EventBus) -> list[dict[str, Any]]:
    """The server's own description of every stream."""
    found: list[dict[str, Any]] = []
    while True:
        page = await js_api(bus, "STREAM.LIST", {"offset": len(found)})
        found += page.get("streams") or []
        if len(found) >= page["total"] or not page.get("streams"):
            return found


async def consumer_infos(bus: EventBus, stream: str) -> list[dict[str, Any]]:
    """The server's own description of every consumer of ``stream``; empty when the stream is gone."""
    found: list[dict[str, Any]] = []
    try:
        while True:
            page = await js_api(bus, f"CONSUMER.LIST.{stream}", {"offset": len(found)})
            found += page.get("consumers") or []
            if len(found) >= page["total"] or not page.get("consumers"):
                break
        missing: list[str] = page.get("missing") or []  # a cluster names those whose leader did not answer
        for name in missing:
            with contextlib.suppress(ApiError):
                found.append(await js_api(bus, f"CONSUMER.INFO.{stream}.{name}"))
    except ApiError as error:
        if error.err_code not in (ErrorCode.STREAM_NOT_FOUND, ErrorCode.CONSUMER_NOT_FOUND):
            raise
    return found


async def lag_of(bus: EventBus, info: dict[str, Any]) -> ConsumerLag:
    """The lag of the consumer that the server described as ``info``."""
    config = info["config"]
    several: list[str] = config.get("filter_subjects") or []
    filters = tuple(several or ([one] if (one := config.get("filter_subject")) else []))
    metadata: dict[str, str] = config.get("metadata") or {}
    oldest = await _oldest(bus, info, filters)
    return ConsumerLag(
        stream=info["stream_name"],
        consumer=info["name"],
        seconds=max(0.0, (_moment(info["ts"]) - oldest.time).total_seconds()) if oldest else 0.0,
        messages=info["num_pending"] + info["num_ack_pending"] if oldest else 0,
        ack_pending=info["num_ack_pending"],
        redelivered=info["num_redelivered"],
        waiting=info["num_waiting"],
        oldest_seq=oldest.seq if oldest else None,
        oldest_subject=oldest.wire.subject.decode() if oldest else None,
        filters=filters,
        durable="durable_name" in config,
        paused=bool(info.get("paused")),
        service=metadata.get(SERVICE, ""),
        reached=info["delivered"]["stream_seq"],
        floor=info["ack_floor"]["stream_seq"],
        pending=info["num_pending"],
        created=info["created"],
        deliver=config.get("deliver_policy", "all"),
        deliveries=info["delivered"]["consumer_seq"],
        last_active=info["delivered"].get("last_active"),
        takeover=takeover_of(config) if is_pinned(config) else 0.0,
        pin=pinned_client(info),
        pinned_at=pinned_at(info),
    )


async def _oldest(bus: EventBus, info: dict[str, Any], filters: tuple[str, ...]) -> StoredMessage | None:
    """The oldest message that matches and is not acknowledged."""
    if not info["num_pending"] and not info["num_ack_pending"]:
        return None
    # With nothing delivered and unacknowledged, the floor may be stale: everything up to the delivered is settled.
    reached = info["ack_floor"] if info["num_ack_pending"] else info["delivered"]
    start = reached["stream_seq"] + 1
    try:
        found = [await read_stored(bus, info["stream_name"], seq=start, next_by=name) for name in filters or (">",)]
    except ApiError as error:
        if error.err_code == ErrorCode.STREAM_NOT_FOUND:
            return None
        raise
    return min((message for message in found if message), key=lambda message: message.seq, default=None)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
