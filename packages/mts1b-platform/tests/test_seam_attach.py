"""Attaching the seam, refusing to, and the plain lane that does the same work instead."""
# pyright: reportUnknownMemberType=false, reportPrivateUsage=false
# reason: nats-py's signatures are partly untyped; these tests change its private parts to see it noticed.

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from mts1b_platform.eventbus import plain, seam_rehearsal
from mts1b_platform.eventbus.lane import Lane, SeamUnavailable
from mts1b_platform.eventbus.plain import PlainLane, open_lane
from mts1b_platform.eventbus.protocol.frames import FrameTemplate, hpub_frame, pub_frame
from mts1b_platform.eventbus.protocol.headers import HeaderError, header_block
from mts1b_platform.eventbus.protocol.message import RawMsg, WireMsg
from mts1b_platform.eventbus.seam import Seam
from mts1b_platform.server import NatsServer
from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.protocol.parser import Parser as NatsParser

WAIT = 60


async def test_the_seam_attaches_before_connecting_and_while_connected(nats_server: NatsServer):
    for late in (False, True):
        client = Client()
        if late:
            await client.connect(nats_server.url, connect_timeout=WAIT)
            sub = await client.subscribe("a")
        lane = await open_lane(client)
        assert lane.fast
        assert lane.reason == ""
        if not late:
            await client.connect(nats_server.url, connect_timeout=WAIT)
            sub = await client.subscribe("a")
        lane.send(pub_frame(b"a", b"x"), 1)
        assert (await sub.next_msg(timeout=WAIT)).data == b"x"  # pyright: ignore[reportPossiblyUnboundVariable]
        await client.close()


STREAM = b"HMSG a.b 1 re.ply 18 23\r\nNATS/1.0\r\nA: b\r\n\r\nhello\r\nMSG a.b 1 2\r\nhi\r\nMSG a.b 1 r 0\r\n\r\n"


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
async def test_the_seam_takes_over_in_the_middle_of_a_message(at: int):
    client = Client()
    client._flush_queue = asyncio.Queue()
    plain_sub = await client.subscribe("a.b")
    client._reading_task = asyncio.current_task()
    await client._ps.parse(STREAM[:at])
    await Seam.attach(client)
    await client._ps.parse(STREAM[at:])
    got = [plain_sub._pending_queue.get_nowait() for _ in range(plain_sub.pending_msgs)]
    assert [(msg.reply, msg.headers, msg.data) for msg in got] == [
        ("re.ply", {"A": "b"}, b"hello"),
        ("", None, b"hi"),
        ("r", None, b""),
    ]


async def offline() -> tuple[Client, Seam, list[bytes]]:
    """A client without a connection whose parser is the seam's, and the payloads that its subscription ``1`` gets."""
    client = Client()
    client._flush_queue = asyncio.Queue()
    seam = await Seam.attach(client)
    got: list[bytes] = []

    def take(batch: list[RawMsg]) -> None:
        got.extend(payload for _, _, _, payload in batch)

    await seam.subscribe_batches("a", callback=take, max_msgs=3)
    return client, seam, got


async def test_a_server_that_sends_more_than_it_was_told_is_not_believed():
    client, _, got = await offline()
    await client._ps.parse(b"MSG a 1 1\r\n1\r\n" + b"MSG a 1 1\r\n2\r\n" * 5)
    await client._ps.parse(b"MSG a 1 1\r\n3\r\n")
    assert got == [b"1", b"2", b"2"]
    assert client.stats["in_msgs"] == 7


async def test_half_a_message_of_a_lost_connection_is_not_glued_to_the_next_one():
    client, _, got = await offline()
    await asyncio.create_task(client._ps.parse(b"MSG a 1 5\r\nhal"))
    await asyncio.create_task(client._ps.parse(b"MSG a 1 5\r\nwhole\r\n"))
    assert got == [b"whole"]


async def test_what_follows_the_end_of_a_connection_in_the_same_read_is_dropped(monkeypatch: pytest.MonkeyPatch):
    client, _, _ = await offline()
    plain_sub = await client.subscribe("b")

    async def lose_the_connection() -> None:
        client._ps.reset()

    monkeypatch.setattr(client, "_process_ping", lose_the_connection)
    await client._ps.parse(b"MSG b 2 1\r\n1\r\nPING\r\nMSG b 2 1\r\n2\r\n")
    assert plain_sub.pending_msgs == 1


async def test_another_version_of_nats_py_gets_the_plain_lane(monkeypatch: pytest.MonkeyPatch):
    def other_version(_: str) -> str:
        return "2.17.0"

    monkeypatch.setattr(seam_rehearsal, "version", other_version)
    client = Client()
    lane = await open_lane(client)
    assert not lane.fast
    assert "2.17.0" in lane.reason
    assert "2.16." in lane.reason
    assert type(client._ps) is NatsParser


async def _swallow(*_: object, **__: object) -> None:
    """A private part that was renamed or emptied."""


@pytest.mark.parametrize(
    ("name", "replacement"),
    [
        ("_process_msg", _swallow),
        ("_process_pong", _swallow),
        ("_process_ping", _swallow),
        ("_flusher", _swallow),
        ("_send_subscribe", _swallow),
        ("_flush_pending", None),
        ("CONNECTED", 77),
    ],
)
async def test_a_nats_py_that_differs_inside_gets_the_plain_lane(
    monkeypatch: pytest.MonkeyPatch, name: str, replacement: object
):
    monkeypatch.setattr(seam_rehearsal, "TIMEOUT", 0.2)
    if name == "CONNECTED":
        monkeypatch.setattr(Client, "is_connected", False)
    else:
        monkeypatch.setattr(Client, name, replacement)
    client = Client()
    lane = await open_lane(client)
    assert isinstance(lane, PlainLane)
    assert "2.16." in lane.reason
    assert type(client._ps) is NatsParser


async def test_a_parser_that_somebody_replaced_is_left_alone():
    client = Client()
    await Seam.attach(client)
    with pytest.raises(SeamUnavailable, match="SeamParser"):
        await Seam.attach(client)


async def test_the_rehearsal_leaves_nothing_behind():
    before = asyncio.all_tasks()
    client = Client()
    await Seam.attach(client)
    assert client.stats == Client().stats
    assert not client._subs
    assert asyncio.all_tasks() == before


# The same promises on both lanes.


@asynccontextmanager
async def lane_to(server: NatsServer, kind: str, **options: Any) -> AsyncGenerator[tuple[Lane, Client]]:
    client = Client()
    lane: Lane = await Seam.attach(client) if kind == "seam" else PlainLane(client, reason="asked for")

    async def quiet(_: Exception) -> None:
        """Reconnects are part of the test."""

    await client.connect(
        server.url,
        error_cb=quiet,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.02,  # pyright: ignore[reportArgumentType] - fractions work
        connect_timeout=WAIT,
        **options,
    )
    try:
        yield lane, client
    finally:
        with suppress(OSError):
            await client.close()


kinds = pytest.mark.parametrize("kind", ["seam", "plain"])


@kinds
async def test_frames_arrive_whole_and_in_order(nats_server: NatsServer, kind: str):
    async with lane_to(nats_server, kind) as (lane, _):
        batches = await lane.subscribe_batches("a.>", queue="q")
        called: list[RawMsg] = []
        await lane.subscribe_batches("a.>", callback=called.extend)
        template = FrameTemplate("a.b", {"mts-actor": "me"})
        for n in range(2000):
            frame = template.encode(b"%d" % n, "t", f"id-{n}", b"re.ply")
            if n % 2:
                lane.send(frame, 4)
            else:
                assert lane.send_now(frame, 4)
            if lane.crowded:
                await lane.room()
        got: list[WireMsg] = []
        async with asyncio.timeout(WAIT):
            while len(got) < 2000:
                got += await batches.next_batch()
        assert [int(msg.payload) for msg in got] == list(range(2000))
        assert got == called
        assert (got[3].subject, got[3].reply) == (b"a.b", b"re.ply")
        assert got[3].headers.to_dict() == {"mts-actor": "me", "mts-trace-id": "t", "Nats-Msg-Id": "id-3"}


@kinds
async def test_statuses_arrive_as_statuses(nats_server: NatsServer, kind: str):
    async with lane_to(nats_server, kind) as (lane, client):
        js = client.jetstream(timeout=WAIT)
        await js.add_stream(name="S", subjects=["s"])
        await js.pull_subscribe("s", durable="d")
        inbox = lane.new_inbox()
        answers = await lane.subscribe_batches(inbox)
        lane.send(pub_frame(b"$JS.API.CONSUMER.MSG.NEXT.S.d", b'{"no_wait":true}', inbox.encode()), 16)
        async with asyncio.timeout(WAIT):
            (msg,) = await answers.next_batch()
        assert msg.is_status
        assert (msg.headers.status, msg.headers.description) == (404, "No Messages")
        lane.send(hpub_frame(inbox.encode(), header_block({"Status": "404x"}), b"x"), 1)
        async with asyncio.timeout(WAIT):
            (msg,) = await answers.next_batch()
        assert not msg.is_status


@kinds
async def test_a_subscription_ends_after_max_msgs_and_after_unsubscribe_and_drain(nats_server: NatsServer, kind: str):
    async with lane_to(nats_server, kind) as (lane, client), asyncio.timeout(WAIT):
        limited = await lane.subscribe_batches("a", max_msgs=3)
        drained, ended = await lane.subscribe_batches("a"), await lane.subscribe_batches("a")
        for n in range(5):
            lane.send(pub_frame(b"a", b"%d" % n), 1)
        await client.flush()
        assert [msg.payload async for batch in limited for msg in batch] == [b"0", b"1", b"2"]
        draining = asyncio.create_task(drained.drain())
        assert len([msg async for batch in drained for msg in batch]) == 5
        await draining
        await ended.next_batch()
        await ended.unsubscribe()
        assert await ended.next_batch() == []


@kinds
async def test_a_break_is_told_and_durable_frames_outlive_it(nats_server: NatsServer, kind: str):
    async with lane_to(nats_server, kind) as (lane, client), asyncio.timeout(WAIT):
        told: asyncio.Queue[str] = asyncio.Queue()
        lane.on_break(lambda: told.put_nowait("break"))
        lane.on_ready(lambda: told.put_nowait("ready"))
        batches = await lane.subscribe_batches("a")
        await client.flush()
        nats_server.kill()
        assert await told.get() == "break"
        for n in range(20):
            lane.send(pub_frame(b"a", b"%d" % n), 2)
            assert not lane.send_now(pub_frame(b"a", b"stale"), 5)
        assert lane.dropped == 20
        await nats_server.restart()
        assert await told.get() == "ready"
        got: list[WireMsg] = []
        while len(got) < 20:
            got += await batches.next_batch()
        assert [int(msg.payload) for msg in got] == list(range(20))


@kinds
async def test_a_closed_lane_and_one_over_the_limit_refuse(nats_server: NatsServer, kind: str):
    async with lane_to(nats_server, kind) as (lane, client):
        size = client.max_payload + 1
        for send in (lane.send, lane.send_now):
            with pytest.raises(errors.MaxPayloadError):
                send(pub_frame(b"a", bytes(size)), size)
        batches = await lane.subscribe_batches("a")
        reader = asyncio.create_task(batches.next_batch())
        await client.flush()
        await client.close()
        for send in (lane.send, lane.send_now):
            with pytest.raises(errors.ConnectionClosedError):
                send(pub_frame(b"a"), 0)
        with pytest.raises(errors.ConnectionClosedError):
            await lane.subscribe_batches("a")
        with pytest.raises(errors.ConnectionClosedError):
            await reader


@kinds
async def test_a_lane_that_is_full_says_so(nats_server: NatsServer, kind: str):
    async with lane_to(nats_server, kind) as (lane, client):
        await client.flush()
        nats_server.pause()
        with pytest.raises(errors.OutboundBufferLimitError):  # noqa: PT012 - the last of many raises
            for _ in range(100):
                lane.send(pub_frame(b"a", bytes(100_000)), 100_000)
        assert lane.crowded
        assert not lane.send_now(pub_frame(b"a", bytes(100_000)), 100_000)
        nats_server.resume()
        await asyncio.wait_for(lane.room(), WAIT)
        assert not lane.crowded


def test_what_no_header_may_carry_is_refused_when_it_is_read():
    msg = plain.wire_msg(Msg(_client=Client(), subject="a", headers={"A": "b\nc", "B": "x"}, data=b"y"))
    assert (msg.subject, msg.payload) == (b"a", b"y")
    with pytest.raises(HeaderError):
        msg.headers.get("A")
