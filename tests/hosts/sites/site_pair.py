"""Two sites on one machine: each has an address of its own on loopback, and a home of its own."""

import asyncio
import secrets
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Self

from cluster_load import DURABLE, SPEC_READER
from mts1b_deploy.record import record_of
from mts1b_deploy.supervise.processes import find_server_process, find_supervisor_process
from mts1b_deploy.testing import Machine
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_FILLED
from mts1b_platform.eventbus import EventBus, connect
from mts1b_platform.testing.ports import free_ports

WITHOUT = ("--websocket-port", "0", "--supervisor", "detached")
"""What no test here needs."""


class Pair:
    """Site ``a`` and its mirror ``b``; a mirror listens on 127.0.0.1 only, so both need another address."""

    def __init__(self, root: Path) -> None:
        self.a, self.b = Machine(root / "a"), Machine(root / "b")
        net, (port, leaf_port) = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}", free_ports(2)
        for machine in (self.a, self.b):
            machine.port = port
        self.sites = f"a={net}.1:{leaf_port}:{port},b={net}.2:{leaf_port}:{port}"

    def install(self) -> None:
        """As docs/sites.md says."""
        checkout = ("--checkout", str(SPEC_READER))
        self.a.deploy("install", "--profile", "single", "--site", "a", "--sites", self.sites, *WITHOUT, *checkout)
        self.mirror("--pki", str(self.a.layout.pki), *checkout)

    def mirror(self, *arguments: str, code: int | None = 0) -> str:
        """Make ``b`` the mirror of ``a``; what was said."""
        monitor = ("--monitor-port", str(self.b.monitor_port))
        words = ("mirror", "--site", "b", "--sites", self.sites, *WITHOUT, *monitor, *arguments)
        done = self.b.deploy(*words, code=code)
        return done.stdout + done.stderr

    def pull_the_plug(self, machine: Machine) -> None:
        """kill -9 of the server and its supervisor, as when the host loses its power."""
        for find in (find_supervisor_process, find_server_process):
            if (process := find(machine.layout)) is not None:
                process.kill()
                process.wait()

    def remove(self) -> None:
        """End every process."""
        self.a.clean_up()
        self.b.clean_up()


def serves(machine: Machine) -> bool:
    """Whether services use this site."""
    return record_of(machine.layout).mirrors is None


class Services:
    """mts1b-oms emits orders when it is told to, mts1b-treasury reads them; both have the servers of ``config``."""

    def __init__(self, config: Path, *, emits_at: Path | None = None) -> None:
        self._configs = (emits_at or config, config)
        self._buses: list[EventBus] = []
        self._number = 0
        self.acked: dict[str, int] = {}
        """By key of every acknowledged order: the sequence that the ack named."""
        self.read: defaultdict[str, list[int]] = defaultdict(list)
        """By key of every order that was read: the sequences under which it came, first deliveries only."""

    async def __aenter__(self) -> Self:
        for service, config in zip(("mts1b-oms", "mts1b-treasury"), self._configs, strict=True):
            self._buses.append(await connect(config=config, service=service, connect_timeout=20))
        self._reader = asyncio.create_task(self._consume())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        for bus in self._buses:
            await bus.close()

    async def emit(self, count: int) -> list[str]:
        """Store so many orders, one after the other; their keys."""
        keys = [f"order-{self._number + each}" for each in range(count)]
        self._number += count
        for key in keys:
            self.acked[key] = (await self._buses[0].emit(OMS_ORDERS_FILLED, order(key), deadline=120)).seq
        return keys

    async def has_read(self, keys: list[str]) -> None:
        """Until these were read."""
        async with asyncio.timeout(120):
            while not set(keys) <= set(self.read):
                if self._reader.done():
                    self._reader.result()
                await asyncio.sleep(0.05)

    async def _consume(self) -> None:
        async for event in self._buses[1].consume(OMS_ORDERS_FILLED, durable=DURABLE):
            async with event:
                self.read[event.payload.idempotency_key].append(event.seq)


def order(key: str) -> Order:
    return ORDER.model_copy(update={"order_id": f"id-{key}", "idempotency_key": key})
