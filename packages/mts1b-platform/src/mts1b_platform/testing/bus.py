"""The pytest fixtures of ``mts1b_platform.testing`` that need an event loop: buses on a real server.

::

    async def test_it_books_fills(bus):
        await bus.emit(OMS_FILLS_CREATED, fill)

Needs pytest-asyncio.
"""

from collections.abc import AsyncIterator
from typing import Any, Protocol

import pytest_asyncio

from mts1b_platform.eventbus import EventBus, JetStreamUnavailable, apply_streams, connect
from mts1b_platform.server import NatsServer

__all__ = ["ConnectBus", "bus", "connect_bus"]

_PATIENCE = 20.0
"""Seconds; a machine that runs many tests may stand still for some."""


class ConnectBus(Protocol):
    """What the fixture ``connect_bus`` gives: each call is one more connection to ``nats_server``."""

    async def __call__(self, service: str | None = "mts1b-oms", **options: Any) -> EventBus:
        """A bus that speaks as ``service``; options as for ``connect``, which waits longer than by default."""
        ...


@pytest_asyncio.fixture
async def connect_bus(nats_server: NatsServer) -> AsyncIterator[ConnectBus]:
    """Connect further buses; all of them are closed when the test ends."""
    opened: list[EventBus] = []

    async def connect_one(service: str | None = "mts1b-oms", **options: Any) -> EventBus:
        options.setdefault("connect_timeout", _PATIENCE)
        made = await connect(nats_server.url, service=service, **options)
        opened.append(made)
        return made

    yield connect_one
    for one in opened:
        await one.close()


@pytest_asyncio.fixture
async def bus(connect_bus: ConnectBus) -> EventBus:
    """A bus that speaks as mts1b-oms, on a server of its own with every stream applied."""
    made = await connect_bus()
    while True:
        try:
            await apply_streams(made)
        except JetStreamUnavailable:  # the machine stood still: what is there already stays
            continue
        return made
