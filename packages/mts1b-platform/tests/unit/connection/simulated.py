"""A world in memory: virtual time, scripted NATS servers, transports without sockets."""

import asyncio
import heapq
import json
import random
import ssl
from collections.abc import Callable
from itertools import count
from typing import Any

from mts1b_platform.eventbus.connection import Callbacks, Connection, ConnectionOptions, Transport, feed
from mts1b_platform.eventbus.protocol.frames import split_frame
from mts1b_platform.eventbus.protocol.message import WireMsg

TURNS = 25
"""Turns of the loop after which nothing in memory moves any more."""


_NUMBERS = count()


async def settle() -> None:
    """Let everything happen that needs no time."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


class VirtualTimer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class VirtualClock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.time = 1000.0
        self._numbers = count()
        self._timers: list[tuple[float, int, VirtualTimer]] = []

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return 1_700_000_000 + self.time

    def call_later(self, delay: float, callback: Callable[[], object]) -> VirtualTimer:
        timer = VirtualTimer(callback)
        heapq.heappush(self._timers, (self.time + delay, next(self._numbers), timer))
        return timer

    @property
    def pending(self) -> int:
        """Timers that would still fire."""
        return sum(timer.callback is not None for _, _, timer in self._timers)

    async def advance(self, seconds: float) -> None:
        """Let time pass, and everything happen that happens in it."""
        end = self.time + seconds
        await settle()
        while self._timers and self._timers[0][0] <= end:
            self.time, _, timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                timer.callback()
                await settle()
        self.time = end


class FixedChance:
    """The same choices each time."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)  # noqa: S311 - the same each time
        self.jitter: float | None = None
        """What every choice between two numbers is; None: a random one."""

    def token(self) -> str:
        return f"{self._random.getrandbits(88):022x}"

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high) if self.jitter is None else self.jitter


class MemoryTransport:
    """The client's end of a session."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self.closing = False

    def write(self, data: bytes | memoryview) -> None:
        if not self._session.closed:
            self._session.written(bytes(data))

    def close(self) -> None:
        self.closing = True
        if not self._session.stuck:
            asyncio.get_running_loop().call_soon(self._session.lose, None)

    def abort(self) -> None:
        self.closing = True
        asyncio.get_running_loop().call_soon(self._session.lose, None)


class Session:
    """The server's end of a connection: what arrived, and what to do about it."""

    def __init__(self, server: "ScriptedServer", receiver: asyncio.BufferedProtocol) -> None:
        self.server = server
        self.number = next(_NUMBERS)
        self.transport: Transport = MemoryTransport(self)
        self.closed = False
        self.stuck = False
        """Whether what the client writes is never taken, so that its closing does not end."""
        self.secure = False
        self.lines: list[bytes] = []
        """Lines so far, messages as theirs; PINGs for a sign of life included."""
        self.messages: list[WireMsg] = []
        """Messages that were published."""
        self.connect: dict[str, Any] = {}
        """What the client said of itself."""
        self._receiver = receiver
        self._rest = b""

    @property
    def subscribed(self) -> dict[bytes, bytes]:
        """Subscription ids with their subjects."""
        found: dict[bytes, bytes] = {}
        for line in self.lines:
            words = line.split(b" ")
            if words[0] == b"SUB":
                found[words[-1]] = words[1]
            elif words[0] == b"UNSUB" and len(words) == 2:
                found.pop(words[1], None)
        return found

    def say(self, data: bytes, *, at: int | None = None) -> None:
        """Send ``data``, in reads of ``at`` bytes."""
        size = at or max(1, len(data))
        for begin in range(0, len(data), size):
            if not self.closed:
                feed(self._receiver, data[begin : begin + size])

    def publish(self, subject: bytes, payload: bytes = b"", reply: bytes = b"") -> None:
        """Send a message to every subscription of exactly this subject."""
        said = b"".join(
            b"MSG %b %b %b%d\r\n%b\r\n" % (subject, sid, reply + b" " if reply else b"", len(payload), payload)
            for sid, wanted in self.subscribed.items()
            if wanted == subject or (wanted.endswith(b".*") and subject.rpartition(b".")[0] == wanted[:-2])
        )
        self.say(said)

    def lose(self, error: Exception | None) -> None:
        """End the socket."""
        if not self.closed:
            self.closed = True
            self._receiver.connection_lost(error)

    def pause(self) -> None:
        """Have the client's transport ask for a pause."""
        self._receiver.pause_writing()

    def resume(self) -> None:
        """And to go on."""
        self._receiver.resume_writing()

    def written(self, data: bytes) -> None:
        """The client wrote."""
        self._rest += data
        while b"\r\n" in self._rest:
            line, _, rest = self._rest.partition(b"\r\n")
            if line.startswith((b"PUB ", b"HPUB ")):
                size = int(line.rsplit(b" ", 1)[1])
                if len(rest) < size + 2:
                    return
                self.messages.append(split_frame(self._rest[: len(line) + 2 + size + 2]))
                rest = rest[size + 2 :]
            self._rest = rest
            self.lines.append(line)
            asyncio.get_running_loop().call_soon(self._answer, line)

    def _answer(self, line: bytes) -> None:
        if self.closed:
            return
        if line.startswith(b"CONNECT "):
            self.connect = json.loads(line[8:])
        self.server.answer(self, line)


class ScriptedServer:
    """A server in memory. Greets, answers PINGs, and keeps what it was told; fields and methods make it misbehave."""

    def __init__(self, **info: Any) -> None:
        self.info: dict[str, Any] = {
            "server_id": "S",
            "version": "2.15.1",
            "headers": True,
            "max_payload": 1_048_576,
            **info,
        }
        self.greeting: bytes | None = None
        """What it says in place of its INFO."""
        self.login_error = b""
        """An error line that it answers CONNECT with; then it hangs up."""
        self.refuses = False
        """Whether nothing listens."""
        self.swallows = False
        """Whether it takes connections without a word."""
        self.answers_pings = True
        self.sessions: list[Session] = []

    @property
    def session(self) -> Session:
        """The latest one."""
        return self.sessions[-1]

    @property
    def messages(self) -> list[WireMsg]:
        """What was published, over all sessions."""
        return [msg for session in self.sessions for msg in session.messages]

    def accept(self, receiver: asyncio.BufferedProtocol) -> Session:
        session = Session(self, receiver)
        self.sessions.append(session)
        if not self.swallows:
            greeting = self.greeting if self.greeting is not None else b"INFO %b\r\n" % json.dumps(self.info).encode()
            asyncio.get_running_loop().call_soon(session.say, greeting)
        return session

    def answer(self, session: Session, line: bytes) -> None:
        if line.startswith(b"CONNECT ") and self.login_error:
            session.say(b"-ERR '%b'\r\n" % self.login_error)
            session.lose(None)
        elif line == b"PING" and self.answers_pings:
            session.say(b"PONG\r\n")


class MemoryNetwork:
    """Names, addresses and who listens there."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}
        self.frozen_names: set[str] = set()
        """Names whose resolution does not end."""
        self.servers: dict[str, ScriptedServer] = {}
        """By address and port, such as ``10.0.0.1:4222``."""
        self.dialled: list[str] = []

    async def resolve(self, host: str, port: int) -> list[str]:
        del port
        await asyncio.sleep(0)
        if host in self.frozen_names:
            await asyncio.get_running_loop().create_future()
        if host not in self.names and not host.replace(".", "").isdigit():
            raise OSError(f"{host}: unknown name")
        return self.names.get(host, [host])

    async def dial(self, address: str, port: int, receiver: asyncio.BufferedProtocol) -> Transport:
        self.dialled.append(f"{address}:{port}")
        await asyncio.sleep(0)
        server = self.servers.get(f"{address}:{port}")
        if server is None or server.refuses:
            raise ConnectionRefusedError(f"{address}:{port} refuses")
        return server.accept(receiver).transport

    async def secure(
        self, transport: Transport, receiver: asyncio.BufferedProtocol, context: ssl.SSLContext, server_name: str
    ) -> Transport:
        del receiver, context, server_name
        await asyncio.sleep(0)
        assert isinstance(transport, MemoryTransport)
        transport._session.secure = True
        return transport

    async def dial_websocket(
        self, url: str, address: str, receiver: asyncio.BufferedProtocol, context: ssl.SSLContext | None
    ) -> Transport:
        raise NotImplementedError


class Told:
    """What the callbacks of a connection were told."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.words: list[str] = []
        self.events: list[str] = []
        self.refused: list[bool] = []
        self.ending: Exception | None = None
        """What ``before_dial`` raises."""

    @property
    def callbacks(self) -> Callbacks:
        return Callbacks(
            error=self.errors.append,
            server_said=self.words.append,
            disconnected=lambda: self.events.append("disconnected"),
            reconnected=lambda: self.events.append("reconnected"),
            before_dial=self.before_dial,
        )

    def before_dial(self, refused: bool) -> None:
        self.refused.append(refused)
        if self.ending is not None:
            raise self.ending


class World:
    """One clock, one network, one source of chance."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.network = MemoryNetwork()
        self.chance = FixedChance()
        self.told = Told()

    def server(self, address: str = "10.0.0.1:4222", **info: Any) -> ScriptedServer:
        """Have a server listen."""
        made = self.network.servers[address] = ScriptedServer(**info)
        return made

    def connection(self, *servers: str, **options: Any) -> Connection:
        """A connection that is not connected."""
        urls = servers or tuple(f"nats://{address}" for address in self.network.servers)
        return Connection(
            ConnectionOptions(servers=urls, **options),
            callbacks=self.told.callbacks,
            network=self.network,
            clock=self.clock,
            chance=self.chance,
        )

    async def connected(self, *servers: str, **options: Any) -> Connection:
        """A connection that stands."""
        made = self.connection(*servers, **options)
        await made.connect()
        return made

    async def during(self, seconds: float, waiting: "asyncio.Task[Any]") -> None:
        """Let time pass while a task waits for something."""
        await self.clock.advance(seconds)
        assert not waiting.done()
