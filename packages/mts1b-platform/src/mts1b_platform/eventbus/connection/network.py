"""What a connection takes from the world around it: a network, a clock and chance.

They are handed in, so that tests and simulations run the connection without sockets and on a time of their own. The
connection asks nothing else: no ``time``, no ``random``, no timeouts of asyncio's.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, Protocol

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

    def write(self, data: bytes | memoryview) -> None:
        """Send ``data`` after all that was written before; never blocks. The bytes of a view stay as they are."""
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
        """22 characters, letters and digits, which cannot be guessed."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """A number between ``low`` and ``high``."""
        ...


def feed(receiver: asyncio.BufferedProtocol, data: bytes) -> None:
    """Give ``data`` to ``receiver`` as a socket would: for transports that are no sockets."""
    rest = memoryview(data)
    while rest:
        buffer = memoryview(receiver.get_buffer(len(rest)))  # pyright: ignore[reportArgumentType] - typeshed says Any
        size = min(len(buffer), len(rest))
        buffer[:size] = rest[:size]
        rest = rest[size:]
        receiver.buffer_updated(size)
