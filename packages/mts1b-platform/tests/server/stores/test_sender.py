"""Events that wait in memory leave at once; those without an ack are published again, in order and once."""

import asyncio
from collections.abc import Iterable

import pytest
from mts1b_foundation.samples import FILL
from mts1b_foundation.subjects import OMS_FILLS_CREATED
from mts1b_platform.eventbus import EventBus, apply_streams
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.outbox.memory import MemoryOutbox
from mts1b_platform.eventbus.outbox.sender import Sender


def say(outbox: MemoryOutbox, numbers: Iterable[int]) -> None:
    for number in numbers:
        fill = FILL.model_copy(update={"fill_id": f"fill-{number}"})
        outbox.add(OMS_FILLS_CREATED, fill)


async def published(sender: Sender, count: int) -> None:
    async with asyncio.timeout(30):
        while sender.counters.published < count:  # noqa: ASYNC110 - it counts, it does not tell
            await asyncio.sleep(0.01)


async def test_events_leave_in_order_and_those_that_a_stream_could_not_take_follow_when_it_can(
    bus: EventBus, caplog: pytest.LogCaptureFixture
):
    await apply_streams(bus)
    outbox = MemoryOutbox(service="mts1b-oms")
    sender = Sender(bus, outbox)
    say(outbox, [1])
    sender.wake()
    assert sender.counters.published == 0  # not before it is told to run: halts are read first
    running = asyncio.create_task(sender.run())
    await published(sender, 1)
    say(outbox, [2, 3])
    sender.wake()
    await published(sender, 3)
    assert not outbox.waiting

    await js_api(bus, "STREAM.DELETE.OMS_FILLS")
    for number in range(4, 24):
        say(outbox, [number])
        sender.wake()
        await asyncio.sleep(0.002)
    assert sender.counters.published == 3
    assert len(outbox.waiting) == 20
    await apply_streams(bus)
    await published(sender, 23)
    say(outbox, [24])
    sender.wake()
    await published(sender, 24)
    assert not outbox.waiting
    sender.stop()
    await running
    assert "an event has no ack" in caplog.text

    async with bus.consume(OMS_FILLS_CREATED, durable="reader") as consumer:
        found, left = list[str](), 0
        while len(found) < 21:
            async with await anext(consumer) as event:
                found.append(event.payload.fill_id)
                left = event.position.pending
    assert found == [f"fill-{number}" for number in range(4, 25)]
    assert left == 0
