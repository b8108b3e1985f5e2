"""Two real versions of nats-server, exchanged under traffic: there and back, on one node and node by node on three.

``make test-upgrade`` fetches the oldest version that is allowed; the other one is the locked one.
"""

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from cluster_load import SPEC_READER, Load
from mts1b_deploy.cluster import Cluster
from mts1b_deploy.record import record_of
from mts1b_deploy.testing import Machine
from mts1b_deploy.upgrade import Upgraded, upgrade
from mts1b_platform.server.binary import MINIMUM_VERSION, find_server
from mts1b_platform.server.probe import read_info
from mts1b_platform.testing.ports import free_ports

OLDEST = ".".join(map(str, MINIMUM_VERSION))


@pytest.fixture
def oldest() -> Path:
    """The oldest nats-server that is allowed."""
    named = os.environ.get("MTS1B_OLDEST_SERVER")
    assert named, "nats-server of another version is needed: `make test-upgrade` fetches it"
    assert find_server(named).version == OLDEST
    return Path(named)


async def exchanged(load: Load, what: str, exchange: Callable[[], Upgraded]) -> Upgraded:
    """Exchange a server under traffic, and say how long nothing was acknowledged."""
    began = time.monotonic()
    done = await asyncio.to_thread(exchange)
    assert done.restarted
    await load.more()
    print(
        f"{what:<12} {done.before:>7} to {done.after:<7} caught up after {done.seconds:5.2f} s, "
        f"{load.gap(began):5.2f} s without an ack"
    )
    return done


async def nothing_happened_to(load: Load) -> None:
    """Judge the traffic at its end."""
    await load.finish()
    print(
        f"{len(load.acked)} acknowledged, {len(load.lost)} lost, {len(load.doubled)} doubled, "
        f"{len(load.disordered)} out of order"
    )
    assert not load.lost
    assert not load.doubled
    assert not load.disordered


async def test_a_single_node_goes_to_another_version_and_back_under_traffic(machine: Machine, oldest: Path):
    arguments = ("--profile", "single", "--websocket-port", "0", "--nats-server", str(oldest))
    machine.deploy("install", *arguments, "--checkout", str(SPEC_READER))
    layout = machine.layout
    print()
    async with Load(layout.config, ordered=True) as load:
        await load.more()
        done = await exchanged(load, "single", partial(upgrade, layout))
        assert (done.before, done.after) == (OLDEST, find_server().version)
        done = await exchanged(load, "back", partial(upgrade, layout, back=True))
        assert done.after == OLDEST
        await nothing_happened_to(load)
    machine.deploy("uninstall", "--purge")
    assert not layout.binary.parent.exists()


async def test_three_nodes_go_to_another_version_and_back_one_by_one_under_traffic(tmp_path: Path, oldest: Path):
    cluster = Cluster(tmp_path / "cluster", ports=free_ports)
    try:
        await asyncio.to_thread(cluster.up, 3, server=oldest, checkouts=(SPEC_READER,))
        print()
        async with Load(cluster.layout("n1").config, ordered=True) as load:
            await load.more()
            for way, back in (("", False), (" back", True)):
                for node in cluster.names():
                    await exchanged(load, f"{node}{way}", partial(cluster.upgrade, node, back=back))
                assert versions(cluster) == {OLDEST if back else find_server().version}
            await nothing_happened_to(load)
    finally:
        await asyncio.to_thread(cluster.down, purge=True, timeout=15)


def versions(cluster: Cluster) -> set[str]:
    """What the running servers say that they are."""
    records = [record_of(cluster.layout(node)) for node in cluster.names()]
    return {info.version for record in records if (info := read_info(record.probe_host, record.port))}
