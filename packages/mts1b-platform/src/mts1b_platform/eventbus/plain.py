"""The same lane over nats-py's public calls only: slower, and independent of what nats-py looks like inside.

Used when the seam does not fit the installed nats-py. Differences that remain: acks and events cost what nats-py's
``publish`` and ``subscribe`` cost, ``Batches.dropped`` stays 0 (nats-py tells ``error_cb`` alone), of a header that
occurs twice only the last is seen, and a break is noticed within :data:`POLL` seconds.
"""
# pyright: reportUnknownMemberType=false
# reason: nats-py's public signatures are partly untyped.

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from mts1b_platform.eventbus.lane import (
    DEFAULT_PENDING_BYTES,
    DEFAULT_PENDING_MSGS,
    BatchCallback,
    Lane,
    SeamUnavailable,
)
from mts1b_platform.eventbus.protocol.acks import ACK_FRAME, ACK_SIZE
from mts1b_platform.eventbus.protocol.frames import frame_size, split_frame
from mts1b_platform.eventbus.protocol.headers import Headers
from mts1b_platform.eventbus.protocol.message import WireMsg
from mts1b_platform.eventbus.seam import CROWDED_AT, DEFAULT_PENDING_LIMIT, Seam, close_for_good

POLL: Final = 0.05
"""Seconds between looks at the connection's state."""


async def open_lane(client: Client) -> Lane:
    """Attach the seam to ``client``, or fall back: ``lane.fast`` and ``lane.reason`` say which and why."""
    try:
        return await Seam.attach(client)
    except SeamUnavailable as unavailable:
        return PlainLane(client, reason=str(unavailable))


class PlainLane:
    """The slow :class:`~mts1b_platform.eventbus.lane.Lane`."""

    fast = False

    def __init__(self, client: Client, *, reason: str) -> None:
        self.reason = reason
        self.dropped = 0
        self._client = client
        if hasattr(client, "_close") and hasattr(client, "_reconnection_task"):
            close_for_good(client)  # the one private part: without it a closed client may come back
        self._waiting: deque[tuple[bytes, bool]] = deque()
        self._waiting_bytes = 0
        self._pump: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._breaks: dict[object, Callable[[], None]] = {}
        self._readies: dict[object, Callable[[], None]] = {}
        self._closings: dict[object, Callable[[], None]] = {}

    # Sending.

    def send(self, frame: bytes, size: int) -> None:
        """Queue a frame; see :meth:`Lane.send`. ``size`` is counted by nats-py itself."""
        del size
        self._admit(frame)
        if self._waiting_bytes + len(frame) > DEFAULT_PENDING_LIMIT and self._waiting:
            raise errors.OutboundBufferLimitError
        self._queue(frame, volatile=False)

    def send_many(self, frames: list[bytes], size: int) -> None:
        """Queue frames together; see :meth:`Lane.send_many`."""
        del size
        for frame in frames:
            self._admit(frame)
        if self._waiting_bytes + sum(map(len, frames)) > DEFAULT_PENDING_LIMIT and self._waiting:
            raise errors.OutboundBufferLimitError
        for frame in frames:
            self._queue(frame, volatile=False)

    def push(self) -> None:
        """See :meth:`Lane.push`; nats-py decides by itself here."""

    def ack(self, reply: bytes) -> bool:
        """Acknowledge a delivery; see :meth:`Lane.ack`."""
        self.send(ACK_FRAME % reply, ACK_SIZE)
        return self.crowded

    def send_now(self, frame: bytes, size: int) -> bool:
        """Queue a frame that is worth nothing later; see :meth:`Lane.send_now`."""
        del size
        self._admit(frame)
        full = self._waiting_bytes + len(frame) > DEFAULT_PENDING_LIMIT and self._waiting
        if full or not self._client.is_connected:
            self.dropped += 1
            return False
        self._queue(frame, volatile=True)
        return True

    @property
    def crowded(self) -> bool:
        """Whether a well-behaved sender should now ``await room()``."""
        return self._waiting_bytes > CROWDED_AT

    async def room(self) -> None:
        """Wait for room; see :meth:`Lane.room`."""
        while self.crowded or not self._client.is_connected:
            if self._client.is_closed:
                raise errors.ConnectionClosedError
            await asyncio.sleep(POLL if not self._client.is_connected else 0)

    def _admit(self, frame: bytes) -> None:
        if self._client.is_closed:
            raise errors.ConnectionClosedError
        if self._client.is_draining_pubs:
            raise errors.ConnectionDrainingError
        if len(frame) > self._client.max_payload and frame_size(frame) > self._client.max_payload:
            raise errors.MaxPayloadError

    def _queue(self, frame: bytes, *, volatile: bool) -> None:
        self._waiting.append((frame, volatile))
        self._waiting_bytes += len(frame)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._publish_all())

    async def _publish_all(self) -> None:
        while self._waiting:
            frame, volatile = self._waiting[0]
            if volatile and not self._client.is_connected:
                self.dropped += 1
            else:
                subject, reply, head, payload = split_frame(frame)
                headers = Headers(head).to_dict() if head else None
                try:
                    await self._client.publish(subject.decode(), payload, reply.decode(), headers)
                except errors.OutboundBufferLimitError:
                    await asyncio.sleep(POLL)
                    continue
                except errors.Error:
                    self._waiting.clear()
                    self._waiting_bytes = 0
                    return
            self._waiting.popleft()
            self._waiting_bytes -= len(frame)

    # Receiving.

    async def subscribe_batches(
        self,
        subject: str,
        *,
        queue: str = "",
        callback: BatchCallback | None = None,
        max_msgs: int = 0,
        pending_msgs_limit: int = DEFAULT_PENDING_MSGS,
        pending_bytes_limit: int = DEFAULT_PENDING_BYTES,
    ) -> "PlainBatches":
        """Subscribe; see :meth:`Lane.subscribe_batches`."""

        async def deliver(msg: Msg) -> None:
            if callback is not None:
                callback([wire_msg(msg)])

        subscription = await self._client.subscribe(
            subject,
            queue=queue,
            cb=deliver if callback is not None else None,
            max_msgs=max_msgs,
            pending_msgs_limit=pending_msgs_limit,
            pending_bytes_limit=pending_bytes_limit,
        )
        if max_msgs:
            await subscription.unsubscribe(max_msgs)
        return PlainBatches(self._client, subscription)

    def new_inbox(self) -> str:
        """Return a subject of our own to receive answers on."""
        return self._client.new_inbox()

    # Connection.

    def on_break(self, hook: Callable[[], None]) -> Callable[[], None]:
        """Call ``hook`` after the connection broke; see :meth:`Lane.on_break`."""
        return self._register(self._breaks, hook)

    def on_ready(self, hook: Callable[[], None]) -> Callable[[], None]:
        """Call ``hook`` after the connection stands again; see :meth:`Lane.on_ready`."""
        return self._register(self._readies, hook)

    def on_close(self, hook: Callable[[], None]) -> Callable[[], None]:
        """Call ``hook`` after the connection was closed; see :meth:`Lane.on_close`."""
        return self._register(self._closings, hook)

    def _register(self, hooks: dict[object, Callable[[], None]], hook: Callable[[], None]) -> Callable[[], None]:
        key = object()
        hooks[key] = hook
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._watch_connection())

        def unhook() -> None:
            hooks.pop(key, None)

        return unhook

    async def _watch_connection(self) -> None:
        stats = self._client.stats
        up, reconnects = self._client.is_connected, stats["reconnects"]
        while not self._client.is_closed and (self._breaks or self._readies or self._closings):
            await asyncio.sleep(POLL)
            now_up, now_reconnects = self._client.is_connected, stats["reconnects"]
            if up and (not now_up or now_reconnects != reconnects):
                _call_all(self._breaks)
                up = False
            if now_up and not up:
                _call_all(self._readies)
            up, reconnects = now_up, now_reconnects
        _call_all(self._closings)


def _call_all(hooks: dict[object, Callable[[], None]]) -> None:
    for hook in list(hooks.values()):
        hook()


class PlainBatches:
    """Batches gathered from nats-py's own subscription."""

    dropped = 0

    def __init__(self, client: Client, subscription: Subscription) -> None:
        self._client = client
        self._subscription = subscription
        self._ending = False

    async def next_batch(self) -> list[WireMsg]:
        """Wait for messages; see :meth:`Batches.next_batch`."""
        batch: list[WireMsg] = []
        try:
            batch.append(wire_msg(await anext(self._subscription.messages)))
            while self._subscription.pending_msgs:
                batch.append(wire_msg(await anext(self._subscription.messages)))
        except StopAsyncIteration:
            if self._client.is_closed and not self._ending:
                raise errors.ConnectionClosedError from None
        return batch

    def __aiter__(self) -> AsyncIterator[list[WireMsg]]:
        return self

    async def __anext__(self) -> list[WireMsg]:
        if batch := await self.next_batch():
            return batch
        raise StopAsyncIteration

    async def unsubscribe(self, limit: int = 0) -> None:
        """Give up interest; see :meth:`Batches.unsubscribe`."""
        self._ending = limit == 0
        await self._subscription.unsubscribe(limit)

    async def drain(self) -> None:
        """Give up interest, then wait until what has arrived is consumed."""
        self._ending = True
        await self._subscription.drain()


def wire_msg(msg: Msg) -> WireMsg:
    """Turn nats-py's message back into bytes; values that no header may have are left for the reader to refuse."""
    head = b""
    if msg.headers is not None:
        rest: dict[str, Any] = dict(msg.headers)
        status = rest.pop("Status", "") if not msg.data else ""
        words = rest.pop("Description", "") if status else ""
        first = f"NATS/1.0 {status} {words}".rstrip() if status else "NATS/1.0"
        lines = "".join(f"{name}: {value}\r\n" for name, value in rest.items())
        head = f"{first}\r\n{lines}\r\n".encode()
    return WireMsg(msg.subject.encode(), msg.reply.encode(), head, msg.data)
