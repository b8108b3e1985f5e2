"""Funds apart: their orders, brokers, strategies and limits, and the rejections that operations sees."""

import sqlite3
from collections import Counter
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from mts1b_desk.settings import BrokerSettings, DeskSettings, FundSettings, StrategySettings
from mts1b_foundation.subjects import (
    BROKERS_FILLS_RAW_V2,
    OMS_FILLS_CREATED_V2,
    OMS_ORDERS_CREATED_V2,
    OMS_ORDERS_REJECTED_V2,
    RISK_GATE_FAILED,
    DurableSubject,
    encode_token,
)
from mts1b_platform.eventbus import EventBus, connect
from mts1b_platform.server import NatsServer
from pydantic import TypeAdapter

from .conftest import Desk

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("streams")]

SETTINGS = DeskSettings(
    session="file",
    funds=(
        FundSettings(fund_id="free"),
        FundSettings(fund_id="slow", strategy="breakout", broker="sim2", max_orders_per_minute=2),
        FundSettings(fund_id="small", max_position_notional=Decimal(9_000)),
        FundSettings(fund_id="tiny", broker="sim2", max_order_notional=Decimal(100)),
        FundSettings(fund_id="burnt", max_drawdown=Decimal(0), cash=Decimal(10_000)),
    ),
    brokers=(BrokerSettings(), BrokerSettings(name="sim2", latency_ms=200, fee_bps=Decimal(3))),
    strategies=(StrategySettings(), StrategySettings(name="breakout", fast=1, slow=3)),
    intervals=("500ms", "2s"),
)


async def everything(bus: EventBus, subject: DurableSubject[Any], **parameters: Any) -> list[Any]:
    """Every stored payload of ``subject``, as one who subscribes with ``parameters`` sees it."""
    found: list[Any] = []
    durable = "-".join(["test", encode_token(subject.pattern), *parameters.values()]).replace("=", "_")
    async with bus.consume(subject, durable=durable, **parameters) as consumer:
        info = await bus.plain_jetstream().consumer_info(consumer.stream, consumer.durable)
        left = (info.num_pending or 0) + (info.num_ack_pending or 0)
        while left:
            async with await anext(consumer) as event:
                found.append(event.payload)
            left = event.position.pending
    return found


async def test_funds_are_apart_and_each_is_held_to_its_own_limits(
    streams: NatsServer, desk: Desk, quotes_csv: Path, tmp_path: Path
):
    file, state = tmp_path / "desk.json", tmp_path / "state"
    file.write_text(SETTINGS.model_dump_json())
    ended = await desk("run", "--data", str(quotes_csv), "--settings", str(file), "--state", str(state), "--json")
    assert ended.code == 0, ended.err
    funds = ended.ledger["funds"]
    names = {fund.fund_id for fund in SETTINGS.funds}
    assert set(funds) == names

    async with await connect(streams.url) as bus:
        for subject in (OMS_ORDERS_CREATED_V2, OMS_FILLS_CREATED_V2):
            seen = {fund: await everything(bus, subject, fund_id=fund) for fund in names}
            for fund, events in seen.items():
                assert {event.fund_id for event in events} <= {fund}
            assert sum(len(events) for events in seen.values()) == len(await everything(bus, subject))
            assert seen["free"]
        for broker in ("paper", "sim2"):
            fills = await everything(bus, BROKERS_FILLS_RAW_V2, broker=broker)
            assert fills
            assert {fill.broker for fill in fills} == {broker}
        failed = await everything(bus, RISK_GATE_FAILED)
        rejected = await everything(bus, OMS_ORDERS_REJECTED_V2)

    rules = {fund: Counter(f.rule.value for f in failed if f.fund_id == fund) for fund in names}
    assert not rules["free"]
    assert set(rules["slow"]) == {"order_rate"}
    assert set(rules["small"]) == {"position_notional"}
    assert set(rules["tiny"]) == {"order_notional"}
    assert "drawdown" in rules["burnt"]
    assert funds["tiny"]["fills"] == funds["small"]["fills"] == 0
    reasons = {order.order_id: order.rejected_reason for order in rejected}
    assert reasons == {f.order_id: f"{f.rule.value}: {f.reason}" for f in failed}
    assert "the limit is 2" in next(reason for reason in reasons.values() if reason.startswith("order_rate"))
    assert operations_saw(state / "operations.db") == {fund: dict(seen) for fund, seen in rules.items() if seen}


def operations_saw(path: Path) -> dict[str, dict[str, int]]:
    """The rejections in the database of the operations service, by fund and rule."""
    with closing(sqlite3.connect(path)) as db, db:
        rows = db.execute("SELECT key, data FROM desk_rows WHERE name = 'rejections'").fetchall()
    counts = TypeAdapter(dict[str, int])
    return {fund: counts.validate_json(data) for fund, data in rows}
