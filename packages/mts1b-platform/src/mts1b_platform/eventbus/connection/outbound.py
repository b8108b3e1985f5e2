"""What waits for the server: one bounded buffer, and the one place that writes.

Three kinds of bytes wait, in the order of the calls. *Kept* frames stay over a reconnect. *Volatile* frames are worth
nothing later: they leave the buffer, counted, when the connection breaks. *Control* lines (SUB, PING …) belong to one
server: they leave as well, and the connection says them again.
"""

import asyncio
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final

from mts1b_platform.eventbus.connection.network import Transport
from mts1b_platform.eventbus.connection.stats import Stats
from mts1b_platform.eventbus.errors import BusClosed, OutboundBufferFull, PayloadTooLarge, WrongEventLoop
from mts1b_platform.eventbus.protocol.acks import ACK_FRAME
from mts1b_platform.eventbus.protocol.frames import frame_size

_KEPT: Final = 0
_VOLATILE: Final = 1
_CONTROL: Final = 2


class Outbound:
    """The buffer of one connection. Belongs to its event loop."""

    __slots__ = (
        "_kind",
        "_limit",
        "_loop",
        "_paused",
        "_report",
        "_runs",
        "_scheduled",
        "_stats",
        "_transport",
        "_waiters",
        "closed",
        "dropped",
        "frames",
        "high_water",
        "max_payload",
        "waiting",
    )

    def __init__(self, *, limit: int, high_water: int, stats: Stats, report: Callable[[Exception], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self.high_water = high_water
        """Waiting bytes above which a sender should ``await writable()``."""
        self._stats = stats
        self._report = report
        self._transport: Transport | None = None
        self._paused = False
        self._scheduled = False
        self._kind = _KEPT
        self._runs: list[tuple[int, int]] = []  # where in `frames` another kind begins, and which
        self._waiters: set[asyncio.Future[None]] = set()
        self.closed: BusClosed | None = None
        """What to raise when it is used; None while it is open."""
        self.frames: list[bytes] = []
        self.waiting = 0
        """Bytes in :attr:`frames`."""
        self.max_payload = 1 << 20
        """Most bytes, of headers and payload together, that the server takes in one message."""
        self.dropped = 0
        """Volatile frames that were not sent, as there was no connection or no room."""

    # Sending. These are the hot paths: they repeat each other because a call costs more than the repeated lines.

    def send(self, frame: bytes) -> None:
        """Queue a frame. It goes out in this turn of the event loop, or after a reconnect.

        Raises:
            BusClosed: the connection is closed.
            OutboundBufferFull: too many bytes wait; ``await writable()`` first.
            PayloadTooLarge: the server takes no message of this size.
            WrongEventLoop: this is not the event loop of the connection.
        """
        if self._transport is None:
            self.check_open()
        size = len(frame)
        if size > self.max_payload and frame_size(frame) > self.max_payload:
            raise self._too_large(frame)
        waiting = self.waiting + size
        if waiting > self._limit and self.frames:
            raise self._full()
        if not self._scheduled:
            self._schedule()
        if self._kind:
            self._turn_to(_KEPT)
        self.waiting = waiting
        self.frames.append(frame)

    def send_many(self, frames: list[bytes]) -> None:
        """Queue frames together, all or none; see :meth:`send` for what is raised."""
        if self._transport is None:
            self.check_open()
        size, most = sum(map(len, frames)), self.max_payload
        if size > most:
            for frame in frames:
                if len(frame) > most and frame_size(frame) > most:
                    raise self._too_large(frame)
        waiting = self.waiting + size
        if waiting > self._limit and self.frames:
            raise self._full()
        if not self._scheduled:
            self._schedule()
        if self._kind:
            self._turn_to(_KEPT)
        self.waiting = waiting
        self.frames += frames

    def send_volatile(self, frame: bytes) -> bool:
        """Queue a frame that is worth nothing later; False when it was dropped, and counted, instead.

        It is dropped when there is no connection or no room. What still waits when the connection breaks is dropped
        and counted too: nothing stale goes out after a reconnect.

        Raises:
            BusClosed: the connection is closed.
            PayloadTooLarge: the server takes no message of this size.
            WrongEventLoop: this is not the event loop of the connection.
        """
        if self._transport is None:
            self.check_open()
            self.dropped += 1
            return False
        size = len(frame)
        if size > self.max_payload and frame_size(frame) > self.max_payload:
            raise self._too_large(frame)
        waiting = self.waiting + size
        if waiting > self._limit and self.frames:
            self.dropped += 1
            return False
        if not self._scheduled:
            self._schedule()
        if self._kind != _VOLATILE:
            self._turn_to(_VOLATILE)
        self.waiting = waiting
        self.frames.append(frame)
        return True

    def ack(self, reply: bytes) -> bool:
        """Acknowledge the delivery with this reply subject; True when above the high-water mark.

        Raises:
            BusClosed, OutboundBufferFull, WrongEventLoop: as :meth:`send`.
        """
        frame = ACK_FRAME % reply
        waiting = self.waiting + len(frame)
        if waiting > self.high_water or self._transport is None:
            self.send(frame)
            return self.waiting > self.high_water
        if not self._scheduled:
            self._schedule()
        if self._kind:
            self._turn_to(_KEPT)
        self.waiting = waiting
        self.frames.append(frame)
        return False

    def control(self, line: bytes) -> None:
        """Queue a line for this server only; without a connection it is not needed."""
        if self._transport is None:
            return
        if not self._scheduled:
            self._schedule()
        if self._kind != _CONTROL:
            self._turn_to(_CONTROL)
        self.waiting += len(line)
        self.frames.append(line)

    def flush_out(self) -> None:
        """Give what waits to the transport now, unless that wants a pause."""
        self._scheduled = False
        frames, transport = self.frames, self._transport
        if not frames or transport is None or self._paused:
            return
        stats = self._stats
        stats.out_msgs += len(frames) - (self._count(_CONTROL) if self._runs else 0)
        stats.out_bytes += self.waiting
        self._empty()
        transport.write(frames[0] if len(frames) == 1 else b"".join(frames))
        if self._waiters:
            self._wake()

    async def writable(self) -> None:
        """Write what waits and give up one turn of the loop; then wait until there is room and a connection.

        There is room when no more bytes wait than the high-water mark says. The turn is given up in any case, so that
        what the server answers is read between two bursts.

        Raises:
            BusClosed: the connection is closed, or was while waiting.
            WrongEventLoop: this is not the event loop of the connection.
        """
        self.check_loop()
        self.flush_out()
        await asyncio.sleep(0)
        while self._transport is None or self.waiting > self.high_water:
            self.check_open()
            self.flush_out()
            if self._transport is not None and self.waiting <= self.high_water:
                return
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    # The life of the connection.

    def open(self, transport: Transport, max_payload: int, greeting: bytes) -> None:
        """The connection stands: say ``greeting`` to this server, then what waited."""
        self._transport = transport
        self._paused = False
        self.limit_payload(max_payload)
        if greeting:
            transport.write(greeting)
        self.flush_out()
        self._wake()

    def limit_payload(self, most: int) -> None:
        """The server takes messages up to this size; larger ones that wait are dropped, each with an error."""
        lowered, self.max_payload = most < self.max_payload, most
        if lowered and any(len(frame) > most for frame in self.frames):
            for frame in self._remove(lambda frame, kind: kind != _CONTROL and _exceeds(frame, most)):
                self._report(self._too_large(frame))

    def pause(self, *, paused: bool) -> None:
        """The transport wants a pause, or takes bytes again."""
        self._paused = paused
        if not paused:
            self.flush_out()

    def write_last(self, line: bytes) -> None:
        """Write all that waits, then ``line``; what comes later is held back for the next server."""
        self.control(line)
        self.pause(paused=False)
        self._paused = True

    def broke(self) -> None:
        """The connection broke: kept frames wait for the next one, all others leave."""
        self._transport = None
        self._paused = self._scheduled = False
        self.dropped += self._count(_VOLATILE)
        self._remove(lambda _, kind: kind != _KEPT)

    def close(self, reason: BusClosed) -> int:
        """Closed for good; returns how many kept frames were not sent."""
        self.closed = reason
        self.broke()
        unsent = len(self.frames)
        self._empty()
        self._wake()
        return unsent

    def check_loop(self) -> None:
        """Look where we are called from.

        Raises:
            WrongEventLoop: not in the event loop that the connection was made in.
        """
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:  # another thread, or a process that was forked off
            running = None
        if running is not self._loop:
            raise WrongEventLoop(
                "this connection belongs to another event loop, thread or process: connect() in each of them, and use "
                "loop.call_soon_threadsafe() to reach the loop of this connection from a thread"
            )

    def check_open(self) -> None:
        """Look whether anything can be sent, now or after a reconnect.

        Raises:
            BusClosed: the connection is closed.
            WrongEventLoop: this is not its event loop.
        """
        self.check_loop()
        if self.closed is not None:
            raise self.closed_error()

    def closed_error(self) -> BusClosed:
        """What to raise: one for each who is told, as an error keeps where it was raised."""
        return BusClosed(*(self.closed or BusClosed("the connection was closed")).args)

    # How.

    def _schedule(self) -> None:
        """Have what waits written in the next turn of the loop; asked for once a turn."""
        self.check_loop()
        if self._transport is not None:
            self._scheduled = True
            self._loop.call_soon(self.flush_out)

    def _turn_to(self, kind: int) -> None:
        self._kind = kind
        self._runs.append((len(self.frames), kind))

    def _empty(self) -> None:
        self.frames = []
        self.waiting = 0
        self._kind = _KEPT
        self._runs.clear()

    def _spans(self) -> Iterator[tuple[int, int, int]]:
        """Where runs of one kind begin and end in the buffer, and which kind each is."""
        for (begin, kind), (end, _) in pairwise([(0, _KEPT), *self._runs, (len(self.frames), _KEPT)]):
            yield begin, end, kind

    def _count(self, kind: int) -> int:
        return sum([end - begin for begin, end, its in self._spans() if its == kind])

    def _remove(self, unwanted: Callable[[bytes, int], bool]) -> list[bytes]:
        """Take frames out of the buffer; returns them."""
        frames, removed = self.frames, list[bytes]()
        spans = [(frames[begin:end], kind) for begin, end, kind in self._spans()]
        self._empty()
        for span, kind in spans:
            if kind != self._kind:
                self._turn_to(kind)
            for frame in span:
                if unwanted(frame, kind):
                    removed.append(frame)
                else:
                    self.frames.append(frame)
                    self.waiting += len(frame)
        return removed

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _too_large(self, frame: bytes) -> PayloadTooLarge:
        subject = frame.split(b" ", 2)[1].decode(errors="replace")
        return PayloadTooLarge(
            f"{subject}: {frame_size(frame)} bytes of headers and payload, and the server takes {self.max_payload}; "
            "send less, or raise max_payload in the server's configuration"
        )

    def _full(self) -> OutboundBufferFull:
        state = "is away" if self._transport is None else "does not take them as fast"
        return OutboundBufferFull(
            f"{self.waiting} bytes wait for the server, which {state}: await writable() before sending more"
        )


def _exceeds(frame: bytes, most: int) -> bool:
    return len(frame) > most and frame_size(frame) > most
