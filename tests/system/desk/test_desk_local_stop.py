"""Stopping a broker's adapter on its host while the bus is dead."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from mts1b_desk.cores.broker import Broker
from mts1b_desk.services.brokers import BrokersService
from mts1b_desk.settings import DeskSettings
from mts1b_desk.state.sqlite import SqliteStore
from mts1b_foundation.orders import OrderStatus, OrderV2, Side, TimeInForce
from mts1b_foundation.subjects import BROKERS_HALT_RESUMED, BROKERS_ORDERS_CANCELED, OMS_ORDERS_ACCEPTED_V2
from mts1b_operations.halt import HaltError, clear_halt, halts_in_force
from mts1b_platform.cli import run
from mts1b_platform.eventbus import EventBus, apply_streams, connect
from mts1b_platform.server import NatsServer

PROMISED = 1.0
"""Seconds within which an adapter obeys."""
SETTINGS = DeskSettings(session="s1", time_in_force=TimeInForce.DAY)


def order(number: int) -> OrderV2:
    now = datetime.now(UTC)
    return OrderV2(
        order_id=f"s1.{number}", idempotency_key=f"s1.{number}", fund_id="alpha", actor="test", symbol="X",
        side=Side.BUY, quantity=Decimal(1), time_in_force=TimeInForce.DAY, status=OrderStatus.ACCEPTED, broker="paper",
        created_at=now, updated_at=now,
    )  # fmt: skip


@asynccontextmanager
async def adapter(bus: EventBus, path: Path) -> AsyncGenerator[BrokersService]:
    store = SqliteStore(path, session="s1", repo="mts1b-brokers", actor="test")
    service = BrokersService(Broker(SETTINGS), bus, SETTINGS, store)
    running = asyncio.create_task(service.run())
    try:
        await until(lambda: service.ready)
        yield service
    finally:
        service.stop()
        await running


async def until(done: Callable[[], object]) -> float:
    began = time.monotonic()
    async with asyncio.timeout(60):
        while not done():  # noqa: ASYNC110 - asked about what has no event
            await asyncio.sleep(0.01)
    return time.monotonic() - began


@pytest.fixture
def stop_file(tmp_path: Path, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "stop here"
    monkeypatch.setenv("MTS1B_STOP_FILE", str(path))
    monkeypatch.setenv("MTS1B_NATS_URL", nats_server.url)
    monkeypatch.setenv("MTS1B_CONNECT_TIMEOUT", "0.5")
    return path


async def test_an_adapter_obeys_a_file_while_the_bus_is_dead_and_says_so_when_it_is_back(
    nats_server: NatsServer, tmp_path: Path, stop_file: Path, capsys: pytest.CaptureFixture[str]
):
    async with await connect(service="mts1b-operations", connect_timeout=30) as operations:
        await apply_streams(operations)
        oms = await connect(service="mts1b-oms", connect_timeout=30)
        bus = await connect(service="mts1b-brokers", connect_timeout=30)
        async with adapter(bus, tmp_path / "b.db") as service:
            await oms.emit(OMS_ORDERS_ACCEPTED_V2, order(1))
            await until(lambda: service.core.orders)
            nats_server.kill()
            assert await asyncio.to_thread(run, ["halt", "request", "--all", "--reason", "prices run away"]) == 1
            assert "mts1b halt here --reason" in capsys.readouterr().err
            assert await asyncio.to_thread(run, ["halt", "here", "--reason", "prices run away"]) == 0
            assert await until(lambda: service.core.stops and not service.core.orders) < PROMISED
            await nats_server.restart()
            async with (
                operations.consume(BROKERS_ORDERS_CANCELED, durable="t") as canceled,
                await anext(canceled) as event,
            ):
                assert event.payload.client_order_id == "s1.1"
                assert "stopped on its host: prices run away" in event.payload.reason
            (halt,) = await halts_in_force(operations)
            assert halt.on_host
            assert str(stop_file) in halt.request.reason
            with pytest.raises(HaltError, match="mts1b halt here --clear"):
                await clear_halt(operations, halt.request.halt_id, reason="over", actor="t")

            assert await asyncio.to_thread(run, ["halt", "here", "--clear"]) == 0
            async with operations.consume(BROKERS_HALT_RESUMED, durable="t") as resumed, await anext(resumed):
                assert await halts_in_force(operations) == ()
            await oms.emit(OMS_ORDERS_ACCEPTED_V2, order(2))
            await until(lambda: list(service.core.orders) == ["s1.2"])
        await oms.close()


@pytest.mark.usefixtures("stop_file")
async def test_an_adapter_obeys_a_signal_without_a_file(nats_server: NatsServer, tmp_path: Path):
    async with await connect(service="mts1b-oms", connect_timeout=30) as oms:
        await apply_streams(oms)
        async with adapter(await connect(service="mts1b-brokers", connect_timeout=30), tmp_path / "b.db") as service:
            await oms.emit(OMS_ORDERS_ACCEPTED_V2, order(1))
            await until(lambda: service.core.orders)
            nats_server.kill()
            os.kill(os.getpid(), signal.SIGUSR1)
            assert await until(lambda: service.core.stops and not service.core.orders) < PROMISED
            await nats_server.restart()


async def test_an_adapter_that_starts_while_the_file_is_there_takes_no_order(tmp_path: Path, stop_file: Path):
    await asyncio.to_thread(stop_file.write_text, "")
    async with await connect(service="mts1b-oms", connect_timeout=30) as oms:
        await apply_streams(oms)
        async with adapter(await connect(service="mts1b-brokers", connect_timeout=30), tmp_path / "b.db") as service:
            assert [stop.reason for stop in service.core.stops.values()] == [f"no reason was given ({stop_file})"]
            await oms.emit(OMS_ORDERS_ACCEPTED_V2, order(1))
            await until(lambda: sum(service.bus.counters.published.values()) >= 2)
            assert not service.core.orders
