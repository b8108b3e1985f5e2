"""The fast lane through an unmodified nats-py connection.

nats-py stays the connection: dialling, TLS, authentication, reconnects, request-reply, JetStream management. This
file and its two companions (``seam_batches``, ``seam_rehearsal``) are the only ones that know its private parts, and
``nats-py`` is pinned to the minor version that they were written against. They put a parser of our own in front of
its subscriptions and append ready frames to its pending buffer::

    seam = await Seam.attach(client)             # before or after client.connect(); SeamUnavailable says why not

    template = FrameTemplate("mts.v1.marketdata.quotes.BTC=2FUSD", {"mts-schema": "…", "mts-actor": "…"})
    payload = quote.__pydantic_serializer__.to_json(quote)
    sent = seam.send_now(template.encode(payload, trace_id), len(payload))       # best effort: dropped or on its way
    seam.send(template.encode(payload, trace_id, msg_id), len(payload))          # kept over a reconnect, in bounds
    if seam.crowded:                             # only then is a task switch needed
        await seam.room()                        # backpressure: the publisher waits, no buffer grows

    cache = StaticHeaderCache()
    batches = await seam.subscribe_batches("mts.v1.marketdata.quotes.*", queue="pricing")
    async for batch in batches:                  # everything that arrived since last time, one wakeup
        for msg in batch:                        # WireMsg(subject, reply, head, payload), all bytes
            if cache.read(msg.head).schema == Quote.schema_id():
                quote = Quote.__pydantic_validator__.validate_json(msg.payload)

    await seam.subscribe_batches("mts.v1.oms.>", callback=take)                  # take(batch) inside the reader

``open_lane(client)`` in ``plain.py`` attaches, or falls back to the plain lane with the same calls.

Kept of what nats-py does: errors when closed or draining, buffering while reconnecting up to ``pending_size``,
``max_payload`` (of header and payload together, as the server counts), statistics, queue groups, auto-unsubscribe,
pending limits with ``SlowConsumerError``, resubscription, drain. Mended: a message with a mangled header block, or a
PONG that comes after its ``flush`` gave up, no longer ends nats-py's read loop without a word; and ``flush`` (hence
``drain``) sends what waits before its PING, so that it means what it says; and a client that is closed while it
reconnects stays closed (:func:`close_for_good`).
"""
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false
# reason: reaching into nats-py's private, partly untyped parts is what this file is for.

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, Self, cast

from nats import errors
from nats.aio.client import Client, _validate_queue, _validate_subject
from nats.aio.transport import Transport
from nats.protocol.parser import AWAITING_MSG_PAYLOAD
from nats.protocol.parser import Parser as NatsParser

from mts1b_platform.eventbus.ending import end
from mts1b_platform.eventbus.lane import DEFAULT_PENDING_BYTES, DEFAULT_PENDING_MSGS, BatchCallback
from mts1b_platform.eventbus.protocol.acks import ACK_FRAME, ACK_SIZE
from mts1b_platform.eventbus.protocol.frames import frame_size
from mts1b_platform.eventbus.protocol.parser import Control, Malformed, Parser, Unrouted
from mts1b_platform.eventbus.seam_batches import BatchSubscription
from mts1b_platform.eventbus.seam_rehearsal import rehearse
from mts1b_platform.logs import get_logger

DEFAULT_PENDING_LIMIT: Final = 2 * 1024 * 1024
CROWDED_AT: Final = 256 * 1024
"""Bytes that may wait before a sender should let the loop write: some 500 events, half a millisecond of work."""
_CONNECTED: Final = Client.CONNECTED
_LAST_WRITE: Final = 2.0
"""Most seconds that closing waits for a server to take what is not written."""
_RECHECK: Final = 0.05


log = get_logger("mts1b.eventbus.seam")


class MalformedStream(errors.ProtocolError):
    """What the server sent cannot be understood; the connection is made anew."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"nats: malformed stream from the server: {self.reason}"


class Seam:
    """The fast :class:`~mts1b_platform.eventbus.lane.Lane`; made by :meth:`attach`."""

    fast = True
    reason = ""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stats = client.stats
        self._kicked: list[bytes] = []
        self._volatile: list[bytes] = []
        self._breaks: dict[object, Callable[[], None]] = {}
        self._readies: dict[object, Callable[[], None]] = {}
        self._closings: dict[object, Callable[[], None]] = {}
        self.dropped = 0
        self.parser = SeamParser(client, self)

    @classmethod
    async def attach(cls, client: Client) -> Self:
        """Rehearse on a client without a connection, then take over ``client``'s parser.

        Raises:
            SeamUnavailable: this nats-py is not the one that the seam was written for, or behaves differently.
        """
        await rehearse(cls, client)
        seam = cls(client)
        seam.install()
        return seam

    def install(self) -> None:
        """Take the places in the client; :meth:`attach` does it after the rehearsal."""
        client = self._client
        self.parser.take_over(client._ps)
        client._ps = self.parser
        send_ping = cast("Callable[[asyncio.Future[Any] | None], Awaitable[None]]", client._send_ping)

        async def send_ping_in_order(future: asyncio.Future[Any] | None = None) -> None:
            self._write()  # nats-py writes the PING past the frames that wait, and takes its PONG for theirs
            await send_ping(future)

        client._send_ping = send_ping_in_order
        close_for_good(client)

    # Sending.

    def send(self, frame: bytes, size: int) -> None:
        """Queue a frame; see :meth:`Lane.send`."""
        client = self._client
        if client._status != _CONNECTED:
            self._refuse_to_send()
        length = len(frame)
        if length > client._max_payload and frame_size(frame) > client._max_payload:
            raise errors.MaxPayloadError
        waiting = client._pending_data_size + length
        if waiting > (client._max_pending_size or DEFAULT_PENDING_LIMIT) and client._pending:
            raise errors.OutboundBufferLimitError
        client._pending_data_size = waiting
        pending = client._pending
        pending.append(frame)
        if pending is not self._kicked:
            self._kick(pending)
        stats = self._stats
        stats["out_msgs"] += 1
        stats["out_bytes"] += size

    def send_many(self, frames: list[bytes], size: int) -> None:
        """Queue frames together; see :meth:`Lane.send_many`."""
        client = self._client
        if client._status != _CONNECTED:
            self._refuse_to_send()
        length, most = sum(map(len, frames)), client._max_payload
        if length > most and any(len(frame) > most and frame_size(frame) > most for frame in frames):
            raise errors.MaxPayloadError
        waiting = client._pending_data_size + length
        if waiting > (client._max_pending_size or DEFAULT_PENDING_LIMIT) and client._pending:
            raise errors.OutboundBufferLimitError
        client._pending_data_size = waiting
        pending = client._pending
        pending += frames
        if pending is not self._kicked:
            self._kick(pending)
        stats = self._stats
        stats["out_msgs"] += len(frames)
        stats["out_bytes"] += size

    def push(self) -> None:
        """Write what waits; see :meth:`Lane.push`."""
        writer = getattr(self._client._transport, "_io_writer", None)  # there is none with WebSockets
        if writer is not None and not writer.transport.get_write_buffer_size():
            self._write()
        else:
            self._wake_flusher()

    def _write(self) -> None:
        client = self._client
        if client._pending and client.is_connected and client._transport is not None:
            waiting, client._pending, client._pending_data_size = client._pending, [], 0
            client._transport.writelines(waiting)

    def ack(self, reply: bytes) -> bool:
        """Acknowledge a delivery; see :meth:`Lane.ack`."""
        # What send() does, without the limits that an ack stays below while the connection stands and is not crowded.
        client = self._client
        frame = ACK_FRAME % reply
        waiting = client._pending_data_size + len(frame)
        if waiting > CROWDED_AT or client._status != _CONNECTED:
            self.send(frame, ACK_SIZE)
            return self.crowded
        client._pending_data_size = waiting
        pending = client._pending
        pending.append(frame)
        if pending is not self._kicked:
            self._kick(pending)
        stats = self._stats
        stats["out_msgs"] += 1
        stats["out_bytes"] += ACK_SIZE
        return False

    def send_now(self, frame: bytes, size: int) -> bool:
        """Queue a frame that is worth nothing later; see :meth:`Lane.send_now`."""
        client = self._client
        if client._status != _CONNECTED:
            if not client.is_connected and not client.is_closed:
                self.dropped += 1
                return False
            self._refuse_to_send()
        length = len(frame)
        if length > client._max_payload and frame_size(frame) > client._max_payload:
            raise errors.MaxPayloadError
        pending = client._pending
        waiting = client._pending_data_size + length
        if waiting > (client._max_pending_size or DEFAULT_PENDING_LIMIT) and pending:
            self.dropped += 1
            return False
        client._pending_data_size = waiting
        pending.append(frame)
        if pending is not self._kicked:
            self._kick(pending)
        self._volatile.append(frame)
        stats = self._stats
        stats["out_msgs"] += 1
        stats["out_bytes"] += size
        return True

    @property
    def crowded(self) -> bool:
        """Whether a well-behaved sender should now ``await room()``."""
        return self._client._pending_data_size > CROWDED_AT

    async def room(self) -> None:
        """Wait for room; see :meth:`Lane.room`."""
        client = self._client
        while client._pending_data_size > CROWDED_AT or not client.is_connected:
            if client.is_closed:
                raise errors.ConnectionClosedError
            queue = client._flush_queue
            if client.is_connected and queue is not None and not queue.full():
                flushed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                queue.put_nowait(flushed)
                # A flusher that dies leaves the future behind, hence the time limit and another look.
                await asyncio.wait([flushed], timeout=_RECHECK)
            else:
                await asyncio.sleep(_RECHECK)

    def _kick(self, pending: list[bytes]) -> None:
        """Have ``pending`` written in the next turn of the loop; asked for once per list, which is replaced then."""
        self._kicked = pending
        self._volatile = []
        if self._client.is_connected:
            asyncio.get_running_loop().call_soon(self.push)

    def _wake_flusher(self) -> None:
        """Leave it to nats-py's flusher, which waits until the connection takes more."""
        client = self._client
        queue = client._flush_queue
        if client._pending and queue is not None and queue.empty() and client.is_connected:
            queue.put_nowait(asyncio.get_running_loop().create_future())

    def _refuse_to_send(self) -> None:
        client = self._client
        if client.is_closed:
            raise errors.ConnectionClosedError
        if client.is_draining_pubs:
            raise errors.ConnectionDrainingError
        if not client.is_connected and client._max_pending_size <= 0:
            raise errors.OutboundBufferLimitError

    def drop_volatile(self) -> None:
        """Throw away what is worth nothing after a reconnect."""
        client = self._client
        # Told apart by identity: equal bytes may be worth keeping elsewhere.
        stale = set(map(id, self._volatile))
        kept = [frame for frame in client._pending if id(frame) not in stale]
        self.dropped += len(client._pending) - len(kept)
        client._pending_data_size = sum(map(len, kept))
        client._pending = kept
        self._volatile = []

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
    ) -> BatchSubscription:
        """Subscribe; see :meth:`Lane.subscribe_batches`.

        Raises (nats-py's errors):
            BadSubjectError: the subject or queue is malformed.
            ConnectionClosedError, ConnectionDrainingError: as the names say.
        """
        client = self._client
        _validate_subject(subject, strict=True)
        _validate_queue(queue)
        if client.is_closed:
            raise errors.ConnectionClosedError
        if client.is_draining:
            raise errors.ConnectionDrainingError
        client._sid += 1
        batches = BatchSubscription(
            client,
            client._sid,
            subject,
            queue=queue,
            callback=callback,
            max_msgs=max_msgs,
            pending_msgs_limit=pending_msgs_limit,
            pending_bytes_limit=pending_bytes_limit,
            unroute=self.parser.unroute,
            closed=self.closed,
        )
        client._subs[batches._id] = batches
        self.parser.route(batches)
        await client._send_subscribe(batches)
        if max_msgs:
            await client._send_unsubscribe(batches._id, max_msgs)
        return batches

    def new_inbox(self) -> str:
        """Return a subject of our own to receive answers on."""
        return self._client.new_inbox()

    # Connection.

    def on_break(self, hook: Callable[[], None]) -> Callable[[], None]:
        """Call ``hook`` whenever the connection breaks; see :meth:`Lane.on_break`."""
        return _register(self._breaks, hook)

    def on_ready(self, hook: Callable[[], None]) -> Callable[[], None]:
        """Call ``hook`` whenever the connection stands again; see :meth:`Lane.on_ready`."""
        return _register(self._readies, hook)

    def on_close(self, hook: Callable[[], None]) -> Callable[[], None]:
        """Call ``hook`` when the connection is closed for good; see :meth:`Lane.on_close`."""
        return _register(self._closings, hook)

    def closed(self) -> None:
        """The connection is being closed (called by each subscription that nats-py lets go)."""
        hooks, self._closings = self._closings, {}
        for hook in hooks.values():
            # nats-py is in the middle of its own books.
            asyncio.get_running_loop().call_soon(hook)

    def broke(self) -> None:
        """The connection broke (called by the parser, which nats-py resets then)."""
        self.drop_volatile()
        for hook in list(self._breaks.values()):
            hook()

    def stands(self) -> None:
        """The connection stands again (called by the parser at the first PONG)."""
        for hook in list(self._readies.values()):
            hook()


def close_for_good(client: Client) -> None:
    """Have ``client`` end its reconnecting before it closes, and close whatever becomes of what it has not written.

    nats-py cancels that task once, which may be lost (``ending.py``): the task would connect a closed client again. And
    it stays half closed when the rest cannot be written, or waits for ever for a server that stands still.
    """
    close = client._close

    async def close_after_reconnecting(*args: Any, **kwargs: Any) -> None:
        task = client._reconnection_task
        if task is not None and task is not asyncio.current_task():
            await end(task)
        if client._transport is not None:
            _end_in_time(client._transport)
        await close(*args, **kwargs)

    client._close = close_after_reconnecting


def _end_in_time(transport: Transport) -> None:
    """Have what nats-py awaits of ``transport`` while it closes end in time, and without an error."""

    async def in_time(wait: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(_LAST_WRITE):
                await wait()
        except (OSError, TimeoutError) as error:
            log.warning("closed before everything was written", error=str(error) or "the server takes nothing")
            if (writer := getattr(transport, "_io_writer", None)) is not None:
                writer.transport.abort()

    transport.drain = partial(in_time, transport.drain)
    transport.wait_closed = partial(in_time, transport.wait_closed)


def _register(hooks: dict[object, Callable[[], None]], hook: Callable[[], None]) -> Callable[[], None]:
    key = object()
    hooks[key] = hook

    def unhook() -> None:
        hooks.pop(key, None)

    return unhook


class SeamParser(NatsParser):
    """What nats-py's read loop feeds: our parser, with nats-py's own handling for all that is not routed."""

    def __init__(self, client: Client, seam: Seam) -> None:
        self._client = client
        self._wire = Parser()
        self._seam = seam
        self._stats = client.stats
        self._batches: dict[bytes, BatchSubscription] = {}
        self._reader: asyncio.Task[Any] | None = None
        self._generation = 0
        self._broken = False
        super().__init__(client)

    def route(self, batches: BatchSubscription) -> None:
        """Collect the messages of ``batches`` for it."""
        sid = b"%d" % batches._id
        self._batches[sid] = batches
        self._wire.route(sid)

    def unroute(self, batches: BatchSubscription) -> None:
        """Stop collecting; nats-py counts and discards what still arrives."""
        sid = b"%d" % batches._id
        self._batches.pop(sid, None)
        self._wire.unroute(sid)

    def reset(self) -> None:
        """Start afresh; nats-py calls this when it gives up a connection."""
        super().reset()
        self._wire.reset()
        self._generation += 1
        # nats-py's constructor resets too, before there is a connection to break.
        if self._generation > 1:
            self._broken = True
            self._seam.broke()

    def take_over(self, old: NatsParser) -> None:
        """Continue where nats-py's parser stands, in the middle of a message if need be."""
        unparsed = bytes(old.buf)
        if old.state == AWAITING_MSG_PAYLOAD:
            arg = old.msg_arg
            sizes = [str(old.header_needed).encode()] if old.header_needed else []
            line = [b"HMSG" if sizes else b"MSG", arg["subject"], b"%d" % arg["sid"], arg["reply"], *sizes]
            unparsed = b" ".join([*filter(None, line), b"%d\r\n" % old.needed]) + unparsed
        old.reset()
        self._reader = self._client._reading_task
        for event in self._wire.feed(unparsed):
            # nats-py has parsed all there was: at most an unfinished message remains, which gives no event.
            raise MalformedStream(f"unexpected {event!r}")

    async def parse(self, data: bytes = b"") -> None:
        """Take what was read; deliver batches first, then everything else in order."""
        reader = asyncio.current_task()
        if reader is not self._reader:
            # A new read loop means a new connection, also where nats-py forgot to reset its parser.
            self._reader = reader
            self._wire.reset()
        # Whatever comes shows that the server is there; its PONG may wait behind seconds of what came before it.
        self._client._pings_outstanding = 0
        events = self._wire.feed(data)
        if self._wire.touched:
            await self._deliver()
        generation = self._generation
        for event in events:
            if isinstance(event, Unrouted):
                await self._hand_over(event)
            elif isinstance(event, Control):
                await self._control(event)
            else:
                await self._refuse(event)
            if generation != self._generation:
                return

    async def _deliver(self) -> None:
        wire = self._wire
        touched, wire.touched = wire.touched, []
        complaints: list[Exception] = []
        msgs = 0
        for sid in touched:
            batch, batches = wire.collected(sid), self._batches.get(sid)
            if batches is None:
                continue
            msgs += len(batch)
            size = wire.routed_bytes if len(touched) == 1 else sum([len(msg[3]) for msg in batch])
            try:
                batches.deliver(batch, size)
            except Exception as error:  # noqa: BLE001 - a callback's error is the callback's, not the connection's
                complaints.append(error)
        stats = self._stats
        stats["in_msgs"] += msgs
        stats["in_bytes"] += wire.routed_bytes
        wire.routed_bytes = 0
        for complaint in complaints:
            await self._client._error_cb(complaint)

    async def _hand_over(self, event: Unrouted) -> None:
        subject, reply, head, payload = event.msg
        try:
            await self._client._process_msg(event.sid, subject, reply, payload, head)
        except Exception as error:  # noqa: BLE001 - one bad message must not end the read loop
            await self._client._error_cb(error)

    async def _control(self, event: Control) -> None:
        client = self._client
        if event.op == b"PING":
            await client._process_ping()
        elif event.op == b"PONG":
            if client._pongs and client._pongs[0].done():
                client._pongs.pop(0)  # its flush gave up; answering it would raise in the read loop
            else:
                await client._process_pong()
            if self._broken and client.is_connected:
                self._broken = False
                self._seam.stands()
        elif event.op == b"-ERR":
            words = event.argument.decode(errors="replace")
            if (told := getattr(client, "server_said", None)) is not None:
                told(words)  # as it was spelled; nats-py looks for lower case
            await client._process_err(words.lower())
        elif event.op == b"INFO":
            try:
                info = json.loads(event.argument)
            except ValueError:
                await self._refuse(Malformed(f"INFO is not JSON: {event.argument[:80]!r}"))
            else:
                await client._process_info(info)

    async def _refuse(self, event: Malformed) -> None:
        """Report what the server sent, and let nats-py reconnect."""
        fault = MalformedStream(event.reason)
        await self._client._error_cb(fault)
        raise fault
