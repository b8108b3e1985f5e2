"""What a call that cannot work says, before anything is sent."""

import math
from collections.abc import Callable
from inspect import isawaitable
from itertools import product
from typing import Any

import pytest
from mts1b_foundation.errors import SubjectError
from mts1b_foundation.samples import ORDER, QUOTE
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_ORDERS_CREATED
from mts1b_platform.config import ConfigError
from mts1b_platform.eventbus import (
    BusError,
    Event,
    EventBus,
    InvalidArgument,
    InvalidHeader,
    Retry,
    RetryPolicy,
    connect,
)
from mts1b_platform.eventbus.consumers import reads
from mts1b_platform.eventbus.dedupe.postgres import PostgresDedupe
from mts1b_platform.eventbus.dedupe.sqlite import SqliteDedupe
from mts1b_platform.eventbus.dedupe.store import Memory
from mts1b_platform.service import Service
from mts1b_platform.testing import ConnectBus

ORDERS, QUOTES = OMS_ORDERS_CREATED, MARKETDATA_QUOTES
SHARE = {"ordered_by": "fund_id", "instances": "share", "keys": ["alpha"]}


async def test_an_event_goes_to_a_registered_subject_not_to_a_name(bus: EventBus):
    with pytest.raises(InvalidArgument, match=r"'text' is no registered subject.*bus\.publish"):
        await bus.emit("text", object())  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("kind", "subject", "options", "words"),
    [
        ("consume", "text", {"durable": "d"}, "no registered subject"),
        ("consume", QUOTES, {"durable": "d"}, "best effort"),
        ("consume", ORDERS, {"durable": 5}, "no consumer name"),
        ("consume", ORDERS, {"durable": "d", "deliver": "latest"}, "choose 'all', 'new' or a datetime"),
        ("consume", ORDERS, {"durable": "d", "prefetch": 0}, "prefetch is 0"),
        ("consume", ORDERS, {"durable": "d", "prefetch": True}, "prefetch is True"),
        ("consume", ORDERS, {"durable": "d", "ack_wait": math.inf}, "ack_wait is inf"),
        ("consume", ORDERS, {"durable": "d", "ack_wait": "5s"}, "ack_wait is '5s'"),
        ("consume", ORDERS, {"durable": "d", "inactive_threshold": -1}, "inactive_threshold is -1"),
        ("consume", ORDERS, SHARE | {"durable": ""}, "no consumer name"),
        ("consume", ORDERS, SHARE | {"durable": "d", "prefetch": 0}, "prefetch is 0"),
        ("read_raw", "OMS_ORDERS", {"durable": "a b"}, "durable 'a b' is no name"),
        ("read_raw", "", {"durable": "d"}, "stream '' is no name"),
        ("read_raw", "OMS_ORDERS", {"durable": "d", "window": 0}, "window is 0"),
        ("listen", "text", {}, "no registered subject"),
        ("listen", QUOTES, {"limit": 0}, "limit is 0"),
    ],
)
async def test_a_reader_that_cannot_work_is_refused_when_it_is_made(
    bus: EventBus, kind: str, subject: Any, options: dict[str, Any], words: str
):
    make: Callable[..., object] = getattr(bus, kind)
    with pytest.raises(BusError, match=words):
        make(subject, **options)


async def test_an_id_that_cannot_go_on_the_wire_is_an_error_of_the_bus(bus: EventBus, connect_bus: ConnectBus):
    market = await connect_bus(service="mts1b-marketdata")
    for name, value in product(("msg_id", "trace_id"), ("a\nb", " a", "\udc80")):
        options: dict[str, Any] = {name: value}
        with pytest.raises(InvalidHeader, match=r"mts\.v1\.oms\.orders\.created.*: header"):
            await bus.emit(ORDERS, ORDER, **options)
        with pytest.raises(InvalidHeader, match=r"mts\.v1\.marketdata\.quotes.*: header"):
            await market.emit(QUOTES, QUOTE, **options)


async def test_a_window_is_a_whole_number(bus: EventBus):
    with pytest.raises(InvalidArgument, match="window is -1"):
        await bus.emit_many(ORDERS, [ORDER], window=-1)


async def test_a_value_that_is_no_token_is_an_error_of_the_registry(bus: EventBus):
    with pytest.raises(SubjectError, match="empty value"):
        bus.listen(QUOTES, symbol="")


async def test_a_parameter_is_text_and_one_of_the_subjects(bus: EventBus):
    with pytest.raises(Exception, match=r"symbol=5 is no text"):
        bus.listen(QUOTES, symbol=5)  # type: ignore[arg-type]
    with pytest.raises(Exception, match=r"no parameter 'max_deliveries'"):
        bus.consume(ORDERS, durable="d", max_deliveries=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"servers": "nats://127.0.0.1:99999"}, "has no TCP port"),
        ({"servers": "nats://127.0.0.1:abc"}, "has no TCP port"),
        ({"servers": 5}, "give NATS URLs as text"),
        ({"connect_timeout": math.inf}, "finite number"),
    ],
)
async def test_settings_that_cannot_work_are_named(options: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words) as failed:
        await connect(**options)
    assert "Value error" not in str(failed.value)


async def test_a_wrong_url_is_named_without_its_password():
    with pytest.raises(ConfigError) as failed:
        await connect("nats://alice:secret@127.0.0.1:99999")
    assert "secret" not in str(failed.value)
    assert "127.0.0.1:99999" in str(failed.value)


HUGE = (10**13, 2**63, 10**30, 10**400)


async def test_a_number_that_nothing_can_hold_is_refused_in_words_wherever_the_bus_takes_one(bus: EventBus):
    heard = await bus.subscribe("huge")
    event = await _taken(bus)
    consumer = bus.consume(ORDERS, durable="huge", ordered_by="order_id")

    async def handle(event: Event[Any]) -> None:
        raise AssertionError(f"{event} was not asked for")

    calls: dict[str, Callable[[Any], Any]] = {
        "limit": lambda huge: bus.listen(QUOTES, limit=huge),
        "prefetch": lambda huge: bus.consume(ORDERS, durable="d", prefetch=huge),
        "ack_wait": lambda huge: bus.consume(ORDERS, durable="d", ack_wait=huge),
        "inactive_threshold": lambda huge: bus.consume(ORDERS, durable="d", inactive_threshold=huge),
        "window": lambda huge: bus.read_raw("OMS_ORDERS", "d", window=huge),
        "ack_wait of read_raw": lambda huge: bus.read_raw("OMS_ORDERS", "d", ack_wait=huge),
        "concurrency": lambda huge: consumer.run(handle, concurrency=huge),
        "most": lambda huge: consumer.behind(event, most=huge),
        "delay": lambda huge: event.nak(huge),
        "deadline": lambda huge: bus.emit(ORDERS, ORDER, deadline=huge),
        "deadline of emit_many": lambda huge: bus.emit_many(ORDERS, [ORDER], deadline=huge),
        "window of emit_many": lambda huge: bus.emit_many(ORDERS, [ORDER], window=huge),
        "deadline of ingest": lambda huge: bus.ingest(ORDERS, [ORDER], deadline=huge),
        "timeout": lambda huge: bus.request("huge", timeout=huge),
        "timeout of flush": lambda huge: bus.flush(huge),
        "timeout of next_msg": lambda huge: heard.next_msg(huge),
        "limit of unsubscribe": lambda huge: heard.unsubscribe(huge),
        "max_msgs": lambda huge: bus.subscribe("huge", max_msgs=huge),
        "pending": lambda huge: bus.subscribe("huge", pending=huge),
        "ping_interval": lambda huge: connect(bus.settings.servers, ping_interval=huge),
        "reconnect_wait": lambda huge: connect(bus.settings.servers, reconnect_wait=huge),
        "buffer_size": lambda huge: connect(bus.settings.servers, buffer_size=huge),
    }
    for (called, call), huge in product(calls.items(), HUGE):
        with pytest.raises(InvalidArgument, match=f"{called.split()[0]} is {huge}: give (.* at most|.* to )"):
            await _awaited(call(huge))


@pytest.mark.parametrize("value", [*HUGE, math.nan])
def test_a_number_that_nothing_can_hold_is_refused_in_what_a_reader_is_made_of(value: Any):
    made: dict[str, Callable[[], object]] = {
        "base": lambda: RetryPolicy(base=value, cap=value),
        "cap": lambda: RetryPolicy(cap=value),
        "max_deliveries": lambda: RetryPolicy(max_deliveries=value),
        "factor": lambda: RetryPolicy(factor=value),
        "Retry in": lambda: Retry(value),
        "keep": lambda: Memory(keep=value),
        "limit": lambda: Memory(limit=value),
        "frozen": lambda: PostgresDedupe("postgresql://", frozen=value),
        "ack_wait": lambda: reads("mts1b-risk", "d", ORDERS, ack_wait=value),
        "drain_budget": lambda: Service("mts1b-risk", drain_budget=value),
        "seconds": lambda: Service("mts1b-risk").every(value),
        "busy_timeout": lambda: SqliteDedupe("d.db", busy_timeout=value),
    }
    for words, make in made.items():
        with pytest.raises(InvalidArgument, match=words):
            make()


async def _taken(bus: EventBus) -> Event[Any]:
    await bus.emit(ORDERS, ORDER)
    async for event in bus.consume(ORDERS, durable="taken"):
        return event
    raise AssertionError


async def _awaited(made: Any) -> None:
    if isawaitable(made):
        await made
