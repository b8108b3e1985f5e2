"""A way back: what was moved to the next version of a subject is moved back without losing its position."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from mts1b_foundation.subjects import DurableSubject
from mts1b_platform.eventbus import EventBus, RetryPolicy, StreamDefinition, StreamError, apply_streams
from outcome_world import Connect, World

TOLLS = '''
"""Tolls of a bell, in two versions."""

from typing import ClassVar

from mts1b_foundation.event import Event, Identifier
from mts1b_foundation.subjects import DurableSubject, Tier
from mts1b_foundation.subjects.contributions import Contribution
from mts1b_foundation.upcasting import upcaster


class TollV1(Event):
    number: int

    @classmethod
    def schema_name(cls):
        return "returning_tolls.Toll"


class Toll(Event):
    schema_version: ClassVar[int] = 2
    number: int
    bell: Identifier


@upcaster
def toll_v1_to_v2(old: TollV1) -> Toll:
    return Toll(number=old.number, bell="great")


V1 = DurableSubject("mts.v1.tolls.tolls.rung", producer="mts1b-tolls", payload=TollV1, tier=Tier.AT_LEAST_ONCE,
                    description="A toll.", dedupe_key="{number}")
V2 = DurableSubject("mts.v2.tolls.tolls.rung", producer="mts1b-tolls", payload=Toll, tier=Tier.AT_LEAST_ONCE,
                    description="A toll.", dedupe_key="v2:{number}", replaces=V1)
CONTRIBUTION = Contribution(producers={"mts1b-tolls": "tolls"}, subjects=[V1, V2], upcasters=[toll_v1_to_v2])
'''
DURABLE = "sexton"
OLD = StreamDefinition(name="TOLLS", subjects=("mts.v1.tolls.tolls.*",), description="Tolls.")
NEW = StreamDefinition(name="TOLLS", subjects=("mts.v1.tolls.tolls.*", "mts.v2.tolls.tolls.*"), description="Tolls.")


@pytest.fixture
def tolls(install: Callable[[str, str, str], Any]) -> Any:
    """The repo of the subjects."""
    return install("returning_tolls", TOLLS, "[mts1b.subjects]\ntolls = returning_tolls:CONTRIBUTION\n")


async def read(bus: EventBus, subject: DurableSubject[Any], count: int) -> list[int]:
    """The numbers of the next events of the durable."""
    seen: list[int] = []
    async with asyncio.timeout(10), bus.consume(subject, durable=DURABLE) as consumer:
        while len(seen) < count:
            async with await anext(consumer) as event:
                seen.append(event.payload.number)
    return seen


async def test_a_consumer_that_moved_on_is_rolled_back_and_keeps_its_position(
    tolls: Any, world: World, connect_bus: Connect
):
    bus = await connect_bus("mts1b-tolls")
    await apply_streams(bus, streams=[OLD])
    await apply_streams(bus, streams=[NEW])
    for number, subject in enumerate([tolls.V1, tolls.V2, tolls.V1]):  # there and back; the producer has not moved yet
        await bus.emit(tolls.V1, tolls.TollV1(number=number))
        assert await read(bus, subject, 1) == [number]
    assert await world.settled(DURABLE, "TOLLS")


async def test_an_older_release_takes_no_subjects_from_a_stream_silently(world: World):
    await apply_streams(world.bus, streams=[NEW])
    try:
        await apply_streams(world.bus, streams=[OLD])
    except StreamError as error:
        assert "mts.v2.tolls.tolls" in str(error)  # noqa: PT017 - refusing is one of two right outcomes
    assert set((await world.js.stream_info("TOLLS")).config.subjects or ()) == set(NEW.subjects)


async def test_what_only_the_newer_release_reads_waits_for_it(tolls: Any, world: World, connect_bus: Connect):
    bus = await connect_bus("mts1b-tolls")
    await apply_streams(bus, streams=[NEW])
    async with bus.consume(tolls.V2, durable=DURABLE):
        pass  # the newer release was here first
    await bus.emit(tolls.V2, tolls.Toll(number=0, bell="great"))
    await bus.emit(tolls.V1, tolls.TollV1(number=1))
    older = await connect_bus("mts1b-tolls")
    patient = RetryPolicy(cap=1.0)
    async with asyncio.timeout(20), older.consume(tolls.V1, durable=DURABLE, policy=patient) as consumer:
        reading = asyncio.create_task(anext(consumer))
        async with await reading as event:
            assert event.payload.number == 1
    async with asyncio.timeout(20), bus.consume(tolls.V2, durable=DURABLE) as newer, await anext(newer) as event:
        assert event.payload.number == 0
    assert await world.lost() == []
