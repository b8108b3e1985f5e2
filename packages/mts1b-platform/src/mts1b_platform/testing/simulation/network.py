"""TCP between simulated processes and the server: latency, windows, cuts at any byte, half-open connections."""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from mts1b_platform.eventbus.connection import Transport, feed
from mts1b_platform.eventbus.connection.network import WRITE_HIGH, WRITE_LOW
from mts1b_platform.testing.simulation.process import Process
from mts1b_platform.testing.simulation.world import World

WINDOW: Final = 4 << 20
"""Bytes that a direction takes before its reader has read them, unless a fault narrows it."""
LATENCY: Final = (0.0001, 0.0008)
_READ: Final = 64 * 1024
_HOPELESS: Final = (1.0, 12.0)
"""Seconds after which the server finds out about a half-open connection."""


class Listener(Protocol):
    """Takes connections: the server."""

    def accept(self, socket: "Socket") -> None:
        """A client has connected."""
        ...


Listeners = dict[str, Listener]
"""Who takes connections, by address; one for all that reach each other."""


class Pipe:
    """One direction. What is written waits until the window has room, is under way, arrives in order."""

    def __init__(self, world: World, arrive: Callable[[bytes], None]) -> None:
        self._world, self._arrive = world, arrive
        self.window = WINDOW
        self.latency = LATENCY
        self.waiting: deque[bytes] = deque()
        self.backlog = 0
        """Bytes that wait for the window."""
        self.stuck_since: float | None = None
        """Since when bytes have waited without any leaving."""
        self.last = 0.0
        """When the last of what is under way arrives."""
        self.open = True
        self.lost = False
        """Whether everything disappears on the way."""
        self._flight: deque[bytes] = deque()
        self._taken = 0

    def write(self, data: bytes) -> None:
        if self.open:
            self.waiting.append(data)
            self.backlog += len(data)
            self._pump()

    def read(self, size: int) -> None:
        """The reader has read so much: there is room for more."""
        self._taken -= size
        if self.waiting:
            self._pump()

    def keep(self, share: float) -> None:
        """Close it; of the bytes under way this share still arrives."""
        self.open = False
        left = int(sum(map(len, self._flight)) * share)
        kept: list[bytes] = []
        for piece in self._flight:
            if left <= 0:
                break
            kept.append(piece[:left])
            left -= len(piece)
        self._flight = deque(kept)
        self.waiting.clear()
        self.backlog = 0

    def _pump(self) -> None:
        while self.waiting and (room := self.window - self._taken) > 0:
            piece = self.waiting.popleft()
            if len(piece) > room:
                self.waiting.appendleft(piece[room:])
                piece = piece[:room]
            self.backlog -= len(piece)
            self._taken += len(piece)
            self._flight.append(piece)
            self.last = max(self.last, self._world.time() + self._world.rng.uniform(*self.latency))
            self._world.at(self.last, self._arrived)
            self.stuck_since = None
        if self.waiting and self.stuck_since is None:
            self.stuck_since = self._world.now

    def _arrived(self) -> None:
        if self._flight and not self.lost:
            self._arrive(self._flight.popleft())


class Socket:
    """One connection, with the client's end as a transport for its receiver."""

    def __init__(self, process: Process, number: int, receiver: asyncio.BufferedProtocol) -> None:
        self.process, self.number = process, number
        self.world = process.world
        self.up = Pipe(self.world, self._at_server)
        self.down = Pipe(self.world, self._at_client)
        self.on_data: Callable[[bytes], None] | None = None
        """The server's: takes bytes, and says with ``up.read`` when they are read."""
        self.on_lost: Callable[[], None] | None = None
        """The server's: told once that the client is gone."""
        self._receiver = receiver
        self._unread: deque[bytes] = deque()
        self._reading = False
        self._pausing = False
        self._over = False
        process.at_exit.append(self._process_gone)

    @property
    def open(self) -> bool:
        """Whether both directions stand."""
        return self.up.open and self.down.open

    # The client's end: a Transport.

    def write(self, data: bytes | memoryview) -> None:
        if self._over or not data:
            return
        self.up.write(bytes(data))
        if self.up.backlog > WRITE_HIGH and not self._pausing:
            self._pausing = True
            self.process.loop.call_soon(self._receiver.pause_writing)

    def close(self) -> None:
        """Send what was written, then close."""
        if not self._over:
            self.down.open = False
            self._when_written()

    def abort(self) -> None:
        if not self._over:
            self._hang_up()
            self.process.loop.call_soon(self._tell, None)

    def _when_written(self) -> None:
        if self._over:
            return
        if self.up.backlog and self.process.alive:
            self.process.loop.call_later(0.01, self._when_written)
        else:
            self.abort()

    def _hang_up(self) -> None:
        if self.up.lost:  # nobody is told
            self.up.open = self.down.open = False
        elif self.up.open:
            self.up.open = self.down.open = False
            self.up.waiting.clear()
            self.world.at(self.up.last + LATENCY[0], self._server_told)

    # Bytes.

    def _at_server(self, data: bytes) -> None:
        if self.on_data is not None:
            self.world.passed(">", self.number, data)
            self.on_data(data)

    def server_read(self, size: int) -> None:
        """The server has read so much."""
        self.up.read(size)
        if self._pausing and self.up.backlog <= WRITE_LOW and self.process.alive and not self._over:
            self._pausing = False
            self.process.loop.call_soon(self._receiver.resume_writing)

    def _at_client(self, data: bytes) -> None:
        if not self.process.alive or self._over:
            return
        self._unread.append(data)
        self._read_soon()

    def _read_soon(self) -> None:
        if self._unread and not self._reading:
            self._reading = True
            self.process.loop.call_soon(self._read)

    def _read(self) -> None:
        self._reading = False
        if self._over or not self._unread:
            return
        if len(self._unread) == 1 and len(self._unread[0]) <= _READ:
            data = self._unread.popleft()
        else:
            whole = b"".join(self._unread)
            self._unread.clear()
            data = whole[:_READ]
            if rest := whole[_READ:]:
                self._unread.append(rest)
        self.world.passed("<", self.number, data)
        self.down.read(len(data))
        feed(self._receiver, data)
        self._read_soon()

    # Ends.

    def cut(self, keep_up: float, keep_down: float) -> None:
        """Break it now; of the bytes under way these shares still arrive."""
        if self.open:
            self.world.note("cut", self.number)
            self.up.keep(keep_up)
            self.down.keep(keep_down)
            self.world.at(self.up.last + LATENCY[0], self._server_told)
            self.world.at(self.down.last + LATENCY[0], self._client_told, ConnectionResetError("connection reset"))

    def half_open(self) -> None:
        """From now on nothing passes, and nobody is told; the server finds out by and by."""
        if self.open:
            self.world.note("half-open", self.number)
            self.up.lost = self.down.lost = True
            self.world.at(self.world.now + self.world.rng.uniform(*_HOPELESS), self._server_told)

    def server_close(self, keep: float = 1.0) -> None:
        """The server hangs up; this share of what it has written still arrives."""
        self.on_data = self.on_lost = None
        if self.open:
            if keep < 1:
                self.down.keep(keep)
            self.up.open = self.down.open = False
            self.world.at(self.down.last + LATENCY[0], self._client_told, None)

    def _server_told(self) -> None:
        lost, self.on_lost = self.on_lost, None
        self.on_data = None
        if lost is not None:
            lost()

    def _client_told(self, error: Exception | None) -> None:
        if not self.process.alive or self._over:
            return
        if self._unread or self._reading:  # what came before is read first
            self.process.loop.call_soon(self._client_told, error)
        else:
            self.process.loop.call_soon(self._tell, error)

    def _tell(self, error: Exception | None) -> None:
        if not self._over:
            self._over = True
            self._receiver.connection_lost(error)

    def _process_gone(self) -> None:
        if not self._over:
            self._hang_up()


class SimNetwork:
    """The network as one process sees it; see ``Network``."""

    def __init__(self, process: Process, listeners: Listeners) -> None:
        self._process, self._listeners = process, listeners
        self.sockets: list[Socket] = []
        self.latency = LATENCY
        self.window = WINDOW

    async def resolve(self, host: str, port: int) -> list[str]:
        del port
        return [host]

    async def dial(self, address: str, port: int, receiver: asyncio.BufferedProtocol) -> Transport:
        world = self._process.world
        await asyncio.sleep(world.rng.uniform(*self.latency))
        listener = self._listeners.get(f"{address}:{port}")
        if listener is None:
            raise ConnectionRefusedError(f"nobody listens at {address}:{port}")
        world.injected["connection"] += 1
        socket = Socket(self._process, world.injected["connection"], receiver)
        socket.up.window = socket.down.window = self.window
        socket.up.latency = socket.down.latency = self.latency
        self.sockets = [each for each in self.sockets if each.open]
        self.sockets.append(socket)
        listener.accept(socket)
        return socket

    async def secure(
        self, transport: Transport, receiver: asyncio.BufferedProtocol, context: ssl.SSLContext, server_name: str
    ) -> Transport:
        raise NotImplementedError("the simulated network has no TLS")

    async def dial_websocket(
        self, url: str, address: str, receiver: asyncio.BufferedProtocol, context: ssl.SSLContext | None
    ) -> Transport:
        raise NotImplementedError("the simulated network has no WebSockets")
