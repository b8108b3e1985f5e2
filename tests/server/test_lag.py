"""Lag in seconds: right to a second for every kind of consumer, and cheap."""

import asyncio
import json
import os
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED, OMS_ORDERS_FILLED
from mts1b_operations.lag import ConsumerLag, consumer_lags
from mts1b_platform.cli import run
from mts1b_platform.eventbus import EventBus, RetryPolicy
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.server import NatsServer
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

ROUNDING = 0.05
BETA = ORDER.model_copy(update={"fund_id": "beta"})


class Stored:
    """Orders stored at known times, and what the lag of a consumer should be."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._at: list[float] = []

    async def order(self, fund: str = "alpha") -> None:
        event = ORDER.model_copy(update={"fund_id": fund, "idempotency_key": f"{fund}-{len(self._at)}"})
        ack = await self._bus.emit(OMS_ORDERS_CREATED, event)
        stored = await js_api(self._bus, "STREAM.MSG.GET.OMS_ORDERS", {"seq": ack.seq})
        self._at.append(datetime.fromisoformat(stored["message"]["time"]).timestamp())

    async def pause(self) -> None:
        await asyncio.sleep(1.2)  # the passing of time is what is measured

    def age(self, number: int) -> float:
        return time.time() - self._at[number]


async def lag_of(bus: EventBus, consumer: str) -> ConsumerLag:
    (lag,) = [lag for lag in await consumer_lags(bus) if lag.consumer == consumer]
    return lag


async def lag_as_old_as(stored: Stored, number: int, bus: EventBus, consumer: str) -> ConsumerLag:
    """The lag of ``consumer``, which is the age that order ``number`` had while it was looked up."""
    before = stored.age(number)
    lag = await lag_of(bus, consumer)
    assert before - ROUNDING <= lag.seconds <= stored.age(number) + ROUNDING
    return lag


async def raw(bus: EventBus, name: str, **options: Any) -> Any:
    """A consumer as somebody without this project would make it."""
    config = ConsumerConfig(durable_name=name, ack_policy=AckPolicy.EXPLICIT, ack_wait=60, **options)
    await bus.plain_jetstream().add_consumer("OMS_ORDERS", config)
    return await bus.plain_jetstream().pull_subscribe_bind(consumer=name, stream="OMS_ORDERS")


async def test_an_idle_consumer_has_no_lag_however_long_ago_the_last_message_came(bus: EventBus):
    stored = Stored(bus)
    await stored.order()
    async with bus.consume(OMS_ORDERS_CREATED, durable="t") as orders, await anext(orders):
        pass
    await bus.flush()
    await stored.pause()
    lag = await lag_of(bus, "t")
    assert (lag.seconds, lag.messages, lag.oldest_seq) == (0.0, 0, None)


async def test_a_consumer_that_never_read_lags_by_the_age_of_the_oldest(bus: EventBus):
    stored = Stored(bus)
    await stored.order()
    await stored.pause()
    await stored.order()
    await raw(bus, "t")
    lag = await lag_as_old_as(stored, 0, bus, "t")
    assert (lag.messages, lag.oldest_seq) == (2, 1)


async def test_only_messages_that_match_the_filter_count(bus: EventBus):
    stored = Stored(bus)
    await stored.order("alpha")
    await stored.pause()
    await stored.order("beta")
    await raw(bus, "beta", filter_subject="mts.v1.oms.orders.*.fund.beta")
    await raw(bus, "none", filter_subject="mts.v1.oms.orders.*.fund.nobody")
    lag = await lag_as_old_as(stored, 1, bus, "beta")
    assert lag.messages == 1
    assert (await lag_of(bus, "none")).seconds == 0.0


async def test_of_several_filters_the_oldest_match_counts(bus: EventBus):
    stored = Stored(bus)
    for fund in ("gamma", "beta", "alpha"):
        await stored.order(fund)
        await stored.pause()
    filters = ["mts.v1.oms.orders.*.fund.alpha", "mts.v1.oms.orders.*.fund.beta"]
    await raw(bus, "t", filter_subjects=filters)
    lag = await lag_as_old_as(stored, 1, bus, "t")
    assert lag.oldest_subject == "mts.v1.oms.orders.created.fund.beta"


async def test_an_unacknowledged_message_counts_though_later_ones_are_done(bus: EventBus):
    stored = Stored(bus)
    for _ in range(3):
        await stored.order()
        await stored.pause()
    reader = await raw(bus, "t")
    messages = await reader.fetch(3, timeout=60)
    await messages[0].ack_sync()
    await messages[2].ack_sync()
    lag = await lag_as_old_as(stored, 1, bus, "t")
    assert (lag.messages, lag.ack_pending, lag.oldest_seq) == (1, 1, 2)


async def test_after_a_dead_letter_the_lag_is_that_of_the_rest(bus: EventBus):
    stored = Stored(bus)
    await stored.order()
    await stored.pause()
    await stored.order()
    orders = bus.consume(OMS_ORDERS_CREATED, durable="t", policy=RetryPolicy(max_deliveries=1))
    async with orders:
        async with await anext(orders):
            raise ValueError("poison")
        assert bus.counters.deadletters
        await anext(orders)  # in hand, not settled
        lag = await lag_as_old_as(stored, 1, bus, "t")
        assert lag.oldest_seq == 2


async def test_a_message_on_which_the_server_gave_up_is_no_lag_once_nothing_else_waits(bus: EventBus):
    stored = Stored(bus)
    await stored.order()
    config = ConsumerConfig(durable_name="t", ack_policy=AckPolicy.EXPLICIT, ack_wait=0.3, max_deliver=1)
    await bus.plain_jetstream().add_consumer("OMS_ORDERS", config)
    reader = await bus.plain_jetstream().pull_subscribe_bind(consumer="t", stream="OMS_ORDERS")
    await reader.fetch(1, timeout=60)
    while (await js_api(bus, "CONSUMER.INFO.OMS_ORDERS.t"))["num_ack_pending"]:
        with pytest.raises(TimeoutError):
            await reader.fetch(1, timeout=0.3)
    assert (await lag_of(bus, "t")).seconds == 0.0
    await stored.pause()
    await stored.order()
    await lag_as_old_as(stored, 1, bus, "t")


async def test_a_consumer_of_new_messages_does_not_lag_by_old_ones(bus: EventBus):
    stored = Stored(bus)
    await stored.order()
    await stored.pause()
    await raw(bus, "t", deliver_policy=DeliverPolicy.NEW)
    assert (await lag_of(bus, "t")).seconds == 0.0


async def test_a_purged_message_is_no_lag(bus: EventBus):
    stored = Stored(bus)
    await stored.order()
    await raw(bus, "t")
    await bus.plain_jetstream().purge_stream("OMS_ORDERS")
    lag = await lag_of(bus, "t")
    assert (lag.seconds, lag.messages) == (0.0, 0)


async def test_more_consumers_than_a_page_are_all_seen(bus: EventBus):
    await Stored(bus).order()
    for number in range(300):
        await raw(bus, f"c{number}", inactive_threshold=600)
    lags = await consumer_lags(bus)
    assert len(lags) == 300
    assert all(lag.messages == 1 for lag in lags)


async def test_looking_at_two_hundred_consumers_costs_the_server_little(bus: EventBus, nats_server: NatsServer):
    await Stored(bus).order()
    for number in range(200):
        await raw(bus, f"c{number}")
    before = cpu(nats_server)
    for _ in range(10):
        assert len(await consumer_lags(bus)) == 200
    assert (cpu(nats_server) - before) / 10 < 0.25  # every 5 s: less than 5 % of a core


def cpu(server: NatsServer) -> float:
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_the_command_lists_the_worst_first(
    bus: EventBus, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("MTS1B_NATS_URL", nats_server.url)
    stored = Stored(bus)
    await stored.order("alpha")
    await stored.pause()
    await bus.emit(OMS_ORDERS_FILLED, BETA)
    await raw(bus, "late")
    await raw(bus, "later", filter_subject="mts.v1.oms.orders.filled.>")
    before = stored.age(0)
    assert await asyncio.to_thread(run, ["lag", "--json"]) == 0
    after = stored.age(0)
    rows = json.loads(capsys.readouterr().out)
    assert [row["consumer"] for row in rows] == ["late", "later"]
    assert before - ROUNDING <= rows[0]["lag_seconds"] <= after + ROUNDING
    assert await asyncio.to_thread(run, ["consumers", "ls"]) == 0
    out = capsys.readouterr().out
    assert "LAG_SECONDS" in out
    for noun in (["lag"], ["consumers", "ls"]):
        assert await asyncio.to_thread(run, [*noun, "--stream", "NOPE"]) == 1
        assert "there is no stream 'NOPE'" in capsys.readouterr().err
    assert "nobody" in out


async def test_top_shows_streams_with_rates_and_consumers_with_lag(
    bus: EventBus, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("MTS1B_NATS_URL", nats_server.url)
    monkeypatch.setenv("COLUMNS", "120")
    await Stored(bus).order()
    await raw(bus, "late")
    assert await asyncio.to_thread(run, ["top", "--interval", "0.2", "--looks", "2"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"OMS_ORDERS +1 +[\d,]+ +0\.0 +1", shown)
    assert re.search(r"OMS_ORDERS +late +[\d.]+ s +1 +0 +0 +0", shown)
