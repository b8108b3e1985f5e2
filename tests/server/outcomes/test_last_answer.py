"""What the server said last is the reason that the caller reads."""

import asyncio
from datetime import datetime
from typing import Any

import pytest
from mts1b_foundation.errors import Mts1bError
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import BusError, EventBus, PublishUncertain
from nats.js import api
from outcome_readers import SURFACES, reading
from outcome_world import DURABLE, STREAM, World, order

DEADLINE = 3.0
"""Seconds in which the server answers once at least, however busy the machine is."""


async def one(bus: EventBus) -> None:
    await bus.emit(OMS_ORDERS_CREATED, order(1), deadline=DEADLINE)


async def many(bus: EventBus) -> None:
    await bus.emit_many(OMS_ORDERS_CREATED, [order(1), order(2)], deadline=DEADLINE)


async def batch(bus: EventBus) -> None:
    await bus.emit_many(OMS_ORDERS_CREATED, [order(1), order(2)], atomic=True, deadline=DEADLINE)


@pytest.mark.parametrize("publish", [one, many, batch])
async def test_a_full_stream_is_named_as_the_reason(publish: Any, world: World):
    config = (await world.js.stream_info(STREAM)).config
    config.max_msgs, config.discard = 1, api.DiscardPolicy.NEW
    await world.js.update_stream(config)
    await world.emit(0)
    with pytest.raises(BusError, match="maximum messages exceeded") as refused:
        async with asyncio.timeout(60):
            await publish(world.bus)
    assert not isinstance(refused.value, PublishUncertain), "the server has said that it was not stored"


async def test_a_bus_that_is_used_in_another_thread_says_so(world: World):
    def publish() -> BaseException | None:
        try:
            asyncio.run(one(world.bus))
        except Exception as error:  # noqa: BLE001 - looked at below
            return error
        return None

    error = await asyncio.to_thread(publish)
    assert isinstance(error, (BusError, RuntimeError))
    assert not isinstance(error, PublishUncertain)
    assert "loop" in str(error) or "thread" in str(error)


@pytest.mark.parametrize(
    "settings", [{"headers_only": True}, {"max_deliver": 1}, {"ack_wait": 7.0}], ids=["headers", "max_deliver", "ack"]
)
@pytest.mark.parametrize("surface", SURFACES)
async def test_a_durable_whose_settings_would_break_a_promise_is_refused(
    surface: str, settings: dict[str, Any], world: World
):
    await world.js.add_consumer(
        STREAM,
        api.ConsumerConfig(
            durable_name=DURABLE,
            ack_policy=api.AckPolicy.EXPLICIT,
            filter_subjects=["mts.v1.oms.orders.created", "mts.v1.oms.orders.created.fund.*"],
            **settings,
        ),
    )
    stated: dict[str, Any] = {"ack_wait": 5.0} if "ack_wait" in settings else {}
    try:
        async with reading(world, surface, **stated) as reader:
            await world.comes(lambda: reader.failure is not None)
            refused = reader.failure
    except BusError as error:
        refused = error
    assert isinstance(refused, BusError)
    assert "streams apply" in str(refused)


async def test_a_moment_without_a_zone_is_refused(world: World):
    with pytest.raises((Mts1bError, ValueError, TypeError)):  # noqa: PT012 - when it is asked for, or when it starts
        consumer = world.bus.consume(OMS_ORDERS_CREATED, durable=DURABLE, deliver=datetime(2026, 1, 1))  # noqa: DTZ001
        await consumer.start()
