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
from mts1b_deploy.observability import RULES, render, slow_consumer
from mts1b_foundation.operations import Alert
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED, OPERATIONS_ALERTS_CLEARED, OPERATIONS_ALERTS_RAISED
from mts1b_operations.monitor.reading import Watch
from mts1b_operations.monitor.settings import DEFAULTS
from mts1b_platform.eventbus import EventBus, apply_streams
from mts1b_platform.observability import observe
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus
from mts1b_platform.testing.ports import free_ports

ROOT = Path(__file__).parents[2]
FIRING = 'ALERTS{alertname="MTS1BSlowConsumer",alertstate="firing"}'
SERVICES = {f"mts1b-{name}" for name in ("marketdata", "research", "oms", "riskengine", "brokers", "treasury")}


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def ask(self, path: str, **query: str) -> Any:
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"

        def get() -> Any:
            with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310
                return json.load(answer)["data"]

        return await asyncio.to_thread(get)

    async def query(self, expr: str) -> list[dict[str, Any]]:
        return (await self.ask("query", query=expr))["result"]

    async def samples(self, series: str) -> list[tuple[float, float]]:
        """Everything that is stored of one series: time and value."""
        (found,) = await self.query(f"{series}[1h]")
        return [(at, float(value)) for at, value in found["values"]]

    async def firing(self, name: str) -> list[dict[str, str]]:
        alerts = (await self.ask("alerts"))["alerts"]
        return [a["labels"] for a in alerts if a["state"] == "firing" and a["labels"]["alertname"] == name]


@pytest.fixture
def targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nats_server: NatsServer) -> Path:
    monkeypatch.setenv("MTS1B_METRICS_PORT", "0")
    monkeypatch.setenv("MTS1B_METRICS_DIR", str(tmp_path / "targets"))
    monkeypatch.setenv("MTS1B_NATS_URL", nats_server.url)
    (tmp_path / "targets").mkdir()
    return tmp_path / "targets"


@pytest.fixture
def lag_limit() -> float:
    """Seconds of lag that are an alert, in Prometheus and in the monitor."""
    return 30.0


@pytest.fixture
def monitor_command(tmp_path: Path, lag_limit: float) -> list[str]:
    """Runs a monitor that raises at the same lag as Prometheus."""
    command = [str(Path(sys.executable).with_name("mts1b")), "monitor", "run"]
    if lag_limit == DEFAULTS[Watch.SLOW_CONSUMER].critical:
        return command
    config = tmp_path / "monitor.toml"
    config.write_text(
        "[monitoring]\ninterval = 0.5\n[monitoring.thresholds.slow_consumer]\n"
        f"critical = {lag_limit}\nclear = 1.0\nclear_hold = 1.0\n"
    )
    return [*command, "--config", str(config)]


@pytest.fixture
async def prometheus(tmp_path: Path, targets: Path, lag_limit: float) -> AsyncIterator[Prometheus]:
    found = await asyncio.to_thread(
        subprocess.run, [ROOT / "scripts/get-prometheus.sh"], capture_output=True, text=True, check=False, timeout=300
    )
    assert found.returncode == 0, found.stderr
    rules = [slow_consumer(lag_limit) if rule.name == "MTS1BSlowConsumer" else rule for rule in RULES]
    render(tmp_path, targets=targets, scrape_interval="1s", rules=rules)
    log = tmp_path / "prometheus.log"
    (port,) = free_ports(1)
    process = start_prometheus(Path(found.stdout.strip()), port, tmp_path, log)

    async def answers() -> Prometheus | None:
        nonlocal port, process
        if process.poll() is not None:
            assert "address already in use" in log.read_text(), log.read_text()
            (port,) = free_ports(1)
            process = start_prometheus(Path(found.stdout.strip()), port, tmp_path, log)
        made = Prometheus(f"http://127.0.0.1:{port}")
        await made.query("1")
        return made if process.poll() is None else None

    try:
        yield await until(answers, what=f"Prometheus answers, see {log}")
    finally:
        process.terminate()
        process.wait(60)


def start_prometheus(binaries: Path, port: int, directory: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as errors:
        return subprocess.Popen(
            [
                binaries / "prometheus",
                f"--config.file={directory}/prometheus/prometheus.yml",
                f"--storage.tsdb.path={directory}/tsdb",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )


async def until(ask: Callable[[], Any], *, what: str, within: float = 120.0) -> Any:
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
            await asyncio.to_thread(process.wait, 60)
        except subprocess.TimeoutExpired:  # a desk with orders under way takes its time
            os.killpg(process.pid, signal.SIGKILL)
            await asyncio.to_thread(process.wait, 60)


async def read_alerts(bus: EventBus, into: list[Alert]) -> None:
    async for event in bus.consume(OPERATIONS_ALERTS_RAISED, OPERATIONS_ALERTS_CLEARED, durable="pager"):
        async with event:
            if event.payload.name == "slow_consumer":
                into.append(event.payload)


@pytest.mark.slow(seconds=10)
@pytest.mark.timeout(400)
@pytest.mark.parametrize("lag_limit", [5.0, pytest.param(30.0, marks=pytest.mark.chaos)])
async def test_a_consumer_stopped_for_longer_than_it_may_lag_is_alerted_and_clears_after_catching_up(
    bus: EventBus, connect_bus: ConnectBus, prometheus: Prometheus, monitor_command: list[str], lag_limit: float
):
    await apply_streams(bus)
    orders = bus.consume(OMS_ORDERS_CREATED, durable="stopped")
    await orders.start()
    told: list[Alert] = []
    pager = asyncio.create_task(read_alerts(await connect_bus("mts1b-treasury"), told))
    async with observe(bus), running(*monitor_command) as monitor:
        await until(lambda: prometheus.query("nats_consumer_lag_seconds"), what="the monitor is scraped")
        await bus.emit(OMS_ORDERS_CREATED, ORDER)
        await until(lambda: prometheus.query(FIRING), what="Prometheus fires")
        (labels,) = await prometheus.firing("MTS1BSlowConsumer")
        assert labels["consumer"] == "stopped"
        await until(lambda: asyncio.sleep(0, told), what="the monitor raises")
        # Judged by what Prometheus has stored, as this process sees it later when the machine stands still.
        lags = await prometheus.samples('nats_consumer_lag_seconds{consumer="stopped"}')
        fired = (await prometheus.samples(FIRING))[0][0]
        over = [(at, lag) for at, lag in lags if lag > lag_limit]
        assert any(lag_limit / 2 < lag <= lag_limit for _, lag in lags)
        assert over[0][0] <= fired, "it fired before the lag was over the limit"
        assert len([at for at, _ in over if at < fired]) <= 10, "it was judged ten times and did not fire"
        assert (told[0].target, told[0].cleared_at) == ("OMS_ORDERS/stopped", None)
        assert lag_limit < told[0].value <= over[0][1], "the monitor raised at another look than the first over it"

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


@pytest.mark.slow(seconds=10)
@pytest.mark.timeout(400)
async def test_prometheus_scrapes_the_desk(bus: EventBus, prometheus: Prometheus):
    await apply_streams(bus)
    command = (sys.executable, "-m", "mts1b_desk", "run", "--speed", "60", "--seed", "1", "--start-within", "300")
    async with running(*command):

        async def every_service() -> bool:
            up = await prometheus.query('up{job="mts1b"} == 1')
            return {series["metric"]["service"] for series in up} >= SERVICES

        await until(every_service, what="every service is up")
        for subject in ("marketdata.quotes.{symbol}", "oms.orders.created", "treasury.nav.{fund_id}"):
            published = f'nats_publish_total{{subject="mts.v2.{subject}"}} > 0'
            await until(lambda query=published: prometheus.query(query), what=f"{subject} was published and scraped")
        for name in ("nats_publish_ack_seconds_count", "nats_handler_seconds_count", "nats_consume_total"):
            assert await prometheus.query(f"{name} > 0")
        assert not await prometheus.firing("MTS1BServiceDown")
