"""The short form of the crash matrix: every named kill point once for every kind of store, and the server killed and
frozen, with two producers and two consumers. ``make chaos`` runs the long form."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from crash_children import Children
from crash_harness import CONSUMER_POINTS, Plan, Run, producer_points
from crash_places import Kind
from mts1b_foundation.subjects import OMS_FILLS_CREATED
from mts1b_operations.deadletters import ADVISORIES, Mover, letters
from mts1b_platform.eventbus import Consumer, EventBus, apply_streams, connect
from mts1b_platform.server import NatsServer

pytestmark = pytest.mark.slow(seconds=5)


@pytest.mark.parametrize("kind", ["plain", "kv", "sqlite", "postgres"])
async def test_nothing_is_lost_or_doubled_whoever_is_killed_when(
    kind: Kind, nats_server: NatsServer, tmp_path: Path, new_postgres_database: Callable[[], str]
):
    where = new_postgres_database() if kind == "postgres" else str(tmp_path / "place")
    plan = Plan(kind, events=120, random_kills=2, seed=7, deadline=240)
    figures = await Run(plan, where, nats_server, tmp_path).carry_out()
    print(figures.line())
    assert figures.complaints == []
    assert figures.unburnt == [], "a kill point was never reached"
    for point in (*CONSUMER_POINTS, *producer_points(kind), "server kill", "server stop"):
        assert figures.kills[point] >= 1, point
    assert figures.committed >= 120


async def test_the_order_of_each_fund_is_kept_whoever_is_killed_when(nats_server: NatsServer, tmp_path: Path):
    plan = Plan("sqlite", events=120, random_kills=2, ordered=True, poison_every=9, seed=3, deadline=240)
    figures = await Run(plan, str(tmp_path / "place"), nats_server, tmp_path).carry_out()
    print(figures.line())
    assert figures.complaints == []
    assert figures.unburnt == [], "a kill point was never reached"


async def test_a_dead_letter_is_stored_once_though_both_paths_see_it_and_the_mover_is_killed(
    nats_server: NatsServer, tmp_path: Path
):
    """Forty messages without an envelope: the wrapper dead-letters and terminates each, which the server announces;
    twenty more that a foreign consumer terminates, which only the mover sees."""
    async with (
        await connect(nats_server.url, service="mts1b-operations") as bus,
        Children() as children,
    ):
        await apply_streams(bus)
        await Mover(bus, ack_wait=1).prepare()
        chance = random.Random(5)  # noqa: S311 - a plan repeats
        over = asyncio.Event()
        kills: Counter[str] = Counter()

        async def keep_moving() -> None:
            fuses = ["before dead letter", "after dead letter"] * 4
            while not over.is_set():
                point = fuses.pop() if fuses else ""
                job = {"role": "mover", "url": nats_server.url, "point": point, "at": chance.randint(1, 6)}
                await children.run({**job, "log": str(tmp_path / "mover.log")})
                kills[point or "random"] += 1

        async def kill_at_random() -> None:
            for _ in range(12):  # then it may finish, however long its starts take
                await asyncio.sleep(chance.uniform(0.3, 0.8))
                for pid in list(children.alive):
                    children.kill(pid)

        js = bus.plain_jetstream(timeout=60)
        raw = await js.pull_subscribe("mts.v1.oms.fills.created", "foreign", "OMS_FILLS")
        async with asyncio.TaskGroup() as work:
            moving = work.create_task(keep_moving())
            killing = work.create_task(kill_at_random())
            wrapped = bus.consume(OMS_FILLS_CREATED, durable="wrapped", ack_wait=1)
            reading = work.create_task(_drain(wrapped))
            for number in range(40):
                await js.publish("mts.v1.oms.fills.created", b"no fill at all")
                if number % 2:
                    [msg] = await raw.fetch(1, timeout=60)
                    await msg.term()
            async with asyncio.timeout(240):
                while await _unmoved(bus):  # noqa: ASYNC110 - nothing announces it
                    await asyncio.sleep(0.05)
            over.set()
            await wrapped.stop()
            for task in (moving, killing, reading):
                task.cancel()
        ids = [one.id for one in await letters(bus)]
    assert Counter(ids) == Counter(
        [f"OMS_FILLS:{seq}:wrapped" for seq in range(1, 41)] + [f"OMS_FILLS:{seq}:foreign" for seq in range(1, 21)]
    )
    print(f"mover   60 dead letters, {kills.total()} kills: {dict(kills)}")
    assert kills["before dead letter"] >= 3
    assert kills["after dead letter"] >= 3


async def _drain(consumer: Consumer[Any]) -> None:
    async for _ in consumer:
        pass


async def _unmoved(bus: EventBus) -> int:
    """Messages that the wrapper and advisories that the mover have not dealt with."""
    js = bus.plain_jetstream(timeout=60)
    reader = await js.consumer_info("OMS_FILLS", "wrapped")
    mover = await js.consumer_info(ADVISORIES.name, "deadletter-mover")
    return sum((one.num_pending or 0) + (one.num_ack_pending or 0) for one in (reader, mover))
