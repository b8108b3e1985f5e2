"""Reading what streams hold, in batches: complete, in order, whatever way leads there and whatever breaks meanwhile."""

from collections.abc import Awaitable, Callable

import pytest
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import EventBus, NoStream
from mts1b_platform.eventbus.codec.decoder import Decoder
from mts1b_platform.eventbus.history.direct_get import DirectGet
from mts1b_platform.eventbus.history.history import Extent, History, open_history
from mts1b_platform.eventbus.history.message_get import MessageGet
from mts1b_platform.eventbus.history.recorded import Recorded, nanoseconds_of, read_answer, stamp_of
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.protocol.envelope import MSG_ID
from mts1b_platform.eventbus.protocol.message import WireMsg
from mts1b_platform.server import NatsServer

STREAM = "OMS_ORDERS"
Fill = Callable[[int], Awaitable[None]]


@pytest.fixture
def fill(bus: EventBus) -> Fill:
    """Store so many orders, every fifth of them of fund beta."""

    async def store(count: int) -> None:
        await bus.emit_many(
            OMS_ORDERS_CREATED,
            [
                ORDER.model_copy(
                    update={"order_id": f"o{n}", "idempotency_key": f"k{n}", "fund_id": "alpha" if n % 5 else "beta"}
                )
                for n in range(count)
            ],
        )

    return store


@pytest.fixture(params=["direct", "one by one"])
def history(request: pytest.FixtureRequest, bus: EventBus) -> History:
    """Both ways that services have."""
    if request.param == "direct":
        return History(STREAM, DirectGet(bus, STREAM, f"$JS.API.DIRECT.GET.{STREAM}"))
    return History(STREAM, MessageGet(bus, STREAM))


async def everything(history: History, first: int, last: int, pattern: str = ">") -> list[Recorded]:
    return [each async for batch in history.batches(first, last, pattern) for each in batch]


async def test_everything_comes_once_and_in_order_around_what_was_deleted(bus: EventBus, history: History, fill: Fill):
    await fill(2_100)
    for seq in (1, 500, 501, 2_100):
        await js_api(bus, f"STREAM.MSG.DELETE.{STREAM}", {"seq": seq})
    assert await history.extent() == Extent(2, 2_099)
    found = await everything(history, 1, 5_000)
    assert [each.seq for each in found] == [seq for seq in range(2, 2_100) if seq not in (500, 501)]
    assert [each.seq for each in await everything(history, 499, 503)] == [499, 502, 503]
    assert await everything(history, 500, 501) == []
    assert await everything(history, 7, 6) == []
    beta = await everything(history, 1, 2_100, "mts.v1.oms.orders.*.fund.beta")
    assert [each.seq for each in beta] == [seq for seq in range(2, 2_100) if seq % 5 == 1 and seq != 501]
    assert await history.get(500) is None
    assert await history.get(9_999) is None


async def test_what_is_not_worth_reading_is_left_out_and_the_rest_comes_in_order(history: History, fill: Fill):
    await fill(2_100)
    names = (b'"o7"', b'"o1500"', b'"o2099"')
    batches = history.batches(1, 2_099, ">", lambda _head, payload: any(name in payload for name in names))
    assert [each.seq async for batch in batches for each in batch] == [8, 1_501]
    on_subject = history.batches(1, 2_100, ">", lambda head, _payload: b"created.fund.beta" in head)
    assert [each.seq async for batch in on_subject for each in batch] == list(range(1, 2_101, 5))
    assert [batch async for batch in history.batches(1, 2_100, ">", lambda _head, _payload: False)] == []


async def test_a_message_comes_back_byte_by_byte_and_decodes(history: History, fill: Fill):
    await fill(1)
    found = await history.get(1)
    assert found is not None
    assert not any(b"Nats-Stream" in line for line in found.wire.head.split(b"\r\n"))
    assert found.wire.headers[MSG_ID] == "k0"
    subject, name, order, plain = Decoder([OMS_ORDERS_CREATED]).decode(found.wire)
    assert (subject, name, order.order_id, plain) == (
        OMS_ORDERS_CREATED,
        "mts.v1.oms.orders.created.fund.beta",
        "o0",
        True,
    )
    assert stamp_of(nanoseconds_of(found.stamp)).startswith(found.stamp.removesuffix("Z"))
    assert await history.first_since(found.time_ns) == 1
    assert await history.first_since(found.time_ns + 1) is None


async def test_headers_that_look_like_the_streams_own_are_the_publishers(bus: EventBus, history: History):
    forged = {"Nats-Stream": "RISK", "Nats-Sequence": "99", "Nats-Subject": "mts.v1.risk.gate.passed", "x": "y"}
    await bus.request("mts.v1.oms.orders.created", b"\x00\xff", headers=forged, timeout=20)
    await bus.request("mts.v1.oms.orders.created", b"", timeout=20)
    first, second = await everything(history, 1, 2)
    assert (first.stream, first.seq, first.wire.subject) == (STREAM, 1, b"mts.v1.oms.orders.created")
    assert first.wire.headers.to_dict().items() >= forged.items()
    assert first.wire.head.count(b"Nats-Stream") == 1
    assert (first.wire.payload, second.wire.payload, second.wire.head) == (b"\x00\xff", b"", b"")


async def test_an_empty_stream_and_none_at_all(bus: EventBus):
    assert await (await open_history(bus, STREAM)).extent() == Extent(1, 0)
    assert await everything(await open_history(bus, STREAM), 1, 10) == []
    with pytest.raises(NoStream, match="there is no stream NOPE"):
        await open_history(bus, "NOPE")


async def test_a_server_that_is_killed_meanwhile_costs_nothing(history: History, fill: Fill, nats_server: NatsServer):
    await fill(3_000)
    seqs: list[int] = []
    async for batch in history.batches(1, 3_000):
        if not seqs:
            nats_server.kill()
            await nats_server.restart()
        seqs += [each.seq for each in batch]
    assert seqs == list(range(1, 3_001))


def test_lines_that_a_later_server_adds_are_passed_over():
    lines = b"Nats-Stream: S\r\nNats-Subject: a.b\r\nNats-Sequence: 7\r\nNats-Time-Stamp: 2026-11-29T03:12:03Z\r\n"
    for more in (b"", b"Nats-Num-Pending: 1\r\nNats-Last-Sequence: 6\r\n", b"Nats-Later: x\r\n"):
        for head, published in ((b"NATS/1.0\r\n", b""), (b"NATS/1.0\r\nx: y\r\n", b"NATS/1.0\r\nx: y\r\n\r\n")):
            found = read_answer((b"", b"", head + lines + more + b"\r\n", b"p"))
            assert found == Recorded("S", 7, "2026-11-29T03:12:03Z", WireMsg(b"a.b", b"", published, b"p"))


def test_an_answer_that_is_none_is_said():
    with pytest.raises(ValueError, match="has no Nats-Sub"):
        read_answer((b"", b"", b"NATS/1.0\r\nx: y\r\n\r\n", b""))
