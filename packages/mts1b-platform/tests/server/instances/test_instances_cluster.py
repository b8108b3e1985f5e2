"""Instances on three nodes that keep every stream and durable three times: leaders move, nodes die and freeze."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Self

import pytest
import pytest_asyncio
from mts1b_platform.eventbus import EventBus, JetStreamUnavailable, apply_streams, connect
from mts1b_platform.eventbus.jetstream.api import ApiError, js_api
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.ports import free_ports

from .instance_child import DURABLE, FUNDS
from .instances_judge import WAIT, Books, Desk, Outage, run

TAKEOVER = 2.0


class Nodes:
    """Three servers that are one."""

    def __init__(self, directory: Path) -> None:
        ports = free_ports(3)
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        self.servers: list[NatsServer] = []
        for port in ports:
            place = directory / f"node-{port}"
            place.mkdir()
            config = place / "nats.conf"
            config.write_text(
                f'cluster {{ name: instances, listen: "127.0.0.1:{port}", routes: [{routes}] }}\n'
                f'jetstream {{ store_dir: "{place}/store" }}\n'
            )
            self.servers.append(NatsServer(place, config=config, jetstream=False, timeout=90))

    @property
    def url(self) -> str:
        """Of all nodes."""
        return ",".join(server.url for server in self.servers)

    async def __aenter__(self) -> Self:
        await asyncio.gather(*(server.start() for server in self.servers))
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self.servers:
            server.kill()

    def outages(self, bus: EventBus, durable: str) -> dict[str, Outage]:
        """What happens to who leads ``durable``, and with it says who is active."""

        async def leader() -> NatsServer:
            while True:
                try:
                    led = (await js_api(bus, f"CONSUMER.INFO.OMS_ORDERS.{durable}"))["cluster"].get("leader")
                except (ApiError, JetStreamUnavailable):
                    led = None
                for server in self.servers:
                    if server.info is not None and server.info.server_name == led:
                        return server
                await asyncio.sleep(0.05)

        async def steps_down(desk: Desk) -> None:
            await leader()
            await js_api(bus, f"CONSUMER.LEADER.STEPDOWN.OMS_ORDERS.{durable}")
            await desk.goes_on("leader steps down")

        async def killed(desk: Desk) -> None:
            server = await leader()
            server.kill()
            await desk.goes_on("node killed")
            await server.start()

        async def frozen(desk: Desk) -> None:
            server = await leader()
            server.pause()
            try:
                await desk.goes_on("node frozen")
            finally:
                server.resume()

        return {"leader steps down": steps_down, "node killed": killed, "node frozen": frozen}


@pytest_asyncio.fixture
async def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Nodes]:
    monkeypatch.setenv("MTS1B_PROFILE", "production")  # three of each
    async with Nodes(tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def bus(nodes: Nodes) -> AsyncIterator[EventBus]:
    """Of the producer, with streams that are kept three times."""
    async with await connect(nodes.url.split(","), service="mts1b-oms", connect_timeout=WAIT) as made:
        async with asyncio.timeout(WAIT):
            while True:
                try:
                    await apply_streams(made, profile="production")
                    break
                except JetStreamUnavailable:  # no leader yet; what is there already stays
                    continue
        yield made


@pytest.mark.slow(seconds=12)
async def test_on_a_cluster_nothing_is_lost_doubled_or_out_of_order_when_leaders_move_and_nodes_die(
    bus: EventBus, nodes: Nodes, tmp_path: Path
):
    desk = Desk("standby", bus, nodes.url, Books(str(tmp_path / "books.db")), takeover=TAKEOVER)
    outages = nodes.outages(bus, DURABLE)
    publishing = asyncio.create_task(desk.publish())
    try:
        await asyncio.gather(desk.join_here("a"), desk.join_here("b"))
        for outage in ("leader steps down", "node killed"):
            await desk.booked(30)
            await outages[outage](desk)
        desk.enough = True
        await publishing
        await desk.settle()
    finally:
        publishing.cancel()
        await desk.end()
    desk.judge()
    assert max(desk.measured.values()) < 20


@pytest.mark.chaos
@pytest.mark.parametrize("instances", ["standby", "share"])
async def test_on_a_cluster_through_many_faults_nothing_is_lost_doubled_or_out_of_order(
    bus: EventBus, nodes: Nodes, new_postgres_database: Callable[[], str], instances: str
):
    durable = DURABLE if instances == "standby" else f"{DURABLE}-{FUNDS[0]}"
    faults = ["leader steps down", "killed", "node killed", "frozen", "leader steps down", "node frozen", "leaves"]
    books = Books(new_postgres_database())
    await run(instances, bus, nodes.url, books, faults * 3, nodes.outages(bus, durable), takeover=TAKEOVER)
