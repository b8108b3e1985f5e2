"""What a call that cannot work says, before anything is sent."""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from mts1b_foundation.errors import SubjectError
from mts1b_foundation.samples import ORDER, QUOTE
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_ORDERS_CREATED
from mts1b_platform.config import ConfigError
from mts1b_platform.eventbus import BusError, EventBus, InvalidArgument, InvalidHeader, connect
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
