"""An ``-ERR`` is words; the end of the socket decides. What was asked for too much fails, and nothing else."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
import pytest_asyncio
from mts1b_foundation.samples import NAV
from mts1b_foundation.subjects import OMS_ORDERS_CREATED, TREASURY_NAV
from mts1b_platform.eventbus import BusError, EventBus, PublishError, apply_streams, connect
from mts1b_platform.server import NatsServer
from mts1b_platform.testing import StartNatsServer
from outcome_world import eventually, order

LIMIT = 64 * 1024


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The configuration of ``limited``."""
    path = tmp_path / "nats.conf"
    path.write_text("max_subscriptions: 20\n")
    return path


@pytest.fixture
def limited(start_nats_server: StartNatsServer, config: Path) -> NatsServer:
    """A server that takes few subscriptions of a connection, and whose limits can be lowered."""
    return start_nats_server(config=config)


def lower(server: NatsServer, config: Path) -> None:
    """Have the running server take smaller payloads."""
    assert server.pid is not None
    assert server.info is not None
    config.write_text(f"{config.read_text()}server_name: {server.info.server_name}\nmax_payload: {LIMIT}\n")
    os.kill(server.pid, signal.SIGHUP)


@pytest_asyncio.fixture
async def treasury(limited: NatsServer) -> AsyncIterator[EventBus]:
    """Publishes net asset values."""
    bus = await connect(limited.url, service="mts1b-treasury", connect_timeout=20)
    await apply_streams(bus)
    yield bus
    await bus.close()


async def test_an_event_over_a_lowered_limit_fails_alone(limited: NatsServer, config: Path, treasury: EventBus):
    await treasury.emit(TREASURY_NAV, NAV)
    lower(limited, config)

    async def lowered() -> bool:
        look = await nats.connect(limited.url)
        try:
            return look.max_payload == LIMIT
        finally:
            await look.close()

    assert await eventually(lowered, 20)
    large = NAV.model_copy(update={"sequence": 2, "positions": NAV.positions * 1500})
    with pytest.raises(PublishError, match=r"(?i)payload"):
        async with asyncio.timeout(5):
            await treasury.emit(TREASURY_NAV, large, deadline=1)
    async with asyncio.timeout(5):
        await treasury.emit(TREASURY_NAV, NAV.model_copy(update={"sequence": 3}))


async def test_a_subscription_over_the_limit_fails_alone(limited: NatsServer, treasury: EventBus):
    refused: list[BusError] = []

    async def listen(number: int) -> None:
        try:
            async for _ in treasury.listen(OMS_ORDERS_CREATED, fund_id=f"fund-{number}"):
                pass
        except BusError as error:
            refused.append(error)

    listeners = [asyncio.create_task(listen(number)) for number in range(25)]
    try:
        await eventually(lambda: len(refused) >= 5, 1)
        async with asyncio.timeout(5):
            await treasury.emit(TREASURY_NAV, NAV)
        async with await connect(limited.url, service="mts1b-oms", connect_timeout=20) as oms:
            await oms.emit(OMS_ORDERS_CREATED, order(0))
        assert 0 < len(refused) < len(listeners)
        assert all("subscriptions" in str(error) for error in refused)
    finally:
        for task in listeners:
            task.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)
