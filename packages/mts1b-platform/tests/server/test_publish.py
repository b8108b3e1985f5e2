"""What `emit` promises, tier by tier, on a real server."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from mts1b_foundation.errors import SubjectError
from mts1b_foundation.orders import Order, Side
from mts1b_foundation.samples import NAV, QUOTE
from mts1b_foundation.subjects import (
    MARKETDATA_QUOTES,
    OMS_FILLS_CREATED,
    OMS_ORDERS_ACCEPTED,
    OMS_ORDERS_CREATED,
    TREASURY_NAV,
)
from mts1b_platform.eventbus import (
    STREAMS,
    AccessDenied,
    AlreadyStored,
    BatchRefused,
    BusClosed,
    EventBus,
    InvalidHeader,
    JetStreamUnavailable,
    NoStream,
    NotTheProducer,
    PayloadTooLarge,
    PublishUncertain,
    ServerUnavailable,
    apply_streams,
    connect,
)
from mts1b_platform.eventbus.errors import WrongEventLoop
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.protocol.frames import pub_frame
from mts1b_platform.eventbus.protocol.puback import AckLost, PubAck
from mts1b_platform.eventbus.publishing.batch import Batch
from mts1b_platform.server import NatsServer
from mts1b_platform.testing import StartNatsServer
from mts1b_platform.testing.bus import ConnectBus

NOW = datetime(2021, 1, 8, 9, 30, tzinfo=UTC)
WAIT = 60.0
LONG = 3600.0
"""A deadline that no test here lives to see."""


def order(key: str = "intent-1", fund: str = "alpha") -> Order:
    return Order(
        order_id=f"order-{key}",
        idempotency_key=key,
        fund_id=fund,
        actor="crypto_dual_paper",
        symbol="BTC/USDT",
        side=Side.BUY,
        quantity=Decimal("0.25"),
        created_at=NOW,
        updated_at=NOW,
    )


async def until(condition: Callable[[], bool]) -> None:
    """Poll what has no event to wait on; the test's own time limit bounds it."""
    while not condition():  # noqa: ASYNC110 - a property of nats-py's client
        await asyncio.sleep(0.01)


async def stored(bus: EventBus, stream: str) -> int:
    return (await bus.jetstream(timeout=WAIT).stream_info(stream)).state.messages


async def test_a_durable_event_is_stored_with_the_envelope_of_the_spec(bus: EventBus):
    ack = await bus.emit(OMS_ORDERS_CREATED, order())
    message = await bus.jetstream(timeout=WAIT).get_msg(ack.stream, ack.seq)
    headers = dict(message.headers or {})
    trace = headers.pop("mts-trace-id")
    assert (ack.stream, ack.seq, ack.duplicate) == ("OMS_ORDERS", 1, False)
    assert message.subject == "mts.v1.oms.orders.created.fund.alpha"
    assert headers == {
        "Nats-Msg-Id": "intent-1",
        "content-type": "application/json",
        "mts-source-repo": "mts1b-oms",
        "mts-schema": "mts1b_foundation.orders.Order:v1",
        "mts-actor": "crypto_dual_paper",
    }
    assert len(trace) == 32
    assert int(trace, 16) > 0
    assert Order.model_validate_json(message.data or b"") == order()


async def test_the_same_order_emitted_twice_is_stored_once(bus: EventBus):
    first = await bus.emit(OMS_ORDERS_CREATED, order())
    second = await bus.emit(OMS_ORDERS_CREATED, order())
    assert second.duplicate
    assert second.seq == first.seq
    assert await stored(bus, "OMS_ORDERS") == 1
    assert bus.counters.publish_duplicates[OMS_ORDERS_CREATED.pattern] == 1


async def test_later_steps_of_an_order_are_not_taken_for_its_creation(bus: EventBus):
    await bus.emit(OMS_ORDERS_CREATED, order())
    ack = await bus.emit(OMS_ORDERS_ACCEPTED, order().accept(NOW))
    assert not ack.duplicate
    assert await stored(bus, "OMS_ORDERS") == 2


@pytest.mark.parametrize("in_waves", [True, False])
async def test_emit_many_has_fewer_under_way_where_storing_takes_long(connect_bus: ConnectBus, in_waves: bool):
    """A disk takes 4 ms for an event, and the server acknowledges together all that it found waiting, or one by one."""
    publisher, disk = await connect_bus(service="mts1b-oms"), await connect_bus(service="mts1b-test")
    waiting = await disk.subscribe("mts.v1.oms.orders.created.>")
    await disk.flush(timeout=60)
    most = 0

    async def store() -> None:
        nonlocal most
        async for first in waiting.messages:
            wave = [first] + [await waiting.next_msg() for _ in range(waiting.waiting if in_waves else 0)]
            most = max(most, len(wave) + waiting.waiting)
            await asyncio.sleep(0.004 * len(wave))
            for message in wave:
                await message.respond(b'{"stream":"OMS_ORDERS","seq":1}')

    async with asyncio.TaskGroup() as group:
        storing = group.create_task(store())
        acks = await publisher.emit_many(OMS_ORDERS_CREATED, [order(f"intent-{n}") for n in range(400)], deadline=WAIT)
        storing.cancel()
    assert len(acks) == 400
    assert most < 300
    assert publisher.counters.publish_retries[OMS_ORDERS_CREATED.pattern] == 0


async def test_emit_many_keeps_the_order_and_gives_an_ack_each(bus: EventBus):
    acks = await bus.emit_many(OMS_ORDERS_CREATED, [order(f"intent-{n}") for n in range(600)])
    assert [ack.msg_id for ack in acks] == [f"intent-{n}" for n in range(600)]
    assert [ack.seq for ack in acks] == list(range(1, 601))


async def test_a_durable_publish_survives_a_server_that_is_killed_and_comes_back(
    connect_bus: ConnectBus, nats_server: NatsServer
):
    bus = await connect_bus(ping_interval=LONG)  # a server that stands still is not taken for a dead one
    await apply_streams(bus)
    await bus.emit(OMS_ORDERS_CREATED, order("before"))
    nats_server.kill()
    waiting = asyncio.create_task(bus.emit(OMS_ORDERS_CREATED, order("during")))
    await asyncio.sleep(0)
    await nats_server.restart()
    ack = await waiting
    assert not ack.duplicate
    assert await stored(bus, "OMS_ORDERS") == 2
    assert bus.counters.reconnects == 1


async def test_a_publish_that_gets_no_ack_says_that_the_event_may_be_stored(bus: EventBus, nats_server: NatsServer):
    nats_server.kill()
    with pytest.raises(PublishUncertain, match=r"mts\.v1\.oms\.orders\.created.*may have been stored or not") as caught:
        await bus.emit(OMS_ORDERS_CREATED, order(), deadline=0.5)
    assert "'intent-1'" in str(caught.value)
    assert bus.counters.publish_failed[OMS_ORDERS_CREATED.pattern] == 1


@pytest.mark.parametrize("atomic", [False, True])
async def test_many_events_without_a_server_end_in_uncertainty_and_the_bus_closes(
    bus: EventBus, nats_server: NatsServer, atomic: bool
):
    nats_server.kill()
    async with asyncio.timeout(WAIT):
        with pytest.raises(PublishUncertain, match=r"within 0\.2 s"):
            await bus.emit_many(
                OMS_ORDERS_CREATED, [order(f"intent-{n}") for n in range(100)], atomic=atomic, deadline=0.2
            )
        waiting = asyncio.create_task(bus.emit_many(OMS_ORDERS_CREATED, [order("late")], atomic=atomic, deadline=LONG))
        await asyncio.sleep(0)
        bus.connection.send(pub_frame(b"mts.v1.oms.probe", b"x"))  # waits for a connection
        await bus.close()
        assert bus.is_closed
        with pytest.raises(BusClosed):
            await waiting


async def test_publishers_end_at_their_deadline_though_the_server_takes_nothing(
    connect_bus: ConnectBus, nats_server: NatsServer
):
    bus = await connect_bus(ping_interval=60)  # the connection is not given up
    await apply_streams(bus)
    many = [order(f"intent-{n}") for n in range(3)]
    await bus.emit_many(OMS_ORDERS_CREATED, many, atomic=True)
    nats_server.pause()
    try:
        while not bus.connection.above_high_water:
            bus.connection.send(pub_frame(b"mts.v1.oms.probe", b"x" * 1_000_000))
            await asyncio.sleep(0.01)
        async with asyncio.timeout(WAIT):
            for publish in (
                bus.emit(OMS_ORDERS_CREATED, order("one"), deadline=0.3),
                bus.emit_many(OMS_ORDERS_CREATED, many, deadline=0.3),
                bus.emit_many(OMS_ORDERS_CREATED, many, atomic=True, deadline=0.3),
                bus.ingest(OMS_ORDERS_CREATED, many, deadline=0.3),
            ):
                with pytest.raises((PublishUncertain, JetStreamUnavailable)):
                    await publish
    finally:
        nats_server.resume()


async def test_a_bus_closes_though_its_server_takes_nothing(bus: EventBus, nats_server: NatsServer):
    nats_server.pause()
    try:
        while bus.pending_bytes == 0:  # until nobody takes any more
            bus.connection.send(pub_frame(b"mts.v1.oms.probe", b"x" * 1_000_000))
            await asyncio.sleep(0.01)
        async with asyncio.timeout(WAIT):
            await bus.close()
        assert bus.is_closed
    finally:
        nats_server.resume()


async def test_quotes_are_dropped_and_counted_while_the_server_is_away(
    bus: EventBus, connect_bus: ConnectBus, nats_server: NatsServer
):
    market = await connect_bus("mts1b-marketdata")
    nats_server.kill()
    await until(lambda: not market.is_connected)
    await asyncio.wait_for(market.emit(MARKETDATA_QUOTES, QUOTE), WAIT)  # the server stays away meanwhile
    assert market.counters.publish_dropped == {MARKETDATA_QUOTES.pattern: 1}
    await nats_server.restart()
    assert await market.wait_connected(WAIT)
    assert await bus.wait_connected(WAIT)
    async with bus.listen(MARKETDATA_QUOTES) as heard:
        fresh = QUOTE.model_copy(update={"sequence": 99})
        await market.emit(MARKETDATA_QUOTES, fresh)
        assert (await asyncio.wait_for(anext(heard), WAIT)).payload.sequence == 99


async def test_a_symbol_with_dots_and_slashes_is_one_token(bus: EventBus, connect_bus: ConnectBus):
    market = await connect_bus("mts1b-marketdata")
    for symbol in ("BRK.B", "BTC/USD", "*", "ETH USD", "日経225"):
        async with bus.listen(MARKETDATA_QUOTES) as heard:
            await market.emit(MARKETDATA_QUOTES, QUOTE.model_copy(update={"symbol": symbol}))
            event = await asyncio.wait_for(anext(heard), WAIT)
            assert event.payload.symbol == symbol
            assert event.parameters == {"symbol": symbol}
            assert event.subject.count(".") == 4


async def test_only_the_producer_of_a_subject_publishes_on_it(bus: EventBus, connect_bus: ConnectBus):
    with pytest.raises(NotTheProducer, match=r"treasury\.nav.*mts1b-treasury alone.*speaks as mts1b-oms"):
        await bus.emit(TREASURY_NAV, NAV)
    nobody = await connect_bus(None)
    with pytest.raises(NotTheProducer, match="MTS1B_SERVICE=mts1b-oms"):
        await nobody.emit(OMS_ORDERS_CREATED, order())


async def test_a_wrong_payload_type_is_refused_and_nothing_is_stored(bus: EventBus):
    with pytest.raises(SubjectError, match="carries Fill, not Order"):
        await bus.emit(OMS_FILLS_CREATED, order())  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert await stored(bus, "OMS_FILLS") == 0


async def test_headers_that_differ_by_case_or_break_lines_are_refused(bus: EventBus):
    with pytest.raises(InvalidHeader, match="differ only by case"):
        await bus.emit(OMS_ORDERS_CREATED, order(), headers={"x-note": "a", "X-Note": "b"})
    with pytest.raises(InvalidHeader, match="line break"):
        await bus.emit(OMS_ORDERS_CREATED, order(), headers={"x-note": "a\r\nmts-actor: root"})
    assert await stored(bus, "OMS_ORDERS") == 0


async def test_an_event_larger_than_the_server_takes_is_refused_with_its_size(bus: EventBus):
    big = order().model_copy(update={"actor": "a" * bus.max_payload})
    with pytest.raises(PayloadTooLarge, match="the server takes 1048576"):
        await bus.emit(OMS_ORDERS_CREATED, big)


async def test_a_missing_stream_is_named_at_once_with_the_remedy(connect_bus: ConnectBus):
    bare = await connect_bus()
    with pytest.raises(NoStream, match=r"mts\.v1\.oms\.orders\.created.*mts1b streams apply"):
        await asyncio.wait_for(bare.emit(OMS_ORDERS_CREATED, order(), deadline=LONG), WAIT)


async def test_a_server_without_jetstream_is_named_with_the_remedy(start_nats_server: StartNatsServer):
    server = start_nats_server(jetstream=False)
    async with await connect(server.url, service="mts1b-oms", connect_timeout=WAIT) as bare:
        with pytest.raises(JetStreamUnavailable, match=r"JetStream off.*mts1b-deploy install"):
            await asyncio.wait_for(bare.emit(OMS_ORDERS_CREATED, order(), deadline=LONG), WAIT)


async def test_no_server_is_a_friendly_error(free_url: str):
    with pytest.raises(ServerUnavailable, match=r"no NATS server at nats://127\.0\.0\.1:\d+.*start one with") as caught:
        await connect(free_url, connect_timeout=0.5)
    assert isinstance(caught.value, ConnectionError)


async def test_a_server_elsewhere_is_looked_at_there_not_started_here():
    with pytest.raises(ServerUnavailable, match=r"no NATS server at .*`mts1b-deploy status` on that host") as caught:
        await connect("nats://bus.invalid:4222", connect_timeout=0.5)
    assert "install" not in str(caught.value)


async def test_credentials_never_show_in_an_error(free_url: str):
    secret = free_url.replace("nats://", "nats://me:hunter2@")
    with pytest.raises(ServerUnavailable) as caught:
        await connect(secret, connect_timeout=0.3)
    assert "hunter2" not in str(caught.value)


async def test_a_refused_identity_is_told_so(start_nats_server: StartNatsServer, tmp_path: Path):
    config = tmp_path / "auth.conf"
    config.write_text('authorization { user: "a", password: "b" }\n')
    server = start_nats_server(config=config)
    with pytest.raises(AccessDenied, match="refuses this identity"):
        await connect(server.url, connect_timeout=WAIT)


async def test_an_error_of_the_connection_names_the_subject(bus: EventBus, connect_bus: ConnectBus):
    quotes = await connect_bus("mts1b-marketdata")
    order_subject, quote_subject = OMS_ORDERS_CREATED.pattern, r"mts\.v1\.marketdata\.quotes\."
    events: list[tuple[Callable[[], Awaitable[object]], str]] = [
        (lambda: bus.emit(OMS_ORDERS_CREATED, order()), order_subject),
        (lambda: bus.emit_many(OMS_ORDERS_CREATED, [order()]), order_subject),
        (lambda: bus.emit_many(OMS_ORDERS_CREATED, [order()], atomic=True), order_subject),
        (lambda: quotes.emit(MARKETDATA_QUOTES, QUOTE), quote_subject),
    ]

    async def emit(publish: Callable[[], Awaitable[object]]) -> None:
        await publish()

    for publish, subject in events:
        with pytest.raises(WrongEventLoop, match=f"^{subject}.*another event loop"):
            await asyncio.to_thread(asyncio.run, emit(publish))
    for each in (bus, quotes):
        await each.close()
    for publish, subject in events:
        with pytest.raises(BusClosed, match=f"^{subject}.*closed"):
            await publish()


async def test_publishing_on_a_closed_bus_says_so(bus: EventBus):
    await bus.drain()
    with pytest.raises(BusClosed):
        await bus.emit(OMS_ORDERS_CREATED, order())


async def test_the_trace_is_inherited_from_the_event_being_handled(bus: EventBus):
    await bus.emit(OMS_ORDERS_CREATED, order(), trace_id="ab" * 16)
    event = await anext(bus.consume(OMS_ORDERS_CREATED, durable="t"))
    async with event:
        await bus.emit(OMS_ORDERS_ACCEPTED, event.payload.accept(NOW))
    message = await bus.jetstream(timeout=WAIT).get_msg("OMS_ORDERS", 2)
    assert (message.headers or {})["mts-trace-id"] == "ab" * 16


async def test_an_atomic_batch_is_stored_whole_and_in_order(bus: EventBus):
    await bus.emit(OMS_ORDERS_CREATED, order("before"))
    acks = await bus.emit_many(OMS_ORDERS_CREATED, [order(f"intent-{n}") for n in range(50)], atomic=True)
    assert [ack.seq for ack in acks] == list(range(2, 52))
    for ack in (acks[0], acks[-1]):
        message = await bus.jetstream(timeout=WAIT).get_msg(ack.stream, ack.seq)
        assert (message.headers or {})["Nats-Msg-Id"] == ack.msg_id


async def test_an_atomic_batch_with_a_known_event_stores_nothing_and_says_so(bus: EventBus):
    await bus.emit(OMS_ORDERS_CREATED, order("intent-7"))
    with pytest.raises(AlreadyStored, match=r"none of the 20 events was stored.*knows the message id"):
        await bus.emit_many(OMS_ORDERS_CREATED, [order(f"intent-{n}") for n in range(20)], atomic=True)
    assert await stored(bus, "OMS_ORDERS") == 1


@pytest.mark.parametrize("long_one", [0, 15, 29])
async def test_an_atomic_batch_that_the_stream_does_not_take_is_refused_long_before_the_deadline(
    bus: EventBus, long_one: int
):
    (definition,) = [stream for stream in STREAMS if stream.name == "OMS_ORDERS"]
    await js_api(bus, "STREAM.UPDATE.OMS_ORDERS", {**definition.render("minimal"), "max_msg_size": 1_000})
    orders = [order(f"intent-{n}") for n in range(30)]
    orders[long_one] = orders[long_one].model_copy(update={"actor": "a" * 2_000})
    with pytest.raises(BatchRefused, match=rf"^{OMS_ORDERS_CREATED.pattern}: none of the 30 events was stored"):
        await asyncio.wait_for(bus.emit_many(OMS_ORDERS_CREATED, orders, atomic=True, deadline=LONG), WAIT / 2)
    assert await stored(bus, "OMS_ORDERS") == 0
    assert bus.counters.publish_failed[OMS_ORDERS_CREATED.pattern] == 30
    acks = await bus.emit_many(OMS_ORDERS_CREATED, [order(f"intent-{n}") for n in range(30)], atomic=True)
    assert [ack.seq for ack in acks] == list(range(1, 31))


async def test_more_than_a_thousand_events_are_split_into_atomic_batches(bus: EventBus):
    acks = await bus.emit_many(OMS_ORDERS_CREATED, [order(f"intent-{n}") for n in range(2500)], atomic=True)
    assert [ack.seq for ack in acks] == list(range(1, 2501))
    assert await stored(bus, "OMS_ORDERS") == 2500


async def test_an_event_that_is_too_large_keeps_its_atomic_batch_out_at_once(bus: EventBus):
    orders = [order(f"intent-{n}") for n in range(10)]
    orders[7] = orders[7].model_copy(update={"actor": "a" * bus.max_payload})
    async with asyncio.timeout(20):
        with pytest.raises(PayloadTooLarge):
            await bus.emit_many(OMS_ORDERS_CREATED, orders, atomic=True)
    assert await stored(bus, "OMS_ORDERS") == 0


async def test_an_event_among_many_that_is_too_large_is_named_and_those_before_it_are_stored(bus: EventBus):
    orders = [order(f"intent-{n}") for n in range(100)]
    orders[70] = orders[70].model_copy(update={"actor": "a" * bus.max_payload})
    with pytest.raises(PayloadTooLarge, match=rf"{OMS_ORDERS_CREATED.pattern}.* has \d{{7}} bytes"):
        await bus.emit_many(OMS_ORDERS_CREATED, orders)
    assert await stored(bus, "OMS_ORDERS") == 70


async def test_atomic_batches_survive_a_server_kill_in_order_and_once(bus: EventBus, nats_server: NatsServer):
    orders = [order(f"intent-{n}") for n in range(4000)]
    began = asyncio.Event()
    stage = bus.publishing.pipeline.stage

    def told(batch: Batch) -> bool:
        if batch.drafts[0].msg_id == "intent-2000":
            began.set()  # the one before is being stored
        return stage(batch)

    bus.publishing.pipeline.stage = told

    async def restart() -> None:
        await began.wait()
        nats_server.kill()
        await nats_server.restart()

    async with asyncio.TaskGroup() as group:
        sending = group.create_task(bus.emit_many(OMS_ORDERS_CREATED, orders, atomic=True, deadline=WAIT))
        group.create_task(restart())
    assert [ack.seq for ack in sending.result()] == list(range(1, 4001))
    assert await stored(bus, "OMS_ORDERS") == 4000


async def test_a_batch_that_the_server_has_given_up_is_sent_again(bus: EventBus):
    stage, forgotten = bus.publishing.pipeline.stage, 0

    def forget_the_first(batch: Batch) -> bool:
        nonlocal forgotten
        if not forgotten:
            forgotten = batch.sent = len(batch.drafts) - 1  # as if it had been sent, and the server been asleep
        return stage(batch)

    bus.publishing.pipeline.stage = forget_the_first
    acks = await bus.emit_many(OMS_ORDERS_CREATED, [order(f"intent-{n}") for n in range(30)], atomic=True)
    assert forgotten
    assert [ack.seq for ack in acks] == list(range(1, 31))


async def test_an_atomic_batch_whose_ack_is_lost_is_found_and_not_sent_again(bus: EventBus):
    store, lost = bus.publishing.pipeline.store, 0

    async def lose_the_ack(batch: Batch) -> PubAck:
        nonlocal lost
        await store(batch)
        lost += 1
        raise AckLost("the connection broke before the ack")

    bus.publishing.pipeline.store = lose_the_ack  # the server has it, the answer never comes
    acks = await bus.emit_many(OMS_ORDERS_CREATED, [order(f"intent-{n}") for n in range(30)], atomic=True)
    assert lost == 1
    assert [ack.seq for ack in acks] == list(range(1, 31))
    assert await stored(bus, "OMS_ORDERS") == 30


async def test_many_events_survive_a_server_kill_in_order_and_once(bus: EventBus, nats_server: NatsServer):
    async def restart() -> None:
        await asyncio.sleep(0.01)
        nats_server.kill()
        await nats_server.restart()

    async with asyncio.TaskGroup() as group:
        sending = group.create_task(
            bus.emit_many(OMS_ORDERS_CREATED, [order(f"intent-{n}") for n in range(5000)], window=200, deadline=WAIT)
        )
        group.create_task(restart())
    acks = sending.result()
    assert [ack.seq for ack in acks] == sorted({ack.seq for ack in acks})
    assert await stored(bus, "OMS_ORDERS") == 5000


async def test_what_is_no_event_at_all_is_refused_before_anything_is_published(bus: EventBus, connect_bus: ConnectBus):
    for publish in (bus.emit_many, bus.ingest):
        with pytest.raises(SubjectError, match="carries Order, not str"):
            await publish(OMS_ORDERS_CREATED, ["no order", order()])  # pyright: ignore[reportArgumentType]
    with pytest.raises(SubjectError, match="carries Order, not str"):
        await bus.emit_many(OMS_ORDERS_CREATED, [order(), "no order"])  # pyright: ignore[reportArgumentType]
    with pytest.raises(SubjectError, match="carries Quote, not dict"):
        (await connect_bus("mts1b-marketdata")).publisher(MARKETDATA_QUOTES).send_volatile({})  # pyright: ignore[reportArgumentType]
    assert await stored(bus, "OMS_ORDERS") == 0
