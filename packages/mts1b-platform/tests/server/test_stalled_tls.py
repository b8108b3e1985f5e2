"""A server that greets and then leaves the TLS handshake undone: nothing waits for it for ever."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from mts1b_platform.eventbus import ServerUnavailable, connect
from mts1b_platform.server import NatsServer

INFO = b'INFO {"server_id":"x","version":"2.14.5","headers":true,"max_payload":1048576,"tls_required":true}\r\n'


@asynccontextmanager
async def greeting(port: int = 0) -> AsyncGenerator[tuple[int, asyncio.Event]]:
    """A port where somebody greets and says nothing more, and whether a handshake has begun."""
    begun = asyncio.Event()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(INFO)
        await reader.read(1)
        begun.set()
        await reader.read()
        writer.transport.abort()

    server = await asyncio.start_server(greet, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1], begun
    finally:
        server.close()


@pytest.mark.parametrize("scheme", ["nats", "tls"])
@pytest.mark.parametrize("patience", [0.5, 1.99, 3.0])
async def test_connecting_ends_in_time(patience: float, scheme: str):
    async with greeting() as (port, _), asyncio.timeout(60):
        with pytest.raises(ServerUnavailable):
            await connect(f"{scheme}://127.0.0.1:{port}", connect_timeout=patience)


async def test_a_bus_that_reconnects_to_it_is_closed(nats_server: NatsServer):
    bus = await connect(nats_server.url)
    port = nats_server.port
    nats_server.kill()
    async with greeting(port) as (_, begun), asyncio.timeout(60):
        await begun.wait()
        await bus.close()
    assert bus.is_closed
