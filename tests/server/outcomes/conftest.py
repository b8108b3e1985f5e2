"""Fixtures of the outcome tests; the folder goes on the path so that they can import their helpers."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from mts1b_platform.eventbus import EventBus
from mts1b_platform.server import NatsServer

sys.path.insert(0, str(Path(__file__).parent))

from outcome_world import EXPECTED_TO_FAIL, PATIENCE, Connect, World, opened


@pytest.fixture
def patience(request: pytest.FixtureRequest) -> float:
    """Seconds to wait for what should come at once."""
    return EXPECTED_TO_FAIL if request.node.get_closest_marker("xfail") else PATIENCE


@pytest_asyncio.fixture
async def world(bus: EventBus, connect_bus: Connect, nats_server: NatsServer, patience: float) -> AsyncIterator[World]:
    """A real server with every stream applied, buses on it, and a client of nats-py's own that looks at it."""
    async with opened(nats_server, bus, connect_bus, patience) as made:
        yield made
