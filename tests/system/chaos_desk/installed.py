"""A bus as `mts1b-deploy install --profile single` or `cluster up` leaves it, whose server or a node may be killed."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path

from mts1b_deploy.cluster import Cluster
from mts1b_deploy.install import install
from mts1b_deploy.layout import Layout
from mts1b_deploy.lifecycle import is_ready, stop
from mts1b_deploy.plan import Request
from mts1b_deploy.record import record_of
from mts1b_deploy.supervise.processes import find_server_process
from mts1b_platform.testing.ports import free_ports

PATIENCE = 120.0


class Installed:
    """One installation."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.record = record_of(layout)

    @property
    def environment(self) -> dict[str, str]:
        """How commands find it."""
        return {"MTS1B_CONFIG": str(self.layout.config)}

    @property
    def running(self) -> bool:
        """Whether its server answers."""
        return is_ready(self.layout, self.record)

    def kill(self) -> None:
        """End its server as a crash would."""
        process = find_server_process(self.layout)
        assert process is not None, "the server does not run"
        process.kill()
        process.wait()

    async def start(self) -> None:
        """Wait until its supervisor has started it again."""
        async with asyncio.timeout(PATIENCE):
            while not await asyncio.to_thread(lambda: self.running):  # noqa: ASYNC110 - a process has no event
                await asyncio.sleep(0.02)


@asynccontextmanager
async def installed(prefix: Path) -> AsyncGenerator[Installed]:
    """Profile single below ``prefix``; its processes end with the block."""
    layout = Layout(prefix)
    port, monitor_port = free_ports(2)
    wanted = Request(
        profile="single",
        port=port,
        monitor_port=monitor_port,
        websocket_port=0,
        supervisor="detached",
        user_config=False,
    )
    await asyncio.to_thread(install, layout, wanted, timeout=PATIENCE)
    made = Installed(layout)
    try:
        yield made
    finally:
        await asyncio.to_thread(stop, layout, made.record, timeout=10.0)


class Clustered:
    """Three nodes of profile production on this host, one of which may be down."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._turn = cycle(cluster.names())
        self._down: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """How commands find it."""
        return {"MTS1B_CONFIG": str(self._cluster.layout("n1").config)}

    @property
    def running(self) -> bool:
        """Whether no node is down."""
        return self._down is None

    def kill(self) -> None:
        """End a node as a crash of its host would; each in turn."""
        self._down = next(self._turn)
        self._cluster.kill(self._down)

    async def start(self) -> None:
        """Start it again, and wait until it has caught up."""
        if self._down is not None:
            await asyncio.to_thread(self._cluster.restart, self._down, timeout=PATIENCE)
            self._down = None


@asynccontextmanager
async def clustered(prefix: Path) -> AsyncGenerator[Clustered]:
    """Three nodes below ``prefix``; they end with the block."""
    cluster = Cluster(prefix / "cluster", ports=free_ports)
    await asyncio.to_thread(cluster.up, 3, timeout=PATIENCE)
    try:
        yield Clustered(cluster)
    finally:
        await asyncio.to_thread(cluster.down, purge=True)
