"""Shared by the platform's tests."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from mts1b_platform.eventbus.connection import Connection, ConnectionOptions
from mts1b_platform.eventbus.errors import NoResponders, RequestTimeout, ServerUnavailable
from mts1b_platform.server import NatsServer

WAIT = 60.0
"""Seconds to wait for what comes at once unless the machine stands still."""


@pytest.fixture
def free_url() -> Iterator[str]:
    """A URL where nothing listens, nor will while the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"nats://127.0.0.1:{taken.getsockname()[1]}"


@pytest_asyncio.fixture
async def standstill(nats_server: NatsServer) -> AsyncIterator[Callable[[], float]]:
    """Call it for the longest time, in seconds, that this process and the server took for a round trip since the last
    call. A test whose subject is time forgives the bus what the machine has done.
    """
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection("127.0.0.1", nats_server.port)
    writer.write(b'CONNECT {"verbose":false}\r\n')
    longest, began = 0.0, loop.time()

    async def measure() -> None:
        nonlocal longest, began
        while True:
            writer.write(b"PING\r\n")
            await reader.readuntil(b"PONG\r\n")
            await asyncio.sleep(0.01)
            longest, began = max(longest, loop.time() - began), loop.time()

    def since_the_last_call() -> float:
        nonlocal longest
        answer, longest = max(longest, loop.time() - began), 0.0
        return answer

    measuring = asyncio.create_task(measure())
    yield since_the_last_call
    measuring.cancel()
    writer.close()
    await writer.wait_closed()


@pytest_asyncio.fixture
async def connection(nats_server: NatsServer) -> AsyncIterator[Connection]:
    """A bare connection to ``nats_server``, without a bus around it."""
    made = Connection(ConnectionOptions(servers=(nats_server.url,), reconnect_wait=0.02))
    await made.connect(WAIT)
    yield made
    await made.close()


@pytest.fixture
def js(connection: Connection) -> Callable[..., Awaitable[dict[str, Any]]]:
    """Asks the server's JetStream API: ``await js("STREAM.CREATE.S", name="S", subjects=["s.>"])``.

    It asks again while the server is restarted: every question of these tests may be asked twice.
    """

    async def ask(verb: str, **body: Any) -> dict[str, Any]:
        async with asyncio.timeout(WAIT):
            while True:
                try:
                    question = json.dumps(body).encode() if body else b""
                    answer = await connection.request(f"$JS.API.{verb}", question, timeout=WAIT)
                except (ServerUnavailable, NoResponders, RequestTimeout):
                    await asyncio.sleep(0.01)
                    continue
                document: dict[str, Any] = json.loads(answer.payload)
                assert "error" not in document, document
                return document

    return ask
