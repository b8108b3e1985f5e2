"""The world as it is: sockets of this machine, the event loop's time, the operating system's chance."""

import asyncio
import random
import secrets
import socket
import ssl
import time
from collections.abc import Callable
from typing import cast

from mts1b_platform.eventbus.connection.network import GOODBYE, WRITE_HIGH, WRITE_LOW, Timer, Transport


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
