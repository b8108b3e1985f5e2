"""A world for the outcome tests: a server, buses, orders that are emitted, and a look at what became of them.

Who looks does so through a connection of nats-py's own, so that nothing of the bus stands between the server's word and
the assertion.
"""

import asyncio
import inspect
import json
import urllib.request
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import nats
from mts1b_foundation.deadletters import DeadLetter
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import EventBus
from mts1b_platform.server import NatsServer
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

DURABLE = "books"
STREAM = "OMS_ORDERS"
SUBJECT = "mts.v1.oms.orders.created.fund.alpha"
ENVELOPE = {"mts-schema": "mts1b_foundation.orders.Order:v1", "mts-source-repo": "mts1b-oms"}

PATIENCE = 20.0
"""Seconds for what comes at once unless the machine stands still."""
EXPECTED_TO_FAIL = 0.3
"""The same in a test that is expected to fail, which would otherwise wait in vain."""

Connect = Callable[..., Awaitable[EventBus]]
"""The fixture ``connect_bus``."""
Condition = Callable[[], bool] | Callable[[], Awaitable[bool]]


def order(number: int, **changes: Any) -> Order:
    return ORDER.model_copy(
        update={"order_id": f"order-{number}", "idempotency_key": f"intent-{number}", "fund_id": "alpha", **changes}
    )


def names(*numbers: int) -> list[str]:
    """The ids of these orders."""
    return [f"order-{number}" for number in numbers]


async def eventually(condition: Condition, within: float) -> bool:
    """Whether ``condition`` comes true in time."""
    clock = asyncio.get_running_loop()
    end = clock.time() + within
    while True:
        found = condition()
        if await found if inspect.isawaitable(found) else found:
            return True
        if clock.time() > end:
            return False
        await asyncio.sleep(0.01)


class World:
    """What an outcome test acts on and looks at."""

    def __init__(self, server: NatsServer, bus: EventBus, connect: Connect, raw: Client, patience: float) -> None:
        self.server = server
        self.patience = patience
        """Seconds to wait for what should come at once."""
        self.bus = bus
        """Speaks as mts1b-oms."""
        self.connect = connect
        self.raw = raw
        self.js: JetStreamContext = raw.jetstream(timeout=10)

    async def emit(self, *numbers: int, **changes: Any) -> None:
        """Store these orders, in this order."""
        for number in numbers:
            await self.bus.emit(OMS_ORDERS_CREATED, order(number, **changes))

    async def publish(self, subject: bytes, headers: bytes, payload: bytes) -> None:
        """Have the server take exactly these bytes, as a peer may send them that is no client of ours."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        head = b"NATS/1.0\r\n" + headers + b"\r\n"
        writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n')
        writer.write(b"HPUB %b %d %d\r\n%b%b\r\n" % (subject, len(head), len(head) + len(payload), head, payload))
        writer.write(b"PING\r\n")
        await reader.readuntil(b"PONG\r\n")
        writer.close()
        await writer.wait_closed()

    async def letters(self, durable: str = DURABLE) -> list[DeadLetter]:
        """The dead letters of this durable, oldest first."""
        state = (await self.js.stream_info("DEADLETTERS")).state
        found: list[DeadLetter] = []
        for seq in range(state.first_seq, state.last_seq + 1) if state.messages else ():
            message = await self.js.get_msg("DEADLETTERS", seq)
            letter = DeadLetter.model_validate_json(message.data or b"")
            if letter.consumer == durable:
                found.append(letter)
        return found

    async def lost(self, durable: str = DURABLE) -> list[str]:
        """The orders that this durable gave up, with the reason."""
        return [
            f"{Order.model_validate_json(letter.payload).order_id} {letter.reason.value}"
            for letter in await self.letters(durable)
        ]

    async def open(self, durable: str = DURABLE, stream: str = STREAM) -> int:
        """How many messages the server still waits for, or has not delivered to this durable."""
        try:
            info = await self.js.consumer_info(stream, durable)
        except (NatsError, NotFoundError, TimeoutError):
            return -1
        return (info.num_ack_pending or 0) + (info.num_pending or 0)

    async def comes(self, condition: Condition) -> bool:
        """Whether ``condition`` comes true in time."""
        return await eventually(condition, self.patience)

    async def all_taken(self, durable: str = DURABLE, stream: str = STREAM) -> bool:
        """Whether the server has handed out all that it stores for this durable, in time."""

        async def nothing_pending() -> bool:
            return (await self.js.consumer_info(stream, durable)).num_pending == 0

        return await eventually(nothing_pending, PATIENCE)

    async def settled(self, durable: str = DURABLE, stream: str = STREAM, within: float | None = None) -> bool:
        """Whether nothing of this durable is open any more, in time."""

        async def nothing_open() -> bool:
            return await self.open(durable, stream) == 0

        return await eventually(nothing_open, within or self.patience)


def ask_server(server: NatsServer, path: str) -> Any:
    """What the server's monitoring endpoint says; blocks."""
    with urllib.request.urlopen(f"{server.monitor_url}{path}", timeout=10) as answer:  # noqa: S310 - on loopback
        return json.load(answer)


def header_block(headers: Mapping[str, str]) -> bytes:
    """``headers`` as they stand on the wire."""
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())


@asynccontextmanager
async def opened(
    server: NatsServer, bus: EventBus, connect: Connect, patience: float = PATIENCE
) -> AsyncGenerator[World, None]:
    """The world on ``server``."""
    raw = await nats.connect(
        server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05, error_cb=_unheard, connect_timeout=20
    )
    try:
        yield World(server, bus, connect, raw, patience)
    finally:
        await raw.close()


async def _unheard(error: Exception) -> None:
    """A server that the test restarts is no news."""
    del error
