"""`mts1b order` and `mts1b trace` on a real server: who is killed is who is named, with one command."""

import asyncio
import json
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any

import pytest
from mts1b_foundation.event import Event as Payload
from mts1b_foundation.event import utc_now
from mts1b_foundation.orders import Order, OrderType
from mts1b_foundation.samples import BROKER_FILL, FILL, ORDER, ORDER_APPROVAL
from mts1b_foundation.subjects import (
    BROKERS_FILLS_RAW,
    OMS_FILLS_CREATED,
    OMS_ORDERS_ACCEPTED,
    OMS_ORDERS_CREATED,
    OMS_ORDERS_FILLED,
    RISK_GATE_PASSED,
    DurableSubject,
)
from mts1b_platform.cli import run
from mts1b_platform.eventbus import Event, EventBus, Reject
from mts1b_platform.eventbus.events.trace import new_trace_id
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus

pytestmark = pytest.mark.usefixtures("bus")

_ORDER = ORDER.model_copy(update={"order_type": OrderType.MARKET, "limit_price": None})


_Answer = list[tuple[DurableSubject[Any], Payload]]


class Desk:
    """Risk, brokers and order management as far as one order needs them, each on a connection of its own."""

    def __init__(self) -> None:
        self.buses: dict[str, EventBus] = {}
        self._stack = AsyncExitStack()

    async def start(self, connect_bus: ConnectBus, *, broken: str = "") -> None:
        for service in ("oms", "riskengine", "brokers"):
            self.buses[service] = await connect_bus(f"mts1b-{service}")
        risk, brokers, oms = (self.buses[each] for each in ("riskengine", "brokers", "oms"))
        made: list[tuple[EventBus, str, DurableSubject[Any], _Answer]] = [
            (risk, "risk-orders", OMS_ORDERS_CREATED, [(RISK_GATE_PASSED, _approval())]),
            (oms, "oms-gate", RISK_GATE_PASSED, [(OMS_ORDERS_ACCEPTED, _accepted())]),
            (brokers, "broker-orders", OMS_ORDERS_ACCEPTED, [(BROKERS_FILLS_RAW, _raw())]),
            (oms, "oms-brokers", BROKERS_FILLS_RAW, [(OMS_FILLS_CREATED, _booked()), (OMS_ORDERS_FILLED, _filled())]),
        ]
        for bus, durable, subject, answer in made:
            consumer = bus.consume(subject, durable=durable)
            await consumer.start()

            async def handle(
                event: Event[Any], bus: EventBus = bus, answer: _Answer = answer, durable: str = durable
            ) -> None:
                del event
                if durable == broken:
                    raise Reject("the order is poison")
                for said, payload in answer:
                    await bus.emit(said, payload)

            asyncio.create_task(consumer.run(handle))  # noqa: RUF006 - ends with its bus

    async def kill(self, service: str) -> None:
        await self.buses[service].close()


def _approval() -> Payload:
    return ORDER_APPROVAL.model_copy(update={"order_id": ORDER.order_id})


def _accepted() -> Order:
    return _ORDER.accept(_ORDER.created_at)


def _raw() -> Payload:
    return BROKER_FILL.model_copy(update={"client_order_id": ORDER.order_id, "execution_id": "e1"})


def _booked() -> Payload:
    return FILL.model_copy(update={"order_id": ORDER.order_id, "execution_id": "e1"})


def _filled() -> Payload:
    return _accepted().fill(_ORDER.quantity, Decimal(40_000), utc_now())


async def ask(noun: str, about: str, nats_server: NatsServer, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """One command: exit code, and what it prints."""
    code = await asyncio.to_thread(run, [noun, about, "--servers", nats_server.url])
    return code, capsys.readouterr().out


async def document(nats_server: NatsServer, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    await asyncio.to_thread(run, ["order", ORDER.order_id, "--servers", nats_server.url, "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


async def test_a_filled_order_is_told_whole_and_nothing_is_missing(
    connect_bus: ConnectBus, nats_server: NatsServer, capsys: pytest.CaptureFixture[str]
):
    desk = Desk()
    await desk.start(connect_bus)
    trace = new_trace_id()
    await desk.buses["oms"].emit(OMS_ORDERS_CREATED, _ORDER, trace_id=trace)
    while len((found := await document(nats_server, capsys))["events"]) < 6:
        pass
    assert [each["registered"].removeprefix("mts.v1.") for each in found["events"]] == [
        "oms.orders.created", "risk.gate.passed", "oms.orders.accepted",
        "brokers.{broker}.fills.raw", "oms.fills.created", "oms.orders.filled",
    ]  # fmt: skip
    assert found["searched"] == {
        "how": "search", "complete": True, "back_to": None, "related_within_seconds": 600,
    }  # fmt: skip
    code, text = await ask("trace", trace, nats_server, capsys)
    assert code == 0
    assert "6 events" in text


@pytest.mark.parametrize(
    ("victim", "durable", "waits_for", "reached"),
    [
        ("riskengine", "risk-orders", "the gate's yes or no", "OMS_ORDERS:1"),
        ("oms", "oms-gate", "its acceptance", "RISK:1"),
        ("brokers", "broker-orders", "a fill or a cancel", "OMS_ORDERS:2"),
    ],
)
async def test_who_was_killed_is_who_owes_the_missing_step(
    connect_bus: ConnectBus,
    nats_server: NatsServer,
    capsys: pytest.CaptureFixture[str],
    *,
    victim: str,
    durable: str,
    waits_for: str,
    reached: str,
):
    desk = Desk()
    await desk.start(connect_bus)
    await desk.kill(victim)
    speaker = await connect_bus("mts1b-oms")
    await speaker.emit(OMS_ORDERS_CREATED, _ORDER)
    while True:
        found = await document(nats_server, capsys)
        if found["missing"] and found["missing"][0]["after"] == reached and found["missing"][0]["late"]:
            break
        await asyncio.sleep(0.1)
    (missing,) = found["missing"]
    assert (missing["by"], missing["durable"], missing["words"]) == (f"mts1b-{victim}", durable, waits_for)
    assert missing["kind"] == "nobody_reads"
    assert missing["lag_seconds"] > 0
    code, text = await ask("order", ORDER.order_id, nats_server, capsys)  # the one command
    assert code == 3
    assert f"MISSING: {waits_for}" in text
    assert f"owes it  mts1b-{victim}: {durable} has reached" in text
    assert f"start mts1b-{victim}" in text
    assert f"{victim} WAITING" in text


async def test_an_event_that_was_given_up_is_said_with_what_to_do(
    connect_bus: ConnectBus, nats_server: NatsServer, capsys: pytest.CaptureFixture[str]
):
    desk = Desk()
    await desk.start(connect_bus, broken="broker-orders")
    await desk.buses["oms"].emit(OMS_ORDERS_CREATED, _ORDER)
    while [each["kind"] for each in (await document(nats_server, capsys))["missing"]] != ["gave_up"]:
        pass
    (missing,) = (await document(nats_server, capsys))["missing"]
    assert missing["by"] == "mts1b-brokers"
    assert "the order is poison" in missing["why"]
    assert missing["do"][0].startswith("mts1b deadletters show OMS_ORDERS:2:broker-orders")


async def test_an_order_that_nobody_knows(nats_server: NatsServer, capsys: pytest.CaptureFixture[str]):
    code = await asyncio.to_thread(run, ["order", "nobody", "--servers", nats_server.url])
    assert code == 1
    assert "no event is about order nobody" in capsys.readouterr().err
