"""Pipelined publishes and atomic batches on a real server: every future ends, and says what is known."""
# pyright: reportUnknownMemberType=false
# reason: nats-py's signatures are partly untyped.

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from mts1b_platform.eventbus.events.outgoing import Draft
from mts1b_platform.eventbus.lane import Lane
from mts1b_platform.eventbus.plain import PlainLane
from mts1b_platform.eventbus.protocol.frames import FrameTemplate, pub_frame, split_frame
from mts1b_platform.eventbus.protocol.headers import header_lines
from mts1b_platform.eventbus.protocol.puback import AckLost, AckTimeout, NoStreamResponse, PubAck, PublishRefused
from mts1b_platform.eventbus.publishing.ack_pipeline import AckPipeline
from mts1b_platform.eventbus.publishing.batch import Batch
from mts1b_platform.eventbus.publishing.bulk_acks import Bulk
from mts1b_platform.eventbus.seam import Seam
from mts1b_platform.server import NatsServer
from nats.aio.client import Client

WAIT = 60.0
TEMPLATE = FrameTemplate("s.a", {"mts-actor": "me"})
kinds = pytest.mark.parametrize("kind", ["seam", "plain"])


@asynccontextmanager
async def pipeline_to(
    server: NatsServer, kind: str = "seam", **options: Any
) -> AsyncGenerator[tuple[AckPipeline, Lane, Client]]:
    options.setdefault("timeout", WAIT)
    client = Client()
    lane: Lane = await Seam.attach(client) if kind == "seam" else PlainLane(client, reason="asked for")

    async def quiet(_: Exception) -> None:
        """Reconnects are part of the test."""

    await client.connect(
        server.url,
        error_cb=quiet,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.02,  # pyright: ignore[reportArgumentType] - fractions work
        connect_timeout=60,
    )
    try:
        yield await AckPipeline.open(lane, **options), lane, client
    finally:
        with suppress(OSError):
            await client.close()


async def stream(client: Client, **config: Any) -> None:
    body = {"name": "S", "subjects": ["s.>"], **config}
    answer = await client.request("$JS.API.STREAM.CREATE.S", json.dumps(body).encode(), timeout=WAIT)
    assert "error" not in json.loads(answer.data), answer.data


async def stored(client: Client) -> int:
    return (await client.jetstream(timeout=WAIT).stream_info("S")).state.messages


@kinds
async def test_every_publish_has_its_own_ack(nats_server: NatsServer, kind: str):
    async with pipeline_to(nats_server, kind) as (pipeline, _, client), asyncio.timeout(WAIT):
        await stream(client)
        futures = [await pipeline.publish(TEMPLATE, b"%d" % n, "t", f"id-{n}") for n in range(3000)]
        acks = [await future for future in futures]
        assert acks == [PubAck("S", n + 1) for n in range(3000)]
        again = await (await pipeline.publish(TEMPLATE, b"7", "t", "id-7"))
        assert again == PubAck("S", 8, duplicate=True)
        after = await (await pipeline.publish(TEMPLATE, b"new", "t", "id-new"))
        assert after == PubAck("S", 3001)
        assert await stored(client) == 3001
        assert pipeline.outstanding == pipeline.strays == 0


@kinds
async def test_a_refusal_has_the_servers_number_and_words(nats_server: NatsServer, kind: str):
    async with pipeline_to(nats_server, kind) as (pipeline, _, client):
        await stream(client)
        wrong = header_lines({"Nats-Expected-Last-Sequence": "99"})
        good, bad = (
            pipeline.publish_nowait(TEMPLATE, b"", "t"),
            pipeline.publish_nowait(TEMPLATE, b"", "t", None, wrong),
        )
        assert (await good).seq == 1
        with pytest.raises(PublishRefused, match="wrong last sequence") as refused:
            await asyncio.wait_for(bad, WAIT)
        assert (refused.value.code, refused.value.err_code) == (400, 10071)


@kinds
async def test_a_subject_without_stream_is_known_at_once(nats_server: NatsServer, kind: str):
    async with pipeline_to(nats_server, kind) as (pipeline, _, _):
        with pytest.raises(NoStreamResponse):
            await asyncio.wait_for(await pipeline.publish(TEMPLATE, b"", "t"), WAIT)


async def test_no_more_than_the_window_is_under_way(nats_server: NatsServer):
    async with pipeline_to(nats_server, window=10) as (pipeline, _, client), asyncio.timeout(WAIT):
        await stream(client)
        nats_server.pause()

        async def one(n: int) -> PubAck:
            return await (await pipeline.publish(TEMPLATE, b"", "t", str(n)))

        tasks = [asyncio.create_task(one(n)) for n in range(50)]
        for _ in range(20):
            await asyncio.sleep(0.005)
            assert pipeline.outstanding <= 10
        assert pipeline.outstanding == 10
        nats_server.resume()
        assert sorted(ack.seq for ack in await asyncio.gather(*tasks)) == list(range(1, 51))


async def test_a_missing_ack_is_said_in_its_own_time_and_a_late_one_counted(nats_server: NatsServer):
    async with pipeline_to(nats_server, timeout=0.4) as (pipeline, _, client), asyncio.timeout(WAIT):
        await stream(client)
        loop = asyncio.get_running_loop()
        waits: list[float] = []

        def publish() -> asyncio.Future[PubAck]:
            sent = loop.time()
            future = pipeline.publish_nowait(TEMPLATE, b"", "t")
            future.add_done_callback(lambda _: waits.append(loop.time() - sent))
            return future

        first = publish()
        await asyncio.wait([first])
        late_acks = 2 + (first.exception() is not None)  # the machine may stand still just now
        nats_server.pause()
        early = publish()
        await asyncio.sleep(0.2)
        late = publish()
        for future in (early, late):
            with pytest.raises(AckTimeout, match="may have been stored or not"):
                await future
        assert len(waits) == 3
        assert min(waits[1:]) >= 0.4, "each has its own time"
        assert pipeline.outstanding == 0
        nats_server.resume()
        async with asyncio.timeout(WAIT):
            while pipeline.strays < late_acks:  # noqa: ASYNC110 - a stray wakes nobody
                await asyncio.sleep(0.01)
        assert await stored(client) == 3


@kinds
async def test_a_break_ends_every_wait_and_sending_again_stores_each_once(nats_server: NatsServer, kind: str):
    async with pipeline_to(nats_server, kind, timeout=60) as (pipeline, _, client), asyncio.timeout(WAIT):
        await stream(client)
        await (await pipeline.publish(TEMPLATE, b"", "t", "0"))
        nats_server.pause()
        futures = [await pipeline.publish(TEMPLATE, b"", "t", str(n)) for n in range(1, 100)]
        asked = pipeline.ask(b"$JS.API.INFO", b"")
        nats_server.kill()
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {AckLost}
        with pytest.raises(AckLost):
            await asked
        await nats_server.restart()
        acks = await asyncio.gather(*[await pipeline.publish(TEMPLATE, b"", "t", str(n)) for n in range(200)])
        assert sorted({ack.seq for ack in acks}) == list(range(1, 201))
        assert await stored(client) == 200


@kinds
async def test_closing_ends_every_wait(nats_server: NatsServer, kind: str):
    for close_client in (False, True):
        async with pipeline_to(nats_server, kind) as (pipeline, _, client), asyncio.timeout(WAIT):
            assert pipeline.outstanding == 0
            nats_server.pause()
            future = await pipeline.publish(TEMPLATE, b"", "t")
            nats_server.resume() if close_client else None
            future = pipeline.publish_nowait(TEMPLATE, b"", "t") if close_client else future
            await (client.close() if close_client else pipeline.close())
            nats_server.resume()
            with pytest.raises((AckLost, NoStreamResponse)):
                await future
            assert pipeline.outstanding == 0


@kinds
async def test_a_bulk_has_an_ack_for_each_in_the_order_of_sending(nats_server: NatsServer, kind: str):
    async with pipeline_to(nats_server, kind) as (pipeline, lane, client), asyncio.timeout(WAIT):
        await stream(client)
        bulk = Bulk(timed=True)
        for start in range(0, 2000, 10):
            await bulk.wait(490)
            assert bulk.under_way <= 490
            await lane.room()
            some = [Draft(TEMPLATE, b"%d" % n, "t", f"id-{n}") for n in range(start, start + 10)]
            frames = pipeline.publish_many(bulk, some)
            assert [split_frame(frame).payload for frame in frames] == [draft.payload for draft in some]
        one = await (await pipeline.publish(TEMPLATE, b"", "t"))
        await bulk.settled()
        assert list(bulk.outcomes()) == [PubAck("S", n + 1) for n in range(2000)]
        assert one == PubAck("S", 2001)
        assert not bulk.failures
        times = list(bulk.times())
        assert sum(events for _, events in times) == 2000
        assert all(0 < seconds < WAIT for seconds, _ in times)


async def test_a_bulk_says_which_publishes_have_no_ack(nats_server: NatsServer):
    async with pipeline_to(nats_server) as (pipeline, _, client), asyncio.timeout(WAIT):
        await stream(client, subjects=["s.a"])
        bulk, elsewhere = Bulk(), FrameTemplate("s.b", {"mts-actor": "me"})
        where = (TEMPLATE, elsewhere, TEMPLATE)
        pipeline.publish_many(bulk, [Draft(template, b"", "t", f"id-{n}") for n, template in enumerate(where)])
        await bulk.wait(0)  # ends at the first failure
        await bulk.settled()
        assert [ack and ack.seq for ack in bulk.outcomes()] == [1, None, 2]
        assert [type(error) for error in bulk.failures.values()] == [NoStreamResponse]
        assert [bulk.acks[token] for token in bulk.failures] == [None]
        nats_server.pause()
        pipeline.publish_many(bulk, [Draft(TEMPLATE, b"", "t", "id-3")])
        await pipeline.close()
        await bulk.settled()
        nats_server.resume()
        assert [type(error) for error in bulk.failures.values()] == [NoStreamResponse, AckLost]


async def test_a_bulk_has_time_while_acks_come_but_not_for_one_that_was_passed_over(
    nats_server: NatsServer, standstill: Callable[[], float]
):
    async with pipeline_to(nats_server, timeout=1) as (pipeline, _, client), asyncio.timeout(WAIT):
        while True:
            waiting = await client.subscribe(TEMPLATE.subject)  # a stream whose disk takes a quarter of a second
            bulk = Bulk()
            standstill()
            pipeline.publish_many(bulk, [Draft(TEMPLATE, b"", "t", f"id-{n}") for n in range(10)])
            messages = [await waiting.next_msg(WAIT) for _ in range(10)]
            await waiting.unsubscribe()
            for number, message in enumerate(messages[:8]):
                await asyncio.sleep(0.25)
                if number != 2:
                    await message.respond(b'{"stream":"S","seq":%d}' % (number + 1))
                    await client.flush(timeout=60)
            in_time = list(bulk.outcomes())
            await bulk.settled()
            assert [type(error) for error in bulk.failures.values()] == [AckTimeout] * len(bulk.failures)
            if standstill() < 0.3:
                break
        assert [ack and ack.seq for ack in in_time] == [1, 2, None, 4, 5, 6, 7, 8, None, None]
        assert len(bulk.failures) == 3
        assert bulk.under_way == pipeline.outstanding == 0


async def test_a_wait_that_was_given_up_disturbs_no_other(nats_server: NatsServer):
    async with pipeline_to(nats_server) as (pipeline, _, client), asyncio.timeout(WAIT):
        await stream(client)
        first = await (await pipeline.publish(TEMPLATE, b"", "t"))
        futures = [pipeline.publish_nowait(TEMPLATE, b"", "t") for _ in range(10)]
        futures[3].cancel()
        asked = [pipeline.ask(b"$JS.API.INFO", b"") for _ in range(3)]
        asked[0].cancel()
        kept = [await future for future in futures if not future.cancelled()]
        assert [ack.seq for ack in kept] == [n for n in range(2, 12) if n != 5]
        assert first.seq == 1
        assert all([(await answer).payload for answer in asked[1:]])
        assert pipeline.outstanding == 0


async def test_rubbish_in_the_inbox_of_acks_costs_nothing_else(nats_server: NatsServer):
    async with pipeline_to(nats_server) as (pipeline, lane, client):
        await stream(client)
        inbox = pipeline._inbox.encode()  # pyright: ignore[reportPrivateUsage]
        for token in (b"x", b"999", b"-1", b"1_0"):
            lane.send(pub_frame(inbox + token, b"?"), 1)
        future = pipeline.publish_nowait(TEMPLATE, b"", "t")
        assert await asyncio.wait_for(future, WAIT) == PubAck("S", 1)
        assert pipeline.strays == 4
        for payload in (b"rubbish", b"[]", b"{}", b'{"stream":"S","seq":"x"}', b'{"error":1}'):
            nats_server.pause()
            future = pipeline.publish_nowait(TEMPLATE, b"", "t")
            lane.send(pub_frame(inbox + b"%d" % pipeline._token, payload), len(payload))  # pyright: ignore[reportPrivateUsage]
            nats_server.resume()
            try:
                ack = await asyncio.wait_for(future, WAIT)
            except PublishRefused as refused:
                assert "no ack" in str(refused)  # noqa: PT017 - whichever answer is first
            else:
                assert ack.stream == "S"


async def test_a_double_ack_is_answered(nats_server: NatsServer):
    async with pipeline_to(nats_server) as (pipeline, _, client):
        await stream(client)
        await (await pipeline.publish(TEMPLATE, b"x", "t"))
        sub = await client.jetstream(timeout=WAIT).pull_subscribe("s.a", durable="d")
        (msg,) = await sub.fetch(1, timeout=WAIT)
        answer = await asyncio.wait_for(pipeline.ask(msg.reply.encode(), b"+ACK"), WAIT)
        assert answer.payload == b""
        assert (await sub.consumer_info()).ack_floor.stream_seq == 1  # pyright: ignore[reportOptionalMemberAccess]


# Atomic batches.


def drafts(count: int, first: int = 0) -> list[Draft]:
    return [Draft(TEMPLATE.at(f"s.{n % 7}"), b"%d" % n, "t", f"id-{n}") for n in range(first, first + count)]


@kinds
@pytest.mark.parametrize("count", [1, 2, 1000])
async def test_an_atomic_batch_is_stored_whole(nats_server: NatsServer, kind: str, count: int):
    async with pipeline_to(nats_server, kind) as (pipeline, _, client), asyncio.timeout(WAIT):
        await stream(client, allow_atomic=True)
        await (await pipeline.publish(TEMPLATE, b"before", "t"))
        ack = await pipeline.publish_atomic(drafts(count))
        assert (ack.stream, ack.seq, ack.batch_size) == ("S", count + 1, count)
        assert ack.batch_id
        assert await stored(client) == count + 1
        last = await client.jetstream(timeout=WAIT).get_msg("S", count + 1)
        assert last.data == b"%d" % (count - 1)
        assert last.headers
        assert last.headers["Nats-Msg-Id"] == f"id-{count - 1}"


async def test_a_batch_is_filled_and_sent_in_pieces_and_stored_at_the_end(nats_server: NatsServer):
    async with pipeline_to(nats_server) as (pipeline, _, client), asyncio.timeout(WAIT):
        await stream(client, allow_atomic=True)
        batch, all_of_it = Batch(), drafts(100)
        for start in range(0, 100, 7):
            batch.add(all_of_it[start : start + 7])
            pipeline.stage(batch)
        await client.flush()
        assert await stored(client) == 0
        ack = await pipeline.store(batch)
        assert (ack.seq, ack.batch_size) == (100, 100)
        assert (await client.jetstream(timeout=WAIT).get_msg("S", 50)).data == all_of_it[49].payload


async def test_a_batch_is_lost_with_the_connection_that_it_was_sent_on(nats_server: NatsServer):
    async with pipeline_to(nats_server) as (pipeline, lane, client), asyncio.timeout(WAIT):
        await stream(client, allow_atomic=True)
        stands = asyncio.Event()
        lane.on_ready(stands.set)
        batch = Batch(drafts(10))
        assert pipeline.stage(batch)
        await client.flush()
        nats_server.kill()
        await nats_server.restart()
        await stands.wait()
        with pytest.raises(AckLost):
            await pipeline.store(batch)
        assert await stored(client) == 0
        assert (await pipeline.publish_atomic(drafts(10))).seq == 10


async def test_one_known_message_refuses_the_whole_batch(nats_server: NatsServer):
    async with pipeline_to(nats_server) as (pipeline, _, client), asyncio.timeout(WAIT):
        await stream(client, allow_atomic=True)
        await (await pipeline.publish(TEMPLATE, b"", "t", "id-5"))
        with pytest.raises(PublishRefused) as refused:
            await pipeline.publish_atomic(drafts(10))
        assert refused.value.err_code == 10201
        assert await stored(client) == 1


@pytest.mark.parametrize("count", [1, 10])
async def test_a_stream_without_atomic_batches_stores_none_of_it(nats_server: NatsServer, count: int):
    async with pipeline_to(nats_server) as (pipeline, _, client), asyncio.timeout(WAIT):
        await stream(client)
        with pytest.raises(PublishRefused, match="atomic"):
            await pipeline.publish_atomic(drafts(count))
        assert await stored(client) == 0


async def test_a_batch_has_between_one_and_a_thousand_messages(nats_server: NatsServer):
    async with pipeline_to(nats_server) as (pipeline, _, _):
        for count in (0, 1001):
            with pytest.raises(ValueError, match="1 to 1000"):
                await pipeline.publish_atomic(drafts(count))


async def test_a_break_in_the_middle_of_a_batch_stores_all_or_none(nats_server: NatsServer):
    async with pipeline_to(nats_server) as (pipeline, _, client), asyncio.timeout(WAIT):
        await stream(client, allow_atomic=True)
        batch = asyncio.create_task(pipeline.publish_atomic(drafts(1000)))
        await asyncio.sleep(0.002)
        nats_server.kill()
        with suppress(AckLost):
            await batch
        await nats_server.restart()
        assert await stored(client) in {0, 1000}
