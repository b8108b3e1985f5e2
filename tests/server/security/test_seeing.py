"""Trouble on a locked-down install, seen from a terminal: each situation by one command, within one's rights."""

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from locked_server import Locked
from mts1b_foundation.deadletters import DeadLetter, DeadLetterReason
from mts1b_foundation.event import utc_now
from mts1b_foundation.orders import OrderType
from mts1b_foundation.samples import NAV, ORDER, ORDER_APPROVAL
from mts1b_foundation.subjects import (
    OMS_ORDERS_ACCEPTED,
    OMS_ORDERS_CREATED,
    OMS_ORDERS_FILLED,
    RISK_GATE_PASSED,
    TREASURY_DEADLETTERS_CREATED,
    TREASURY_NAV,
    registry,
)
from mts1b_operations.history.seen import Decoders
from mts1b_operations.history.streams import open_streams
from mts1b_operations.index.feed import Feed
from mts1b_operations.index.find import ByIndex
from mts1b_operations.index.store import IndexStore
from mts1b_operations.people.finding import consumers_for_anybody, looked_up, may_look_up
from mts1b_operations.people.serve import looking
from mts1b_operations.story.gather import BySearch
from mts1b_operations.story.names import ORDER as ORDER_ID
from mts1b_operations.story.names import Name
from mts1b_operations.story.story import Story, tell
from mts1b_platform.cli import run
from mts1b_platform.eventbus import EventBus
from people import Gate

# nats-py 2.16 calls aiohttp in a way that it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float':DeprecationWarning")

_DECODERS = Decoders(registry())
_MARKET = ORDER.model_copy(update={"order_type": OrderType.MARKET, "limit_price": None})


async def trade(locked: Locked) -> None:
    """A day's worth of a desk that is in trouble: a stuck order, a dead letter, an event of a later schema."""
    oms, risk, treasury = [await locked.bus(f"mts1b-{each}") for each in ("oms", "riskengine", "treasury")]
    await oms.emit(OMS_ORDERS_CREATED, _MARKET)
    await risk.emit(RISK_GATE_PASSED, ORDER_APPROVAL.model_copy(update={"order_id": ORDER.order_id}))
    await oms.emit(OMS_ORDERS_ACCEPTED, _MARKET.accept(_MARKET.created_at))
    await treasury.emit(TREASURY_NAV, NAV)
    other = _MARKET.model_copy(update={"order_id": "ord-x", "idempotency_key": "x"}).accept(_MARKET.created_at)
    filled = other.fill(other.quantity, other.reference_price or other.quantity, other.created_at)
    await oms.emit(OMS_ORDERS_FILLED, filled)
    headers = {"mts-schema": "mts1b_foundation.orders.Order:v9", "mts-source-repo": "mts1b-oms"}
    await oms.request("mts.v1.oms.orders.rejected", b"{}", timeout=20, headers=headers)
    letter = DeadLetter.of_stored(
        subject="mts.v1.oms.orders.filled", headers={}, payload=filled.model_dump_json().encode(),
        stream="OMS_ORDERS", sequence=3, stored_at=utc_now(), consumer="my-consumer", deliveries=5,
        reason=DeadLetterReason.MAX_DELIVERIES, error="division by zero",
    )  # fmt: skip
    await treasury.emit(TREASURY_DEADLETTERS_CREATED, letter)


async def story(bus: EventBus, order_id: str = ORDER.order_id) -> Story:
    histories, hidden = await open_streams(bus, patterns=["mts.>"])
    finder = BySearch(histories, _DECODERS, most=10_000, within=30, hidden=hidden)
    return await tell(bus, Name(ORDER_ID, order_id), finder, _DECODERS, {each.stream: each for each in histories})


async def test_six_situations_are_one_command_each(
    locked: Locked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    await trade(locked)
    monkeypatch.setenv("MTS1B_CONFIG", str(locked.empty_config()))
    monkeypatch.setenv("MTS1B_SERVICE", "mts1b-operations")

    async def one(*words: str) -> tuple[int, str]:
        code = await asyncio.to_thread(run, [*words, "--servers", locked.url] if words[1] != "certificates" else words)
        return code, capsys.readouterr().out

    code, text = await one("order", ORDER.order_id)  # an order is stuck
    assert code in (0, 3)  # as soon as a second has passed
    assert "a fill or a cancel" in text
    assert "owes it  mts1b-brokers: desk-brokers-orders has reached 0" in text
    assert "nobody reads it, nor has since the server was started" in text
    assert "start mts1b-brokers" in text

    _, text = await one("deadletters", "ls")  # a poison message
    assert "max_deliveries" in text
    assert "my-consumer" in text

    code, text = await one("lag", "--json")  # a slow consumer
    (mine,) = [each for each in json.loads(text) if each["consumer"] == "my-consumer"]
    assert mine["lag_seconds"] > 0

    code, text = await one("check", "limits")  # a stream is about to discard unread messages
    assert code == 0
    assert "OMS_ORDERS/my-consumer" in text

    code, text = await one("check", "certificates", str(locked.pki.pem("mts1b-oms")))  # a certificate expires
    assert "mts1b-oms.pem" in text

    code, text = await one("events", "find", "refused:yes")  # a schema mismatch after a deploy
    assert code == 0
    assert "REFUSED schema_mismatch" in text
    assert "Order:v9" in text
    assert "expected mts1b_foundation.orders.Order:v1" in text


async def test_operations_reads_every_stream_and_builds_the_index_without_a_consumer(locked: Locked, tmp_path: Path):
    await trade(locked)
    operations = await locked.bus("mts1b-operations")
    told = await story(operations)
    assert [each.subject for each in told.events] == [
        "mts.v1.oms.orders.created.fund.alpha", "mts.v1.risk.gate.passed.fund.alpha",
        "mts.v1.oms.orders.accepted.fund.alpha",
    ]  # fmt: skip
    assert [each.kind for each in told.missing] == ["nobody_reads"]
    assert told.found.hidden == {}
    with IndexStore(tmp_path / "index.db", write=True) as store:
        feed = Feed(operations, store, _DECODERS)
        await feed.catch_up()
        assert feed.indexed.messages == 7
    assert not operations.denials.recent


async def test_a_person_sees_what_the_role_reads_and_what_it_does_not(gate: Gate):
    await trade(gate.locked)
    trader = await gate.let_in(gate.token("alice", "trader"))
    told = await story(trader)
    assert len(told.events) == 3
    assert told.found.hidden["TREASURY_NAV"] == "not for this identity"
    assert told.readers is None
    auditor = await gate.let_in(gate.token("olga", "auditor"))
    found: dict[str, Any] = (await story(auditor, "ord-x")).to_json()
    # the dead letter is about the order that its message was about
    assert [each["stream"] for each in found["events"]] == ["OMS_ORDERS", "DEADLETTERS"]


async def test_a_person_finds_by_the_index_of_the_looks_and_sees_who_has_handled_what(gate: Gate, tmp_path: Path):
    await trade(gate.locked)
    file = tmp_path / "index.db"
    with IndexStore(file, write=True) as store:
        await Feed(await gate.locked.bus("mts1b-operations"), store, _DECODERS).catch_up()
    olga = await gate.let_in(gate.token("olga", "operator"))
    assert not await may_look_up(olga)  # nobody answers yet
    config = gate.locked.empty_config()
    indexed = config.with_name("indexed.toml")
    await asyncio.to_thread(indexed.write_text, f'{config.read_text()}index_file = "{file}"\n')
    async with looking(servers=gate.locked.url, config=indexed):
        assert await may_look_up(olga)
        histories, hidden = await open_streams(olga, patterns=["mts.>"])
        named = {each.stream: each for each in histories}
        finder = ByIndex(partial(looked_up, olga), named, _DECODERS, most=10_000, within=30, hidden=hidden)
        told = await tell(
            olga, Name(ORDER_ID, ORDER.order_id), finder, _DECODERS, named, consumers=consumers_for_anybody
        )
        assert (told.found.how, len(told.events)) == ("index", 3)
        assert told.readers is not None
        assert [each.kind for each in told.missing] == ["nobody_reads"]
        filled = await tell(olga, Name(ORDER_ID, "ord-x"), finder, _DECODERS, named, consumers=consumers_for_anybody)
        assert filled.readers is not None
        (readers,) = [each for place, each in filled.readers.items() if place.startswith("OMS_ORDERS")]
        assert {reader.service: reader.state.value for reader in readers} == {
            "mts1b-riskengine": "waiting",
            "mts1b-treasury": "gave up",
        }
