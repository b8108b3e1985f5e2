"""Services are found by NATS's service protocol, and tell what they have handled."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from mts1b_foundation.marketdata import Quote
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER, QUOTE
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Event, EventBus, LiveEvent, RetryPolicy
from mts1b_platform.eventbus.connect import ConnectOptions
from mts1b_platform.eventbus.errors import RequestTimeout
from mts1b_platform.server import NatsServer
from mts1b_platform.service import Service
from mts1b_platform.testing.bus import ConnectBus

WAIT = 60.0


async def asked(bus: EventBus, subject: str) -> list[dict[str, Any]]:
    return [json.loads(each.data) for each in await bus.request_many(subject, timeout=WAIT, stall=0.5)]


async def until_asked(bus: EventBus, subject: str, good: Any) -> list[dict[str, Any]]:
    async with asyncio.timeout(WAIT):
        while not good(found := await asked(bus, subject)):
            pass
    return found


@pytest_asyncio.fixture
async def treasury(bus: EventBus) -> AsyncIterator[Service]:
    options: ConnectOptions = {"servers": str(bus.connected_url), "connect_timeout": WAIT}
    made = Service("mts1b-treasury", version="1.2.3", member="host-a/1", **options)

    @made.consumes(OMS_ORDERS_CREATED, durable="books", policy=RetryPolicy(max_deliveries=5, base=0.01, jitter=0))
    async def book(event: Event[Order]) -> None:
        if event.payload.order_id == "bad" and event.deliveries == 1:
            raise ValueError("not yet")

    @made.listens(MARKETDATA_QUOTES)
    async def mark(event: LiveEvent[Quote]) -> None:
        pass

    serving = asyncio.create_task(made.serve())
    await made.started()
    yield made
    made.stop()
    await serving


@pytest.mark.usefixtures("treasury")
async def test_a_service_says_what_it_is_and_what_it_has_handled(bus: EventBus, connect_bus: ConnectBus):
    [ping] = await asked(bus, "$SRV.PING")
    assert (ping["type"], ping["name"], ping["version"]) == (
        "io.nats.micro.v1.ping_response",
        "mts1b-treasury",
        "1.2.3",
    )
    assert ping["metadata"]["repo"] == "mts1b-treasury"
    assert ping["metadata"]["member"] == "host-a/1"
    marketdata = await connect_bus("mts1b-marketdata")
    for name in ("good", "bad"):
        await bus.emit(OMS_ORDERS_CREATED, ORDER.model_copy(update={"order_id": name, "idempotency_key": name}))
    await marketdata.emit(MARKETDATA_QUOTES, QUOTE)
    await marketdata.flush()

    def both(found: list[dict[str, Any]]) -> bool:
        counts = {each["name"]: (each["num_requests"], each["num_errors"]) for each in found[0]["endpoints"]}
        return counts == {"books": (3, 1), "v1-marketdata-quotes-symbol": (1, 0)}

    [stats] = await until_asked(bus, f"$SRV.STATS.mts1b-treasury.{ping['id']}", both)
    assert stats["started"].endswith("Z")
    assert {each["subject"] for each in stats["endpoints"]} == {OMS_ORDERS_CREATED.pattern, MARKETDATA_QUOTES.pattern}
    [info] = await asked(bus, "$SRV.INFO.mts1b-treasury")
    assert info["description"]
    assert "num_requests" not in info["endpoints"][0]


@pytest.mark.usefixtures("treasury")
async def test_every_process_answers_and_a_question_of_another_kind_nobody(bus: EventBus, nats_server: NatsServer):
    other = Service("mts1b-oms", servers=nats_server.url, connect_timeout=WAIT)
    serving = asyncio.create_task(other.serve())
    await other.started()
    assert {each["name"] for each in await asked(bus, "$SRV.PING")} == {"mts1b-treasury", "mts1b-oms"}
    with pytest.raises(RequestTimeout):
        await bus.request("$SRV.SCHEMA.mts1b-oms", timeout=0.2)
    other.stop()
    await serving
    assert {each["name"] for each in await asked(bus, "$SRV.PING")} == {"mts1b-treasury"}
    assert await asked(bus, "$SRV.PING.mts1b-oms") == []
