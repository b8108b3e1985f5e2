"""JetStream through the seam, typed: pipelined publishes, atomic batches, overlapping pulls."""

import asyncio
from typing import Any

from common import TRACE, Stopwatch, events, static_headers
from js_common import DURABLE, STREAM, SUBJECT, fresh_durable, fresh_stream, main
from mts1b_foundation.orders import Order
from mts1b_platform.eventbus.codec.payload import decoder, encoder
from mts1b_platform.eventbus.consuming.pulls import Pulls
from mts1b_platform.eventbus.events.outgoing import Draft
from mts1b_platform.eventbus.lane import Lane
from mts1b_platform.eventbus.plain import open_lane
from mts1b_platform.eventbus.protocol.envelope_reader import StaticHeaderCache
from mts1b_platform.eventbus.protocol.frames import FrameTemplate
from mts1b_platform.eventbus.publishing.ack_pipeline import AckPipeline
from mts1b_platform.eventbus.publishing.batch import MAX_BATCH, Batch
from mts1b_platform.eventbus.publishing.bulk_acks import Bulk
from nats.aio.client import Client

TEMPLATE = FrameTemplate(SUBJECT, static_headers("order"))
MADE, TO_JSON = events("order"), encoder(Order)
HANDFUL, WINDOW = 64, 4_096


async def connect(url: str) -> tuple[Client, Lane]:
    client = Client()
    lane = await open_lane(client)
    assert lane.fast, lane.reason
    await client.connect(url)
    return client, lane


def drafts(first: int, stop: int) -> list[Draft]:
    return [Draft(TEMPLATE, TO_JSON(MADE[n % len(MADE)]), TRACE, f"id-{n}") for n in range(first, stop)]


async def send_all(lane: Lane, count: int) -> None:
    """Publish ``count`` orders, every one with an ack of its own that is awaited."""
    pipeline, bulk = await AckPipeline.open(lane, timeout=60), Bulk()
    for first in range(0, count, HANDFUL):
        pipeline.publish_many(bulk, drafts(first, min(count, first + HANDFUL)))
        lane.push()
        if bulk.under_way > WINDOW:
            await bulk.wait(WINDOW * 3 // 4)
        elif first % (4 * HANDFUL) == 0:
            await asyncio.sleep(0)
        if lane.crowded:
            await lane.room()
    await bulk.settled()
    assert all(ack is not None and ack.stream == STREAM for ack in bulk.outcomes())


async def publish(url: str, count: int) -> dict[str, Any]:
    client, lane = await connect(url)
    await fresh_stream(client)
    watch = Stopwatch()
    await send_all(lane, count)
    result = watch.per_message(count)
    await client.close()
    return result


async def fill(pipeline: AckPipeline, first: int, stop: int) -> Batch:
    """A batch, sent but for its last message."""
    batch = Batch()
    for start in range(first, stop, HANDFUL):
        batch.add(drafts(start, min(stop, start + HANDFUL)))
        pipeline.stage(batch)
        await asyncio.sleep(0)
    return batch


async def atomic(url: str, count: int) -> dict[str, Any]:
    """One batch is filled while the one before is stored."""
    client, lane = await connect(url)
    await fresh_stream(client)
    pipeline = await AckPipeline.open(lane, timeout=60)
    watch = Stopwatch()
    batch = await fill(pipeline, 0, min(count, MAX_BATCH))
    for start in range(MAX_BATCH, count + MAX_BATCH, MAX_BATCH):
        storing = asyncio.create_task(pipeline.store(batch))
        stored, batch = len(batch.drafts), await fill(pipeline, start, min(count, start + MAX_BATCH))
        assert (await storing).batch_size == stored
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
