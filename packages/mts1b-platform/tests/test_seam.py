"""The fast lane on a real server: what nats-py kept is kept."""
# pyright: reportUnknownMemberType=false, reportPrivateUsage=false
# reason: nats-py's signatures are partly untyped; two tests put its private parts into a rare state.

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import nats
import pytest
from mts1b_platform.eventbus.lane import Batches
from mts1b_platform.eventbus.protocol.frames import FrameTemplate, hpub_frame, pub_frame
from mts1b_platform.eventbus.protocol.headers import header_block
from mts1b_platform.eventbus.protocol.message import RawMsg, WireMsg
from mts1b_platform.eventbus.seam import CROWDED_AT, Seam
from mts1b_platform.server import NatsServer
from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import KeyValueConfig

WAIT = 60


class Connected:
    """A client with a seam, and what its callbacks were told."""

    def __init__(self) -> None:
        self.client = Client()
        self.errors: list[Exception] = []
        self.broken, self.back, self.closed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def error(self, error: Exception) -> None:
        self.errors.append(error)

    async def disconnected(self) -> None:
        self.back.clear()
        self.broken.set()

    async def reconnected(self) -> None:
        self.back.set()

    async def was_closed(self) -> None:
        self.closed.set()

    async def connect(self, server: NatsServer, **options: Any) -> None:
        self.seam = await Seam.attach(self.client)
        await self.client.connect(
            server.url,
            error_cb=self.error,
            disconnected_cb=self.disconnected,
            reconnected_cb=self.reconnected,
            closed_cb=self.was_closed,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.02,  # pyright: ignore[reportArgumentType] - fractions work
            connect_timeout=WAIT,
            **options,
        )

    def publish(self, subject: str, payload: bytes = b"") -> None:
        self.seam.send(pub_frame(subject.encode(), payload), len(payload))


@asynccontextmanager
async def connected(server: NatsServer, **options: Any) -> AsyncGenerator[Connected]:
    it = Connected()
    await it.connect(server, **options)
    try:
        yield it
    finally:
        with suppress(OSError):  # nats-py still writes what waits
            await it.client.close()


async def collect(batches: Batches, count: int) -> list[WireMsg]:
    """Take exactly ``count`` messages; fails when more come with them, or fewer ever."""
    got: list[WireMsg] = []
    async with asyncio.timeout(WAIT):
        while len(got) < count:
            got += await batches.next_batch()
    assert len(got) == count
    return got


async def stopped(server: NatsServer) -> None:
    """Stop the server's process; returns when each of its threads has noticed."""
    server.pause()
    threads = Path(f"/proc/{server.pid}/task")

    def state(thread: Path) -> str:
        return (thread / "stat").read_text().rpartition(")")[2].split()[0]

    await until(lambda: all(state(thread) == "T" for thread in threads.iterdir()))


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT):
        while not true():  # noqa: ASYNC110 - what nats-py knows, it tells by its state alone
            await asyncio.sleep(0.005)


async def test_a_frame_arrives_whole_and_in_order_many_per_wakeup(nats_server: NatsServer):
    async with connected(nats_server) as bus:
        batches = await bus.seam.subscribe_batches("a.*")
        template = FrameTemplate("a.b", {"mts-actor": "me"})
        for n in range(5000):
            bus.seam.send(template.encode(b"%d" % n, "t", f"id-{n}"), 4)
            if bus.seam.crowded:
                await bus.seam.room()
        got: list[WireMsg] = []
        wakeups = 0
        async with asyncio.timeout(WAIT):
            while len(got) < 5000:
                got += await batches.next_batch()
                wakeups += 1
        assert [int(msg.payload) for msg in got] == list(range(5000))
        assert {msg.subject for msg in got} == {b"a.b"}
        assert got[7].headers.to_dict() == {"mts-actor": "me", "mts-trace-id": "t", "Nats-Msg-Id": "id-7"}
        assert wakeups < 500
        assert not bus.errors


async def test_a_frame_leaves_at_once_without_anybody_flushing(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
):
    async def leave_it() -> None:
        """Answering the server's PING, which comes after two seconds, would flush."""

    async with connected(nats_server) as bus:
        monkeypatch.setattr(bus.client, "_process_ping", leave_it)
        batches = await bus.seam.subscribe_batches("a")
        await bus.client.flush()
        frame = pub_frame(b"a", b"x")
        for _ in range(20):
            bus.seam.send(frame, 1)
            await collect(batches, 1)
            bus.seam.send_now(frame, 1)
            await collect(batches, 1)
            bus.seam.send_many([frame] * 3, 3)
            await collect(batches, 3)
        assert bus.client.stats["in_bytes"] == bus.client.stats["out_bytes"] == 100
        assert len(bus.seam._volatile) < 5, "what was sent is not remembered"


async def test_many_frames_are_queued_together_or_not_at_all(nats_server: NatsServer):
    async with connected(nats_server, pending_size=1000) as bus:
        batches = await bus.seam.subscribe_batches("a")
        await bus.client.flush()
        bus.seam.send_many([pub_frame(b"a", b"%d" % n) for n in range(10)], 10)
        with pytest.raises(errors.OutboundBufferLimitError):
            bus.seam.send_many([pub_frame(b"a", bytes(100))] * 20, 2000)
        too_large = pub_frame(b"a", bytes(bus.client.max_payload + 1))
        await bus.client.flush()
        with pytest.raises(errors.MaxPayloadError):
            bus.seam.send_many([pub_frame(b"a"), too_large], bus.client.max_payload + 1)
        assert [msg.payload for msg in await collect(batches, 10)] == [b"%d" % n for n in range(10)]
        assert bus.client.stats["out_msgs"] == 10
        assert bus.client.stats["out_bytes"] == 10
        await bus.client.close()
        with pytest.raises(errors.ConnectionClosedError):
            bus.seam.send_many([pub_frame(b"a")], 0)


async def test_a_message_larger_than_many_reads_arrives(nats_server: NatsServer):
    async with connected(nats_server) as bus:
        batches = await bus.seam.subscribe_batches("a")
        payload = bytes(range(256)) * 3600
        bus.publish("a", payload)
        bus.publish("a", b"next")
        assert [msg.payload for msg in await collect(batches, 2)] == [payload, b"next"]


async def test_nats_py_itself_goes_on_working_beside_it(nats_server: NatsServer):
    async with connected(nats_server) as bus:
        client = bus.client
        batches = await bus.seam.subscribe_batches("mixed.>")
        plain = await client.subscribe("mixed.*")
        heard: list[bytes] = []

        async def answer(msg: Msg) -> None:
            heard.append(msg.data)
            await msg.respond(b"pong")

        await client.subscribe("ask", cb=answer)
        assert (await client.request("ask", b"ping", timeout=WAIT)).data == b"pong"

        js = client.jetstream(timeout=WAIT)
        await js.add_stream(name="S", subjects=["mixed.>"])
        ack = await js.publish("mixed.a", b"1", headers={"Nats-Msg-Id": "x"})
        assert ack.seq == 1
        assert (await js.publish("mixed.a", b"1", headers={"Nats-Msg-Id": "x"})).duplicate
        sub = await js.pull_subscribe("mixed.a", durable="d")
        (msg,) = await sub.fetch(1, timeout=WAIT)
        assert msg.headers == {"Nats-Msg-Id": "x"}
        await msg.ack_sync(timeout=WAIT)
        push = await js.subscribe("mixed.>", ordered_consumer=True)
        assert (await push.next_msg(timeout=WAIT)).data == b"1"

        kv = await js.create_key_value(KeyValueConfig(bucket="b"))
        await kv.put("k", b"v")
        assert (await kv.get("k")).value == b"v"

        assert [m.payload for m in await collect(batches, 2)] == [b"1", b"1"]
        assert (await plain.next_msg(timeout=WAIT)).headers == {"Nats-Msg-Id": "x"}
        assert heard == [b"ping"]
        assert not bus.errors


async def test_a_closed_connection_refuses(nats_server: NatsServer):
    async with connected(nats_server) as bus:
        await bus.client.close()
        for attempt in (bus.seam.send, bus.seam.send_now):
            with pytest.raises(errors.ConnectionClosedError):
                attempt(pub_frame(b"a"), 0)
        with pytest.raises(errors.ConnectionClosedError):
            await bus.seam.subscribe_batches("a")
        bus.client._pending_data_size = CROWDED_AT + 1
        with pytest.raises(errors.ConnectionClosedError):
            await bus.seam.room()


async def test_while_subscriptions_drain_one_may_publish_and_afterwards_not(nats_server: NatsServer):
    async with connected(nats_server) as bus:
        release = asyncio.Event()

        async def slow(_: Msg) -> None:
            await release.wait()

        async with connected(nats_server) as other:
            batches = await other.seam.subscribe_batches("late")
            await other.client.flush()
            await bus.client.subscribe("a", cb=slow)
            bus.publish("a")
            await bus.client.flush()
            draining = asyncio.create_task(bus.client.drain())
            await until(lambda: bus.client.is_draining)
            bus.publish("late", b"1")
            assert bus.seam.send_now(pub_frame(b"late", b"2"), 1)
            with pytest.raises(errors.ConnectionDrainingError):
                await bus.seam.subscribe_batches("a")
            assert [msg.payload for msg in await collect(batches, 2)] == [b"1", b"2"]

            await stopped(nats_server)
            release.set()
            await until(lambda: bus.client.is_draining_pubs)
            for attempt in (bus.seam.send, bus.seam.send_now):
                with pytest.raises(errors.ConnectionDrainingError):
                    attempt(pub_frame(b"a"), 0)
            nats_server.resume()
            await draining


async def test_header_and_payload_together_may_not_exceed_what_the_server_takes(nats_server: NatsServer):
    async with connected(nats_server) as bus:
        batches = await bus.seam.subscribe_batches("a")
        head = header_block({"a": "b"})
        most = bus.client.max_payload - len(head)
        for send in (bus.seam.send, bus.seam.send_now):
            with pytest.raises(errors.MaxPayloadError):
                send(hpub_frame(b"a", head, bytes(most + 1)), most + 1)
        bus.seam.send(hpub_frame(b"a", head, bytes(most)), most)
        (msg,) = await collect(batches, 1)
        assert len(msg.payload) == most
        assert not bus.errors


async def test_statistics_count_what_nats_py_would_count(nats_server: NatsServer):
    async with connected(nats_server) as bus:
        plain = await nats.connect(nats_server.url, connect_timeout=WAIT)
        sub, batches = await plain.subscribe("a"), await bus.seam.subscribe_batches("a")
        await plain.flush()
        await bus.client.flush()
        head = header_block({"a": "b"})
        for n in range(10):
            await plain.publish("a", b"x" * n, headers={"a": "b"})
            bus.seam.send(hpub_frame(b"a", head, b"x" * n), n)
            bus.seam.send_now(hpub_frame(b"a", head, b"x" * n), n)
            await plain.publish("a", b"x" * n)
        await collect(batches, 40)
        for _ in range(40):
            await sub.next_msg(timeout=WAIT)
        assert bus.client.stats == plain.stats
        assert bus.client.stats["in_bytes"] == 180
        await plain.close()


async def test_members_of_a_queue_group_share_whatever_they_are(nats_server: NatsServer):
    async with connected(nats_server) as one, connected(nats_server) as two:
        first = await one.seam.subscribe_batches("a", queue="q")
        second = await two.seam.subscribe_batches("a", queue="q")
        third = await two.client.subscribe("a", queue="q")
        everything = await one.seam.subscribe_batches("a")
        await one.client.flush()
        await two.client.flush()
        for n in range(300):
            one.publish("a", b"%d" % n)
        await collect(everything, 300)
        await two.client.flush()
        shares = [await first.next_batch(), await second.next_batch()]
        got = [int(msg.payload) for share in shares for msg in share]
        got += [int((await third.next_msg()).data) for _ in range(third.pending_msgs)]
        assert sorted(got) == list(range(300))
        assert all(shares)


async def test_a_request_without_responder_is_known_at_once(nats_server: NatsServer):
    async with connected(nats_server) as bus:
        with pytest.raises(errors.NoRespondersError):
            await bus.client.request("nobody", b"", timeout=WAIT)
        inbox = bus.seam.new_inbox()
        answers = await bus.seam.subscribe_batches(inbox)
        bus.seam.send(pub_frame(b"nobody", b"?", inbox.encode()), 1)
        (status,) = await collect(answers, 1)
        assert status.is_status
        assert status.headers.status == 503
        assert status.payload == b""


async def test_a_message_of_headers_alone_arrives(nats_server: NatsServer):
    async with connected(nats_server) as bus:
        batches, plain = await bus.seam.subscribe_batches("a"), await bus.client.subscribe("a")
        bus.seam.send(hpub_frame(b"a", header_block({"only": "me"})), 0)
        (msg,) = await collect(batches, 1)
        assert (msg.headers.to_dict(), msg.payload) == ({"only": "me"}, b"")
        assert (await plain.next_msg(timeout=WAIT)).headers == {"only": "me"}


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPING", "a..b", "a.>.b"])
async def test_a_malformed_subscription_is_refused(nats_server: NatsServer, subject: str):
    async with connected(nats_server) as bus:
        with pytest.raises(errors.BadSubjectError):
            await bus.seam.subscribe_batches(subject)
        with pytest.raises(errors.BadSubjectError):
            await bus.seam.subscribe_batches("a", queue="a b")


async def test_an_inbox_prefix_is_respected(nats_server: NatsServer):
    async with connected(nats_server, inbox_prefix="_INBOX_oms") as bus:
        assert bus.seam.new_inbox().startswith("_INBOX_oms.")


# Limits and backpressure.


async def test_what_is_over_the_message_limit_is_dropped_counted_and_told(nats_server: NatsServer):
    async with connected(nats_server) as bus:
        batches = await bus.seam.subscribe_batches("a", pending_msgs_limit=10)
        for n in range(25):
            bus.publish("a", b"%d" % n)
        await bus.client.flush()
        assert [int(msg.payload) for msg in await collect(batches, 10)] == list(range(10))
        assert batches.dropped == 15
        assert {type(error) for error in bus.errors} == {errors.SlowConsumerError}
        bus.publish("a", b"again")
        assert [msg.payload for msg in await collect(batches, 1)] == [b"again"]
        assert batches.pending_msgs == batches.pending_bytes == 0
        assert batches.delivered == 26


async def test_what_is_over_the_byte_limit_is_dropped_counted_and_told(nats_server: NatsServer):
    async with connected(nats_server) as bus:
        batches = await bus.seam.subscribe_batches("a", pending_bytes_limit=1000)
        unlimited = await bus.seam.subscribe_batches("a", pending_bytes_limit=0)
        for _ in range(25):
            bus.publish("a", bytes(99))
        await bus.client.flush()
        assert (batches.pending_bytes, unlimited.pending_bytes) == (990, 25 * 99)
        await collect(batches, 10)
        assert batches.dropped == 15
        await collect(unlimited, 25)
        (error,) = bus.errors
        assert isinstance(error, errors.SlowConsumerError)
        assert error.subject == "a"


async def test_a_publisher_that_outruns_a_stopped_server_waits_and_loses_nothing(nats_server: NatsServer):
    async with connected(nats_server) as bus:
        batches = await bus.seam.subscribe_batches("a")
        await bus.client.flush()
        await stopped(nats_server)
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                bus.publish("a", b"%08d" % sent + bytes(50_000))
                sent += 1
                if bus.seam.crowded:
                    await bus.seam.room()

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flood(), 1)
        assert bus.client.pending_data_size <= CROWDED_AT + 60_000
        with pytest.raises(errors.OutboundBufferLimitError):  # noqa: PT012 - the last of many raises
            for _ in range(100):
                bus.publish("a", b"%08d" % sent + bytes(50_000))
                sent += 1
        assert bus.client.pending_data_size <= 2 * 1024 * 1024
        assert not bus.seam.send_now(pub_frame(b"a", bytes(50_000)), 50_000)
        assert bus.seam.dropped == 1
        nats_server.resume()
        assert [int(msg.payload[:8]) for msg in await collect(batches, sent)] == list(range(sent))


async def test_a_frame_larger_than_the_pending_limit_goes_out_alone(nats_server: NatsServer):
    async with connected(nats_server, pending_size=1000) as bus:
        batches = await bus.seam.subscribe_batches("a")
        await bus.client.flush()
        bus.publish("a", bytes(5000))
        with pytest.raises(errors.OutboundBufferLimitError):
            bus.publish("a", b"")
        await collect(batches, 1)


# Endings.


async def test_max_msgs_ends_the_subscription_after_exactly_that_many(nats_server: NatsServer):
    async with connected(nats_server) as bus:
        taken: list[RawMsg] = []
        batches = await bus.seam.subscribe_batches("a", max_msgs=5)
        await bus.seam.subscribe_batches("a", max_msgs=5, callback=taken.extend)
        for n in range(9):
            bus.publish("a", b"%d" % n)
        await bus.client.flush()
        got = [msg async for batch in batches for msg in batch]
        assert [msg.payload for msg in got] == [payload for _, _, _, payload in taken] == [b"0", b"1", b"2", b"3", b"4"]
        assert not bus.client._subs
        assert not bus.seam.parser._wire.routes
        for n in range(9):
            bus.publish("a", b"%d" % n)
        await bus.client.flush()
        assert bus.client.stats["in_msgs"] == 10, "the server was told the limit too"


async def test_unsubscribe_after_some_more_messages(nats_server: NatsServer):
    async with connected(nats_server) as bus:
        batches = await bus.seam.subscribe_batches("a")
        bus.publish("a", b"0")
        await collect(batches, 1)
        await batches.unsubscribe(3)
        for n in range(1, 9):
            bus.publish("a", b"%d" % n)
        got = [msg.payload async for batch in batches for msg in batch]
        assert got == [b"1", b"2"]
        assert not bus.client._subs


async def test_unsubscribe_ends_a_waiting_reader_and_discards_what_waits(nats_server: NatsServer):
    async with connected(nats_server) as bus:
        waiting, full = await bus.seam.subscribe_batches("b"), await bus.seam.subscribe_batches("a")
        reader = asyncio.create_task(waiting.next_batch())
        bus.publish("a")
        await bus.client.flush()
        await full.unsubscribe()
        await waiting.unsubscribe()
        assert await reader == []
        assert [batch async for batch in full] == []
        assert not bus.seam.parser._wire.routes
        bus.publish("a")
        await bus.client.flush()
        assert bus.client.stats["in_msgs"] == 1
        with pytest.raises(errors.BadSubscriptionError):
            await full.unsubscribe()


@pytest.mark.parametrize("whole_connection", [False, True])
async def test_drain_hands_out_what_has_arrived_then_ends(nats_server: NatsServer, whole_connection: bool):
    async with connected(nats_server) as bus:
        batches = await bus.seam.subscribe_batches("a")
        for n in range(100):
            bus.publish("a", b"%d" % n)
        draining = asyncio.create_task(bus.client.drain() if whole_connection else batches.drain())
        async with asyncio.timeout(WAIT):
            got = [msg async for batch in batches for msg in batch]
            await draining
        assert len(got) == 100
        assert not bus.errors


async def test_a_closed_connection_is_no_quiet_end(nats_server: NatsServer):
    async with connected(nats_server) as bus:
        batches = await bus.seam.subscribe_batches("a")
        reader = asyncio.create_task(batches.next_batch())
        await bus.client.flush()
        await bus.client.close()
        with pytest.raises(errors.ConnectionClosedError):
            await reader
        with pytest.raises(errors.ConnectionClosedError):
            await batches.next_batch()


async def test_a_callback_that_raises_is_told_and_the_connection_goes_on(nats_server: NatsServer):
    async with connected(nats_server) as bus:

        def fail(_: list[RawMsg]) -> None:
            raise ZeroDivisionError

        failing = await bus.seam.subscribe_batches("a", callback=fail)
        batches = await bus.seam.subscribe_batches("a")
        bus.publish("a")
        await collect(batches, 1)
        assert [type(error) for error in bus.errors] == [ZeroDivisionError]
        with pytest.raises(errors.Error, match="callback"):
            await failing.next_batch()


async def test_two_readers_of_one_subscription_are_refused(nats_server: NatsServer):
    async with connected(nats_server) as bus:
        batches = await bus.seam.subscribe_batches("a")
        first = asyncio.create_task(batches.next_batch())
        await asyncio.sleep(0)
        with pytest.raises(errors.Error, match="already waiting"):
            await batches.next_batch()
        bus.publish("a")
        assert len(await first) == 1


# Reconnects.


async def test_after_a_kill_every_subscription_is_back_and_every_kept_frame_goes_out_once(nats_server: NatsServer):
    async with connected(nats_server) as bus:
        batches = await bus.seam.subscribe_batches("a")
        limited = await bus.seam.subscribe_batches("a", max_msgs=3)
        plain = await bus.client.subscribe("a")
        bus.publish("a", b"before")
        assert [msg.payload for msg in await collect(limited, 1)] == [b"before"]
        await collect(batches, 1)
        breaks: list[str] = []
        off = bus.seam.on_break(lambda: breaks.append("break"))
        bus.seam.on_ready(lambda: breaks.append("ready"))

        nats_server.kill()
        await asyncio.wait_for(bus.broken.wait(), WAIT)
        for n in range(50):
            bus.publish("a", b"%d" % n)
            assert not bus.seam.send_now(pub_frame(b"a", b"stale"), 5)
        assert bus.seam.dropped == 50
        await nats_server.restart()
        await asyncio.wait_for(bus.back.wait(), WAIT)
        for n in range(50, 100):
            bus.publish("a", b"%d" % n)
        assert bus.seam.send_now(pub_frame(b"a", b"fresh"), 5)
        expected = [b"%d" % n for n in range(100)] + [b"fresh"]
        assert [msg.payload for msg in await collect(batches, 101)] == expected
        assert [msg.payload async for batch in limited for msg in batch] == [b"0", b"1"]
        assert [(await plain.next_msg(timeout=WAIT)).data for _ in range(102)] == [b"before", *expected]
        assert breaks == ["break", "ready"]

        off()
        nats_server.kill()
        await asyncio.wait_for(bus.broken.wait(), WAIT)
        await nats_server.restart()
        await until(lambda: breaks == ["break", "ready", "ready"])


async def test_what_is_worth_nothing_later_is_not_sent_after_a_reconnect(nats_server: NatsServer):
    async with connected(nats_server) as bus:
        js = bus.client.jetstream(timeout=WAIT)
        await js.add_stream(name="S", subjects=["a"])
        await stopped(nats_server)
        # Fill the socket until nats-py's flusher blocks, so that frames wait in the pending buffer.
        async with asyncio.timeout(WAIT):
            while not bus.seam.crowded:
                bus.seam.send_now(pub_frame(b"filler", bytes(60_000)), 60_000)
                await asyncio.sleep(0)
        for n in range(3):
            for _ in range(5):
                assert bus.seam.send_now(pub_frame(b"a", b"stale"), 5)
            bus.publish("a", b"kept %d" % n)
        before, waiting = bus.seam.dropped, bus.client.pending_data_size
        nats_server.kill()
        await asyncio.wait_for(bus.broken.wait(), WAIT)
        assert bus.seam.dropped >= before + 15
        assert bus.client.pending_data_size < waiting
        assert bus.client.pending_data_size == sum(map(len, bus.client._pending))
        await nats_server.restart()
        await asyncio.wait_for(bus.back.wait(), WAIT)
        async with asyncio.timeout(WAIT):
            while (await js.stream_info("S")).state.messages < 3:
                pass
        for n in range(3):
            assert (await js.get_msg("S", n + 1)).data == b"kept %d" % n


async def test_room_waits_for_the_connection_to_come_back(nats_server: NatsServer):
    async with connected(nats_server) as bus:
        nats_server.kill()
        await asyncio.wait_for(bus.broken.wait(), WAIT)
        waiting = asyncio.create_task(bus.seam.room())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await nats_server.restart()
        await asyncio.wait_for(waiting, WAIT)


async def test_buffering_ends_at_the_pending_limit_while_reconnecting(nats_server: NatsServer):
    async with connected(nats_server, pending_size=1000) as bus:
        nats_server.kill()
        await asyncio.wait_for(bus.broken.wait(), WAIT)
        with pytest.raises(errors.OutboundBufferLimitError):  # noqa: PT012 - the last of many raises
            for _ in range(100):
                bus.publish("a", bytes(50))
        assert 800 < bus.client.pending_data_size <= 1000


async def test_no_buffer_means_no_sending_while_reconnecting(nats_server: NatsServer):
    async with connected(nats_server, pending_size=0) as bus:
        nats_server.kill()
        await asyncio.wait_for(bus.broken.wait(), WAIT)
        with pytest.raises(errors.OutboundBufferLimitError):
            bus.publish("a")


# What nats-py would not have survived.


async def test_a_client_that_is_closed_while_it_reconnects_stays_closed(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
):
    async with connected(nats_server) as bus:
        client, tries = bus.client, asyncio.Event()

        async def refused_while_cancelled(_server: object) -> None:  # as wait_for does it on Python 3.11
            tries.set()
            try:
                await asyncio.sleep(WAIT)
            except asyncio.CancelledError:
                monkeypatch.undo()
                raise ConnectionRefusedError from None

        monkeypatch.setattr(client, "_connect_to_server", refused_while_cancelled)
        nats_server.kill()
        await asyncio.wait_for(tries.wait(), WAIT)
        reconnecting = client._reconnection_task  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]
        await client.close()
        assert reconnecting is not None
        assert reconnecting.done()
        await nats_server.restart()
        assert client.is_closed


async def raw(server: NatsServer, *lines: bytes) -> None:
    """Publish as a foreign client that checks nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n' + b"".join(lines) + b"PING\r\n")
    while await reader.readline() != b"PONG\r\n":
        pass
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("head", [b"NATS/1.0", b"NATS/1.0 \xff\xff\xff\r\n\r\n", b"x"])
async def test_a_mangled_header_block_costs_its_own_message_only(nats_server: NatsServer, head: bytes):
    async with connected(nats_server) as bus:
        plain, batches = await bus.client.subscribe("a"), await bus.seam.subscribe_batches("a")
        await bus.client.flush()
        await raw(nats_server, b"HPUB a %d %d\r\n%b\r\n" % (len(head), len(head), head), b"PUB a 2\r\nok\r\n")
        first, second = await collect(batches, 2)
        assert (first.head, second.payload) == (head, b"ok")
        with pytest.raises(ValueError, match=r"NATS/1\.0|status|header"):
            first.headers.get("a")
        assert (await plain.next_msg(timeout=WAIT)).data in {b"", b"ok"}


async def test_flush_returns_after_the_server_took_what_was_sent_before_it(nats_server: NatsServer):
    async with connected(nats_server) as bus, connected(nats_server) as other:
        for n in range(100):
            subject = f"a.{n}"
            batches = await bus.seam.subscribe_batches(subject)
            await bus.client.flush()
            other.publish(subject, b"x")
            await other.client.flush()
            await bus.client.flush()
            assert batches.pending_msgs == 1


async def test_a_pong_after_its_flush_gave_up_does_not_end_the_connection(nats_server: NatsServer):
    async with connected(nats_server) as bus:
        batches = await bus.seam.subscribe_batches("a")
        await bus.client.flush()
        await stopped(nats_server)
        with pytest.raises(errors.FlushTimeoutError):
            await bus.client.flush(timeout=0.1)  # pyright: ignore[reportArgumentType] - fractions work
        nats_server.resume()
        for _ in range(3):  # the first may have come in one read with the late PONG
            bus.publish("a", b"alive")
            await collect(batches, 1)
            await bus.client.flush()
        assert bus.client.stats["reconnects"] == 0


@pytest.mark.parametrize(
    ("garbage", "said"),
    [(b"HELLO\r\n", "unknown protocol"), (b"INFO {\r\n", "not JSON"), (b"MSG a 1 99999999999\r\n", "limit")],
)
async def test_garbage_from_a_server_is_reported_and_the_connection_made_anew(garbage: bytes, said: str):
    connections = ended = 0
    finished = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections, ended
        connections += 1
        first = connections == 1
        writer.write(b'INFO {"server_id":"x","version":"2.15.1","headers":true,"max_payload":1048576}\r\n')
        while line := await reader.readline():
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n" + (garbage if first else b"MSG a 1 2\r\nok\r\n"))
        writer.close()
        await writer.wait_closed()
        ended += 1
        if ended == 2:
            finished.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    it = Connected()
    it.seam = await Seam.attach(it.client)
    await it.client.connect(
        f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}",
        error_cb=it.error,
        reconnect_time_wait=0.02,  # pyright: ignore[reportArgumentType] - fractions work
        connect_timeout=WAIT,
    )
    batches = await it.seam.subscribe_batches("a")
    async with asyncio.timeout(WAIT):
        assert (await batches.next_batch())[0].payload == b"ok"
    assert any(said in str(error) for error in it.errors)
    await it.client.close()
    await asyncio.wait_for(finished.wait(), WAIT)
    server.close()
    await server.wait_closed()
