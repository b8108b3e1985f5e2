"""Overlapping pulls on a real server: everything once, in order, in bounds, and never silent."""
# pyright: reportUnknownMemberType=false
# reason: nats-py's signatures are partly untyped.

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from mts1b_platform.eventbus.consuming.pulls import PullEvent, PullEventKind, Pulls, PullsEnded
from mts1b_platform.eventbus.lane import Lane
from mts1b_platform.eventbus.plain import PlainLane
from mts1b_platform.eventbus.protocol.acks import nak_frame, progress_frame, term_frame
from mts1b_platform.eventbus.protocol.frames import FrameTemplate, hpub_frame
from mts1b_platform.eventbus.protocol.message import RawMsg, WireMsg
from mts1b_platform.eventbus.protocol.position import NotJetStream, Position, stored_at
from mts1b_platform.eventbus.publishing.ack_pipeline import AckPipeline
from mts1b_platform.eventbus.seam import Seam
from mts1b_platform.eventbus.seam_batches import BatchSubscription
from mts1b_platform.server import NatsServer
from nats import errors
from nats.aio.client import Client

WAIT = 60.0
TEMPLATE = FrameTemplate("s.a", {"mts-actor": "me"})
kinds = pytest.mark.parametrize("kind", ["seam", "plain"])


class Reader:
    """A connection with a stream ``S``, a way to fill it, and the events of its pulls."""

    def __init__(self, client: Client, lane: Lane) -> None:
        self.client, self.lane = client, lane
        self.events: asyncio.Queue[PullEvent] = asyncio.Queue()
        self.errors: list[Exception] = []
        self.published = 0

    async def api(self, verb: str, **body: Any) -> dict[str, Any]:
        answer = await self.client.request(f"$JS.API.{verb}", json.dumps(body).encode() if body else b"", timeout=WAIT)
        document: dict[str, Any] = json.loads(answer.data)
        assert "error" not in document, document
        return document

    async def stream(self) -> None:
        await self.api("STREAM.CREATE.S", name="S", subjects=["s.>"])

    async def durable(self, **config: Any) -> None:
        full = {"durable_name": "d", "ack_policy": "explicit", **config}
        await self.api("CONSUMER.CREATE.S.d", stream_name="S", config=full)

    async def info(self) -> dict[str, Any]:
        return await self.api("CONSUMER.INFO.S.d")

    async def until_settled(self, last: int) -> None:
        """Wait until all up to the sequence ``last`` is acknowledged."""
        async with asyncio.timeout(WAIT):
            while (info := await self.info())["ack_floor"]["stream_seq"] < last:
                pass
        assert (info["num_ack_pending"], info["num_pending"]) == (0, 0)

    async def fill(self, count: int) -> None:
        pipeline = await AckPipeline.open(self.lane, timeout=WAIT)
        numbers = range(self.published, self.published + count)
        self.published += count
        acks = [await pipeline.publish(TEMPLATE, b"%d" % n, "t", f"id-{n}") for n in numbers]
        await asyncio.gather(*acks)
        await pipeline.close()

    async def open(self, **options: Any) -> Pulls:
        return await Pulls.open(self.lane, "S", "d", on_event=self.events.put_nowait, **options)

    async def event(self) -> PullEvent:
        return await asyncio.wait_for(self.events.get(), WAIT)


@asynccontextmanager
async def reader_on(server: NatsServer, kind: str = "seam") -> AsyncGenerator[Reader]:
    client = Client()
    lane: Lane = await Seam.attach(client) if kind == "seam" else PlainLane(client, reason="asked for")

    reader = Reader(client, lane)

    async def note(error: Exception) -> None:
        reader.errors.append(error)

    await client.connect(
        server.url,
        error_cb=note,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.02,  # pyright: ignore[reportArgumentType] - fractions work
        connect_timeout=60,
    )
    try:
        yield reader
    finally:
        with suppress(OSError):
            await client.close()


async def take(pulls: Pulls, count: int) -> list[RawMsg]:
    """Take and acknowledge exactly ``count`` messages."""
    got: list[RawMsg] = []
    async with asyncio.timeout(WAIT):
        while len(got) < count:
            batch = await pulls.next_batch()
            pulls.ack_all(batch)
            got += batch
    assert len(got) == count
    return got


async def until_waiting(pulls: Pulls, count: int) -> None:
    async with asyncio.timeout(WAIT):
        while pulls.waiting < count:  # noqa: ASYNC110 - nothing tells that messages wait
            await asyncio.sleep(0.005)


def numbers(batch: list[RawMsg]) -> list[int]:
    return [int(payload) for _, _, _, payload in batch]


@kinds
async def test_every_message_comes_once_and_in_order(nats_server: NatsServer, kind: str):
    async with reader_on(nats_server, kind) as reader:
        await reader.stream()
        await reader.durable()
        await reader.fill(3000)
        pulls = await reader.open(window=256)
        got = await take(pulls, 3000)
        assert numbers(got) == list(range(3000))
        fifth = WireMsg(*got[5])
        assert fifth.subject == b"s.a"
        assert fifth.headers["Nats-Msg-Id"] == "id-5"
        await reader.fill(10)
        assert numbers(await take(pulls, 10)) == list(range(3000, 3010))
        await reader.until_settled(3010)
        assert (await reader.info())["num_waiting"] > 1, "pulls overlap"
        assert reader.events.empty()
        assert await pulls.stop() == []


async def test_no_more_than_the_window_waits_for_a_slow_reader(nats_server: NatsServer):
    async with reader_on(nats_server) as reader:
        await reader.stream()
        await reader.durable(max_ack_pending=-1)
        await reader.fill(500)
        pulls = await reader.open(window=40)
        await until_waiting(pulls, 40)
        for _ in range(10):
            await reader.client.flush()
        assert pulls.waiting == 40
        assert (await reader.info())["num_ack_pending"] == 40
        first = await pulls.next_batch(3)
        assert numbers(first) == [0, 1, 2]
        pulls.ack_all(first)
        assert numbers(await take(pulls, 497)) == list(range(3, 500))


async def test_what_is_held_counts_against_the_window(nats_server: NatsServer):
    async with reader_on(nats_server) as reader:
        await reader.stream()
        await reader.durable()
        pulls = await reader.open(window=40)
        pulls.hold(30)
        await reader.fill(100)
        first = await take(pulls, 40)  # these were asked for before anything was held
        await until_waiting(pulls, 10)
        for _ in range(10):
            await reader.client.flush()
        assert pulls.waiting == 10
        pulls.hold(0)
        assert numbers(first + await take(pulls, 60)) == list(range(100))


async def test_an_expired_pull_is_renewed_without_a_word(nats_server: NatsServer, standstill: Callable[[], float]):
    async with reader_on(nats_server) as reader:
        await reader.stream()
        await reader.durable()
        asked = await reader.client.subscribe("$JS.API.CONSUMER.MSG.NEXT.S.d")
        pulls = await reader.open(window=8, expires=1.5, heartbeat=0.7)
        standstill()
        for _ in range(12):  # four pulls, and each renewed twice
            await asked.next_msg(timeout=WAIT)
        assert reader.events.empty() or standstill() > 0.3  # the server may have been silent indeed
        await reader.fill(100)
        assert numbers(await take(pulls, 100)) == list(range(100))


@kinds
async def test_a_deleted_consumer_ends_the_reading_after_what_had_arrived(nats_server: NatsServer, kind: str):
    async with reader_on(nats_server, kind) as reader:
        await reader.stream()
        await reader.durable()
        await reader.fill(5)
        pulls = await reader.open()
        waiting = asyncio.create_task(take(pulls, 5))
        await waiting
        waiting = asyncio.create_task(pulls.next_batch())
        await asyncio.sleep(0)
        await reader.api("CONSUMER.DELETE.S.d")
        with pytest.raises(PullsEnded, match="'d' of stream 'S'") as ended:
            await asyncio.wait_for(waiting, WAIT)
        assert ended.value.event == await reader.event()
        assert ended.value.event.kind is PullEventKind.CONSUMER_DELETED
        assert ended.value.event.status == 409
        with pytest.raises(PullsEnded):
            await pulls.next_batch()
        assert reader.events.empty()


async def test_a_consumer_that_is_not_there_is_said_again_and_again_until_it_is(nats_server: NatsServer):
    async with reader_on(nats_server) as reader:
        await reader.stream()
        await reader.fill(3)
        pulls = await reader.open()
        for _ in range(3):
            event = await reader.event()
            assert (event.kind, event.status) == (PullEventKind.NO_RESPONDERS, 503)
        await reader.durable()
        assert numbers(await take(pulls, 3)) == [0, 1, 2]


@kinds
async def test_after_a_kill_the_reading_goes_on_where_it_was(nats_server: NatsServer, kind: str):
    async with reader_on(nats_server, kind) as reader:
        await reader.stream()
        await reader.durable(ack_wait=1_000_000_000)
        await reader.fill(100)
        pulls = await reader.open(window=16)
        first = await take(pulls, 100)
        await reader.client.flush()
        nats_server.kill()
        await nats_server.restart()
        assert (await reader.event()).kind is PullEventKind.RECONNECTED
        await reader.fill(50)
        seen = set(numbers(first))
        async with asyncio.timeout(WAIT):
            while len(seen) < 150:
                batch = await pulls.next_batch()
                pulls.ack_all(batch)
                seen |= set(numbers(batch))
        assert seen == set(range(150))


async def test_a_silent_server_is_noticed_and_asked_again(nats_server: NatsServer):
    async with reader_on(nats_server) as reader:
        await reader.stream()
        await reader.durable()
        pulls = await reader.open(window=8, expires=2.0, heartbeat=0.3)
        await reader.client.flush()
        nats_server.pause()
        event = await reader.event()
        assert event.kind is PullEventKind.HEARTBEAT_MISSED
        assert "sent again" in event.description
        nats_server.resume()
        await reader.fill(100)
        assert numbers(await take(pulls, 100)) == list(range(100))


async def test_pulls_that_the_server_forgot_are_sent_again(nats_server: NatsServer):
    async with reader_on(nats_server) as reader:
        await reader.stream()
        await reader.durable()
        pulls = await reader.open(window=8, expires=30.0, heartbeat=0.3)
        await reader.client.flush()
        # Interest that goes away makes the server drop the pulls, and say nothing.
        inbox, batches = pulls._inbox.encode(), pulls._batches  # pyright: ignore[reportPrivateUsage]
        assert isinstance(batches, BatchSubscription)
        sid = batches._id  # pyright: ignore[reportPrivateUsage]
        reader.lane.send(b"UNSUB %d\r\n" % sid, 0)
        assert (await reader.event()).kind is PullEventKind.HEARTBEAT_MISSED
        reader.lane.send(b"SUB %b* %d\r\n" % (inbox, sid), 0)
        await reader.fill(20)
        assert numbers(await take(pulls, 20)) == list(range(20))


async def test_a_broken_connection_is_not_taken_for_a_silent_server(nats_server: NatsServer):
    async with reader_on(nats_server) as reader:
        await reader.stream()
        await reader.durable()
        pulls = await reader.open(window=8, expires=2.0, heartbeat=0.2)
        broken = asyncio.Event()
        reader.lane.on_break(broken.set)
        nats_server.kill()
        await asyncio.wait_for(broken.wait(), WAIT)
        while not reader.events.empty():  # a machine that stands still makes a server silent before it is killed
            reader.events.get_nowait()
        await asyncio.sleep(1.0)
        await nats_server.restart()
        assert (await reader.event()).kind is PullEventKind.RECONNECTED
        await reader.fill(20)
        assert numbers(await take(pulls, 20)) == list(range(20))


@pytest.mark.parametrize("config", [{"deliver_subject": "push.here"}, {"max_batch": 2}, {"max_expires": 1_000_000_000}])
async def test_a_consumer_that_refuses_such_pulls_ends_the_reading_with_its_words(
    nats_server: NatsServer, config: dict[str, Any]
):
    async with reader_on(nats_server) as reader:
        await reader.stream()
        await reader.durable(**config)
        pulls = await reader.open()
        event = await reader.event()
        assert event.kind is PullEventKind.REFUSED
        with pytest.raises(PullsEnded) as ended:
            await asyncio.wait_for(pulls.next_batch(), WAIT)
        assert event.description in str(ended.value)


async def test_a_consumer_that_lets_one_pull_wait_is_read_all_the_same(nats_server: NatsServer):
    async with reader_on(nats_server) as reader:
        await reader.stream()
        await reader.durable(max_waiting=1)
        pulls = await reader.open(window=8, expires=1.0, heartbeat=0.4)
        await asyncio.sleep(1.5)
        await reader.fill(400)
        assert numbers(await take(pulls, 400)) == list(range(400))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (b"409 Leadership Change\r\nNats-Pending-Messages: 2\r\n", PullEventKind.INTERRUPTED),
        (b"409 Server Shutdown\r\nNats-Pending-Messages: 2\r\n", PullEventKind.INTERRUPTED),
        (b"409 something new\r\n", PullEventKind.INTERRUPTED),
        (b"503\r\n", PullEventKind.NO_RESPONDERS),
        (b"404 No Messages\r\nNats-Pending-Messages: 2\r\n", None),
        (b"408 Request Timeout\r\nNats-Pending-Messages: 999999\r\n", None),
        (b"409 Message Size Exceeds MaxBytes\r\nNats-Pending-Messages: 2\r\n", None),
        (b"409 Batch Completed\r\n", None),
        (b"100 Idle Heartbeat\r\n", None),
        (b"404 x\r\nNats-Pending-Messages: x\r\n", None),
        (b"4x4\r\n", None),
        (b"\xff\xff\xff\r\n", None),
    ],
)
async def test_whatever_the_server_says_the_reading_goes_on(
    nats_server: NatsServer, status: bytes, kind: PullEventKind | None
):
    async with reader_on(nats_server) as reader:
        await reader.stream()
        await reader.durable()
        pulls = await reader.open(window=8)
        head = b"NATS/1.0 %b\r\n" % status
        inbox = pulls._inbox.encode()  # pyright: ignore[reportPrivateUsage]
        for n in range(1, 5):
            reader.lane.send(hpub_frame(b"%b%d" % (inbox, n), head), 0)
        await reader.fill(100)
        assert numbers(await take(pulls, 100)) == list(range(100))
        if kind is None:
            assert reader.events.empty()
        else:
            assert (await reader.event()).kind is kind
            assert reader.events.empty(), "once for all open pulls"
        assert not reader.errors


async def test_stop_hands_back_what_waits_and_a_nak_gives_it_to_another(nats_server: NatsServer):
    async with reader_on(nats_server) as reader:
        await reader.stream()
        await reader.durable()
        await reader.fill(10)
        pulls = await reader.open(window=8)
        await until_waiting(pulls, 8)
        first = await pulls.next_batch(2)
        pulls.ack_all(first)
        rest = await pulls.stop()
        assert await pulls.next_batch() == []
        for msg in rest:
            reader.lane.send(nak_frame(msg[1]), 4)
        other = await reader.open(window=8)
        got = await take(other, 8)
        assert sorted(numbers(got)) == list(range(2, 10))
        redelivered = [Position.of(msg[1]).deliveries for msg in got if int(msg[3]) < 2 + len(rest)]
        assert set(redelivered) <= {2}


@kinds
async def test_a_closed_connection_ends_the_reading(nats_server: NatsServer, kind: str):
    async with reader_on(nats_server, kind) as reader:
        await reader.stream()
        await reader.durable()
        pulls = await reader.open()
        waiting = asyncio.create_task(pulls.next_batch())
        await reader.client.flush()
        await reader.client.close()
        with pytest.raises(errors.ConnectionClosedError):
            await asyncio.wait_for(waiting, WAIT)


async def test_two_readers_of_the_same_pulls_are_refused(nats_server: NatsServer):
    async with reader_on(nats_server) as reader:
        await reader.stream()
        await reader.durable()
        pulls = await reader.open()
        first = asyncio.create_task(pulls.next_batch())
        await asyncio.sleep(0)
        with pytest.raises(errors.Error, match="already waiting"):
            await pulls.next_batch()
        first.cancel()


@pytest.mark.parametrize("options", [{"window": 0}, {"heartbeat": 0}, {"heartbeat": 20.0, "expires": 30.0}])
async def test_senseless_settings_are_refused(nats_server: NatsServer, options: dict[str, Any]):
    async with reader_on(nats_server) as reader:
        with pytest.raises(ValueError, match="window"):
            await reader.open(**options)


# What is said about a delivery.


async def test_a_negative_ack_waits_and_a_term_ends(nats_server: NatsServer):
    async with reader_on(nats_server) as reader:
        await reader.stream()
        await reader.durable(ack_wait=600_000_000_000)
        advisory = await reader.client.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.S.d")
        await reader.fill(2)
        pulls = await reader.open()
        loop = asyncio.get_running_loop()
        batch: list[RawMsg] = []
        while len(batch) < 2:
            batch += await asyncio.wait_for(pulls.next_batch(), WAIT)
        delayed, ended = (WireMsg(*msg) for msg in batch)
        started = loop.time()
        reader.lane.send(nak_frame(delayed.reply, 0.3), 4)
        reader.lane.send(term_frame(ended.reply, "no such fund"), 4)
        again = await asyncio.wait_for(pulls.next_batch(), WAIT)
        assert numbers(again) == [0]
        assert loop.time() - started > 0.25
        pulls.ack_all(again)
        terminated = json.loads((await advisory.next_msg(timeout=WAIT)).data)
        assert (terminated["stream_seq"], terminated["reason"]) == (2, "no such fund")
        await reader.until_settled(2)


async def test_progress_keeps_a_delivery_beyond_its_ack_wait(nats_server: NatsServer, standstill: Callable[[], float]):
    async with reader_on(nats_server) as reader:
        await reader.stream()
        await reader.fill(1)
        while True:
            await reader.durable(ack_wait=2_000_000_000)
            pulls = await reader.open()
            (msg,) = await asyncio.wait_for(pulls.next_batch(), WAIT)
            standstill()
            for _ in range(6):
                await asyncio.sleep(0.5)
                reader.lane.send(progress_frame(msg[1]), 4)
            await reader.client.flush()
            info = await reader.info()
            if (info["num_ack_pending"], info["delivered"]["consumer_seq"]) == (1, 1):
                break
            assert standstill() > 0.3, info  # else progress was in time
            await reader.api("CONSUMER.DELETE.S.d")
        reader.lane.ack(msg[1])
        await reader.until_settled(1)


def test_the_reply_subject_tells_of_the_delivery():
    expected = Position("S", "d", 2, 30, 40, 1611100000123456789, 5)
    assert Position.of(b"$JS.ACK.S.d.2.30.40.1611100000123456789.5") == expected
    assert Position.of(b"$JS.ACK.hub.AbC.S.d.2.30.40.1611100000123456789.5.rnd") == expected
    tail = b"S.d.2.30.40.%d.5"
    for reply in (b"$JS.ACK." + tail, b"$JS.ACK.hub.AbC." + tail, b"$JS.ACK.hub.AbC." + tail + b".rnd"):
        for moment in (1611100000123456789, 17):
            assert stored_at(reply % moment) == moment
    for reply in (b"", b"_INBOX.a.b", b"$JS.ACK.S.d.2.30.40.1.x", b"$JS.ACK.S.d.2.30.40", b"$JS.API.S.d.2.30.40.1.1"):
        for read in (Position.of, stored_at):
            with pytest.raises(NotJetStream):
                read(reply)
