"""Live traffic moves from v1 to v2 of a subject, and every event is handled once and in order.

The steps are those of the recipe in ``docs/schemas.md``: streams, then every consumer, then the producer.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from mts1b_foundation.errors import SchemaMismatch
from mts1b_foundation.event import Event
from mts1b_foundation.subjects import DurableSubject, registry
from mts1b_foundation.subjects.lint import check_registry
from mts1b_foundation.subjects.sources import load_sources
from mts1b_platform.eventbus import ConsumerConflict, EventBus, StreamDefinition, apply_streams
from mts1b_platform.testing.bus import ConnectBus

TOLLS = '''
"""Tolls of a bell, in two versions."""

from typing import ClassVar

from mts1b_foundation.event import Event, Identifier
from mts1b_foundation.subjects import DurableSubject, Tier
from mts1b_foundation.subjects.contributions import Contribution
from mts1b_foundation.upcasting import upcaster


class TollV1(Event):
    number: int
    bell: Identifier

    @classmethod
    def schema_name(cls):
        return "tolls.Toll"


class Toll(Event):
    schema_version: ClassVar[int] = 2
    number: int
    bells: tuple[Identifier, ...]


@upcaster
def toll_v1_to_v2(old: TollV1) -> Toll:
    return Toll(number=old.number, bells=(old.bell,))


V1 = DurableSubject("mts.v1.tolls.tolls.rung", producer="mts1b-tolls", payload=TollV1, tier=Tier.AT_LEAST_ONCE,
                    description="A toll.", dedupe_key="{number}")
V2 = DurableSubject("mts.v2.tolls.tolls.rung", producer="mts1b-tolls", payload=Toll, tier=Tier.AT_LEAST_ONCE,
                    description="A toll.", dedupe_key="v2:{number}", replaces=V1)


class Stream:
    name = "TOLLS"
    subjects = ("mts.v1.tolls.tolls.*", "mts.v2.tolls.tolls.*")


STREAMS = [Stream()]
CONTRIBUTION = Contribution(producers={"mts1b-tolls": "tolls"}, subjects=[V1, V2], upcasters=[toll_v1_to_v2])
'''

OLD = StreamDefinition(name="TOLLS", subjects=("mts.v1.tolls.tolls.*",), description="Tolls.")
NEW = StreamDefinition(name="TOLLS", subjects=("mts.v1.tolls.tolls.*", "mts.v2.tolls.tolls.*"), description="Tolls.")


@pytest.fixture
def tolls(install: Callable[[str, str, str], Any]) -> Any:
    """The repo of the subjects."""
    entry_points = "[mts1b.subjects]\ntolls = tolls:CONTRIBUTION\n[mts1b.streams]\ntolls = tolls:STREAMS\n"
    return install("tolls", TOLLS, entry_points)


class Reader:
    """One instance of the consuming service."""

    def __init__(self, bus: EventBus, subject: DurableSubject[Any]) -> None:
        self.seen: list[Event] = []
        self.moved = asyncio.Event()
        self._consumer = bus.consume(subject, durable="sexton", ordered_by=lambda _: "one lane for all")
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for event in self._consumer:
            async with event:
                self.seen.append(event.payload)
                self.moved.set()

    async def has_seen(self, count: int) -> None:
        while len(self.seen) < count:
            self.moved.clear()
            await asyncio.wait_for(self.moved.wait(), 60)

    async def stop(self) -> None:
        await self._consumer.stop()
        await self._task


async def test_live_traffic_moves_to_the_next_version_without_losing_an_event(tolls: Any, connect_bus: ConnectBus):
    admin, producer, reading = [await connect_bus("mts1b-tolls") for _ in range(3)]
    await apply_streams(admin, streams=[OLD])
    published: list[int] = []
    version = "v1"

    async def produce() -> None:
        while version != "done":
            number = len(published)
            if version == "v1":
                await producer.emit(tolls.V1, tolls.TollV1(number=number, bell="great"))
            else:
                await producer.emit(tolls.V2, tolls.Toll(number=number, bells=("great", "small")))
            published.append(number)

    producing = asyncio.create_task(produce())
    before = Reader(reading, tolls.V1)
    await before.has_seen(30)

    await apply_streams(admin, streams=[NEW])  # 1. the stream stores both versions
    await before.stop()  # 2. every consumer moves to v2, on the same durable
    after = Reader(reading, tolls.V2)
    await after.has_seen(30)
    version = "v2"  # 3. the producer moves
    switched = len(published)
    await after.has_seen(switched + 60 - len(before.seen))
    version = "done"
    await producing
    await after.has_seen(len(published) - len(before.seen))
    await after.stop()

    assert {type(event) for event in before.seen} == {tolls.TollV1}
    assert {type(event) for event in after.seen} == {tolls.Toll}
    assert [event.number for event in [*before.seen, *after.seen]] == published  # pyright: ignore[reportAttributeAccessIssue]
    assert {event.bells for event in after.seen} == {("great",), ("great", "small")}  # pyright: ignore[reportAttributeAccessIssue]
    assert not reading.counters.deadletters


async def test_a_consumer_that_moves_after_the_producer_is_told_what_it_would_skip(tolls: Any, connect_bus: ConnectBus):
    bus = await connect_bus("mts1b-tolls")
    await apply_streams(bus, streams=[NEW])
    before = Reader(bus, tolls.V1)
    await bus.emit(tolls.V1, tolls.TollV1(number=0, bell="great"))
    await before.has_seen(1)
    await before.stop()
    await bus.emit(tolls.V2, tolls.Toll(number=1, bells=("great",)))
    with pytest.raises(ConsumerConflict, match=r"it reads mts\.v1\.tolls\.tolls\.rung, wanted mts\.v2"):
        await bus.consume(tolls.V2, durable="sexton").start()


async def test_an_old_event_that_is_broken_becomes_a_dead_letter_of_its_own_version(
    tolls: Any, connect_bus: ConnectBus
):
    bus = await connect_bus("mts1b-tolls")
    await apply_streams(bus, streams=[NEW])
    dead = StreamDefinition(name="DEAD", subjects=("mts.v1.tolls.deadletters.created",), description="Given up.")
    await apply_streams(bus, streams=[dead])
    headers = {"mts-schema": "tolls.Toll:v1", "mts-source-repo": "mts1b-tolls"}
    await bus.jetstream().publish("mts.v1.tolls.tolls.rung", b'{"number": 1, "bells": ["great"]}', headers=headers)
    await bus.emit(tolls.V1, tolls.TollV1(number=2, bell="great"))
    reader = Reader(bus, tolls.V2)
    await reader.has_seen(1)
    await reader.stop()
    assert [event.number for event in reader.seen] == [2]  # pyright: ignore[reportAttributeAccessIssue]
    assert bus.counters.deadletters["mts.v1.tolls.tolls.rung"] == 1


async def test_a_subject_whose_old_events_nobody_can_read_is_refused(
    tolls: Any, connect_bus: ConnectBus, monkeypatch: pytest.MonkeyPatch
):
    bus = await connect_bus("mts1b-tolls")
    monkeypatch.setattr(registry().upcasters, "_by_old", {})
    with pytest.raises(SchemaMismatch, match=r"no upcaster leads from tolls.Toll:v1 to tolls.Toll:v2"):
        bus.consume(tolls.V2, durable="sexton")


@pytest.mark.usefixtures("tolls")
def test_two_versions_side_by_side_pass_the_check():
    assert [finding for finding in check_registry(load_sources()) if "tolls" in finding.message] == []


def test_an_installed_contribution_is_part_of_the_registry(tolls: Any):
    assert registry().find("mts.v2.tolls.tolls.rung") is tolls.V2
    assert tolls.V2.filters() == ("mts.v2.tolls.tolls.rung", "mts.v1.tolls.tolls.rung")
