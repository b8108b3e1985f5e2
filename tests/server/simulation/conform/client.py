"""A client that speaks the protocol by hand, and writes down what it hears so that two servers can be compared."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final, Self

from mts1b_platform.eventbus.connection import Network, Transport
from mts1b_platform.eventbus.protocol.message import WireMsg
from mts1b_platform.eventbus.protocol.parser import Control, Parser, Unrouted
from mts1b_platform.eventbus.protocol.pins import pin_of

NS: Final = 1_000_000_000
_HELLO: Final = b'CONNECT {"verbose":false,"headers":true,"no_responders":true,"protocol":1}\r\nPING\r\n'
_MOST: Final = 5.0
"""Seconds to wait for what must come."""
_AFTER: Final = 0.15
"""Seconds to wait for what must not come."""


class Heard(asyncio.BufferedProtocol):
    """What arrives, in order."""

    def __init__(self, take: Callable[[WireMsg], None], control: Callable[[Control], None]) -> None:
        self._buffer = memoryview(bytearray(1 << 16))
        self._parser, self._take, self._control = Parser(), take, control

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        for event in self._parser.feed(bytes(self._buffer[:nbytes])):
            if isinstance(event, Control):
                self._control(event)
            elif isinstance(event, Unrouted):
                self._take(event.msg)


class Client:
    """One connection, its inbox, and the transcript of what came to it."""

    def __init__(self, name: str) -> None:
        self.inbox = f"IN.{name}"
        self.lines: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._heard: list[tuple[float, WireMsg | str]] = []
        self._asked: dict[str, asyncio.Future[WireMsg]] = {}
        self._came = asyncio.Event()
        self._sid = 0
        self._transport: Transport | None = None

    @classmethod
    async def open(cls, network: Network, address: str, port: int, name: str) -> Self:
        """Connect."""
        self = cls(name)
        await self.dial(network, address, port)
        return self

    async def dial(self, network: Network, address: str, port: int) -> None:
        """Connect, also once more."""
        self._transport = await network.dial(address, port, Heard(self._take, self._control))
        self.write(_HELLO)
        self.subscribe(f"{self.inbox}.>")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # Saying.

    def write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def subscribe(self, subject: str, queue: str = "") -> int:
        self._sid += 1
        self.write(f"SUB {subject} {queue} {self._sid}\r\n".encode())
        return self._sid

    def unsubscribe(self, sid: int, most: int = 0) -> None:
        self.write(f"UNSUB {sid}{f' {most}' if most else ''}\r\n".encode())

    def publish(
        self, subject: str, data: bytes | str = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        data = data.encode() if isinstance(data, str) else data
        head = b""
        if headers:
            head = b"NATS/1.0\r\n%b\r\n" % "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        sizes = f"{len(head)} {len(head) + len(data)}" if head else f"{len(data)}"
        line = f"{'HPUB' if head else 'PUB'} {subject} {reply} {sizes}\r\n"
        self.write(b"%b%b%b\r\n" % (line.encode(), head, data))

    async def ask(self, subject: str, data: Any = b"", headers: dict[str, str] | None = None) -> str:
        """Publish, wait for the answer, and tell the part of it that can be compared."""
        return told(await self._ask(subject, data, headers))

    async def document(self, subject: str, data: Any = b"") -> dict[str, Any]:
        """An answer of the API."""
        answer = await self._ask(subject, data, None)
        return json.loads(answer.payload)

    async def silent(self, subject: str, data: Any = b"", headers: dict[str, str] | None = None) -> str:
        """As :meth:`ask`, where nothing may come."""
        try:
            async with asyncio.timeout(0.4):
                return await self.ask(subject, data, headers)
        except TimeoutError:
            return "(silence)"

    async def _ask(self, subject: str, data: Any, headers: dict[str, str] | None) -> WireMsg:
        inbox = f"{self.inbox}.answer{len(self._asked)}"
        answer = self._asked[inbox] = self._loop.create_future()
        self.publish(subject, data if isinstance(data, bytes) else json.dumps(data), inbox, headers)
        async with asyncio.timeout(_MOST):
            return await answer

    # Hearing.

    def _take(self, msg: WireMsg) -> None:
        answer = self._asked.get(msg.subject.decode())
        if answer is None:
            self._heard.append((self._loop.time() - self._since, msg))
            self._came.set()
        elif not answer.done():
            answer.set_result(msg)

    def _control(self, event: Control) -> None:
        if event.op == b"PING":
            self.write(b"PONG\r\n")
        elif event.op == b"-ERR":
            self._heard.append((self._loop.time() - self._since, event.argument.decode()))
            self._came.set()

    def restart_clock(self) -> None:
        """From here on times are told."""
        self._since = self._loop.time()

    async def hear(self, count: int, *, after: float = _AFTER) -> None:
        """Wait until so much has come, then a moment for what must not come."""
        async with asyncio.timeout(_MOST):
            while len(self._heard) < count:
                self._came.clear()
                await self._came.wait()
        await asyncio.sleep(after)

    def replies(self) -> dict[int, str]:
        """Where to answer what has come, by stream sequence; the latest delivery."""
        found = [msg.reply.decode() for _, msg in self._heard if isinstance(msg, WireMsg) and msg.reply]
        return {int(reply.split(".")[5]): reply for reply in found}

    def pin(self) -> str:
        """Under which pin the last message has come."""
        return next(pin for _, msg in reversed(self._heard) if isinstance(msg, WireMsg) and (pin := pin_of(msg.head)))

    def tell(self, title: str = "", *, times: bool = False, inboxes: bool = False) -> None:
        """Write down what has come since the last time."""
        if title:
            self.lines.append(f"{title}:")
        heard, self._heard = self._heard, []
        for at, what in heard:
            when = f"{round(at * 2) / 2} s " if times else ""
            if isinstance(what, str):
                self.lines.append(f"{when}error {what}")
            else:
                where = f"{what.subject.decode().removeprefix(self.inbox)} " if inboxes else ""
                self.lines.append(f"{when}{where}{told(what)}")

    def note(self, what: object) -> None:
        """Write down anything else."""
        self.lines.append(str(what))


_COMPARED: Final = ("stream", "seq", "duplicate", "batch", "count", "success", "deliveries", "stream_seq", "reason")


def told(msg: WireMsg) -> str:
    """The part of a message that two servers must agree on."""
    reply = msg.reply.decode()
    if reply.startswith("$JS.ACK."):
        words = reply.split(".")
        return f"{msg.payload.decode()} delivery {words[4]} seq {words[5]} number {words[6]} pending {words[8]}"
    if msg.head:
        return msg.head.decode().strip().replace("\r\n", " | ")
    try:
        document = json.loads(msg.payload)
    except ValueError:
        return f"{msg.payload.decode()!r}"
    if not isinstance(document, dict):
        return f"{document!r}"
    if "error" in document:
        return f"error {document['error']}"
    if not (compared := {name: document[name] for name in _COMPARED if document.get(name) is not None}):
        return "an answer"
    if msg.subject.startswith(b"$JS.EVENT"):
        return f"{msg.subject.decode()} {compared}"
    return f"{compared}"
