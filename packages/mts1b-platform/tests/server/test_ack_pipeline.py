"""Pipelined publishes on a real server: every future ends, and says what is known."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from mts1b_platform.eventbus.connection import Connection
from mts1b_platform.eventbus.errors import BusClosed
from mts1b_platform.eventbus.events.outgoing import Draft
from mts1b_platform.eventbus.protocol.frames import FrameTemplate, pub_frame, split_frame
from mts1b_platform.eventbus.protocol.headers import HeaderError, header_lines
from mts1b_platform.eventbus.protocol.message import RawMsg
from mts1b_platform.eventbus.protocol.puback import AckLost, AckTimeout, NoStreamResponse, PubAck, PublishRefused
from mts1b_platform.eventbus.publishing.ack_pipeline import AckPipeline
from mts1b_platform.eventbus.publishing.bulk_acks import BulkAcks
from mts1b_platform.server import NatsServer

WAIT = 60.0
TEMPLATE = FrameTemplate("s.a", {"mts-actor": "me"})
JetStream = Callable[..., Awaitable[dict[str, Any]]]


async def create_stream(js: JetStream, **config: Any) -> None:
    await js("STREAM.CREATE.S", **{"name": "S", "subjects": ["s.>"], **config})


async def stored(js: JetStream) -> int:
    messages: int = (await js("STREAM.INFO.S"))["state"]["messages"]
    return messages


@pytest_asyncio.fixture
async def pipeline(connection: Connection) -> AckPipeline:
    return AckPipeline(connection, timeout=WAIT)


class StreamInTheMiddle:
    """Takes the publishes of ``s.a`` as a stream would, and says what a test has it say."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._taken: asyncio.Queue[RawMsg] = asyncio.Queue()
        connection.subscribe("s.a", lambda batch: [self._taken.put_nowait(msg) for msg in batch])

    async def reply_of_next(self) -> bytes:
        """Where the next publish wants its ack."""
        _, reply, _, _ = await asyncio.wait_for(self._taken.get(), WAIT)
        return reply

    async def say(self, reply: bytes, payload: bytes) -> None:
        """Answer, and wait until the pipeline has the answer."""
        self._connection.send(pub_frame(reply, payload))
        await self._connection.flush(WAIT)


async def test_every_publish_has_its_own_ack(pipeline: AckPipeline, js: JetStream):
    await create_stream(js)
    futures = [await pipeline.publish(TEMPLATE, b"%d" % n, "t", f"id-{n}") for n in range(3000)]
    assert [await future for future in futures] == [PubAck("S", n + 1) for n in range(3000)]
    again = await (await pipeline.publish(TEMPLATE, b"7", "t", "id-7"))
    assert again == PubAck("S", 8, duplicate=True)
    after = await (await pipeline.publish(TEMPLATE, b"new", "t", "id-new"))
    assert after == PubAck("S", 3001)
    assert await stored(js) == 3001
    assert pipeline.outstanding == 0


async def test_a_refusal_has_the_servers_number_and_words(pipeline: AckPipeline, js: JetStream):
    await create_stream(js)
    wrong = header_lines({"Nats-Expected-Last-Sequence": "99"})
    good, bad = pipeline.publish_nowait(TEMPLATE, b"", "t"), pipeline.publish_nowait(TEMPLATE, b"", "t", None, wrong)
    assert (await good).seq == 1
    with pytest.raises(PublishRefused, match="wrong last sequence") as refused:
        await bad
    assert (refused.value.code, refused.value.err_code) == (400, 10071)


async def test_a_subject_without_stream_is_known_at_once(pipeline: AckPipeline):
    with pytest.raises(NoStreamResponse):
        await asyncio.wait_for(await pipeline.publish(TEMPLATE, b"", "t"), WAIT / 2)


async def test_no_more_than_the_window_is_under_way(connection: Connection, js: JetStream, nats_server: NatsServer):
    pipeline = AckPipeline(connection, window=10, timeout=WAIT)
    await create_stream(js)
    nats_server.pause()

    async def one(n: int) -> PubAck:
        return await (await pipeline.publish(TEMPLATE, b"", "t", str(n)))

    tasks = [asyncio.create_task(one(n)) for n in range(50)]
    for _ in range(100):  # turns of the loop in which every task comes as far as it may
        await asyncio.sleep(0)
        assert pipeline.outstanding <= 10
    assert pipeline.outstanding == 10
    nats_server.resume()
    assert sorted(ack.seq for ack in await asyncio.gather(*tasks)) == list(range(1, 51))


async def test_a_missing_ack_is_said_in_its_own_time_and_a_late_one_disturbs_nothing(connection: Connection):
    pipeline, stream = AckPipeline(connection, timeout=0.4), StreamInTheMiddle(connection)
    loop = asyncio.get_running_loop()
    waits: list[float] = []

    def publish() -> asyncio.Future[PubAck]:
        sent = loop.time()
        future = pipeline.publish_nowait(TEMPLATE, b"", "t")
        future.add_done_callback(lambda _: waits.append(loop.time() - sent))
        return future

    early = publish()
    await asyncio.sleep(0.2)
    late = publish()
    for future in (early, late):
        with pytest.raises(AckTimeout, match="may have been stored or not"):
            await future
    assert min(waits) >= 0.4, "each has its own time"
    assert pipeline.outstanding == 0
    for seq in (1, 2):
        await stream.say(await stream.reply_of_next(), b'{"stream":"S","seq":%d}' % seq)
    patient = AckPipeline(connection, timeout=WAIT)
    future = patient.publish_nowait(TEMPLATE, b"", "t")
    await stream.say(await stream.reply_of_next(), b'{"stream":"S","seq":3}')
    assert await future == PubAck("S", 3)


async def test_a_break_ends_every_wait_and_sending_again_stores_each_once(
    pipeline: AckPipeline, connection: Connection, js: JetStream, nats_server: NatsServer
):
    await create_stream(js)
    stands = asyncio.Event()
    connection.on_ready(stands.set)
    await (await pipeline.publish(TEMPLATE, b"", "t", "0"))
    nats_server.pause()
    futures = [await pipeline.publish(TEMPLATE, b"", "t", str(n)) for n in range(1, 100)]
    await connection.writable()  # they are on their way: none of them waits for the next connection
    nats_server.kill()
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {AckLost}
    await nats_server.restart()
    await asyncio.wait_for(stands.wait(), WAIT)
    acks = await asyncio.gather(*[await pipeline.publish(TEMPLATE, b"", "t", str(n)) for n in range(200)])
    assert sorted({ack.seq for ack in acks}) == list(range(1, 201))
    assert await stored(js) == 200


@pytest.mark.parametrize("close_connection", [False, True])
async def test_closing_ends_every_wait_and_refuses_what_comes_later(
    pipeline: AckPipeline, connection: Connection, close_connection: bool
):
    stream = StreamInTheMiddle(connection)  # it says nothing
    future = await pipeline.publish(TEMPLATE, b"", "t")
    await stream.reply_of_next()
    if close_connection:
        await connection.close()
    else:
        pipeline.close()
    with pytest.raises(AckLost, match="may have been stored or not"):
        await future
    assert pipeline.outstanding == 0
    if close_connection:
        with pytest.raises(BusClosed):
            await pipeline.publish(TEMPLATE, b"", "t")
        assert pipeline.outstanding == 0


async def test_a_bulk_has_an_ack_for_each_in_the_order_of_sending(
    pipeline: AckPipeline, connection: Connection, js: JetStream
):
    await create_stream(js)
    bulk = BulkAcks()
    for start in range(0, 2000, 10):
        await bulk.wait(490)
        assert bulk.under_way <= 490
        await connection.writable()
        some = [Draft(TEMPLATE, b"%d" % n, "t", f"id-{n}") for n in range(start, start + 10)]
        frames = pipeline.publish_many(bulk, some)
        assert [split_frame(frame).payload for frame in frames] == [draft.payload for draft in some]
    one = await (await pipeline.publish(TEMPLATE, b"", "t"))
    await bulk.settled()
    assert (bulk.stream, bulk.plain, bulk.failures) == ("S", True, {})
    assert list(bulk.acks.values()) == list(range(1, 2001))
    assert one == PubAck("S", 2001)
    times = list(bulk.latencies())
    assert sum(events for _, events in times) == 2000
    assert all(0 < seconds < WAIT for seconds, _ in times)


async def test_a_bulk_says_which_were_known_already(pipeline: AckPipeline, js: JetStream):
    await create_stream(js)
    await (await pipeline.publish(TEMPLATE, b"", "t", "id-1"))
    bulk = BulkAcks()
    pipeline.publish_many(bulk, [Draft(TEMPLATE, b"", "t", f"id-{n}") for n in range(3)])
    await bulk.settled()
    assert not bulk.plain
    assert list(bulk.acks.values()) == [2, PubAck("S", 1, duplicate=True), 3]


async def test_a_bulk_says_which_publishes_have_no_ack(pipeline: AckPipeline, js: JetStream, nats_server: NatsServer):
    await create_stream(js, subjects=["s.a"])
    bulk, elsewhere = BulkAcks(), FrameTemplate("s.b", {"mts-actor": "me"})
    where = (TEMPLATE, elsewhere, TEMPLATE)
    pipeline.publish_many(bulk, [Draft(template, b"", "t", f"id-{n}") for n, template in enumerate(where)])
    await bulk.wait(0)  # ends at the first failure
    await bulk.settled()
    assert list(bulk.acks.values()) == [1, None, 2]
    assert [type(error) for error in bulk.failures.values()] == [NoStreamResponse]
    assert [bulk.acks[token] for token in bulk.failures] == [None]
    nats_server.pause()
    pipeline.publish_many(bulk, [Draft(TEMPLATE, b"", "t", "id-3")])
    pipeline.close()
    await bulk.settled()
    nats_server.resume()
    assert [type(error) for error in bulk.failures.values()] == [NoStreamResponse, AckLost]


async def test_what_cannot_be_encoded_sends_nothing_of_its_bulk(pipeline: AckPipeline, js: JetStream):
    await create_stream(js)
    bulk = BulkAcks()
    with pytest.raises(HeaderError):
        pipeline.publish_many(bulk, [Draft(TEMPLATE, b"", "t", "good"), Draft(TEMPLATE, b"", "t", "b\r\nad")])
    assert (bulk.under_way, pipeline.outstanding) == (0, 0)
    assert (await (await pipeline.publish(TEMPLATE, b"", "t", "next"))).seq == 1


async def test_a_bulk_has_time_while_acks_come_but_not_for_one_that_was_passed_over(
    connection: Connection, standstill: Callable[[], float]
):
    pipeline, stream = AckPipeline(connection, timeout=1), StreamInTheMiddle(connection)
    while True:
        bulk = BulkAcks()
        standstill()
        pipeline.publish_many(bulk, [Draft(TEMPLATE, b"", "t", f"id-{n}") for n in range(10)])
        replies = [await stream.reply_of_next() for _ in range(10)]
        for number, reply in enumerate(replies[:8]):
            await asyncio.sleep(0.25)  # a disk that takes a quarter of a second
            if number != 2:
                await stream.say(reply, b'{"stream":"S","seq":%d}' % (number + 1))
        in_time = list(bulk.acks.values())
        await bulk.settled()
        assert [type(error) for error in bulk.failures.values()] == [AckTimeout] * len(bulk.failures)
        if standstill() < 0.3:
            break
    assert in_time == [1, 2, None, 4, 5, 6, 7, 8, None, None]
    assert len(bulk.failures) == 3
    assert bulk.under_way == pipeline.outstanding == 0


async def test_a_wait_that_was_given_up_disturbs_no_other(pipeline: AckPipeline, js: JetStream):
    await create_stream(js)
    first = await (await pipeline.publish(TEMPLATE, b"", "t"))
    futures = [pipeline.publish_nowait(TEMPLATE, b"", "t") for _ in range(10)]
    futures[3].cancel()
    kept = [await future for future in futures if not future.cancelled()]
    assert [ack.seq for ack in kept] == [n for n in range(2, 12) if n != 5]
    assert first.seq == 1
    assert await stored(js) == 11
    assert pipeline.outstanding == 0


async def test_rubbish_in_the_inbox_of_acks_costs_nothing_else(pipeline: AckPipeline, connection: Connection):
    stream = StreamInTheMiddle(connection)
    future = pipeline.publish_nowait(TEMPLATE, b"", "t")
    reply = await stream.reply_of_next()
    inbox = reply[: reply.rindex(b".") + 1]
    for token in (b"x", b"999", b"-1", b"1_0"):
        await stream.say(inbox + token, b'{"stream":"S","seq":9}')
    assert not future.done()
    await stream.say(reply, b'{"stream":"S","seq":1}')
    assert future.result() == PubAck("S", 1)


@pytest.mark.parametrize("payload", [b"rubbish", b"[]", b"{}", b'{"stream":"S","seq":"x"}', b'{"error":1}'])
async def test_an_answer_that_is_no_ack_is_a_refusal_that_shows_it(
    pipeline: AckPipeline, connection: Connection, payload: bytes
):
    stream = StreamInTheMiddle(connection)
    future = pipeline.publish_nowait(TEMPLATE, b"", "t")
    await stream.say(await stream.reply_of_next(), payload)
    with pytest.raises(PublishRefused, match="no ack"):
        future.result()
