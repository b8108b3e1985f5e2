"""What the service runner promises, on a real server; signals and exit codes in real processes."""

import asyncio
import inspect
import json
import logging
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mts1b_foundation.errors import Mts1bError
from mts1b_foundation.fills import Fill
from mts1b_foundation.marketdata import Quote
from mts1b_foundation.samples import FILL, ORDER, QUOTE
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_FILLS_CREATED, OMS_ORDERS_CREATED
from mts1b_platform.eventbus import (
    BusClosed,
    ConsumerGone,
    Event,
    EventBus,
    LiveEvent,
    NoStream,
    RetryPolicy,
    ServerUnavailable,
    connect,
)
from mts1b_platform.eventbus.connect import ConnectOptions
from mts1b_platform.eventbus.dedupe import KvDedupe
from mts1b_platform.eventbus.dedupe.sqlite import SqliteDedupe
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.outbox import Relay
from mts1b_platform.eventbus.outbox.sqlite import SqliteOutbox
from mts1b_platform.server import NatsServer
from mts1b_platform.service import CUT_SHORT, DRAINED, Service
from mts1b_platform.testing.bus import ConnectBus

QUICK = RetryPolicy(max_deliveries=3, base=0.02, jitter=0)
WAIT = 60.0
LONG = 3600.0
"""An ack wait, or a handler's work, that no test here lives to see the end of."""


def treasury(server: NatsServer, *, drain_budget: float = WAIT) -> Service:
    return Service("mts1b-treasury", servers=server.url, drain_budget=drain_budget, connect_timeout=WAIT)


@asynccontextmanager
async def running(service: Service) -> AsyncGenerator[asyncio.Task[int], None]:
    task = asyncio.create_task(service.serve())
    started = asyncio.create_task(service.started())
    await asyncio.wait([task, started], timeout=WAIT, return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    try:
        yield task
    finally:
        service.stop()
        await asyncio.wait([task], timeout=WAIT)


async def until(condition: Any) -> None:
    async with asyncio.timeout(WAIT):
        while not condition():  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)


async def acknowledged(bus: EventBus) -> int:
    return (await js_api(bus, "CONSUMER.INFO.OMS_FILLS.treasury", timeout=WAIT))["ack_floor"]["stream_seq"]


async def until_acknowledged(bus: EventBus, seq: int) -> None:
    """Wait until the server has noted the acks of all fills up to ``seq``; nothing further is acknowledged."""
    async with asyncio.timeout(WAIT):
        while (floor := await acknowledged(bus)) < seq:
            pass
    assert floor == seq


def fill(number: int) -> Any:
    return FILL.model_copy(update={"fill_id": f"fill-{number}"})


async def test_each_handler_gets_its_events_and_they_are_acknowledged(bus: EventBus, nats_server: NatsServer):
    service, booked = treasury(nats_server), list[str]()

    @service.consumes(OMS_FILLS_CREATED, durable="treasury")
    async def book(event: Event[Any]) -> None:
        booked.append(event.payload.fill_id)

    async with running(service) as task:
        for number in range(5):
            await bus.emit(OMS_FILLS_CREATED, fill(number))
        await until(lambda: len(booked) == 5)
        service.stop()
        assert await task == DRAINED
    assert booked == [f"fill-{number}" for number in range(5)]
    await until_acknowledged(bus, 5)


async def test_a_handler_that_raises_is_tried_again_and_the_service_goes_on(bus: EventBus, nats_server: NatsServer):
    service, tries = treasury(nats_server), list[str]()

    @service.consumes(OMS_FILLS_CREATED, durable="treasury", policy=QUICK)
    async def book(event: Event[Any]) -> None:
        tries.append(event.payload.fill_id)
        if event.deliveries == 1:
            raise ZeroDivisionError

    async with running(service):
        await bus.emit(OMS_FILLS_CREATED, fill(1))
        await bus.emit(OMS_FILLS_CREATED, fill(2))
        await until(lambda: len(tries) == 4)
    assert sorted(tries) == ["fill-1", "fill-1", "fill-2", "fill-2"]


@pytest.mark.parametrize("kind", ["kv", "sqlite"])
async def test_with_a_store_the_handler_gets_a_transaction_and_acts_once(
    kind: str, bus: EventBus, nats_server: NatsServer, tmp_path: Path
):
    service, handled = treasury(nats_server), list[Any]()
    store = KvDedupe if kind == "kv" else SqliteDedupe(tmp_path / "books.db")

    @service.consumes(OMS_ORDERS_CREATED, durable="treasury", dedupe=store)
    async def book(event: Event[Any], tx: Any) -> None:
        assert tx is not None
        handled.append(event.payload.idempotency_key)

    async with running(service):
        for number in range(3):
            await bus.emit(OMS_ORDERS_CREATED, ORDER, msg_id=f"publish-{number}")
        await until(lambda: sum(service.bus.counters.deduplicated.values()) == 2)
    assert handled == [ORDER.idempotency_key]


async def test_handlers_run_side_by_side_up_to_the_limit(bus: EventBus, nats_server: NatsServer):
    service, at_work, most = treasury(nats_server), set[int](), list[int]()
    enough = asyncio.Event()

    @service.consumes(OMS_FILLS_CREATED, durable="treasury", concurrency=3)
    async def book(event: Event[Any]) -> None:
        at_work.add(event.seq)
        most.append(len(at_work))
        if len(at_work) == 3:
            enough.set()
        await asyncio.wait_for(enough.wait(), WAIT)
        await asyncio.sleep(0.01)
        at_work.discard(event.seq)

    async with running(service):
        for number in range(12):
            await bus.emit(OMS_FILLS_CREATED, fill(number))
        await until(lambda: len(most) == 12 and not at_work)
    assert max(most) == 3


async def test_listeners_and_tickers_go_on_after_an_error(connect_bus: ConnectBus, nats_server: NatsServer):
    market = await connect_bus("mts1b-marketdata")
    service, heard, ticks = treasury(nats_server), list[str](), list[int]()

    @service.listens(MARKETDATA_QUOTES)
    async def price(event: Any) -> None:
        heard.append(event.payload.symbol)
        raise ZeroDivisionError

    @service.every(0.02)
    async def tick() -> None:
        ticks.append(1)
        raise ZeroDivisionError

    async with running(service):

        async def quotes() -> None:
            while len(heard) < 2:
                await market.emit(MARKETDATA_QUOTES, QUOTE)
                await asyncio.sleep(0.02)

        await asyncio.wait_for(quotes(), WAIT)
        await until(lambda: len(ticks) >= 3)


async def test_hooks_run_around_the_work_with_the_bus_up(bus: EventBus, nats_server: NatsServer):
    service, seen = treasury(nats_server), list[str]()
    with pytest.raises(BusClosed, match="not running"):
        _ = service.bus

    @service.on_start
    async def start() -> None:
        seen.append(f"start {service.bus.is_connected}")

    @service.on_stop
    async def stop() -> None:
        seen.append(f"stop {service.bus.is_connected}")

    @service.on_stop
    async def stop_first() -> None:
        seen.append("stop first")
        raise ZeroDivisionError

    @service.consumes(OMS_FILLS_CREATED, durable="treasury")
    async def book(event: Event[Any]) -> None:  # noqa: ARG001 - its being called is the point
        seen.append("book")

    await bus.emit(OMS_FILLS_CREATED, fill(1))
    async with running(service):
        await until(lambda: "book" in seen)
    assert seen == ["start True", "book", "stop first", "stop True"]


async def test_ending_lets_handlers_finish_and_acknowledges_their_events(bus: EventBus, nats_server: NatsServer):
    service, begun, finished = treasury(nats_server), list[int](), list[int]()
    go_on = asyncio.Event()

    @service.consumes(OMS_FILLS_CREATED, durable="treasury", ack_wait=LONG)
    async def book(event: Event[Any]) -> None:
        begun.append(event.seq)
        await go_on.wait()
        finished.append(event.seq)

    for number in range(3):
        await bus.emit(OMS_FILLS_CREATED, fill(number))
    async with running(service) as task:
        await until(lambda: begun)
        service.stop()
        async with bus.consume(OMS_FILLS_CREATED, durable="treasury") as rest:
            back = set[int]()
            while len(back) < 2:
                async with await asyncio.wait_for(anext(rest), WAIT) as event:
                    back.add(event.seq)
            assert back == {2, 3}, "what waited went back at once"
            assert not task.done()
            go_on.set()
            assert await task == DRAINED
            await until_acknowledged(bus, 3)
    assert begun == finished == [1], "the one at work finished, no other began"


async def test_a_handler_that_outlasts_the_budget_is_cancelled_and_its_event_comes_again(
    bus: EventBus, nats_server: NatsServer
):
    service, begun = treasury(nats_server, drain_budget=0.2), asyncio.Event()

    @service.consumes(OMS_FILLS_CREATED, durable="treasury", ack_wait=LONG)
    async def book(event: Event[Any]) -> None:  # noqa: ARG001 - it hangs whatever it gets
        begun.set()
        await asyncio.sleep(LONG)

    await bus.emit(OMS_FILLS_CREATED, fill(1))
    async with running(service) as task:
        await asyncio.wait_for(begun.wait(), WAIT)
        service.stop()
        assert await asyncio.wait_for(task, WAIT) == CUT_SHORT
    async with bus.consume(OMS_FILLS_CREATED, durable="treasury") as again:
        assert (await asyncio.wait_for(anext(again), WAIT)).deliveries == 2


async def test_a_reader_that_cannot_go_on_ends_the_service_with_its_error(bus: EventBus, nats_server: NatsServer):
    service, other_begun, other_done = treasury(nats_server), asyncio.Event(), list[int]()

    @service.consumes(OMS_FILLS_CREATED, durable="treasury")
    async def book(event: Event[Any]) -> None: ...

    @service.consumes(OMS_ORDERS_CREATED, durable="treasury-orders")
    async def other(event: Event[Any]) -> None:
        other_begun.set()
        await asyncio.sleep(3)
        other_done.append(event.seq)

    async with running(service) as task:
        await bus.emit(OMS_ORDERS_CREATED, ORDER)
        await asyncio.wait_for(other_begun.wait(), WAIT)
        await bus.jetstream(timeout=WAIT).delete_consumer("OMS_FILLS", "treasury")
        with pytest.raises(ConsumerGone):
            await asyncio.wait_for(task, WAIT)
    assert other_done == [1], "the others finished first"


async def test_handlers_beside_each_other_finish_when_their_reader_cannot_go_on(bus: EventBus, nats_server: NatsServer):
    service, begun, may_end, done = treasury(nats_server), asyncio.Event(), asyncio.Event(), list[int]()

    @service.consumes(OMS_FILLS_CREATED, durable="treasury", concurrency=2)
    async def book(event: Event[Any]) -> None:
        begun.set()
        await may_end.wait()
        done.append(event.seq)

    async with running(service) as task:
        await bus.emit(OMS_FILLS_CREATED, fill(1))
        await asyncio.wait_for(begun.wait(), WAIT)
        await bus.jetstream(timeout=WAIT).delete_consumer("OMS_FILLS", "treasury")
        await asyncio.sleep(0.5)  # time in which a reader that cancelled its handlers would do so
        may_end.set()
        with pytest.raises(ConsumerGone):
            await asyncio.wait_for(task, WAIT)
    assert done == [1]


async def test_a_service_without_a_server_says_so(free_url: str):
    with pytest.raises(ServerUnavailable):
        await Service("mts1b-treasury", servers=free_url, connect_timeout=0.3).serve()


async def test_what_handlers_left_in_an_outbox_is_published_before_the_service_ends(
    bus: EventBus, nats_server: NatsServer, tmp_path: Path
):
    path, begun = tmp_path / "oms.db", asyncio.Event()
    service = Service("mts1b-oms", servers=nats_server.url, drain_budget=WAIT, connect_timeout=WAIT)
    outbox = SqliteOutbox(path, service="mts1b-oms")
    service.runs(lambda connected: Relay(connected, SqliteOutbox(path, service="mts1b-oms")))
    service.on_start(outbox.open)

    @service.consumes(OMS_FILLS_CREATED, durable="oms", dedupe=SqliteDedupe(path))
    async def answer(event: Event[Any], tx: Any) -> None:  # noqa: ARG001 - any fill will do
        begun.set()
        await asyncio.sleep(0.3)
        await outbox.add(tx, OMS_ORDERS_CREATED, ORDER)

    await bus.emit(OMS_FILLS_CREATED, fill(1))
    async with running(service) as task:
        await asyncio.wait_for(begun.wait(), WAIT)
        service.stop()
        assert await task == DRAINED
    assert (await outbox.backlog()).waiting == 0
    await outbox.close()
    assert (await bus.jetstream(timeout=WAIT).stream_info("OMS_ORDERS")).state.messages == 1


async def test_a_runner_that_fails_ends_the_service(bus: EventBus, nats_server: NatsServer):  # noqa: ARG001
    service = treasury(nats_server)

    class Broken:
        async def run(self) -> None:
            raise BusClosed("broken")

        def stop(self) -> None: ...

    service.runs(lambda _: Broken())
    with pytest.raises(BusClosed, match="broken"):
        await asyncio.wait_for(service.serve(), WAIT)


# What it says, and what it refuses.


class Sink(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def saying(self, words: str) -> list[str]:
        return [line for line in self.lines if line.startswith(words)]


@pytest.fixture
def logged() -> Iterator[Sink]:
    sink, logger = Sink(), logging.getLogger("mts1b.service")
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(sink)
    yield sink
    logger.removeHandler(sink)
    logger.setLevel(before)


async def test_a_listening_handler_that_raises_is_counted_and_logged_with_symbol_and_trace(
    connect_bus: ConnectBus, bus: EventBus, nats_server: NatsServer, logged: Sink
):
    market, service = await connect_bus("mts1b-marketdata"), treasury(nats_server)
    del bus  # the streams stand

    @service.listens(MARKETDATA_QUOTES)
    async def mark(event: LiveEvent[Quote]) -> None:
        raise ZeroDivisionError(event.payload.symbol)

    async with running(service):
        await market.emit(MARKETDATA_QUOTES, QUOTE, trace_id="a" * 32)
        await until(lambda: logged.saying("a listening handler failed"))
        assert service.bus.counters.consume_errors[MARKETDATA_QUOTES.pattern] == 1
    (line,) = logged.saying("a listening handler failed")
    assert f"parameters={{'symbol': '{QUOTE.symbol}'}}" in line
    assert f"trace_id='{'a' * 32}'" in line
    assert "mark'" in line


async def test_what_a_listening_handler_emits_joins_the_trace_of_its_event(
    connect_bus: ConnectBus, bus: EventBus, nats_server: NatsServer
):
    market = await connect_bus("mts1b-marketdata")
    service = Service("mts1b-oms", servers=nats_server.url, connect_timeout=WAIT)

    @service.listens(MARKETDATA_QUOTES)
    async def order(event: LiveEvent[Quote]) -> None:  # noqa: ARG001 - any quote will do
        await service.bus.emit(OMS_ORDERS_CREATED, ORDER)

    async with running(service):
        await market.emit(MARKETDATA_QUOTES, QUOTE, trace_id="b" * 32)
        async with asyncio.timeout(WAIT), bus.consume(OMS_ORDERS_CREATED, durable="look") as orders:
            assert (await anext(orders)).trace_id == "b" * 32


async def test_a_service_says_when_it_is_ready_and_when_it_has_drained(
    bus: EventBus, nats_server: NatsServer, logged: Sink
):
    service, begun, go_on = treasury(nats_server), asyncio.Event(), asyncio.Event()

    @service.consumes(OMS_FILLS_CREATED, durable="treasury")
    async def book(event: Event[Fill]) -> None:  # noqa: ARG001 - any fill will do
        begun.set()
        await go_on.wait()

    async with running(service) as task:
        (ready,) = logged.saying("ready")
        assert "service='mts1b-treasury' reads=['treasury on mts.v1.oms.fills.created']" in ready
        await bus.emit(OMS_FILLS_CREATED, fill(1))
        await asyncio.wait_for(begun.wait(), WAIT)
        service.stop()
        assert not logged.saying("drained"), "a handler is at work"
        go_on.set()
        await task
    assert logged.saying("drained") == ["drained service='mts1b-treasury' cut_short=False"]


async def test_a_quote_that_is_published_after_the_start_is_heard(connect_bus: ConnectBus, nats_server: NatsServer):
    market, service, heard = await connect_bus("mts1b-marketdata"), treasury(nats_server), asyncio.Event()

    @service.listens(MARKETDATA_QUOTES)
    async def mark(event: LiveEvent[Quote]) -> None:  # noqa: ARG001 - any quote will do
        heard.set()

    async with running(service):
        await market.emit(MARKETDATA_QUOTES, QUOTE)
        await asyncio.wait_for(heard.wait(), WAIT)


async def test_who_waits_for_the_start_is_told_why_there_is_none(bus: EventBus, nats_server: NatsServer, free_url: str):
    async def fails(service: Service, kind: type[Exception], words: str) -> None:
        serving = asyncio.create_task(service.serve())
        try:
            for _ in range(2):  # also who comes when it is over
                with pytest.raises(kind, match=words):
                    await asyncio.wait_for(service.started(), WAIT)
        finally:
            await asyncio.wait([serving])
            assert serving.exception() or serving.result() == DRAINED

    await fails(Service("mts1b-treasury", servers=free_url, connect_timeout=0.3), ServerUnavailable, "no NATS server")

    hooked = treasury(nats_server)

    @hooked.on_start
    async def broken() -> None:
        raise ZeroDivisionError("no books")

    await fails(hooked, ZeroDivisionError, "no books")

    gone = treasury(nats_server)
    await bus.jetstream(timeout=WAIT).delete_stream("OMS_FILLS")

    @gone.consumes(OMS_FILLS_CREATED, durable="treasury")
    async def book(event: Event[Fill]) -> None: ...

    await fails(gone, NoStream, "OMS_FILLS|oms.fills")

    told = treasury(nats_server)
    told.on_start(stop_of(told))
    told.consumes(OMS_ORDERS_CREATED, durable="slow")(stopped_before)
    await fails(told, BusClosed, "stopped before")


def stop_of(service: Service) -> Any:
    async def stop() -> None:
        service.stop()

    return stop


async def stopped_before(event: Event[Any]) -> None: ...


async def test_a_service_that_has_drained_can_serve_again(bus: EventBus, nats_server: NatsServer):
    service, booked = treasury(nats_server), list[str]()

    @service.consumes(OMS_FILLS_CREATED, durable="treasury")
    async def book(event: Event[Fill]) -> None:
        booked.append(event.payload.fill_id)

    for number in range(2):
        async with running(service):
            await bus.emit(OMS_FILLS_CREATED, fill(number))
            await until(lambda number=number: len(booked) > number)
    assert booked == ["fill-0", "fill-1"]


def test_a_service_serves_in_one_event_loop_after_the_other(nats_server: NatsServer):
    service = treasury(nats_server)

    async def serve() -> None:
        async with running(service):
            assert service.bus.is_connected

    for _ in range(2):
        asyncio.run(serve())


async def takes_one(event: object) -> None: ...


async def takes_two(event: object, tx: object) -> None: ...


def plain(event: object, tx: object) -> None: ...


WRONG: list[tuple[Callable[[Any], object], str]] = [
    (lambda s: s.consumes(OMS_FILLS_CREATED, durable="d", prefech=5), "no parameter 'prefech'"),
    (lambda s: s.consumes(OMS_FILLS_CREATED, durable="d", delivr="new"), "no parameter 'delivr'"),
    (lambda s: s.consumes(OMS_FILLS_CREATED, durable="d", prefetch=0), "prefetch is 0"),
    (lambda s: s.consumes(OMS_FILLS_CREATED, durable="d", concurrency=0), "concurrency is 0"),
    (lambda s: s.consumes(OMS_FILLS_CREATED, durable="d", deliver="latest"), "'all', 'new' or a datetime"),
    (lambda s: s.consumes(OMS_FILLS_CREATED, durable="d", ordered_by="order"), "no field of Fill.*it has fill_id"),
    (lambda s: s.consumes(OMS_FILLS_CREATED, durable="d", instances="standby"), "give ordered_by"),
    (lambda s: s.consumes(OMS_FILLS_CREATED, durable="d", takeover=5.0), "takeover is of several instances"),
    (lambda s: s.consumes(OMS_FILLS_CREATED, durable="a.b"), "no consumer name"),
    (lambda s: s.listens(MARKETDATA_QUOTES, group="a b"), "group is 'a b'"),
    (lambda s: s.consumes(MARKETDATA_QUOTES, durable="d"), "best effort"),
    (lambda s: s.consumes("text", durable="d"), "no registered subject"),
    (lambda s: s.consumes(OMS_FILLS_CREATED, durable="d")(takes_two), r"takes_two is called with \(event\)"),
    (
        lambda s: s.consumes(OMS_FILLS_CREATED, durable="d", dedupe=SqliteDedupe("x.db"))(takes_one),
        r"takes_one is called with \(event, tx\)",
    ),
    (
        lambda s: s.consumes(OMS_FILLS_CREATED, durable="d", dedupe=SqliteDedupe("x.db"))(plain),
        "plain function",
    ),
    (lambda s: s.consumes(OMS_FILLS_CREATED, durable="d")(None), "no handler"),
    (lambda s: s.listens(MARKETDATA_QUOTES, conflat=True), "no parameter 'conflat'"),
    (lambda s: s.listens(MARKETDATA_QUOTES, limit=0), "limit is 0"),
    (lambda s: s.listens(MARKETDATA_QUOTES)(takes_two), "takes_two is called with"),
    (lambda s: s.every(0), "seconds is 0"),
    (lambda s: s.every(1.0)(takes_one), "takes_one is called with"),
    (lambda s: s.on_start(takes_one), "takes_one is called with"),
    (lambda _: Service("mts1b-oms", conect_timeout=3), "no option conect_timeout"),  # pyright: ignore[reportCallIssue]
    (lambda _: Service("mts1b-oms", drain_budget=-1), "drain_budget is -1"),
]


@pytest.mark.parametrize(("declare", "words"), WRONG)
def test_a_declaration_that_cannot_work_is_refused_where_it_is_made(declare: Callable[[Any], object], words: str):
    with pytest.raises(Mts1bError, match=words):
        declare(Service("mts1b-treasury"))


def test_the_options_of_a_service_are_those_of_connect():
    names = inspect.signature(connect).parameters.keys() - {"service", "name"}
    assert names == ConnectOptions.__annotations__.keys()


# Health.


def ask(service: Service, path: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://{service.health_address}{path}", timeout=WAIT) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


async def until_told(service: Service, path: str, status: int, words: str = "") -> None:
    """Ask until the answer is this one: whoever was not answered in time, because the machine stands still, says so."""
    async with asyncio.timeout(WAIT):
        while True:
            answered, body = await asyncio.to_thread(ask, service, path)
            if answered == status and words in str(body):
                return
            await asyncio.sleep(0.05)


@pytest.fixture
def health_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTS1B_METRICS_PORT", "0")


@pytest.mark.usefixtures("health_port", "bus")
async def test_ready_means_that_the_streams_answer_a_publish_end_to_end(nats_server: NatsServer):
    service = treasury(nats_server)

    @service.consumes(OMS_FILLS_CREATED, durable="treasury")
    async def book(event: Event[Any]) -> None: ...

    async with running(service):
        await until_told(service, "/readyz", 200)
        js = service.bus.jetstream(timeout=WAIT)
        assert (await js.stream_info("DEADLETTERS")).state.messages == 0, "asking stores nothing"
        await js.delete_stream("DEADLETTERS")
        await until_told(service, "/readyz", 503, "no stream answers")
        nats_server.pause()
        assert (await asyncio.to_thread(ask, service, "/readyz"))[0] == 503
        await until_told(service, "/healthz", 200)  # alive though not ready
        nats_server.resume()


@pytest.mark.usefixtures("health_port")
async def test_an_instance_that_stands_by_is_ready_and_says_so(bus: EventBus, nats_server: NatsServer):
    services = [treasury(nats_server), treasury(nats_server)]
    booked = list[str]()
    for service in services:

        @service.consumes(OMS_FILLS_CREATED, durable="treasury", ordered_by="fund_id", instances="standby", takeover=1)
        async def book(event: Event[Any]) -> None:
            booked.append(event.payload.fill_id)

    async with running(services[0]), running(services[1]):
        await bus.emit(OMS_FILLS_CREATED, fill(1))
        await until(lambda: len(booked) == 1)
        told = [(await asyncio.to_thread(ask, service, "/readyz")) for service in services]
        assert [code for code, _ in told] == [200, 200]
        states = [document["instances"]["treasury"] for _, document in told]
        assert sorted(states) == ["active", "standby"]
        leaving = services[states.index("active")]
        leaving.stop()
        await bus.emit(OMS_FILLS_CREATED, fill(2))
        await until(lambda: len(booked) == 2)
        heir = services[states.index("standby")]
        assert (await asyncio.to_thread(ask, heir, "/readyz"))[1]["instances"] == {"treasury": "active"}


@pytest.mark.usefixtures("health_port", "bus")
async def test_a_draining_service_is_not_ready(nats_server: NatsServer):
    service, answers = treasury(nats_server), list[Any]()

    @service.on_stop
    async def stop() -> None:
        answers.append(await asyncio.to_thread(ask, service, "/readyz"))

    async with running(service):
        pass
    assert answers[0][0] == 503
    assert answers[0][1]["problems"]["service"] == "draining"


# Signals, in processes of their own.

PROGRAM = """
import asyncio, sys
from mts1b_foundation.subjects import OMS_FILLS_CREATED
from mts1b_platform.service import Service

budget, work, patience = map(float, sys.argv[2:])
service = Service("mts1b-treasury", servers=sys.argv[1], drain_budget=budget, connect_timeout=patience)

@service.consumes(OMS_FILLS_CREATED, durable="treasury")
async def book(event):
    print("begun", flush=True)
    await asyncio.sleep(work)
    print("finished", flush=True)

@service.on_stop
async def stop():
    print("stopped", flush=True)

service.run()
"""


async def start(url: str, budget: float, work: float, patience: float = WAIT) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    settings = [url, str(budget), str(work), str(patience)]
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, *settings, stdout=pipe, stderr=pipe, env={**os.environ}
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_and_the_exit_code_is_0(number: signal.Signals, bus: EventBus, nats_server: NatsServer):
    await bus.emit(OMS_FILLS_CREATED, fill(1))
    process = await start(nats_server.url, WAIT, 0.5)
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), WAIT) == b"begun\n"
    process.send_signal(number)
    out, _ = await asyncio.wait_for(process.communicate(), WAIT)
    assert out == b"finished\nstopped\n"
    assert process.returncode == DRAINED
    await until_acknowledged(bus, 1)


async def test_a_drain_cut_short_exits_with_3(bus: EventBus, nats_server: NatsServer):
    await bus.emit(OMS_FILLS_CREATED, fill(1))
    process = await start(nats_server.url, 0.2, LONG)
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), WAIT)
    process.terminate()
    out, _ = await asyncio.wait_for(process.communicate(), WAIT)
    assert (out, process.returncode) == (b"stopped\n", CUT_SHORT)


async def test_a_second_signal_ends_at_once(bus: EventBus, nats_server: NatsServer):
    await bus.emit(OMS_FILLS_CREATED, fill(1))
    process = await start(nats_server.url, LONG, LONG)
    assert process.stdout is not None
    assert process.stderr is not None
    await asyncio.wait_for(process.stdout.readline(), WAIT)
    process.terminate()
    while b"ending" not in await asyncio.wait_for(process.stderr.readline(), WAIT):
        pass
    process.terminate()
    await asyncio.wait_for(process.communicate(), WAIT)
    assert process.returncode == 128 + signal.SIGTERM


async def test_a_service_that_cannot_start_says_why_in_one_line_and_exits_with_1(free_url: str):
    process = await start(free_url, 1, 1, patience=1)
    _, err = await asyncio.wait_for(process.communicate(), WAIT)
    assert process.returncode == 1
    assert err.decode().splitlines()[-1].startswith("mts1b-treasury: no NATS server at")
