"""Atomic batches on a real server: stored whole or not at all, whatever breaks."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio
from mts1b_platform.eventbus.connection import Connection
from mts1b_platform.eventbus.events.outgoing import Draft
from mts1b_platform.eventbus.protocol.frames import FrameTemplate
from mts1b_platform.eventbus.protocol.puback import AckLost, PublishRefused
from mts1b_platform.eventbus.publishing.ack_pipeline import AckPipeline
from mts1b_platform.eventbus.publishing.batch import Batch
from mts1b_platform.server import NatsServer

WAIT = 60.0
TEMPLATE = FrameTemplate("s.a", {"mts-actor": "me"})
JetStream = Callable[..., Awaitable[dict[str, Any]]]


def drafts(count: int, first: int = 0) -> list[Draft]:
    return [Draft(TEMPLATE.at(f"s.{n % 7}"), b"%d" % n, "t", f"id-{n}") for n in range(first, first + count)]


async def create_stream(js: JetStream, **config: Any) -> None:
    await js("STREAM.CREATE.S", **{"name": "S", "subjects": ["s.>"], "allow_atomic": True, **config})


async def stored(js: JetStream) -> int:
    messages: int = (await js("STREAM.INFO.S"))["state"]["messages"]
    return messages


async def payload_at(js: JetStream, seq: int) -> bytes:
    return base64.b64decode((await js("STREAM.MSG.GET.S", seq=seq))["message"]["data"])


@pytest_asyncio.fixture
async def pipeline(connection: Connection) -> AckPipeline:
    return AckPipeline(connection, timeout=WAIT)


@pytest.mark.parametrize("count", [1, 2, 1000])
async def test_a_batch_is_stored_whole(pipeline: AckPipeline, js: JetStream, count: int):
    await create_stream(js)
    await (await pipeline.publish(TEMPLATE, b"before", "t"))
    ack = await pipeline.store(Batch(drafts(count)))
    assert (ack.stream, ack.seq, ack.batch_size) == ("S", count + 1, count)
    assert ack.batch_id
    assert await stored(js) == count + 1
    assert await payload_at(js, count + 1) == b"%d" % (count - 1)
    known = await (await pipeline.publish(TEMPLATE, b"again", "t", f"id-{count - 1}"))
    assert (known.seq, known.duplicate) == (count + 1, True)


async def test_a_batch_is_filled_and_sent_in_pieces_and_stored_at_the_end(
    pipeline: AckPipeline, connection: Connection, js: JetStream
):
    await create_stream(js)
    batch, all_of_it = Batch(), drafts(100)
    for start in range(0, 100, 7):
        batch.add(all_of_it[start : start + 7])
        pipeline.stage(batch)
    await connection.flush(WAIT)
    assert await stored(js) == 0
    ack = await pipeline.store(batch)
    assert (ack.seq, ack.batch_size) == (100, 100)
    assert await payload_at(js, 50) == all_of_it[49].payload


async def test_a_batch_is_lost_with_the_connection_that_it_was_sent_on(
    pipeline: AckPipeline, connection: Connection, js: JetStream, nats_server: NatsServer
):
    await create_stream(js)
    stands = asyncio.Event()
    connection.on_ready(stands.set)
    batch = Batch(drafts(10))
    assert pipeline.stage(batch)
    await connection.flush(WAIT)
    nats_server.kill()
    await nats_server.restart()
    await asyncio.wait_for(stands.wait(), WAIT)
    with pytest.raises(AckLost):
        await pipeline.store(batch)
    assert await stored(js) == 0
    assert (await pipeline.store(Batch(drafts(10)))).seq == 10


async def test_one_known_message_refuses_the_whole_batch(pipeline: AckPipeline, js: JetStream):
    await create_stream(js)
    await (await pipeline.publish(TEMPLATE, b"", "t", "id-5"))
    with pytest.raises(PublishRefused) as refused:
        await pipeline.store(Batch(drafts(10)))
    assert refused.value.err_code == 10201
    assert await stored(js) == 1
    assert pipeline.outstanding == 0


@pytest.mark.parametrize("count", [1, 10])
async def test_a_stream_without_atomic_batches_stores_none_of_it(pipeline: AckPipeline, js: JetStream, count: int):
    await create_stream(js, allow_atomic=False)
    with pytest.raises(PublishRefused, match="atomic"):
        await pipeline.store(Batch(drafts(count)))
    assert await stored(js) == 0


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_batch_has_between_one_and_a_thousand_messages(pipeline: AckPipeline, count: int):
    with pytest.raises(ValueError, match="1 to 1000"):
        await pipeline.store(Batch(drafts(count)))
    assert pipeline.outstanding == 0


@pytest.mark.parametrize("turns", [0, 1, 3, 10])
async def test_a_break_in_the_middle_of_a_batch_stores_all_or_none(
    pipeline: AckPipeline, js: JetStream, nats_server: NatsServer, turns: int
):
    await create_stream(js)
    storing = asyncio.create_task(pipeline.store(Batch(drafts(1000))))
    for _ in range(turns):
        await asyncio.sleep(0)
    nats_server.kill()
    await nats_server.restart()
    with suppress(AckLost):
        await asyncio.wait_for(storing, WAIT)
    assert await stored(js) in {0, 1000}
