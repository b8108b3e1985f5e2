"""``Consumer.run``: how it ends when the reading cannot go on."""

import asyncio
from typing import Any

import pytest
from mts1b_foundation.samples import FILL
from mts1b_foundation.subjects import OMS_FILLS_CREATED
from mts1b_platform.eventbus import ConsumerGone, Event, EventBus
from mts1b_platform.eventbus.jetstream.api import js_api


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_handler_at_work_finishes_when_the_durable_is_deleted_and_the_error_is_the_readers(
    bus: EventBus, concurrency: int
):
    began, go_on, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handle(_: Event[Any]) -> None:
        began.set()
        await go_on.wait()
        finished.set()

    await bus.emit(OMS_FILLS_CREATED, FILL)
    consumer = bus.consume(OMS_FILLS_CREATED, durable="treasury")
    running = asyncio.create_task(consumer.run(handle, concurrency=concurrency))
    await asyncio.wait_for(began.wait(), 20)
    await js_api(bus, "CONSUMER.DELETE.OMS_FILLS.treasury")
    await bus.flush()  # what the server said to the pulls has arrived
    assert not running.done()
    go_on.set()
    with pytest.raises(ConsumerGone, match="was deleted while in use"):
        await asyncio.wait_for(running, 20)
    assert finished.is_set()
