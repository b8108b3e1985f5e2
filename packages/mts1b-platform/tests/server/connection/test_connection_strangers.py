"""What answers at the address is no NATS server, or only half of one: dialling goes on, within its limits."""

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from mts1b_platform.eventbus.connection import Callbacks, Connection, ConnectionOptions, Credentials
from mts1b_platform.eventbus.errors import ServerUnavailable

INFO = b'INFO {"server_id":"x","version":"2.15.1","headers":true,"max_payload":1048576,"tls_required":true}\r\n'

Stranger = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(stranger: Stranger) -> AsyncGenerator[str]:
    """Somebody who answers; returns the URL."""
    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            await stranger(reader, writer)
        except OSError:
            writer.transport.abort()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


async def garbage_for_a_handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(INFO)
    await reader.read(1)
    writer.write(bytes(range(256)) * 4)
    await reader.read()


async def alert_for_a_handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(INFO)
    await reader.read(1)
    writer.write(b"\x15\x03\x03\x00\x02\x02\x28")  # handshake failure
    await reader.read()


async def hang_up_in_the_handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(INFO)
    await reader.read(1)
    writer.transport.abort()


async def hang_up_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del reader
    writer.transport.abort()


async def half_a_greeting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(INFO[:20])
    await reader.read(1)


async def nothing_in_the_handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(INFO)
    await reader.read()


async def a_web_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    await reader.read()


@pytest.mark.parametrize(
    "stranger",
    [
        garbage_for_a_handshake,
        alert_for_a_handshake,
        hang_up_in_the_handshake,
        hang_up_at_once,
        half_a_greeting,
        nothing_in_the_handshake,
        a_web_server,
    ],
)
async def test_a_stranger_is_left_in_time(stranger: Stranger):
    errors: list[Exception] = []
    before = asyncio.all_tasks()
    async with listening(stranger) as url:
        tls = ssl.create_default_context()
        connection = Connection(
            ConnectionOptions(servers=(url,), credentials=lambda: Credentials(tls=tls), connect_timeout=0.3),
            callbacks=Callbacks(error=errors.append),
        )
        async with asyncio.timeout(60):
            with pytest.raises((ServerUnavailable, PermissionError)):
                await connection.connect(0.8)
        assert connection.is_closed
        assert errors
    assert {task for task in asyncio.all_tasks() - before if "answer" not in repr(task)} == set()


@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize("stranger", [hang_up_at_once, half_a_greeting, a_web_server])
async def test_a_stranger_by_websocket_is_left_in_time(stranger: Stranger, scheme: str):
    before = asyncio.all_tasks()
    async with listening(stranger) as url:
        connection = Connection(ConnectionOptions(servers=(url.replace("nats", scheme),), connect_timeout=0.3))
        async with asyncio.timeout(60):
            with pytest.raises(ServerUnavailable):
                await connection.connect(0.8)
    assert {task for task in asyncio.all_tasks() - before if "answer" not in repr(task)} == set()


def test_importing_it_brings_in_neither_nats_py_nor_aiohttp():
    look = "import sys, mts1b_platform.eventbus.connection; print(sorted({'nats', 'aiohttp'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=120)
    assert run.stdout.strip() == "[]"
