"""Overlapping pulls on a real server: everything once, in order, in bounds, and never silent."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from mts1b_platform.eventbus.connection import Connection
from mts1b_platform.eventbus.consuming.pulls import PullEvent, PullEventKind, PullSubscription
from mts1b_platform.eventbus.protocol.acks import nak_frame, progress_frame, term_frame
from mts1b_platform.eventbus.protocol.frames import FrameTemplate, hpub_frame
from mts1b_platform.eventbus.protocol.message import RawMsg, WireMsg
from mts1b_platform.eventbus.protocol.position import Position
from mts1b_platform.eventbus.publishing.ack_pipeline import AckPipeline
from mts1b_platform.server import NatsServer

WAIT = 60.0
TEMPLATE = FrameTemplate("s.a", {"mts-actor": "me"})
PULLS = "$JS.API.CONSUMER.MSG.NEXT.S.d"
JetStream = Callable[..., Awaitable[dict[str, Any]]]


class Reader:
    """A stream ``S`` with a way to fill it, and what its pulls brought: messages, in a queue here, and events.

    What is in the queue is reserved in the window of the pulls.
    """

    def __init__(self, connection: Connection, js: JetStream) -> None:
        self.connection, self.js = connection, js
        self.events: asyncio.Queue[PullEvent] = asyncio.Queue()
        self.asked: asyncio.Queue[bytes] = asyncio.Queue()
        """Where the pulls of ``d`` are answered, one for each."""
        self.queue: list[RawMsg] = []
        self._pipeline = AckPipeline(connection, timeout=WAIT)
        self._arrived = asyncio.Event()
        self._published = 0

    async def durable(self, **config: Any) -> None:
        full = {"durable_name": "d", "ack_policy": "explicit", **config}
        await self.js("CONSUMER.CREATE.S.d", stream_name="S", config=full)

    async def info(self) -> dict[str, Any]:
        return await self.js("CONSUMER.INFO.S.d")

    async def until_settled(self, last: int) -> None:
        """Wait until all up to the sequence ``last`` is acknowledged."""
        async with asyncio.timeout(WAIT):
            while (info := await self.info())["ack_floor"]["stream_seq"] < last:
                pass
        assert (info["num_ack_pending"], info["num_pending"]) == (0, 0)

    async def fill(self, count: int) -> None:
        """Store that many more messages; their payloads are counted up."""
        numbers = range(self._published, self._published + count)
        self._published += count
        acks = [await self._pipeline.publish(TEMPLATE, b"%d" % n, "t", f"id-{n}") for n in numbers]
        await asyncio.gather(*acks)

    def open(self, **options: Any) -> PullSubscription:
        self.pulls = PullSubscription(
            self.connection, "S", "d", on_messages=self._take, on_event=self.events.put_nowait, **options
        )
        return self.pulls

    def hear_pulls(self) -> None:
        """Have the reply subjects of the pulls put into :attr:`asked`."""
        self.connection.subscribe(PULLS, lambda batch: [self.asked.put_nowait(msg[1]) for msg in batch])

    async def until_waiting(self, count: int) -> None:
        """Wait until at least so many messages are here."""
        async with asyncio.timeout(WAIT):
            while len(self.queue) < count:
                self._arrived.clear()
                await self._arrived.wait()

    async def take(self, count: int) -> list[RawMsg]:
        """Take the next ``count`` messages, without a word to the server."""
        await self.until_waiting(count)
        taken, self.queue = self.queue[:count], self.queue[count:]
        self.pulls.reserve(len(self.queue))
        return taken

    async def take_all(self, count: int) -> list[int]:
        """Take and acknowledge exactly ``count`` messages as they come; what they are."""
        taken: list[RawMsg] = []
        async with asyncio.timeout(WAIT):
            while len(taken) < count:
                taken += await self.take_waiting()
        assert len(taken) == count
        return numbers(taken)

    async def take_waiting(self) -> list[RawMsg]:
        """Take and acknowledge what has come, one message at least."""
        await self.until_waiting(1)
        taken = await self.take(len(self.queue))
        self.ack(taken)
        return taken

    async def until_quiet(self) -> None:
        """Wait until what the server sends on its own has come."""
        for _ in range(10):
            await self.connection.flush(WAIT)

    def ack(self, msgs: list[RawMsg]) -> None:
        for _, reply, _, _ in msgs:
            self.connection.ack(reply)

    async def event(self) -> PullEvent:
        return await asyncio.wait_for(self.events.get(), WAIT)

    def _take(self, batch: list[RawMsg]) -> None:
        self.queue += batch
        self.pulls.reserve(len(self.queue))
        self._arrived.set()


@pytest_asyncio.fixture
async def reader(connection: Connection, js: JetStream) -> Reader:
    await js("STREAM.CREATE.S", name="S", subjects=["s.>"])
    return Reader(connection, js)


def numbers(batch: list[RawMsg]) -> list[int]:
    return [int(payload) for _, _, _, payload in batch]


async def test_every_message_comes_once_and_in_order(reader: Reader):
    await reader.durable()
    await reader.fill(3000)
    pulls = reader.open(window=256)
    await reader.until_waiting(6)
    fifth = WireMsg(*reader.queue[5])
    assert (fifth.subject, fifth.headers["Nats-Msg-Id"]) == (b"s.a", "id-5")
    assert await reader.take_all(3000) == list(range(3000))
    await reader.fill(10)
    assert await reader.take_all(10) == list(range(3000, 3010))
    await reader.until_settled(3010)
    assert (await reader.info())["num_waiting"] > 1, "pulls overlap"
    assert reader.events.empty()
    assert await pulls.stop() == []


async def test_no_more_than_the_window_waits_for_a_slow_reader(reader: Reader):
    await reader.durable(max_ack_pending=-1)
    await reader.fill(500)
    reader.open(window=40)
    await reader.until_waiting(40)
    await reader.until_quiet()
    assert len(reader.queue) == 40
    assert (await reader.info())["num_ack_pending"] == 40
    first = await reader.take(3)  # less than what is asked for at a time
    await reader.until_quiet()
    assert len(reader.queue) == 37
    first += await reader.take(7)
    await reader.until_waiting(40)
    await reader.until_quiet()
    assert len(reader.queue) == 40
    reader.ack(first)
    assert numbers(first) + await reader.take_all(490) == list(range(500))


async def test_what_is_reserved_counts_against_the_window(reader: Reader):
    await reader.durable(max_ack_pending=-1)
    pulls = reader.open(window=40)
    pulls.reserve(40)
    reader.hear_pulls()
    await reader.connection.flush(WAIT)
    while not reader.asked.empty():  # what was asked for before anything was reserved
        reader.asked.get_nowait()
    await reader.fill(100)
    pulls.reserve(31)
    await reader.connection.flush(WAIT)
    assert reader.asked.empty()
    assert await reader.take_all(100) == list(range(100))


async def test_a_larger_window_asks_for_more_at_once(reader: Reader):
    await reader.durable(max_ack_pending=-1)
    await reader.fill(200)
    pulls = reader.open(window=4)
    await reader.until_waiting(4)
    await reader.until_quiet()
    assert len(reader.queue) == 4
    pulls.resize_window(104)
    await reader.until_waiting(104 - 25)  # a pull is a quarter of the window
    await reader.until_quiet()
    assert 104 - 25 < len(reader.queue) <= 104
    assert await reader.take_all(200) == list(range(200))


async def test_an_expired_pull_is_renewed_without_a_word(reader: Reader, standstill: Callable[[], float]):
    await reader.durable()
    reader.hear_pulls()
    reader.open(window=8, expires=1.5, heartbeat=0.7)
    standstill()
    for _ in range(12):  # four pulls, and each renewed twice
        await asyncio.wait_for(reader.asked.get(), WAIT)
    assert reader.events.empty() or standstill() > 0.3  # the server may have been silent indeed
    await reader.fill(100)
    assert await reader.take_all(100) == list(range(100))


async def test_a_deleted_consumer_ends_the_reading_after_what_had_arrived(reader: Reader):
    await reader.durable()
    await reader.fill(5)
    pulls = reader.open()
    assert await reader.take_all(5) == [0, 1, 2, 3, 4]
    await reader.js("CONSUMER.DELETE.S.d")
    event = await reader.event()
    assert (event.kind, event.status) == (PullEventKind.CONSUMER_DELETED, 409)
    reader.hear_pulls()
    pulls.reserve(0)
    await reader.connection.flush(WAIT)
    assert reader.asked.empty(), "nothing more is asked for"
    assert reader.events.empty(), "once for all open pulls"


async def test_a_consumer_that_is_not_there_is_said_again_and_again_until_it_is(reader: Reader):
    await reader.fill(3)
    reader.open()
    for _ in range(3):
        event = await reader.event()
        assert (event.kind, event.status) == (PullEventKind.NO_RESPONDERS, 503)
    await reader.durable()
    assert await reader.take_all(3) == [0, 1, 2]


async def test_after_a_kill_the_reading_goes_on_where_it_was(reader: Reader, nats_server: NatsServer):
    await reader.durable(ack_wait=1_000_000_000)
    await reader.fill(100)
    reader.open(window=16)
    seen = set(await reader.take_all(100))
    await reader.connection.flush(WAIT)
    nats_server.kill()
    await nats_server.restart()
    assert (await reader.event()).kind is PullEventKind.RECONNECTED
    await reader.fill(50)
    async with asyncio.timeout(WAIT):
        while len(seen) < 150:  # what was not settled on the disk yet may come again
            seen |= set(numbers(await reader.take_waiting()))
    assert seen == set(range(150))


async def test_a_silent_server_is_noticed_and_asked_again(reader: Reader, nats_server: NatsServer):
    await reader.durable()
    reader.open(window=8, expires=2.0, heartbeat=0.3)
    await reader.connection.flush(WAIT)
    nats_server.pause()
    event = await reader.event()
    assert event.kind is PullEventKind.HEARTBEAT_MISSED
    assert "sent again" in event.description
    nats_server.resume()
    await reader.fill(100)
    assert await reader.take_all(100) == list(range(100))


async def test_pulls_that_the_server_forgot_are_sent_again(reader: Reader):
    await reader.durable()
    reader.hear_pulls()
    other = reader.connection.subscribe("unused", lambda _: None)
    reader.open(window=8, expires=30.0, heartbeat=0.3)
    inbox = (await asyncio.wait_for(reader.asked.get(), WAIT)).rpartition(b".")[0]
    key = int(other.key) + 1  # subscriptions are numbered
    reader.connection.send(b"UNSUB %d\r\n" % key)  # pulls without interest are dropped, and nothing is said
    assert (await reader.event()).kind is PullEventKind.HEARTBEAT_MISSED
    reader.connection.send(b"SUB %b.* %d\r\n" % (inbox, key))
    await reader.fill(20)
    assert await reader.take_all(20) == list(range(20))


async def test_a_broken_connection_is_not_taken_for_a_silent_server(reader: Reader, nats_server: NatsServer):
    await reader.durable()
    reader.open(window=8, expires=2.0, heartbeat=0.2)
    broken = asyncio.Event()
    reader.connection.on_break(broken.set)
    nats_server.kill()
    await asyncio.wait_for(broken.wait(), WAIT)
    while not reader.events.empty():  # a machine that stands still makes a server silent before it is killed
        reader.events.get_nowait()
    await asyncio.sleep(1.0)  # five heartbeats
    assert reader.events.empty()
    await nats_server.restart()
    assert (await reader.event()).kind is PullEventKind.RECONNECTED
    await reader.fill(20)
    assert await reader.take_all(20) == list(range(20))


@pytest.mark.parametrize("config", [{"deliver_subject": "push.here"}, {"max_batch": 2}, {"max_expires": 1_000_000_000}])
async def test_a_consumer_that_refuses_such_pulls_ends_the_reading_with_its_words(
    reader: Reader, config: dict[str, Any]
):
    await reader.durable(**config)
    pulls = reader.open()
    event = await reader.event()
    assert event.kind is PullEventKind.REFUSED
    assert event.description
    reader.hear_pulls()
    pulls.reserve(0)
    await reader.connection.flush(WAIT)
    assert reader.asked.empty(), "nothing more is asked for"


async def test_a_consumer_that_lets_one_pull_wait_is_read_all_the_same(reader: Reader):
    await reader.durable(max_waiting=1)
    reader.hear_pulls()
    reader.open(window=8, expires=1.0, heartbeat=0.4)
    for _ in range(8):  # all were renewed
        await asyncio.wait_for(reader.asked.get(), WAIT)
    await reader.fill(400)
    assert await reader.take_all(400) == list(range(400))


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
async def test_whatever_the_server_says_the_reading_goes_on(reader: Reader, status: bytes, kind: PullEventKind | None):
    await reader.durable()
    reader.hear_pulls()
    reader.open(window=8)
    replies = [await asyncio.wait_for(reader.asked.get(), WAIT) for _ in range(4)]
    for reply in replies:
        reader.connection.send(hpub_frame(reply, b"NATS/1.0 %b\r\n" % status))
    await reader.fill(100)
    assert await reader.take_all(100) == list(range(100))
    told = [await reader.event()] if kind is not None else []
    while not reader.events.empty():  # once for all open pulls, but a busy server may say it of one after the other
        told.append(reader.events.get_nowait())
    assert {event.kind for event in told} == ({kind} if kind is not None else set())
    assert len(told) <= len(replies)
    assert reader.connection.is_connected
    assert reader.connection.stats.reconnects == 0


async def test_stop_hands_back_what_is_on_its_way_and_a_nak_gives_it_to_another(reader: Reader):
    await reader.durable()
    pulls = reader.open(window=8)
    await reader.connection.flush(WAIT)
    await reader.fill(2)
    first = await reader.take(2)
    reader.ack(first)
    filling = asyncio.create_task(reader.fill(6))
    await asyncio.sleep(0)  # its messages are on their way
    rest = reader.queue + await pulls.stop()
    reader.queue = []
    await filling
    for msg in rest:
        reader.connection.send(nak_frame(msg[1]))
    other = reader.open(window=8)
    await reader.until_waiting(6)
    got, reader.queue = reader.queue, []
    assert sorted(numbers(got)) == list(range(2, 8))
    redelivered = [Position.of(msg[1]).deliveries for msg in got if msg[3] in {old[3] for old in rest}]
    assert set(redelivered) <= {2}
    assert await other.stop() == []


async def test_a_stopped_subscription_asks_for_nothing_more(reader: Reader):
    await reader.durable()
    pulls = reader.open(window=8)
    await pulls.stop()
    reader.hear_pulls()
    pulls.reserve(0)
    pulls.resize_window(16)
    await reader.connection.flush(WAIT)
    assert reader.asked.empty()
    await reader.fill(3)
    await reader.connection.flush(WAIT)
    assert reader.queue == []


async def test_a_closed_connection_ends_the_reading_and_its_timers(reader: Reader):
    await reader.durable()
    pulls = reader.open(expires=0.2, heartbeat=0.05)
    await reader.connection.close()
    pulls.reserve(0)
    pulls.resize_window(2048)
    await asyncio.sleep(0.3)  # six heartbeats
    assert reader.events.empty()
    assert await pulls.stop() == []


@pytest.mark.parametrize("options", [{"window": 0}, {"heartbeat": 0}, {"heartbeat": 20.0, "expires": 30.0}])
async def test_senseless_settings_are_refused(reader: Reader, options: dict[str, Any]):
    with pytest.raises(ValueError, match="window"):
        reader.open(**options)


# What is said about a delivery.


async def test_a_negative_ack_waits_and_a_term_ends(reader: Reader):
    await reader.durable(ack_wait=600_000_000_000)
    terminated: asyncio.Queue[RawMsg] = asyncio.Queue()
    reader.connection.subscribe(
        "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.S.d", lambda batch: [terminated.put_nowait(msg) for msg in batch]
    )
    await reader.fill(2)
    reader.open()
    delayed, ended = await reader.take(2)
    loop = asyncio.get_running_loop()
    started = loop.time()
    reader.connection.send(nak_frame(delayed[1], 0.3))
    reader.connection.send(term_frame(ended[1], "no such fund"))
    again = await reader.take(1)
    assert numbers(again) == [0]
    assert loop.time() - started > 0.25
    reader.ack(again)
    advisory = WireMsg(*await asyncio.wait_for(terminated.get(), WAIT)).payload
    assert b'"stream_seq":2' in advisory
    assert b"no such fund" in advisory
    await reader.until_settled(2)


async def test_progress_keeps_a_delivery_beyond_its_ack_wait(reader: Reader, standstill: Callable[[], float]):
    await reader.fill(1)
    while True:
        await reader.durable(ack_wait=2_000_000_000)
        pulls = reader.open()
        (msg,) = await reader.take(1)
        standstill()
        for _ in range(6):
            await asyncio.sleep(0.5)
            reader.connection.send(progress_frame(msg[1]))
        await reader.connection.flush(WAIT)
        info = await reader.info()
        if (info["num_ack_pending"], info["delivered"]["consumer_seq"]) == (1, 1):
            break
        assert standstill() > 0.3, info  # else progress was in time
        await pulls.stop()
        reader.queue = []
        await reader.js("CONSUMER.DELETE.S.d")
    reader.ack([msg])
    await reader.until_settled(1)
