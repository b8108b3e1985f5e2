"""`mts1b groups`: who is active, what nobody reads, another takes over; and the monitor's alert. On a real server."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import FILL, ORDER
from mts1b_foundation.subjects import OMS_FILLS_CREATED, OMS_ORDERS_CREATED
from mts1b_operations.monitor.instances import Instances
from mts1b_operations.monitor.reading import Watch
from mts1b_operations.monitor.survey import survey
from mts1b_platform.cli import run
from mts1b_platform.eventbus import Consumer, Event, EventBus
from mts1b_platform.eventbus.declared import declared
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.jetstream.apply_consumers import apply_consumers
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus

BOOKS = Path(__file__).parents[4] / "tests" / "checkouts" / "books-twice"
WAIT = 60.0
Command = Callable[..., Awaitable[tuple[int, Any]]]


@pytest.fixture
def command(
    nats_server: NatsServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Command:
    monkeypatch.setenv("MTS1B_CHECKOUTS", str(BOOKS))
    monkeypatch.setenv("MTS1B_AUDIT_DIR", str(tmp_path / "audit"))

    async def call(*words: str) -> tuple[int, Any]:
        code = await asyncio.to_thread(run, ["groups", *words, "--servers", nats_server.url, "--json"])
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out else said.err

    return call


@pytest_asyncio.fixture
async def books(bus: EventBus, connect_bus: ConnectBus) -> AsyncIterator[list[Consumer[Order]]]:
    """Two instances of the declared reader; the first is active."""
    wanted = next(source for source in declared((BOOKS,)).sources if source.root == BOOKS)
    await apply_consumers(bus, wanted.consumers)
    made: list[Consumer[Order]] = []
    for _ in range(2):
        one = (await connect_bus("mts1b-treasury")).consume(
            OMS_ORDERS_CREATED, durable="books", ordered_by="fund_id", instances="standby"
        )
        await one.start()
        if not made:
            await bus.emit(OMS_ORDERS_CREATED, ORDER)
            async with await asyncio.wait_for(anext(one), WAIT):
                pass
        made.append(one)
    yield made
    for one in made:
        await one.stop()


async def test_who_is_active_is_seen_and_another_takes_over_when_told(
    bus: EventBus, books: list[Consumer[Order]], command: Command
):
    code, rows = await command("ls", "--stream", "OMS_ORDERS")
    assert (code, [row["group"] for row in rows]) == (0, ["books"])
    before = rows[0]
    assert before["active"]
    assert before["since"]
    assert before["takeover_seconds"] == 1
    code, said = await command("move", "OMS_ORDERS", "books", "--reason", "a test")
    assert code == 1
    assert "nothing was done" in str(said)
    async with asyncio.timeout(WAIT):  # what the active one had asked for before it was that is over
        while (await js_api(bus, "CONSUMER.INFO.OMS_ORDERS.books"))["num_waiting"] > 8:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    code, _ = await command("move", "OMS_ORDERS", "books", "--reason", "a test", "--confirm", "OMS_ORDERS/books")
    assert code == 0

    handled: asyncio.Queue[Event[Order]] = asyncio.Queue()
    reading = [asyncio.create_task(one.run(handled.put)) for one in books]
    await bus.emit(OMS_ORDERS_CREATED, ORDER.model_copy(update={"order_id": "2", "idempotency_key": "2"}))
    event = await asyncio.wait_for(handled.get(), WAIT)
    assert event.term > before["term"]
    _, (after,) = await command("ls", "--stream", "OMS_ORDERS")
    assert after["term"] == event.term
    assert after["active"] != before["active"], "the other one"
    for one in books:
        await one.stop()
    await asyncio.gather(*reading)
    _, (ended,) = await command("ls", "--stream", "OMS_ORDERS")
    assert (ended["active"], ended["last_active"]) == (None, after["active"])


@pytest.mark.usefixtures("books")
async def test_what_no_declared_key_reads_is_named(bus: EventBus, command: Command):
    code, shown = await command("show", "OMS_FILLS", "ledger")
    assert (code, [row["key"] for row in shown["durables"]], shown["unread"]) == (0, ["alpha", "beta"], [])
    for number, fund in enumerate(("alpha", "gamma", "gamma")):
        await bus.emit(OMS_FILLS_CREATED, FILL.model_copy(update={"fill_id": f"f{number}", "fund_id": fund}))
    code, shown = await command("show", "OMS_FILLS", "ledger-alpha")
    assert code == 1
    assert shown["group"] == "ledger"
    assert shown["unread"] == [{"subject": "mts.v1.oms.fills.created.fund.gamma", "key": "gamma", "messages": 2}]
    code, said = await command("show", "OMS_FILLS", "nobody")
    assert code == 1
    assert "there is no consumer" in str(said)


async def test_the_monitor_says_when_nobody_is_active_who_does_not_get_on_and_how_often_others_take_over(
    bus: EventBus, connect_bus: ConnectBus, books: list[Consumer[Order]]
):
    instances = Instances()

    async def told(watch: Watch = Watch.NOBODY_ACTIVE) -> dict[str, float]:
        found = list(instances.read(await survey(bus)))
        return {reading.target: reading.value for reading in found if reading.watch is watch}

    assert (await told())["OMS_ORDERS/books"] == 0, "an instance is active"
    await bus.emit(OMS_FILLS_CREATED, FILL.model_copy(update={"fund_id": "alpha"}))
    assert (await told())["OMS_FILLS/ledger-alpha"] == 0, "its service was never started here"
    for one in books:
        await one.stop()
    await bus.emit(OMS_ORDERS_CREATED, ORDER.model_copy(update={"order_id": "3", "idempotency_key": "3"}))
    async with asyncio.timeout(WAIT):
        while (await told())["OMS_ORDERS/books"] == 0:  # noqa: ASYNC110 - the server notes later that the last has left
            await asyncio.sleep(0.01)
    takeovers = (await told(Watch.TAKEOVERS))["OMS_ORDERS/books"]
    another = (await connect_bus("mts1b-treasury")).consume(
        OMS_ORDERS_CREATED, durable="books", ordered_by="fund_id", instances="standby"
    )
    async with await asyncio.wait_for(anext(another), WAIT):
        await told()
        assert (await told(Watch.HELD_UP))["OMS_ORDERS/books"] > 0
    await another.stop()
    assert (await told(Watch.TAKEOVERS))["OMS_ORDERS/books"] == takeovers + 1
    assert (await told(Watch.HELD_UP))["OMS_ORDERS/books"] == 0
