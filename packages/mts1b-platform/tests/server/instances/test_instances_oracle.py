"""Instances in processes of their own that end, are killed, freeze and join, while orders come and the server dies."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mts1b_platform.eventbus import EventBus
from mts1b_platform.server import NatsServer

from .instance_child import FROZEN
from .instances_judge import TAKEOVER, Books, Desk, Outage, run

SLACK = 1.0
"""Seconds beside the takeover, on a machine that does other things too."""


def outages_of(server: NatsServer) -> dict[str, Outage]:
    async def dies(desk: Desk) -> None:
        server.kill()
        await server.start()
        await desk.goes_on("server killed")

    return {"server killed": dies}


@pytest.mark.slow(seconds=12)
async def test_with_a_standby_nothing_is_lost_doubled_or_out_of_order(
    bus: EventBus, nats_server: NatsServer, tmp_path: Path
):
    books = Books(str(tmp_path / "books.db"))
    desk = await run(
        "standby", bus, nats_server.url, books, ["killed", "woken", "server killed", "leaves"], outages_of(nats_server)
    )
    assert desk.measured["killed"] < TAKEOVER + SLACK
    assert desk.measured["leaves"] < 0.5 + SLACK


@pytest.mark.slow(seconds=16)
async def test_with_shared_keys_nothing_is_lost_doubled_or_out_of_order(
    bus: EventBus, nats_server: NatsServer, new_postgres_database: Callable[[], str]
):
    books = Books(new_postgres_database())
    desk = await run(
        "share", bus, nats_server.url, books, ["killed", "frozen", "server killed", "leaves"], outages_of(nats_server)
    )
    assert desk.measured["killed"] < TAKEOVER + 2 * SLACK
    assert desk.measured["frozen"] < TAKEOVER + FROZEN + 2 * SLACK
    assert desk.measured["leaves"] < 0.5 + SLACK


@pytest.mark.chaos
@pytest.mark.parametrize("instances", ["standby", "share"])
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_through_many_faults_nothing_is_lost_doubled_or_out_of_order(
    bus: EventBus,
    nats_server: NatsServer,
    tmp_path: Path,
    new_postgres_database: Callable[[], str],
    instances: str,
    kind: str,
):
    books = Books(new_postgres_database() if kind == "postgresql" else str(tmp_path / "books.db"))
    frozen = "frozen" if kind == "postgresql" else "woken"  # SQLite waits for who is frozen in a transaction
    faults = ["leaves", "killed", frozen, "server killed", "killed", frozen] * 3
    await run(instances, bus, nats_server.url, books, faults, outages_of(nats_server))
