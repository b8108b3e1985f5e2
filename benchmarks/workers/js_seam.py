"""JetStream through the seam, typed: pipelined publishes, atomic batches, overlapping pulls."""

import asyncio
from typing import Any

from common import TRACE, Stopwatch, events, static_headers
from js_common import DURABLE, STREAM, SUBJECT, fresh_durable, fresh_stream, main
from mts1b_foundation.orders import Order
from mts1b_platform.eventbus.codec import decoder, encoder
from mts1b_platform.eventbus.headers import StaticHeaderCache
from mts1b_platform.eventbus.lane import Lane
from mts1b_platform.eventbus.pipeline import AckPipeline, Draft
from mts1b_platform.eventbus.plain import open_lane
from mts1b_platform.eventbus.puback import PubAck
from mts1b_platform.eventbus.pulls import Pulls
from mts1b_platform.eventbus.wire import FrameTemplate
from nats.aio.client import Client


async def connect(url: str) -> tuple[Client, Lane]:
    client = Client()
    lane = await open_lane(client)
    assert lane.fast, lane.reason
    await client.connect(url)
    return client, lane


async def send_all(lane: Lane, count: int) -> None:
    """Publish ``count`` orders, every one with an ack of its own that is awaited."""
    pipeline = await AckPipeline.open(lane, window=4000, timeout=60)
    template = FrameTemplate(SUBJECT, static_headers("order"))
    made, to_json = events("order"), encoder(Order)
    waiting: list[asyncio.Future[PubAck]] = [
        await pipeline.publish(template, to_json(made[n % len(made)]), TRACE, f"id-{n}") for n in range(count)
    ]
    for future in waiting:
        assert (await future).stream == STREAM


async def publish(url: str, count: int) -> dict[str, Any]:
    client, lane = await connect(url)
    await fresh_stream(client)
    watch = Stopwatch()
    await send_all(lane, count)
    result = watch.per_message(count)
    await client.close()
    return result


async def atomic(url: str, count: int) -> dict[str, Any]:
    client, lane = await connect(url)
    await fresh_stream(client)
    pipeline = await AckPipeline.open(lane, timeout=60)
    template = FrameTemplate(SUBJECT, static_headers("order"))
    made, to_json = events("order"), encoder(Order)
    watch = Stopwatch()
    for start in range(0, count, 1000):
        numbers = range(start, min(count, start + 1000))
        ack = await pipeline.publish_atomic(
            [Draft(template, to_json(made[n % len(made)]), TRACE, f"id-{n}") for n in numbers]
        )
        assert ack.batch_size == len(numbers)
    result = watch.per_message(count)
    await client.close()
    return result


async def read_all(lane: Lane, count: int) -> None:
    """Read, validate and acknowledge ``count`` orders."""
    validate, schema = decoder(Order), Order.schema_id()
    read = StaticHeaderCache().read
    pulls = await Pulls.open(lane, STREAM, DURABLE, window=2048)
    received = 0
    while received < count:
        batch = await pulls.next_batch()
        for _, _, head, payload in batch:
            assert read(head).schema == schema
            validate(payload)
        pulls.ack_all(batch)
        received += len(batch)


async def pulls(url: str, count: int) -> dict[str, Any]:
    client, lane = await connect(url)
    await fresh_durable(client)
    watch = Stopwatch()
    await read_all(lane, count)
    await client.flush()
    result = watch.per_message(count)
    await client.close()
    return result


main(publish=publish, atomic=atomic, pulls=pulls)
