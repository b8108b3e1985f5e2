"""Three real nodes of profile production while typed events flow: what happens to one loses nothing."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from cluster_load import DURABLE, SPEC_READER, Load
from mts1b_deploy.cluster import Cluster
from mts1b_deploy.errors import UpgradeRefused
from mts1b_deploy.lifecycle import connected_peers
from mts1b_deploy.pki.store import Pki
from mts1b_deploy.record import record_of
from mts1b_deploy.secured import CLUSTER_NAME
from mts1b_deploy.streams import apply_streams, connect_as_admin
from mts1b_deploy.supervise.processes import find_server_process
from mts1b_foundation.subjects import OMS_ORDERS_FILLED
from mts1b_platform.eventbus import EventBus, connect
from mts1b_platform.eventbus.jetstream.api import ApiError, js_api
from mts1b_platform.server import NatsServer
from mts1b_platform.server.binary import find_server
from mts1b_platform.testing.ports import free_ports

pytestmark = [
    pytest.mark.slow(seconds=20),
    # nats-py forgets the plain socket of a TLS handshake that a dying server never answered.
    pytest.mark.filterwarnings("ignore:.*StreamWriter.__del__:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all tests; the last one leaves a node dead."""
    made = Cluster(tmp_path_factory.mktemp("local") / "cluster", ports=free_ports)
    try:
        made.up(3, checkouts=(SPEC_READER,))
        yield made
    finally:
        made.down(purge=True, timeout=15)


async def leader(cluster: Cluster) -> str:
    """The node that leads the stream of orders."""
    layout = cluster.layout("n1")
    async with await connect_as_admin(layout, record_of(layout)) as bus:
        return (await js_api(bus, "STREAM.INFO.OMS_ORDERS"))["cluster"]["leader"]


async def settled(cluster: Cluster, within: float = 180.0) -> None:
    """Until every node runs and has caught up."""
    async with asyncio.timeout(within):
        while not all(state.healthy for state in await asyncio.to_thread(cluster.status)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def altered_server(directory: Path) -> Path:
    """Another file of the same version: an upgrade in all that matters here, copied, started, verified."""
    path = directory / "newer-nats-server"
    shutil.copy(find_server().path, path)
    with path.open("ab") as file:
        file.write(b"newer")
    return path


def reinstall(cluster: Cluster, node: str) -> None:
    """What an operator does when a host and its disk are lost for good: the same node, installed anew."""
    shutil.rmtree(cluster.layout(node).prefix)
    cluster.up(3)
    assert all(record_of(cluster.layout(each)).checkouts == (SPEC_READER.resolve(),) for each in cluster.names())


@pytest.fixture
async def load(cluster: Cluster) -> AsyncIterator[Load]:
    """Events that flow through the cluster while the test does something to it."""
    async with Load(cluster.layout("n1").config) as made:
        await made.more()
        yield made


async def nothing_lost(load: Load, gaps: dict[str, float]) -> None:
    """Judge ``load`` at its end, and the times without an ack, by what caused them."""
    await load.finish()
    print(f"\n{len(load.acked)} acknowledged, {len(load.lost)} lost, {len(load.doubled)} stored twice")
    for what, gap in gaps.items():
        print(f"{what:<24} {gap:5.2f} s without an ack")
    assert not load.lost
    assert not load.doubled
    assert max(gaps.values()) < 30


async def fails(load: Load, cluster: Cluster, fail: Callable[[], object], heal: Callable[[], object]) -> float:
    """The longest time without an ack while a node fails and comes back."""
    began = time.monotonic()
    await asyncio.to_thread(fail)
    await load.more()
    await asyncio.to_thread(heal)
    with load.calm():
        await settled(cluster)
    await load.more()
    return load.gap(began)


async def killed(load: Load, cluster: Cluster) -> dict[str, float]:
    """Kill or freeze one node after the other; the times without an ack."""
    gaps: dict[str, float] = {}
    leads = await leader(cluster)
    gaps["kill -9 of the leader"] = await fails(
        load, cluster, partial(cluster.kill, leads), partial(cluster.restart, leads)
    )
    leads = await leader(cluster)
    follower = next(name for name in cluster.names() if name != leads)
    gaps["kill -9 of a follower"] = await fails(
        load, cluster, partial(cluster.kill, follower), partial(reinstall, cluster, follower)
    )
    leads = await leader(cluster)
    gaps["SIGSTOP of the leader"] = await fails(
        load, cluster, partial(cluster.freeze, leads), partial(cluster.thaw, leads)
    )
    return gaps


async def upgraded(load: Load, cluster: Cluster, newer: Path) -> dict[str, float]:
    """Upgrade one node after the other; the times without an ack."""
    gaps: dict[str, float] = {}
    for node in cluster.names():
        began = time.monotonic()
        assert (await asyncio.to_thread(cluster.upgrade, node, server=newer)).restarted
        await load.more()
        gaps[f"upgrade of {node}"] = load.gap(began)
    return gaps


async def test_readers_start_and_streams_are_applied_while_leaders_move(cluster: Cluster, load: Load):
    layout = cluster.layout("n1")
    moved, done = 0, asyncio.Event()

    async def move(admin: EventBus) -> None:
        """Have the stream's and the durable's leaders step down, again and again."""
        nonlocal moved
        while not done.is_set():
            for what in ("STREAM.LEADER.STEPDOWN.OMS_ORDERS", f"CONSUMER.LEADER.STEPDOWN.OMS_ORDERS.{DURABLE}"):
                with suppress(ApiError):  # there is no leader right now
                    await js_api(admin, what)
                    moved += 1
            await asyncio.sleep(0.05)

    async with (
        await connect_as_admin(layout, record_of(layout)) as admin,
        await connect(config=layout.config, service="mts1b-treasury", connect_timeout=20) as bus,
    ):
        moving = asyncio.create_task(move(admin))
        try:
            while moved < 8:
                applied = await asyncio.to_thread(apply_streams, layout, record_of(layout))
                assert {each.action for each in applied} == {"unchanged"}
                async with bus.consume(OMS_ORDERS_FILLED, durable=DURABLE):
                    pass
        finally:
            done.set()
            await moving
    await load.more()
    await nothing_lost(load, {"moving leaders": 0.0})


async def test_nothing_acknowledged_is_lost_or_stored_twice_when_a_node_fails(cluster: Cluster, load: Load):
    await nothing_lost(load, await killed(load, cluster))


async def test_nothing_acknowledged_is_lost_or_stored_twice_when_each_node_is_upgraded(
    cluster: Cluster, load: Load, tmp_path: Path
):
    await nothing_lost(load, await upgraded(load, cluster, altered_server(tmp_path)))


@pytest.mark.chaos
async def test_nothing_acknowledged_is_lost_or_stored_twice_whatever_happens_to_one_node(
    cluster: Cluster, load: Load, tmp_path: Path
):
    """All of it in one load: what one failure left behind is there when the next one comes."""
    gaps = await killed(load, cluster)
    await nothing_lost(load, gaps | await upgraded(load, cluster, altered_server(tmp_path)))


def test_a_service_cannot_join_the_cluster_with_its_certificate(cluster: Cluster, tmp_path: Path):
    layout = cluster.layout("n1")
    here = next(peer for peer in record_of(layout).nodes if peer.name == "n1")
    pki = Pki(layout.pki)

    def joins(certificate: str) -> bool:
        """Whether a server that shows ``certificate`` becomes a member of the cluster."""
        pem = pki.pem(certificate)
        conf = tmp_path / f"{certificate}.conf"
        conf.write_text(
            f"""
            cluster {{ name: "{CLUSTER_NAME}", listen: "127.0.0.1:-1", routes: ["tls://127.0.0.1:{here.cluster_port}"]
              tls {{ cert_file: "{pem}", key_file: "{pem}", ca_file: "{pki.ca}" }} }}
            """
        )
        server = NatsServer(tmp_path / certificate, config=conf, jetstream=False, timeout=60).start_blocking()
        try:
            until = time.monotonic() + 60
            while "Authorization Violation" not in server.log():
                assert time.monotonic() < until, server.log()
                if server.info and server.info.server_name in connected_peers(record_of(layout)):
                    return True
                time.sleep(0.02)
            return False
        finally:
            server.stop_blocking()

    assert joins("node-n2")
    assert not joins("mts1b-oms")


async def test_no_node_is_upgraded_while_another_is_away(cluster: Cluster, tmp_path: Path):
    layout = cluster.layout("n1")
    server = find_server_process(layout)
    cluster.kill("n2")
    while "n2" in connected_peers(record_of(layout)):  # noqa: ASYNC110 - until n1 has noticed
        await asyncio.sleep(0.02)
    newer = altered_server(tmp_path)
    with pytest.raises(UpgradeRefused, match="n1 has no connection to n2"):
        cluster.upgrade("n1", server=newer, restart=True)
    assert find_server_process(layout) == server
