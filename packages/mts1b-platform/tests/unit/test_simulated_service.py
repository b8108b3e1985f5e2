"""What another repo's tests do with the simulated world: its own service, on virtual time, whatever goes wrong."""

import asyncio
import time
from datetime import datetime
from pathlib import Path

import aiosqlite
import pytest
from mts1b_foundation.event import utc_now
from mts1b_foundation.fills import Fill
from mts1b_foundation.marketdata import Quote
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import FILL, ORDER, QUOTE
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_FILLS_CREATED, OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Event, LiveEvent, Reject
from mts1b_platform.eventbus.dedupe.sqlite import SqliteDedupe
from mts1b_platform.service import Service
from mts1b_platform.testing import Simulate

FILLS = [FILL.model_copy(update={"fill_id": f"fill-{number:02}"}) for number in range(12)]


def order_of(fill: Fill) -> Order:
    return ORDER.model_copy(update={"order_id": fill.fill_id, "idempotency_key": fill.fill_id})


def oms() -> Service:
    """Publishes an order for each fill, before the fill is acknowledged."""
    service = Service("mts1b-oms")

    @service.consumes(OMS_FILLS_CREATED, durable="answers", ack_wait=2)
    async def answer(event: Event[Fill]) -> None:
        await service.bus.emit(OMS_ORDERS_CREATED, order_of(event.payload))

    return service


def forgetful_oms() -> Service:
    """Acknowledges a fill, and publishes its order later: a crash in between loses it."""
    service = Service("mts1b-oms")
    later: list[Fill] = []

    @service.consumes(OMS_FILLS_CREATED, durable="answers", ack_wait=2)
    async def remember(event: Event[Fill]) -> None:
        later.append(event.payload)

    @service.every(0.2)
    async def answer() -> None:
        while later:
            await service.bus.emit(OMS_ORDERS_CREATED, order_of(later[0]))
            later.pop(0)

    return service


@pytest.mark.parametrize("seed", range(8))
def test_a_right_service_answers_every_fill_once(simulate: Simulate, seed: int):
    world = simulate(seed)
    world.start(oms)
    world.publish(OMS_FILLS_CREATED, *FILLS, every=0.1)
    world.trouble(times=4, within=1.5)
    world.settle()
    assert sorted(order.order_id for order in world.published(OMS_ORDERS_CREATED)) == [one.fill_id for one in FILLS]


def test_a_service_that_answers_after_its_ack_is_caught(simulate: Simulate):
    answered: list[int] = []
    for seed in range(8):
        world = simulate(seed)
        world.start(forgetful_oms)
        world.publish(OMS_FILLS_CREATED, *FILLS, every=0.1)
        world.trouble("kill", times=2, within=1.5)
        world.settle()
        world.run(5)
        answered.append(len(world.published(OMS_ORDERS_CREATED)))
    assert min(answered) < len(FILLS)


def test_the_same_seed_tells_the_same_story(simulate: Simulate):
    stories: list[str] = []
    for _ in range(2):
        world = simulate(7)
        world.start(oms)
        world.publish(OMS_FILLS_CREATED, *FILLS[:4], every=0.1)
        world.trouble(within=0.5)
        world.settle()
        stories.append(world.story)
    assert stories[0] == stories[1]
    assert "kill" in stories[0] or "freeze" in stories[0] or "cut" in stories[0]


def test_effects_in_a_file_happen_once_whoever_dies(simulate: Simulate, tmp_path: Path):
    def books() -> Service:
        service = Service("mts1b-treasury")

        @service.consumes(OMS_FILLS_CREATED, durable="books", dedupe=SqliteDedupe(tmp_path / "books.db"), ack_wait=2)
        async def book(event: Event[Fill], tx: aiosqlite.Connection) -> None:
            await tx.execute("CREATE TABLE IF NOT EXISTS fills (name TEXT UNIQUE)")
            await tx.execute("INSERT INTO fills VALUES (?)", (event.payload.fill_id,))

        return service

    world = simulate(1)
    first, second = world.start(books), world.start(books)
    assert (first.name, second.name) == ("mts1b-treasury", "mts1b-treasury 2")
    world.publish(OMS_FILLS_CREATED, *FILLS, every=0.05)
    world.at(0.2, first.kill)
    world.at(0.3, second.disconnect)
    world.at(0.5, first.start)
    world.at(0.6, lambda: second.kill(back_after=0.1))
    world.settle()
    assert world.dead_letters() == []
    first.stop()
    world.run(1)
    assert first.exit_code == 0


def test_a_declared_service_is_killed_and_comes_again_in_its_own_memory(simulate: Simulate):
    handled: list[str] = []
    ticks: list[datetime] = []
    bids: list[float] = []
    service = Service("mts1b-treasury")

    @service.consumes(OMS_FILLS_CREATED, durable="plain", ack_wait=2)
    def in_a_thread(event: Event[Fill]) -> None:
        handled.append(event.payload.fill_id)
        if event.payload == FILLS[1]:
            raise Reject("not this one")

    @service.listens(MARKETDATA_QUOTES)
    async def follow(event: LiveEvent[Quote]) -> None:
        bids.append(event.payload.bid)

    @service.every(60.0)
    async def tick() -> None:
        ticks.append(utc_now())

    world = simulate()
    running = world.start(service)
    with pytest.raises(RuntimeError, match="runs already: for a second instance hand in a function"):
        world.start(service)
    world.publish(OMS_FILLS_CREATED, *FILLS[:2])
    world.settle()
    assert [letter.error for letter in world.dead_letters()] == ["not this one"]
    running.kill()
    assert not running.running
    world.publish(OMS_FILLS_CREATED, FILLS[2])
    running.start()
    world.run(1)
    world.publish(MARKETDATA_QUOTES, QUOTE)
    began = time.monotonic()
    world.run(3600)
    assert time.monotonic() - began < 60
    assert handled == [fill.fill_id for fill in FILLS[:3]]
    assert bids == [QUOTE.bid]
    assert 58 <= len(ticks) <= 61
    assert 3400 < (ticks[-1] - ticks[0]).total_seconds() < 3600


def test_what_goes_wrong_in_a_service_is_said(simulate: Simulate):
    service = Service("mts1b-treasury")

    @service.on_start
    async def refuse() -> None:
        raise LookupError("no books here")

    world = simulate()
    world.start(service)
    with pytest.raises(RuntimeError, match="mts1b-treasury ended with LookupError: no books here"):
        world.settle()
    with pytest.raises(ValueError, match="there is no trouble earthquake: choose from kill, stop"):
        world.trouble("earthquake")  # pyright: ignore[reportArgumentType] - as somebody without types would


def test_what_a_world_does_not_have_is_said(simulate: Simulate):
    service = Service("mts1b-treasury")

    @service.on_start
    async def look_up() -> None:
        await asyncio.open_connection("127.0.0.1", 80)

    world = simulate()
    world.start(service)
    with pytest.raises(RuntimeError, match="a simulated process has no create_connection"):
        world.settle()


def test_what_is_never_handled_is_named(simulate: Simulate):
    service = Service("mts1b-treasury")

    @service.consumes(OMS_FILLS_CREATED, durable="stuck")
    async def fail(event: Event[Fill]) -> None:
        raise OSError(event.payload.fill_id)

    world = simulate()
    world.start(service)
    world.publish(OMS_FILLS_CREATED, FILL)
    with pytest.raises(TimeoutError, match="stuck: 0 not delivered, 1 not acknowledged"):
        world.settle(within=0.5)
