"""What a connection takes from the world around it: a network, a clock and chance.

They are handed in, so that tests and simulations run the connection without sockets and on a time of their own. The
connection asks nothing else: no ``time``, no ``random``, no timeouts of asyncio's.
"""

import asyncio
import random
import secrets
import socket
import ssl
import time
from collections.abc import Callable
from typing import Final, Protocol, cast

WRITE_HIGH: Final = 64 * 1024
"""Bytes that a transport holds for the operating system before it asks the connection to pause."""
WRITE_LOW: Final = 16 * 1024
"""Bytes at which it asks the connection to go on."""
GOODBYE: Final = 2.0
"""Most seconds that a TLS connection waits for the other side to say goodbye."""


class Transport(Protocol):
    """One open socket; ``asyncio.Transport`` is one.

    It tells its receiver, an ``asyncio.BufferedProtocol``, what arrives, when to pause writing and to go on, and once
    that it is closed.
    """

    def write(self, data: bytes) -> None:
        """Send ``data`` after all that was written before; never blocks."""
        ...

    def close(self) -> None:
        """Stop reading, send what was written, then close."""
        ...

    def abort(self) -> None:
        """Close at once; what was not sent yet is lost."""
        ...


class Network(Protocol):
    """Makes transports. None of its calls limits its own time: the caller cancels it."""

    async def resolve(self, host: str, port: int) -> list[str]:
        """Look up the addresses of ``host``, the best one first.

        Raises:
            OSError: there is none.
        """
        ...

    async def dial(self, address: str, port: int, receiver: asyncio.BufferedProtocol) -> Transport:
        """Open a TCP connection to one address.

        Raises:
            OSError: it cannot be opened.
        """
        ...

    async def secure(
        self, transport: Transport, receiver: asyncio.BufferedProtocol, context: ssl.SSLContext, server_name: str
    ) -> Transport:
        """Turn an open transport into one with TLS, and return that.

        Raises:
            OSError: the handshake failed, or the other side hung up.
        """
        ...

    async def dial_websocket(
        self, url: str, address: str, receiver: asyncio.BufferedProtocol, context: ssl.SSLContext | None
    ) -> Transport:
        """Open a WebSocket to ``url`` at one address of its host.

        Raises:
            OSError: it cannot be opened.
            BusError: this installation lacks the library for it.
        """
        ...


class Timer(Protocol):
    """What is to happen later."""

    def cancel(self) -> None:
        """Have it not happen; does nothing when it did."""
        ...


class Clock(Protocol):
    """The time, and what happens at a time."""

    def now(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def wall(self) -> float:
        """Seconds since 1970, as the machine's clock has them."""
        ...

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback`` in the event loop, ``delay`` seconds from now."""
        ...


class Chance(Protocol):
    """Where random choices come from."""

    def token(self) -> str:
        """22 characters, of letters and digits, that nobody can guess."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """A number between ``low`` and ``high``."""
        ...


class AsyncioNetwork:
    """The network of this machine, through the running event loop."""

    async def resolve(self, host: str, port: int) -> list[str]:
        """Look up the addresses of ``host``; see :meth:`Network.resolve`."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [str(entry[4][0]) for entry in found]

    async def dial(self, address: str, port: int, receiver: asyncio.BufferedProtocol) -> Transport:
        """Open a TCP connection; see :meth:`Network.dial`."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: receiver, address, port)
        transport.set_write_buffer_limits(WRITE_HIGH, WRITE_LOW)
        return transport

    async def secure(
        self, transport: Transport, receiver: asyncio.BufferedProtocol, context: ssl.SSLContext, server_name: str
    ) -> Transport:
        """Start TLS; see :meth:`Network.secure`."""
        secured = await asyncio.get_running_loop().start_tls(
            cast("asyncio.Transport", transport),
            receiver,
            context,
            server_hostname=server_name,
            ssl_shutdown_timeout=GOODBYE,
        )
        if secured is None:
            raise ConnectionResetError("the server hung up during the TLS handshake")
        secured.set_write_buffer_limits(WRITE_HIGH, WRITE_LOW)
        return secured

    async def dial_websocket(
        self, url: str, address: str, receiver: asyncio.BufferedProtocol, context: ssl.SSLContext | None
    ) -> Transport:
        """Open a WebSocket; see :meth:`Network.dial_websocket`."""
        from mts1b_platform.eventbus.connection.websocket import dial_websocket  # only people need it

        return await dial_websocket(url, address, receiver, context)


class LoopClock:
    """The time of an event loop and of this machine."""

    __slots__ = ("_loop",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        """The loop's time."""
        return self._loop.time()

    def wall(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback`` in ``delay`` seconds."""
        return self._loop.call_later(delay, callback)


class SystemChance:
    """The operating system's random numbers for what must not be guessed, Python's for jitter."""

    __slots__ = ()

    def token(self) -> str:
        """22 hexadecimal digits."""
        return secrets.token_hex(11)

    def uniform(self, low: float, high: float) -> float:
        """A number between ``low`` and ``high``."""
        return random.uniform(low, high)  # noqa: S311 - jitter


def feed(receiver: asyncio.BufferedProtocol, data: bytes) -> None:
    """Give ``data`` to ``receiver`` as a socket would: for transports that are no sockets."""
    rest = memoryview(data)
    while rest:
        buffer = memoryview(receiver.get_buffer(len(rest)))  # pyright: ignore[reportArgumentType] - typeshed says Any
        size = min(len(buffer), len(rest))
        buffer[:size] = rest[:size]
        rest = rest[size:]
        receiver.buffer_updated(size)
