"""The fast lane on a real server: what nats-py kept is kept."""
# pyright: reportUnknownMemberType=false, reportPrivateUsage=false
# reason: nats-py's signatures are partly untyped; two tests put its private parts into a rare state.

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import nats
import pytest
from mts1b_platform.eventbus.headers import header_block
from mts1b_platform.eventbus.lane import Batches
from mts1b_platform.eventbus.seam import CROWDED_AT, Seam
from mts1b_platform.eventbus.wire import FrameTemplate, WireMsg, hpub_frame, pub_frame
from mts1b_platform.server import NatsServer
from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import KeyValueConfig

WAIT = 10.0


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
        await it.client.close()


async def collect(batches: Batches, count: int) -> list[WireMsg]:
    """Take exactly ``count`` messages; fails when more come with them, or fewer ever."""
    got: list[WireMsg] = []
    async with asyncio.timeout(WAIT):
        while len(got) < count:
            got += await batches.next_batch()
    assert len(got) == count
    return got


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

        js = client.jetstream()
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

            nats_server.pause()
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
        plain = await nats.connect(nats_server.url)
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
