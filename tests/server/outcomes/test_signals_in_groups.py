"""What a handler raises to decide about its event is found inside a task group's exception too."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Event, Reject, Retry, RetryPolicy
from mts1b_platform.eventbus.dedupe.sqlite import SqliteDedupe
from outcome_readers import SURFACES, reading
from outcome_world import World, names, order

INSIDE = "only the outermost exception is looked at, so that a group's is a failure like any other"


async def child(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` as a task group does: what it raises comes out in an exception group, here of two levels."""
    async with asyncio.TaskGroup() as outer:

        async def nested() -> None:
            async with asyncio.TaskGroup() as inner:
                inner.create_task(work)

        outer.create_task(nested())


@pytest.mark.parametrize("surface", SURFACES)
async def test_reject_in_a_child_is_a_dead_letter_at_once_with_its_reason(surface: str, world: World):
    async def reject() -> None:
        raise Reject("the fund is closed")

    async def work(_: Event[Any]) -> None:
        await child(reject())

    await world.emit(0)
    async with reading(world, surface, work) as reader:
        assert await world.settled(within=20)
    [letter] = await world.letters()
    assert (letter.reason.value, reader.begun) == ("rejected", names(0))
    assert "the fund is closed" in letter.error


@pytest.mark.parametrize("surface", SURFACES)
async def test_retry_in_a_child_sets_the_delay(surface: str, world: World):
    async def retry() -> None:
        raise Retry(0.05)

    async def work(event: Event[Any]) -> None:
        if event.deliveries == 1:
            await child(retry())

    await world.emit(0)
    slow = RetryPolicy(max_deliveries=3, base=60, jitter=0)
    async with reading(world, surface, work, policy=slow) as reader:
        assert await reader.has_handled(1)


@pytest.mark.parametrize("surface", SURFACES)
async def test_done_before_in_a_child_is_acknowledged(surface: str, world: World, tmp_path: Path):
    async with SqliteDedupe(tmp_path / "books.db") as store:

        async def act(event: Event[Any]) -> None:
            async with event.once(store):
                pass

        async def work(event: Event[Any]) -> None:
            await child(act(event))

        await world.emit(0)
        await world.bus.emit(OMS_ORDERS_CREATED, order(0), msg_id="stored a second time")
        async with reading(world, surface, work) as reader:
            assert await world.settled(within=20)
    assert await world.lost() == []
    assert reader.begun == names(0, 0)


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_dead_letter_names_every_error_of_a_group(surface: str, world: World):
    async def work(_: Event[Any]) -> None:
        raise ExceptionGroup("booking", [ValueError("no account 17"), KeyError("no currency")])

    await world.emit(0)
    async with reading(world, surface, work, policy=RetryPolicy(max_deliveries=1)):
        assert await world.settled(within=20)
    [letter] = await world.letters()
    assert "no account 17" in letter.error
    assert "no currency" in letter.error
