"""A real Prometheus scrapes real services, and its alerts fire and clear."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from mts1b_deploy.observability import render
from mts1b_foundation.operations import Alert
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED, OPERATIONS_ALERTS_CLEARED, OPERATIONS_ALERTS_RAISED
from mts1b_platform.eventbus import EventBus, apply_streams
from mts1b_platform.observability import observe
from mts1b_platform.server import NatsServer
from mts1b_platform.testing_bus import ConnectBus

ROOT = Path(__file__).parents[1]
SERVICES = {f"mts1b-{name}" for name in ("marketdata", "research", "oms", "riskengine", "brokers", "treasury")}


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def ask(self, path: str, **query: str) -> Any:
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"

        def get() -> Any:
            with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
                return json.load(answer)["data"]

        return await asyncio.to_thread(get)

    async def query(self, expr: str) -> list[dict[str, Any]]:
        return (await self.ask("query", query=expr))["result"]

    async def firing(self, name: str) -> list[dict[str, str]]:
        alerts = (await self.ask("alerts"))["alerts"]
        return [a["labels"] for a in alerts if a["state"] == "firing" and a["labels"]["alertname"] == name]


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nats_server: NatsServer) -> Path:
    monkeypatch.setenv("MTS1B_METRICS_PORT", "0")
    monkeypatch.setenv("MTS1B_METRICS_DIR", str(tmp_path / "targets"))
    monkeypatch.setenv("MTS1B_NATS_URL", nats_server.url)
    (tmp_path / "targets").mkdir()
    return tmp_path / "targets"


@pytest.fixture
async def prometheus(tmp_path: Path, targets: Path) -> AsyncIterator[Prometheus]:
    found = await asyncio.to_thread(
        subprocess.run, [ROOT / "scripts/get-prometheus.sh"], capture_output=True, text=True, check=False, timeout=110
    )
    assert found.returncode == 0, found.stderr
    render(tmp_path, targets=targets, scrape_interval="1s")
    port = free_port()
    log = (tmp_path / "prometheus.log").open("wb")
    process = subprocess.Popen(  # noqa: ASYNC220 - started once
        [
            Path(found.stdout.strip()) / "prometheus",
            f"--config.file={tmp_path}/prometheus/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/tsdb",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=log,
    )
    log.close()
    made = Prometheus(f"http://127.0.0.1:{port}")
    try:
        await until(lambda: made.query("1"), what=f"Prometheus answers, see {tmp_path}/prometheus.log")
        yield made
    finally:
        process.terminate()
        process.wait(20)


async def until(ask: Callable[[], Any], *, what: str, within: float = 30.0) -> Any:
    """Ask again until the answer is something."""
    end = time.monotonic() + within
    while True:
        with contextlib.suppress(OSError):
            if answer := await ask():
                return answer
        assert time.monotonic() < end, f"not within {within:g} s: {what}"
        await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def running(*command: str) -> AsyncGenerator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env=os.environ.copy(), start_new_session=True)  # noqa: ASYNC220
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(process.wait, 20)
        except subprocess.TimeoutExpired:  # a desk with orders under way takes its time
            os.killpg(process.pid, signal.SIGKILL)
            await asyncio.to_thread(process.wait, 20)


async def read_alerts(bus: EventBus, into: list[Alert]) -> None:
    async for event in bus.consume(OPERATIONS_ALERTS_RAISED, OPERATIONS_ALERTS_CLEARED, durable="pager"):
        async with event:
            into.append(event.payload)


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_consumer_stopped_for_31_seconds_is_alerted_and_clears_after_catching_up(
    bus: EventBus, connect_bus: ConnectBus, prometheus: Prometheus
):
    await apply_streams(bus)
    orders = bus.consume(OMS_ORDERS_CREATED, durable="stopped")
    await orders.start()
    told: list[Alert] = []
    pager = asyncio.create_task(read_alerts(await connect_bus("mts1b-treasury"), told))
    async with observe(bus), running(str(Path(sys.executable).with_name("mts1b")), "monitor", "run") as monitor:
        await until(lambda: prometheus.query("nats_consumer_lag_seconds"), what="the monitor is scraped")
        await bus.emit(OMS_ORDERS_CREATED, ORDER)
        stopped = time.monotonic()
        await until(lambda: prometheus.query("nats_consumer_lag_seconds > 20"), what="lag of 20 s")
        assert not await prometheus.firing("MTS1BSlowConsumer")
        assert not told
        (labels,) = await until(lambda: prometheus.firing("MTS1BSlowConsumer"), what="Prometheus fires")
        fired = time.monotonic() - stopped
        assert 30 < fired < 40
        assert labels["consumer"] == "stopped"
        await until(lambda: asyncio.sleep(0, told), what="the monitor raises")
        assert time.monotonic() - stopped < 42
        assert (told[0].name, told[0].target, told[0].cleared_at) == ("slow_consumer", "OMS_ORDERS/stopped", None)
        assert told[0].value > 30

        async with await anext(orders):
            pass

        async def quiet() -> bool:
            return not await prometheus.firing("MTS1BSlowConsumer")

        await until(quiet, what="Prometheus clears")
        await until(lambda: asyncio.sleep(0, told[1:]), what="the monitor clears")
        assert told[1].alert_id == told[0].alert_id
        assert told[1].cleared_at is not None
        assert monitor.poll() is None
    await orders.stop()
    pager.cancel()


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_prometheus_scrapes_the_desk(bus: EventBus, prometheus: Prometheus):
    await apply_streams(bus)
    command = (sys.executable, "-m", "mts1b_desk", "run", "--speed", "60", "--seed", "1")
    async with running(*command):

        async def every_service() -> bool:
            up = await prometheus.query('up{job="mts1b"} == 1')
            return {series["metric"]["service"] for series in up} >= SERVICES

        await until(every_service, what="every service is up", within=60)
        navs = 'nats_publish_total{subject="mts.v1.treasury.nav.{fund_id}"} > 0'
        await until(lambda: prometheus.query(navs), what="a NAV was published and scraped", within=60)
        for name in ("nats_publish_ack_seconds_count", "nats_handler_seconds_count", "nats_consume_total"):
            assert await prometheus.query(f"{name} > 0")
        series = await prometheus.query("count by (subject) (nats_publish_total)")
        assert {"mts.v1.marketdata.quotes.{symbol}", "mts.v1.oms.orders.created"} <= {
            one["metric"]["subject"] for one in series
        }
        assert not await prometheus.firing("MTS1BServiceDown")
