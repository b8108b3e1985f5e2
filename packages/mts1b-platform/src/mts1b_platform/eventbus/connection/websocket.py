"""A WebSocket as a transport, for people; needs the extra ``mts1b-platform[websocket]``."""

import asyncio
import socket
import ssl
from collections import deque
from typing import Final

from mts1b_platform.eventbus.connection.network import GOODBYE, WRITE_HIGH, WRITE_LOW, Transport, feed
from mts1b_platform.eventbus.errors import BusError

try:
    import aiohttp
    from aiohttp.abc import AbstractResolver, ResolveResult
except ImportError as missing:
    raise BusError(
        "ws:// and wss:// need aiohttp, which is not installed: pip install 'mts1b-platform[websocket]'"
    ) from missing

_MAX_FRAME: Final = 64 * 1024 * 1024


async def dial_websocket(
    url: str, address: str, receiver: asyncio.BufferedProtocol, context: ssl.SSLContext | None
) -> Transport:
    """Open a WebSocket; see ``Network.dial_websocket``."""
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=_OneAddress(address)))
    try:
        opened = await session.ws_connect(
            url,
            ssl=context if context is not None else True,
            max_msg_size=_MAX_FRAME,
            timeout=aiohttp.ClientWSTimeout(ws_close=GOODBYE),  # pyright: ignore[reportCallIssue] - an attrs class
        )
    except BaseException as error:
        await session.close()
        if isinstance(error, aiohttp.ClientError):
            raise _plain(error) from error
        raise
    return WebSocketTransport(session, opened, receiver)


class WebSocketTransport:
    """One open WebSocket; bytes go in binary messages. One task of its own ends when the socket is closed."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        opened: aiohttp.ClientWebSocketResponse,
        receiver: asyncio.BufferedProtocol,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._session = session
        self._socket = opened
        self._receiver = receiver
        self._waiting: deque[bytes | memoryview] = deque()
        self._waiting_bytes = 0
        self._paused = False
        self._closing = False
        self._to_do = asyncio.Event()
        self._aborted: asyncio.Future[None] = loop.create_future()
        self._task = loop.create_task(self._run())

    def write(self, data: bytes | memoryview) -> None:
        """Queue a message."""
        if self._closing:
            return
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self._to_do.set()
        if self._waiting_bytes > WRITE_HIGH and not self._paused:
            self._paused = True
            self._receiver.pause_writing()

    def close(self) -> None:
        """Send what waits, then close."""
        self._closing = True
        self._to_do.set()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        if not self._aborted.done():
            self._aborted.set_result(None)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        reader, writer = loop.create_task(self._read()), loop.create_task(self._write())
        await asyncio.wait([reader, writer, self._aborted], return_when=asyncio.FIRST_COMPLETED)
        self._closing = True
        for task in (reader, writer):
            task.cancel()
        await asyncio.wait([reader, writer])
        failures = [task.exception() for task in (writer, reader) if not task.cancelled()]
        failure = next((failure for failure in failures if isinstance(failure, Exception)), None)
        await self._session.close()
        self._receiver.connection_lost(_plain(failure) if isinstance(failure, aiohttp.ClientError) else failure)

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is aiohttp.WSMsgType.ERROR:
                raise message.data
            if self._closing:
                return
            data = message.data
            feed(self._receiver, data.encode() if isinstance(data, str) else data)

    async def _write(self) -> None:
        while True:
            while self._waiting:
                data = self._waiting.popleft()
                await self._socket.send_bytes(bytes(data))  # of bytes it is no copy
                self._waiting_bytes -= len(data)
                if self._paused and self._waiting_bytes <= WRITE_LOW:
                    self._paused = False
                    self._receiver.resume_writing()
            if self._closing:
                await self._socket.close()
                return
            self._to_do.clear()
            await self._to_do.wait()


class _OneAddress(AbstractResolver):
    """Answers with the address that is to be dialled."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The one address, whatever family is asked for."""
        del family
        its = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        return [
            ResolveResult(
                hostname=host, host=self._address, port=port, family=its, proto=0, flags=socket.AI_NUMERICHOST
            )
        ]

    async def close(self) -> None:
        """Nothing to close."""


def _plain(error: aiohttp.ClientError) -> OSError:
    """The error of the socket or of TLS that aiohttp has wrapped; its own words where there is none."""
    for name in ("certificate_error", "os_error"):  # each is of some subclasses only
        inner: object = getattr(error, name, None)
        if isinstance(inner, OSError):
            return inner
    return error if isinstance(error, OSError) else ConnectionError(str(error) or type(error).__name__)
