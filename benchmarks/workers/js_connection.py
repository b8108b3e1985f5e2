"""JetStream on the bare connection, typed: pipelined publishes, atomic batches, overlapping pulls."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from common import TRACE, Stopwatch, events, static_headers
from js_common import DURABLE, STREAM, SUBJECT, fresh_durable, fresh_stream, main
from mts1b_foundation.orders import Order
from mts1b_platform.eventbus.codec.payload import decoder, encoder
from mts1b_platform.eventbus.connection import Connection, ConnectionOptions
from mts1b_platform.eventbus.consuming.pulls import PullEvent, PullSubscription
from mts1b_platform.eventbus.events.outgoing import Draft
from mts1b_platform.eventbus.protocol.envelope_reader import StaticHeaderCache
from mts1b_platform.eventbus.protocol.frames import FrameTemplate
from mts1b_platform.eventbus.protocol.message import RawMsg
from mts1b_platform.eventbus.publishing.ack_pipeline import AckPipeline
from mts1b_platform.eventbus.publishing.batch import MAX_BATCH, Batch
from mts1b_platform.eventbus.publishing.bulk_acks import BulkAcks

TEMPLATE = FrameTemplate(SUBJECT, static_headers("order"))
MADE, TO_JSON = events("order"), encoder(Order)
CHUNK, WINDOW = 64, 4_096


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[Connection]:
    connection = Connection(ConnectionOptions(servers=(url,)))
    await connection.connect(10)
    try:
        yield connection
    finally:
        await connection.close()


def drafts(first: int, stop: int) -> list[Draft]:
    return [Draft(TEMPLATE, TO_JSON(MADE[n % len(MADE)]), TRACE, f"id-{n}") for n in range(first, stop)]


async def send_all(connection: Connection, count: int) -> None:
    """Publish ``count`` orders, every one with an ack of its own that is awaited."""
    pipeline, bulk = AckPipeline(connection, timeout=60), BulkAcks()
    for first in range(0, count, CHUNK):
        pipeline.publish_many(bulk, drafts(first, min(count, first + CHUNK)))
        connection.flush_out()
        if bulk.under_way > WINDOW:
            await bulk.wait(WINDOW * 3 // 4)
        elif first % (4 * CHUNK) == 0:
            await asyncio.sleep(0)
        if connection.above_high_water:
            await connection.writable()
    await bulk.settled()
    assert not bulk.failures
    assert bulk.stream == STREAM
    assert all(ack is not None for ack in bulk.acks.values())


async def publish(url: str, count: int) -> dict[str, Any]:
    async with connected(url) as connection:
        await fresh_stream(connection)
        watch = Stopwatch()
        await send_all(connection, count)
        return watch.per_message(count)


async def fill(pipeline: AckPipeline, first: int, stop: int) -> Batch:
    """A batch, sent but for its last message."""
    batch = Batch()
    for start in range(first, stop, CHUNK):
        batch.add(drafts(start, min(stop, start + CHUNK)))
        pipeline.stage(batch)
        await asyncio.sleep(0)
    return batch


async def atomic(url: str, count: int) -> dict[str, Any]:
    """One batch is filled while the one before is stored."""
    async with connected(url) as connection:
        await fresh_stream(connection)
        pipeline = AckPipeline(connection, timeout=60)
        watch = Stopwatch()
        batch = await fill(pipeline, 0, min(count, MAX_BATCH))
        for start in range(MAX_BATCH, count + MAX_BATCH, MAX_BATCH):
            storing = asyncio.create_task(pipeline.store(batch))
            stored, batch = len(batch.drafts), await fill(pipeline, start, min(count, start + MAX_BATCH))
            assert (await storing).batch_size == stored
        return watch.per_message(count)


async def read_all(connection: Connection, count: int) -> None:
    """Read, validate and acknowledge ``count`` orders."""
    validate, schema = decoder(Order), Order.schema_id()
    read, ack = StaticHeaderCache().read, connection.ack
    received, done = 0, asyncio.Event()

    def take(batch: list[RawMsg]) -> None:
        nonlocal received
        for _, reply, head, payload in batch:
            assert read(head).schema == schema
            validate(payload)
            ack(reply)
        received += len(batch)
        if received >= count:
            done.set()

    def fail(event: PullEvent) -> None:
        raise RuntimeError(event)

    PullSubscription(connection, STREAM, DURABLE, on_messages=take, on_event=fail, window=2048)
    await done.wait()


async def pulls(url: str, count: int) -> dict[str, Any]:
    async with connected(url) as connection:
        await fresh_durable(connection)
        watch = Stopwatch()
        await read_all(connection, count)
        await connection.flush()
        return watch.per_message(count)


main(publish=publish, atomic=atomic, pulls=pulls)
