"""What goes wrong, one thing at a time. Each function returns when the fault is over and was mended.

Where servers are left that a client can go to, the fault stands until every client has done so.
"""

import asyncio
import random
import subprocess
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from mts1b_platform.eventbus import EventBus, PayloadTooLarge
from soak_clients import Clients
from soak_nodes import NAMES, USUAL_PAYLOAD, Nodes, until
from soak_wire import ADDRESSES

BACK_WITHIN: Final = 30.0
"""Most seconds until every client is connected again while servers are left, or after a fault was mended."""
_SMALL_PAYLOAD: Final = 65_536
_SERVICES: Final = ("mts1b-oms", "mts1b-treasury", "mts1b-marketdata", "mts1b-research")
HARMLESS: Final = frozenset({"latency", "reload"})
"""Kinds that cost nobody the connection, and nothing that is under way."""
LARGE: Final = "large"
"""The client that sends more than a lowered limit allows."""


class Faults:
    """All kinds of fault on ``nodes``, as ``clients`` feel them."""

    def __init__(self, nodes: Nodes, clients: Clients, chance: random.Random) -> None:
        self._nodes = nodes
        self._clients = clients
        self._chance = chance
        self.kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "connections reset": self.reset,
            "wire half open": self.half_open,
            "all wires half open": self.all_half_open,
            "latency": self.latency,
            "server frozen": self.frozen,
            "server killed": self.killed,
            "max_payload lowered": self.smaller,
            "reload": self.reload,
            "certificates rotated": self.rotated,
            "certificate revoked": self.revoked,
            "certificate expired": self.expired,
            "lame duck": self.lame_duck,
            "address frozen": self.address_frozen,
        }

    async def reset(self) -> None:
        await self._nodes.wires.cut()

    async def half_open(self) -> None:
        name = self._busy_node()
        await self._nodes.wires.swallow(name)
        await self._everybody_elsewhere(name)
        await self._nodes.wires.mend()

    async def all_half_open(self) -> None:
        await self._nodes.wires.swallow()
        await until(self._nobody_is_connected, BACK_WITHIN)
        await self._nodes.wires.mend()

    async def latency(self) -> None:
        await self._nodes.wires.delay(self._chance.uniform(0.05, 0.3))
        await asyncio.sleep(3)
        await self._nodes.wires.mend()

    async def frozen(self) -> None:
        name = self._busy_node()
        self._nodes.servers[name].pause()
        try:
            await self._everybody_elsewhere(name)
        finally:
            self._nodes.servers[name].resume()

    async def killed(self) -> None:
        name = self._busy_node()
        self._nodes.servers[name].kill()
        await self._clients.all_back(BACK_WITHIN)
        await self._nodes.servers[name].start()

    async def smaller(self) -> None:
        """Lower ``max_payload``, send more, raise it again. A server tells of it at login only."""
        bus = self._clients.buses[LARGE]
        self._nodes.max_payload = _SMALL_PAYLOAD
        await self._nodes.reload()
        reconnects = bus.connection.stats.reconnects
        await bus.publish("mts.v1.oms.soak.large", bytes(2 * _SMALL_PAYLOAD))
        await until(lambda: bus.connection.stats.reconnects > reconnects)  # what is too large costs the connection once
        assert bus.max_payload == _SMALL_PAYLOAD
        await _refuses(bus, 2 * _SMALL_PAYLOAD)
        self._nodes.max_payload = USUAL_PAYLOAD
        await self._nodes.reload()
        await self._nodes.wires.cut()
        await self._clients.all_back(BACK_WITHIN)
        assert {bus.max_payload for bus in self._clients.buses.values()} == {USUAL_PAYLOAD}
        await bus.publish("mts.v1.oms.soak.large", bytes(2 * _SMALL_PAYLOAD))
        await bus.flush()

    async def reload(self) -> None:
        await self._nodes.reload()

    async def rotated(self) -> None:
        """New certificates for everybody, under the same authority; then everybody must show them."""
        await asyncio.to_thread(self._nodes.pki.rotate)
        await self._nodes.reload()
        await self._nodes.wires.cut()

    async def revoked(self) -> None:
        service = self._chance.choice(_SERVICES)
        self._nodes.pki.revoke(service)
        self._nodes.pki.issue(service)
        before = {bus: bus.counters.disconnects for bus in self._clients.of(service)}
        await self._nodes.reload()
        await until(lambda: all(bus.counters.disconnects > count for bus, count in before.items()))

    async def expired(self) -> None:
        """A certificate ends before it is renewed: the service is refused until it is."""
        service = self._chance.choice(_SERVICES)
        self._nodes.pki.issue(service, lifetime=timedelta(seconds=1), renew=True)
        await asyncio.sleep(2)  # until it has ended, by its own time
        self._clients.strikes()
        await self._nodes.wires.cut()
        refused = self._clients.of(service)
        await until(lambda: all(bus.dial_errors and not bus.is_connected for bus in refused))
        await asyncio.sleep(1)
        assert not any(bus.is_connected for bus in refused)
        self._nodes.pki.issue(service, renew=True)

    async def lame_duck(self) -> None:
        name = self._busy_node()
        server = self._nodes.servers[name]
        command = [server.binary.path, "--signal", f"ldm={server.pid}"]
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
        await self._everybody_elsewhere(name)
        try:
            await until(lambda: not server.running)
        except TimeoutError:
            server.kill()
        await server.start()

    async def address_frozen(self) -> None:
        """Of the two addresses that each name has, one takes connections and says nothing."""
        await self._nodes.wires.swallow(addresses=[self._chance.choice(ADDRESSES)])
        await until(self._nobody_is_held, BACK_WITHIN)
        await self._clients.all_back(BACK_WITHIN)
        await self._nodes.wires.mend()

    async def _nobody_is_held(self) -> bool:
        return not await self._nodes.wires.held()

    def _nobody_is_connected(self) -> bool:
        return not any(bus.is_connected for bus in self._clients.buses.values())

    def _busy_node(self) -> str:
        """The server of one of the clients."""
        return self._chance.choice([name for name in NAMES for _ in self._at(name)])

    def _at(self, name: str) -> list[EventBus]:
        return [
            bus
            for bus in self._clients.buses.values()
            if (url := bus.connected_url) is not None and url.host.startswith(f"{name}.")
        ]

    async def _everybody_elsewhere(self, name: str) -> None:
        await until(lambda: not self._at(name), BACK_WITHIN)
        await self._clients.all_back(BACK_WITHIN)


async def _refuses(bus: EventBus, size: int) -> None:
    try:
        await bus.publish("mts.v1.oms.soak.large", bytes(size))
    except PayloadTooLarge:
        return
    raise AssertionError(f"{size} bytes were taken where {bus.max_payload} are allowed")
