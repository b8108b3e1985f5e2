"""Bulk loads on a real server: everything is stored once and in order, through kills; errors say how far it came."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import STREAMS, EventBus, Ingested, NoStream, PublishError, PublishUncertain
from mts1b_platform.eventbus.hooks import joined
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.protocol.puback import PubAck
from mts1b_platform.eventbus.publishing.batch import Batch
from mts1b_platform.observability.audit import AuditHook, AuditLog, search
from mts1b_platform.server import NatsServer

HISTORY = 6_000
WAIT = 60.0


def orders(count: int = HISTORY, start: int = 0) -> Iterator[Order]:
    return (ORDER.model_copy(update={"idempotency_key": f"key-{n}"}) for n in range(start, start + count))


async def stored_keys(bus: EventBus) -> list[str]:
    """The idempotency keys in the stream, in its order."""
    last = (await js_api(bus, "STREAM.INFO.OMS_ORDERS", timeout=WAIT))["state"]["last_seq"]
    keys: list[str] = []
    async for event in bus.consume(OMS_ORDERS_CREATED, durable="judge"):
        async with event:
            keys.append(event.payload.idempotency_key)
        if event.seq == last:
            return keys
    raise AssertionError("the judge was stopped")


async def test_a_history_is_stored_in_order_and_counted(bus: EventBus):
    loaded = await bus.ingest(OMS_ORDERS_CREATED, orders())
    assert loaded == Ingested("OMS_ORDERS", HISTORY)
    assert bus.counters.published[OMS_ORDERS_CREATED.pattern] == HISTORY
    assert await stored_keys(bus) == [f"key-{n}" for n in range(HISTORY)]


async def test_events_may_come_one_by_one_from_somewhere_slow(bus: EventBus):
    async def slowly() -> AsyncIterator[Order]:
        for order in orders(20):
            await asyncio.sleep(0)
            yield order

    assert (await bus.ingest(OMS_ORDERS_CREATED, slowly())).events == 20
    assert (await bus.ingest(OMS_ORDERS_CREATED, [])).events == 0


async def test_what_is_known_already_is_not_stored_again(bus: EventBus):
    await bus.emit_many(OMS_ORDERS_CREATED, list(orders(10)))
    assert (await bus.ingest(OMS_ORDERS_CREATED, orders(20))).events == 20
    assert await stored_keys(bus) == [f"key-{n}" for n in range(20)]


async def test_a_load_goes_on_after_the_server_was_killed_in_the_middle(bus: EventBus, nats_server: NatsServer):
    pipeline = bus.publishing.pipeline
    store, batches = pipeline.store, 0

    async def store_or_die(batch: Batch) -> PubAck:
        nonlocal batches
        batches += 1
        if batches in (2, 4):
            nats_server.kill()
            await nats_server.restart()
        return await store(batch)

    pipeline.store = store_or_die
    assert (await bus.ingest(OMS_ORDERS_CREATED, orders(), deadline=WAIT)).events == HISTORY
    assert bus.counters.publish_retries[OMS_ORDERS_CREATED.pattern] >= 1
    keys = await stored_keys(bus)
    assert keys == [f"key-{n}" for n in range(HISTORY)]


async def test_a_frozen_server_ends_in_an_error_that_says_how_many_are_stored(bus: EventBus, nats_server: NatsServer):
    async def then_frozen() -> AsyncIterator[Order]:
        for number, order in enumerate(orders()):
            if number == 3_000:
                nats_server.pause()
            yield order

    try:
        with pytest.raises(PublishUncertain, match=r"[0-9]+ events are stored for certain"):
            await bus.ingest(OMS_ORDERS_CREATED, then_frozen(), deadline=0.5)
    finally:
        nats_server.resume()


async def test_a_stream_that_takes_no_batches_is_loaded_one_by_one(bus: EventBus):
    (definition,) = [stream for stream in STREAMS if stream.name == "OMS_ORDERS"]
    await js_api(bus, "STREAM.UPDATE.OMS_ORDERS", {**definition.render("minimal"), "allow_atomic": False})
    assert (await bus.ingest(OMS_ORDERS_CREATED, orders(10))).events == 10
    assert await stored_keys(bus) == [f"key-{n}" for n in range(10)]


async def test_a_subject_that_no_stream_stores_is_refused(bus: EventBus):
    await js_api(bus, "STREAM.DELETE.OMS_ORDERS")
    with pytest.raises(NoStream, match="streams apply"):
        await bus.ingest(OMS_ORDERS_CREATED, orders(10))


async def test_an_event_that_the_stream_refuses_is_named_and_what_went_before_is_recorded(
    bus: EventBus, tmp_path: Path
):
    (definition,) = [stream for stream in STREAMS if stream.name == "OMS_ORDERS"]
    config = {**definition.render("minimal"), "max_msg_size": 1_000}
    await js_api(bus, "STREAM.UPDATE.OMS_ORDERS", config)

    def one_too_long() -> Iterator[Order]:
        yield from orders(5)
        yield ORDER.model_copy(update={"idempotency_key": "long", "symbol": "x" * 2_000})
        yield from orders(5, start=5)

    with AuditLog(tmp_path / "audit", bus.service) as audit:
        bus.hooks = joined(bus.hooks, AuditHook(audit))
        with pytest.raises(PublishError, match=r"'long'.*5 events before it are stored"):
            await bus.ingest(OMS_ORDERS_CREATED, one_too_long())
        bus.hooks = None
    assert await stored_keys(bus) == [f"key-{n}" for n in range(5)]
    (record,) = search(tmp_path / "audit", kind="bulk_load_failed")
    assert record["events"] == 5


async def test_a_load_is_one_record_of_the_audit_log(bus: EventBus, tmp_path: Path):
    with AuditLog(tmp_path / "audit", bus.service) as audit:
        bus.hooks = joined(bus.hooks, AuditHook(audit))
        await bus.ingest(OMS_ORDERS_CREATED, orders(100))
        bus.hooks = None
    (record,) = search(tmp_path / "audit", kind="bulk_load")
    assert (record["subject"], record["events"]) == (OMS_ORDERS_CREATED.pattern, 100)
