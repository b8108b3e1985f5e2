"""Three nodes of profile production on loopback, each behind a wire: real certificates, permissions and replicas."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from mts1b_deploy.permissions import Permissions, all_permissions
from mts1b_deploy.pki.store import Pki
from mts1b_deploy.render import template_environment
from mts1b_deploy.secure import SecureSettings, issue_missing, secure_values
from mts1b_deploy.secured import CLUSTER_NAME, ROUTE_NAME
from mts1b_foundation.subjects import OMS_ORDERS_FILLED
from mts1b_foundation.subjects.sources import Source
from mts1b_platform.eventbus.consumers import reads
from mts1b_platform.eventbus.declared import declared
from mts1b_platform.server import NatsServer
from mts1b_platform.server.probe import read_monitor
from mts1b_platform.testing.ports import free_ports
from soak_wires import DOMAIN, Wires

NAMES: tuple[str, ...] = ("n1", "n2", "n3")
READER = "mts1b-treasury"
PLAIN, ORDERED = "soak-plain", "soak-ordered"
DURABLES = [reads(READER, durable, OMS_ORDERS_FILLED, ack_wait=6.0) for durable in (PLAIN, ORDERED)]
USUAL_PAYLOAD = 1_048_576
PATIENCE = 60.0
"""Seconds to wait for what comes at once unless the machine stands still."""


class Nodes:
    """The three servers. ``wires`` lead to them once they are started."""

    wires: Wires

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.pki = Pki(directory / "pki")
        self.pki.init()
        issue_missing(self.pki, ["127.0.0.1", "localhost"])
        for name in NAMES:
            self.pki.issue(f"node-{name}", hosts=["127.0.0.1", f"{name}.{DOMAIN}", ROUTE_NAME])
        ports = free_ports(2 * len(NAMES))
        self._cluster_ports = dict(zip(NAMES, ports, strict=False))
        self._wire_ports = dict(zip(NAMES, ports[len(NAMES) :], strict=True))
        self.servers = {
            # Without JetStream of its own: the configuration has it.
            name: NatsServer(directory / name, config=directory / f"{name}.conf", jetstream=False, timeout=90)
            for name in NAMES
        }
        self.max_payload = USUAL_PAYLOAD
        """What the configuration says at present."""

    @property
    def urls(self) -> list[str]:
        """What clients dial."""
        return [f"tls://{name}.{DOMAIN}:{self._wire_ports[name]}" for name in NAMES]

    async def __aenter__(self) -> Self:
        self.render()
        try:
            await asyncio.gather(*[server.start() for server in self.servers.values()])
            ports = {name: (self._wire_ports[name], self.servers[name].port) for name in NAMES}
            self.wires = await Wires(ports).__aenter__()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.wires.__aexit__()
        finally:
            await self._stop()

    async def _stop(self) -> None:
        for server in self.servers.values():
            if server.running:
                server.kill()

    def render(self) -> None:
        """Write the configurations as certificates and limits are now."""
        template = template_environment().get_template("production.conf.j2")
        for name in NAMES:
            text = template.render(template="production.conf.j2", **self._values(name))
            usual = "max_payload: 1MB"
            assert usual in text
            path = self._directory / f"{name}.conf"
            path.write_text(text.replace(usual, f"max_payload: {self.max_payload}"))

    async def reload(self) -> None:
        """Render, and have every server read its configuration again; returns when all have."""
        self.render()
        for name in NAMES:
            before = await self.monitor(name, "/varz")
            self.signal(name, signal.SIGHUP)
            await until(lambda name=name, was=before["config_load_time"]: self._loaded_after(name, was))

    def signal(self, name: str, number: signal.Signals) -> None:
        pid = self.servers[name].pid
        assert pid is not None
        os.kill(pid, number)

    async def monitor(self, name: str, page: str) -> dict[str, Any]:
        """A page of a server's monitoring endpoint."""
        port = self.servers[name].monitor_port
        return await until(lambda: asyncio.to_thread(read_monitor, "127.0.0.1", port, page, 5))

    async def healthy(self) -> None:
        """Wait until every server has caught up with the others."""
        for name in NAMES:
            await until(lambda name=name: self._is_healthy(name))

    async def connections(self) -> dict[str, tuple[int, int]]:
        """By name of a client: its connections on all servers, and its subscriptions."""
        found: dict[str, tuple[int, int]] = {}
        for name in NAMES:
            for each in (await self.monitor(name, "/connz?limit=1024"))["connections"]:
                count, subscriptions = found.get(each["name"], (0, 0))
                found[each["name"]] = count + 1, subscriptions + each["subscriptions"]
        return found

    async def _loaded_after(self, name: str, moment: str) -> bool:
        return (await self.monitor(name, "/varz"))["config_load_time"] != moment

    async def _is_healthy(self, name: str) -> bool:
        return (await self.monitor(name, "/healthz")).get("status") == "ok"

    def _values(self, name: str) -> dict[str, Any]:
        home = self._directory / name
        home.mkdir(exist_ok=True)
        settings = SecureSettings(
            server_name=self.servers[name]._name,
            listen="127.0.0.1:0",
            monitor="127.0.0.1:0",
            pid_file=home / "nats.pid",
            log_file=home / "nats.log",
            store_dir=home / "store",
            tls_ca=self.pki.ca,
            tls_pem=self.pki.pem(f"node-{name}"),
        )
        return secure_values(settings, self.pki.identities(), permissions()) | {
            "cluster_name": CLUSTER_NAME,
            "cluster_listen": f"127.0.0.1:{self._cluster_ports[name]}",
            "cluster_advertise": f"127.0.0.1:{self._cluster_ports[name]}",
            "client_advertise": f"{name}.{DOMAIN}:{self._wire_ports[name]}",
            "routes": [f"tls://127.0.0.1:{self._cluster_ports[other]}" for other in NAMES if other != name],
            "route_name": ROUTE_NAME,
        }


def permissions() -> dict[str, Permissions]:
    """As declared, with the soak's durables beside what is installed."""
    return all_permissions((*declared().sources, Source("soak", consumers=tuple(DURABLES))))


async def until(condition: Callable[[], Any], within: float = PATIENCE) -> Any:
    """Wait until ``condition``, which may be a coroutine function, holds; returns what it gave."""
    async with asyncio.timeout(within):
        while True:
            held = condition()
            if asyncio.iscoroutine(held):
                held = await held
            if held:
                return held
            await asyncio.sleep(0.02)
