"""Code of the user's that runs outside the handler: when it raises, its event pays for it and nobody else."""

from typing import Any, cast

import pytest
from mts1b_foundation.event import Event as Payload
from mts1b_foundation.subjects import DurableSubject, Tier
from mts1b_platform.eventbus import Event
from outcome_readers import ORDERED, SURFACES, reading
from outcome_world import World, names
from pydantic import field_validator


class Unprintable(Exception):
    """An error of the handler that cannot be written down."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Ring(Payload):
    """A payload whose validator has a bug."""

    order_id: str

    @field_validator("order_id")
    @classmethod
    def _known(cls, value: str) -> str:
        return {"order-1": value, "order-2": value}[value]


RINGS = DurableSubject(
    "mts.v1.oms.rings.rung",
    producer="mts1b-oms",
    payload=Ring,
    tier=Tier.AT_LEAST_ONCE,
    description="A ring.",
    dedupe_key="{order_id}",
)


def nothing(*_: Any) -> None:
    """Whatever the bus tells it."""


def one_lane(_: Any) -> str:
    """One event after the other."""
    return "one lane"


class BrokenHook:
    """Watches the bus, and fails when the handler of order-0 begins."""

    best_effort = False
    handlers = True
    one_by_one = False

    def __getattr__(self, _: str) -> Any:
        return nothing

    def entered(self, event: Event[Any]) -> None:
        if event.payload.order_id == "order-0":
            raise RuntimeError("the hook has a bug")


@pytest.mark.parametrize("surface", ORDERED)
async def test_a_key_function_that_raises_is_charged_to_its_event(surface: str, world: World):
    def key(order: Any) -> str:
        return order.signal_id.split(":")[0]

    await world.emit(0, signal_id=None)
    await world.emit(1, 2, signal_id="sig:1")
    async with reading(world, surface, ordered_by=key) as reader:
        assert await world.settled(), repr(reader.failure)
    assert [entry.split()[0] for entry in await world.lost()] == names(0)
    assert reader.handled == names(1, 2)


@pytest.mark.parametrize(("surface", "concurrency"), [*((surface, 1) for surface in SURFACES), ("Service", 2)])
async def test_an_error_that_cannot_be_printed_is_charged_to_its_event(surface: str, concurrency: int, world: World):
    async def work(event: Event[Any]) -> None:
        if event.payload.order_id == "order-0":
            raise Unprintable

    await world.emit(0, 1, 2)
    async with reading(world, surface, work, concurrency=concurrency) as reader:
        assert await world.settled(), repr(reader.failure)
    assert [entry.split()[0] for entry in await world.lost()] == names(0)
    assert sorted(reader.handled) == names(1, 2)


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_validator_that_raises_is_charged_to_its_event(surface: str, world: World):
    await world.js.add_stream(name="RINGS", subjects=["mts.v1.oms.rings.*"])
    for number in range(3):
        await world.js.publish(
            RINGS.pattern,
            Ring.model_construct(order_id=f"order-{number}").model_dump_json().encode(),
            headers={"mts-schema": Ring.schema_id(), "mts-source-repo": "mts1b-oms"},
        )
    key = {"ordered_by": one_lane} if surface == "ordered_by" else {}
    async with reading(world, surface, subject=RINGS, **cast("dict[str, Any]", key)) as reader:
        assert await world.settled(stream="RINGS"), repr(reader.failure)
    assert [letter.sequence for letter in await world.letters()] == [1]
    assert reader.handled == names(1, 2)


@pytest.mark.parametrize("surface", ["consume", "ordered_by"])
async def test_a_hook_that_raises_is_charged_to_its_event(surface: str, world: World):
    async with reading(world, surface) as reader:
        assert reader.bus is not None
        reader.bus.hooks = cast("Any", BrokenHook())
        await world.emit(0, 1, 2)
        assert await world.settled(), repr(reader.failure)
    assert reader.handled[-2:] == names(1, 2)
