"""Three hosts (network namespaces), each installed on its own as docs/cluster.md says, and the network between cut.

It takes Linux and root: namespaces, a bridge and links are made. Without root the tests are skipped, since a user has
no network of his own to cut; the failures that need no network are tested by ``test_cluster_local.py``.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster_load import SPEC_READER, Load
from mts1b_platform.eventbus import connect
from mts1b_platform.eventbus.jetstream.api import js_api
from network_hosts import Hosts

pytestmark = [
    pytest.mark.slow(seconds=40),
    pytest.mark.privileged,
    # nats-py forgets the plain socket of a TLS handshake that a host which is cut off never answered.
    pytest.mark.filterwarnings("ignore:.*StreamWriter.__del__:pytest.PytestUnraisableExceptionWarning"),
]

NAMES = ("n1", "n2", "n3")


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    made = Hosts(tmp_path / "hosts", NAMES)
    try:
        yield made
    finally:
        made.remove()


def install(hosts: Hosts) -> None:
    """As docs/cluster.md says: the first node makes the certificates, the others are given them."""
    common = ("install", "--profile", "production", "--peers", hosts.places(*NAMES), "--supervisor", "detached")
    common += ("--no-user-config", "--checkout", str(SPEC_READER))
    said = hosts.deploy("n1", *common, "--node", "n1")
    assert "install n2, n3 too" in said
    for name in ("n2", "n3"):
        said = hosts.deploy(name, *common, "--node", name, "--pki", str(hosts.prefix("n1") / "etc" / "pki"))
    assert "created    stream OMS_ORDERS" in said
    assert not (hosts.prefix("n2") / "etc" / "pki" / "authority" / "ca.key").exists()


async def test_a_network_that_breaks_in_two_loses_nothing_acknowledged_and_stores_nothing_twice(hosts: Hosts):
    await asyncio.to_thread(install, hosts)
    gaps: dict[str, float] = {}
    config = hosts.prefix("n1") / "etc" / "mts1b.toml"
    async with Load(config) as load:
        await load.more()
        for what in ("the leader cut off", "a follower cut off"):
            leads = await leader(config)
            name = leads if what == "the leader cut off" else next(each for each in NAMES if each != leads)
            began = time.monotonic()
            hosts.cut(name)
            await load.more()
            if what == "a follower cut off":
                with load.calm():
                    await until(lambda at=leads: {"node-missing", "replicas"} <= deviations(hosts, at))
            hosts.mend(name)
            await load.more()
            gaps[what] = load.gap(began)
            with load.calm():
                await until(lambda name=name: json.loads(hosts.deploy(name, "status", "--json", code=None))["healthy"])
        await load.more(1)
        began = time.monotonic()
        hosts.cut(hosts.at(load.server), "island")
        await load.more()  # by another node: this one knows no leader
        gaps["routes of the client's node cut off"] = load.gap(began)
        await load.finish()
    print(f"\n{len(load.acked)} acknowledged, {len(load.lost)} lost, {len(load.doubled)} stored twice")
    for what, gap in gaps.items():
        print(f"{what}: {gap:5.2f} s without an ack")
    assert not load.lost
    assert not load.doubled


async def leader(config: Path) -> str:
    """The node that leads the stream of orders."""
    async with await connect(config=config, service="mts1b-deploy", connect_timeout=20) as bus:
        return (await js_api(bus, "STREAM.INFO.OMS_ORDERS"))["cluster"]["leader"]


def deviations(hosts: Hosts, name: str) -> set[str]:
    """What the doctor finds on a host."""
    return {each["code"] for each in json.loads(hosts.deploy(name, "doctor", "--json", code=None))}


async def until(condition: Callable[[], bool], within: float = 180.0) -> None:
    """Ask again and again, on another thread: events flow meanwhile."""
    async with asyncio.timeout(within):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
