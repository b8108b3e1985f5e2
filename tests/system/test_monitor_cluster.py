"""The monitor on a cluster: lag is seen through every member, and the loss of the quorum is noticed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_operations.lag import consumer_lags
from mts1b_operations.monitor import Monitor, MonitorSettings
from mts1b_operations.monitor.reading import Watch
from mts1b_operations.monitor.settings import Threshold
from mts1b_platform.eventbus import BusError, EventBus, apply_streams, connect
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.ports import free_ports

pytestmark = [pytest.mark.slow(seconds=10), pytest.mark.timeout(400)]

CONFIG = """
cluster {{ name: mts1b, listen: "127.0.0.1:{port}", routes: [{routes}] }}
"""


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[list[NatsServer]]:
    members = await started(tmp_path / "cluster", attempts=5)
    yield members
    await stop(members)


def made(directory: Path) -> list[NatsServer]:
    """Three servers that look for each other."""
    directory.mkdir()
    ports = free_ports(3)
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
    members: list[NatsServer] = []
    for number, port in enumerate(ports):
        config = directory / f"member-{number}.conf"
        config.write_text(CONFIG.format(port=port, routes=routes))
        members.append(NatsServer(directory / f"member-{number}", config=config, timeout=60))
    return members


async def started(directory: Path, attempts: int) -> list[NatsServer]:
    """Three that run, on other ports when one was taken meanwhile."""
    members = made(directory)
    outcomes = await asyncio.gather(*(member.start() for member in members), return_exceptions=True)
    failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if not failed:
        return members
    taken = any("address already in use" in member.log() for member in members)
    await stop(members)
    if taken and attempts > 1:
        return await started(directory / "again", attempts - 1)
    raise failed[0]


async def stop(members: list[NatsServer]) -> None:
    await asyncio.gather(*(member.stop() for member in members))


async def ready(bus: EventBus) -> None:
    """Streams with three replicas, once the cluster has a leader."""
    while True:
        try:
            await apply_streams(bus, profile="production")
        except BusError:
            await asyncio.sleep(0.2)
        else:
            return


async def test_lag_is_seen_through_every_member_and_a_lost_quorum_is_an_alert(cluster: list[NatsServer]):
    urls = [member.url for member in cluster]
    async with await connect(urls[0], service="mts1b-oms") as oms:
        await ready(oms)
        await oms.emit(OMS_ORDERS_CREATED, ORDER)
        await oms.consume(OMS_ORDERS_CREATED, durable="t").start()
        for url in urls:
            async with await connect(url) as bus:
                (lag,) = await consumer_lags(bus)
                assert (lag.consumer, lag.messages) == ("t", 1)
        async with await connect(urls[0], service="mts1b-operations", ping_interval=60) as operations:
            thresholds = {Watch.SERVER: Threshold(critical=20, clear=10, clear_hold=0)}
            monitor = Monitor(operations, MonitorSettings(probe_timeout=30, thresholds=thresholds), sinks=[])
            assert await monitor.look() == []
            monitor.settings = MonitorSettings(probe_timeout=5, thresholds=thresholds)
            for member in cluster[1:]:
                member.kill()
            # without a quorum other looks may fail as well; this is the one that must not be missing
            raised = next(alert for alert in await monitor.look() if alert.name == "server_health")
            assert raised.severity.value == "critical"
            assert operations.is_connected
            await asyncio.gather(*(member.restart() for member in cluster[1:]))
            cleared: set[str] = set()
            while raised.alert_id not in cleared:
                cleared |= {alert.alert_id for alert in await monitor.look() if alert.cleared_at is not None}
