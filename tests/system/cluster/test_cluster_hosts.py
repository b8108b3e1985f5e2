"""Three hosts (network namespaces), each installed on its own as docs/cluster.md says, and the network between cut.

It takes Linux and root: namespaces, a bridge and links are made. Without root the tests are skipped, since a user has
no network of his own to cut; the failures that need no network are tested by ``test_cluster_local.py``.
"""

import asyncio
import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from cluster_load import SPEC_READER, Load
from mts1b_platform.eventbus import connect
from mts1b_platform.eventbus.jetstream.api import js_api

pytestmark = [
    pytest.mark.slow(seconds=40),
    pytest.mark.privileged,
    # nats-py forgets the plain socket of a TLS handshake that a host which is cut off never answered.
    pytest.mark.filterwarnings("ignore:.*StreamWriter.__del__:pytest.PytestUnraisableExceptionWarning"),
]

NAMES = ("n1", "n2", "n3")


class Hosts:
    """A bridge, and three hosts on it. The test itself stands on the bridge, as clients do."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._tag = secrets.token_hex(3)
        self._net = f"10.{secrets.randbelow(100) + 100}.{secrets.randbelow(250)}"
        self.bridge = f"br{self._tag}"
        _ip("link", "add", self.bridge, "type", "bridge")
        _ip("address", "add", f"{self._net}.254/24", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")
        for number, name in enumerate(NAMES, start=1):
            space, link = self.space(name), self.link(name)
            _ip("netns", "add", space)
            _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", link, "master", self.bridge, "up")
            _ip("-n", space, "address", "add", f"{self._net}.{number}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "link", "set", "lo", "up")

    @property
    def peers(self) -> str:
        return ",".join(f"{name}={self._net}.{number}" for number, name in enumerate(NAMES, start=1))

    def space(self, name: str) -> str:
        return f"mts1b-{self._tag}-{name}"

    def link(self, name: str) -> str:
        return f"v{self._tag}{name}"

    def prefix(self, name: str) -> Path:
        return self.root / name

    def deploy(self, name: str, *arguments: str, code: int | None = 0) -> str:
        """Run ``mts1b-deploy`` on a host."""
        command = ["ip", "netns", "exec", self.space(name), sys.executable, "-m", "mts1b_deploy", *arguments]
        done = subprocess.run(
            [*command, "--prefix", self.prefix(name)], capture_output=True, text=True, check=False, timeout=300
        )
        said = f"{name}: {arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        assert code is None or done.returncode == code, said
        return done.stdout + ("" if "--json" in arguments else done.stderr)

    def cut(self, name: str) -> None:
        """Pull the host's cable."""
        _ip("link", "set", self.link(name), "down")

    def mend(self, name: str) -> None:
        """Plug it in again."""
        _ip("link", "set", self.link(name), "up")

    def remove(self) -> None:
        """End what runs on the hosts, then take them away."""
        for _ in range(3):
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    if any(str(self.root) in word for word in process.cmdline()) and process.pid != os.getpid():
                        process.kill()
        for name in NAMES:
            subprocess.run(["ip", "netns", "delete", self.space(name)], check=False, capture_output=True)  # noqa: S607
        subprocess.run(["ip", "link", "delete", self.bridge], check=False, capture_output=True)  # noqa: S607


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)  # noqa: S607
    assert done.returncode == 0, f"`ip {' '.join(arguments)}` failed: {done.stderr}"


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    made = Hosts(tmp_path / "hosts")
    try:
        yield made
    finally:
        made.remove()


def install(hosts: Hosts) -> None:
    """As docs/cluster.md says: the first node makes the certificates, the others are given them."""
    common = ("install", "--profile", "production", "--peers", hosts.peers, "--supervisor", "detached")
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
        for what in ("the leader", "a follower"):
            leads = await leader(config)
            name = leads if what == "the leader" else next(each for each in NAMES if each != leads)
            began = time.monotonic()
            hosts.cut(name)
            await load.more()
            if what == "a follower":
                await until(lambda at=leads: {"node-missing", "replicas"} <= deviations(hosts, at))
            hosts.mend(name)
            await load.more()
            gaps[what] = load.gap(began)
            await until(lambda name=name: json.loads(hosts.deploy(name, "status", "--json", code=None))["healthy"])
        await load.finish()
    print(f"\n{len(load.acked)} acknowledged, {len(load.lost)} lost, {len(load.doubled)} stored twice")
    for what, gap in gaps.items():
        print(f"{what} cut off: {gap:5.2f} s without an ack")
    assert not load.lost
    assert not load.doubled
    assert max(gaps.values()) < 20  # a client that waits for a dead link to say goodbye takes thirty


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
