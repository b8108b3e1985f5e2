"""One socket: bytes in, to the parser and on in order, all inside the event loop's read callback."""

import asyncio
import json
from collections import deque
from typing import Any, Final, Protocol, cast

from mts1b_platform.eventbus.connection.network import Transport
from mts1b_platform.eventbus.errors import BusError, ProtocolViolation, ServerError, ServerUnavailable
from mts1b_platform.eventbus.protocol.parser import Control, Malformed, Parser, ParserEvent, Unrouted

_PING: Final = b"PING\r\n"
_PONG: Final = b"PONG\r\n"


class LinkOwner(Protocol):
    """What a link tells: the connection."""

    def is_current(self, link: "Link") -> bool:
        """Whether the connection stands on this link; before that, it is in its handshake."""
        ...

    def deliver(self, link: "Link") -> None:
        """The parser holds messages."""
        ...

    def answer_ping(self) -> None:
        """The server of the current link wants a PONG."""
        ...

    def heard_info(self, link: "Link", info: dict[str, Any]) -> None:
        """The server of the current link told something new of itself."""
        ...

    def server_said(self, link: "Link", words: str) -> None:
        """The server sent an error line."""
        ...

    def paused(self, link: "Link", *, paused: bool) -> None:
        """The transport wants no more bytes for now, or takes them again."""
        ...

    def ended(self, link: "Link", reason: BusError) -> None:
        """The link has ended; from now on nothing may be written to it."""
        ...

    def report(self, error: Exception) -> None:
        """Something went wrong that no caller is told."""
        ...


class Link(asyncio.BufferedProtocol):
    """One socket from its opening to its end.

    It ends once: :attr:`ended` is set with the reason, whoever waits for an answer of this server gets it as an
    error, and nothing is delivered any more.

    An error line of the server never ends a link, as the same words may go with a connection that is kept or one that
    is not. When the socket ends, the last words that are not about a permission are taken for the reason.
    """

    __slots__ = (
        "_buffer",
        "_owner",
        "_parser",
        "_words",
        "closed",
        "ended",
        "heard",
        "info",
        "over",
        "pings",
        "pongs",
        "server_info",
        "transport",
    )

    def __init__(self, owner: LinkOwner, parser: Parser, buffer: memoryview) -> None:
        loop = asyncio.get_running_loop()
        self._owner = owner
        self._parser = parser
        self._buffer = buffer
        self._words = ""
        self.transport: Transport | None = None
        self.over = False
        """Whether it has ended; the same as ``ended.done()``."""
        self.heard = True
        """Whether anything has arrived since this was last set to False."""
        self.pings = 0
        """PINGs for a sign of life that nothing came after."""
        self.server_info: dict[str, Any] = {}
        """What the server told of itself so far."""
        self.info: asyncio.Future[dict[str, Any]] = loop.create_future()
        """The server's greeting."""
        self.pongs: deque[asyncio.Future[None] | None] = deque()
        """Who waits for the PONGs to come, in order; None for nobody."""
        self.ended: asyncio.Future[BusError] = loop.create_future()
        """Done when the link has ended, with the reason."""
        self.closed: asyncio.Future[None] = loop.create_future()
        """Done when the socket is closed."""

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self.connection_made_by(cast("Transport", transport))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - one buffer serves every read
        """Say where to read to. Reads of a bounded size keep a batch in the processor's cache."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read: messages are delivered first, then the rest is handled in order."""
        if self.over:
            return  # whatever this server still sends comes again on the next link, or is not for us any more
        self.heard = True
        parser = self._parser
        try:
            events = parser.feed(self._buffer[:nbytes])
            if parser.touched:
                self._owner.deliver(self)
            if events:
                self._handle(events)
        except Exception as error:  # noqa: BLE001 - an error of ours must not leave a link behind that hears nothing
            self._owner.report(error)
            self.end(error)

    def eof_received(self) -> bool:
        """The server sends no more: close."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        if not self.closed.done():
            self.closed.set_result(None)
        self.end(exc)

    def pause_writing(self) -> None:
        """The transport holds enough."""
        self._owner.paused(self, paused=True)

    def resume_writing(self) -> None:
        """The transport takes more."""
        self._owner.paused(self, paused=False)

    # What the connection calls.

    def connection_made_by(self, transport: Transport) -> None:
        """Use this transport from now on: the plain one, then the one with TLS."""
        self.transport = transport
        if self.over:
            transport.abort()

    def plain(self) -> Transport:
        """The transport so far."""
        assert self.transport is not None  # noqa: S101 - asked after connection_made_by
        return self.transport

    def write(self, data: bytes) -> None:
        """Write past the connection's buffer: in the handshake, before there is one."""
        self.plain().write(data)

    def expect_pong(self) -> "asyncio.Future[None]":
        """Wait for the PONG to the PING that is sent next."""
        pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pongs.append(pong)
        return pong

    def begin_tls(self) -> None:
        """From here on only what comes encrypted counts.

        Raises:
            ProtocolViolation: more than the greeting came unencrypted; somebody may have put it there.
        """
        if self._parser.feed(_PING) != [Control(b"PING", b"")]:  # a line was begun, which this PING has become part of
            raise ProtocolViolation("the server sent more than its greeting before TLS; the connection is not trusted")

    def end(self, error: Exception | None) -> None:
        """End the link, for this reason; does nothing when it has ended."""
        if self.over:
            return
        self.over = True
        reason = self._reason(error)
        self.ended.set_result(reason)
        for waiter in (self.info, *self.pongs):
            if waiter is not None and not waiter.done():
                waiter.set_exception(reason)
                waiter.exception()  # seen: whoever waited may have gone
        self.pongs.clear()
        if self.transport is not None:
            self.transport.abort()
        elif not self.closed.done():
            self.closed.set_result(None)
        self._owner.ended(self, reason)

    def _reason(self, error: Exception | None) -> BusError:
        if isinstance(error, BusError):
            return error
        if self._words and (error is None or isinstance(error, OSError)):
            return ServerError(self._words)
        if error is None:
            return ServerUnavailable("the server ended the connection")
        reason = ServerUnavailable(f"the connection broke: {str(error) or type(error).__name__}")
        reason.__cause__ = error
        return reason

    def _handle(self, events: list[ParserEvent]) -> None:
        owner = self._owner
        for event in events:
            if isinstance(event, Unrouted):
                continue  # a subscription that is over
            if isinstance(event, Malformed):
                violation = ProtocolViolation(f"what the server sent cannot be understood: {event.reason}")
                owner.report(violation)
                self.end(violation)
            elif event.op == b"PING":
                if owner.is_current(self):
                    owner.answer_ping()
                else:
                    self.write(_PONG)
            elif event.op == b"PONG":
                pong = self.pongs.popleft() if self.pongs else None
                if pong is not None and not pong.done():
                    pong.set_result(None)
            elif event.op == b"-ERR":
                self._said(event.argument)
            elif event.op == b"INFO":
                self._told(event.argument)
            if self.over:
                return

    def _said(self, argument: bytes) -> None:
        words = argument.decode(errors="replace").strip("'")
        if not words.lower().startswith("permissions violation"):
            self._words = words  # of a permission the server tells, and keeps the connection
        self._owner.server_said(self, words)

    def _told(self, argument: bytes) -> None:
        try:
            info: object = json.loads(argument)
        except ValueError:
            info = None
        if not isinstance(info, dict):
            violation = ProtocolViolation(f"the server's INFO is no JSON object: {argument[:80]!r}")
            self._owner.report(violation)
            self.end(violation)
            return
        told = cast("dict[str, Any]", info)
        self.server_info.update(told)
        if not self.info.done():
            self.info.set_result(told)
        elif self._owner.is_current(self):
            self._owner.heard_info(self, told)
