"""The short form of the crash matrix: every named kill point once for every kind of store, and the server killed and
frozen, with two producers and two consumers. ``make chaos`` runs the long form."""

from collections.abc import Callable
from pathlib import Path

import pytest
from crash_harness import CONSUMER_POINTS, Plan, Run, producer_points
from crash_places import Kind
from mts1b_platform.server import NatsServer


@pytest.mark.parametrize("kind", ["plain", "kv", "sqlite", "postgres"])
async def test_nothing_is_lost_or_doubled_whoever_is_killed_when(
    kind: Kind, nats_server: NatsServer, tmp_path: Path, new_postgres_database: Callable[[], str]
):
    where = new_postgres_database() if kind == "postgres" else str(tmp_path / "place")
    plan = Plan(kind, events=120, random_kills=2, seed=7, deadline=60)
    figures = await Run(plan, where, nats_server, tmp_path).carry_out()
    print(figures.line())
    assert figures.complaints == []
    assert figures.unburnt == [], "a kill point was never reached"
    for point in (*CONSUMER_POINTS, *producer_points(kind), "server kill", "server stop"):
        assert figures.kills[point] >= 1, point
    assert figures.committed == 120
