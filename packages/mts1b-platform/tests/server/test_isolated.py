"""A node that its cluster does not reach answers PINGs and takes what is published: clients go to another one."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_FILLED
from mts1b_platform.eventbus import apply_streams, connect
from mts1b_platform.eventbus.connection import isolation
from mts1b_platform.server import NatsServer, find_server
from mts1b_platform.server.probe import read_info
from mts1b_platform.testing.ports import free_ports


@pytest.fixture
def island(tmp_path: Path) -> Iterator[str]:
    """URL of a node of three whose fellows are away: it has JetStream, and no leader of anything."""
    port, own, other, third = free_ports(4)
    config = tmp_path / "island.conf"
    config.write_text(
        f'server_name: island\nlisten: "127.0.0.1:{port}"\njetstream {{ store_dir: "{tmp_path}/island" }}\n'
        f'cluster {{ name: c, listen: "127.0.0.1:{own}", routes: [ "nats://127.0.0.1:{other}", '
        f'"nats://127.0.0.1:{third}" ] }}\n'
    )
    node = subprocess.Popen([find_server().path, "-c", config], stderr=subprocess.DEVNULL)
    try:
        while read_info("127.0.0.1", port) is None:
            assert node.poll() is None, "the server has ended"
            time.sleep(0.01)
        yield f"nats://127.0.0.1:{port}"
    finally:
        node.kill()
        node.wait()


async def test_an_event_goes_by_another_server_than_the_island(
    island: str, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(isolation, "PATIENCE", 1.0)
    async with await connect([nats_server.url], service="mts1b-oms") as bus:
        await apply_streams(bus, profile="minimal")
    # a stall of the machine must not be taken for a lost connection, which goes to another server as well
    async with await connect([island, nats_server.url], service="mts1b-oms", ping_interval=60) as bus:
        assert str(bus.connected_url) == island
        ack = await bus.emit(OMS_ORDERS_FILLED, ORDER, deadline=60)
        assert ack.seq == 1
        assert str(bus.connected_url) == nats_server.url
        assert bus.counters.reconnects == 1
