"""nats-py's JetStream surface with the bus underneath: `bus.jetstream()`."""

import asyncio
from typing import Any

import pytest
from mts1b_foundation.deadletters import DeadLetterReason
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_DEADLETTERS_CREATED, OMS_ORDERS_CREATED
from mts1b_platform.eventbus import EventBus, InvalidHeader
from mts1b_platform.testing.bus import ConnectBus

WAIT = 60.0
HEADERS = {
    "NATS-Msg-Id": ORDER.idempotency_key,
    "mts-schema": "mts1b_foundation.orders.Order:v1",
    "mts-source-repo": "mts1b-oms",
    "mts-actor": ORDER.actor,
}


async def publish(bus: EventBus, order: Order = ORDER, headers: dict[str, str] | None = None) -> Any:
    return await bus.jetstream(timeout=WAIT).publish(
        "mts.v1.oms.orders.created",
        order.model_dump_json().encode(),
        headers={**HEADERS, "NATS-Msg-Id": order.idempotency_key, **(headers or {})},
    )


async def test_the_spelling_of_the_spec_is_deduplicated_and_the_callers_dict_is_left_alone(bus: EventBus):
    given = dict(HEADERS)
    first = await bus.jetstream().publish("mts.v1.oms.orders.created", b"{}", headers=given)
    second = await bus.jetstream().publish("mts.v1.oms.orders.created", b"{}", headers=given)
    assert (first.duplicate or False, second.duplicate) == (False, True)
    assert given == HEADERS


async def test_two_headers_that_differ_by_case_are_refused(bus: EventBus):
    with pytest.raises(InvalidHeader, match="differ only by case"):
        await publish(bus, headers={"Nats-Msg-Id": "other"})


async def test_the_envelope_is_completed(bus: EventBus):
    ack = await publish(bus)
    headers = (await bus.jetstream().get_msg(ack.stream, ack.seq)).headers or {}
    assert headers["content-type"] == "application/json"
    assert len(headers["mts-trace-id"]) == 32


async def test_a_nak_with_a_delay_brings_the_message_again_after_it(bus: EventBus):
    await publish(bus)
    sub = await bus.jetstream().subscribe("mts.v1.oms.orders.created", durable="my-consumer", manual_ack=True)
    first = await asyncio.wait_for(anext(sub.messages), WAIT)
    began = asyncio.get_running_loop().time()
    await first.nak(delay=0.3)
    second = await asyncio.wait_for(anext(sub.messages), WAIT)
    assert asyncio.get_running_loop().time() - began >= 0.3
    assert second.metadata.num_delivered == 2
    await second.ack()
    assert Order.model_validate_json(second.data) == ORDER


async def test_both_forms_of_the_subject_are_read(bus: EventBus):
    await publish(bus)
    await bus.emit(OMS_ORDERS_CREATED, ORDER.model_copy(update={"idempotency_key": "scoped"}))
    sub = await bus.jetstream().subscribe("mts.v1.oms.orders.created", durable="my-consumer", manual_ack=True)
    subjects = []
    for _ in range(2):
        msg = await sub.next_msg(timeout=WAIT)
        subjects.append(msg.subject)
        await msg.ack()
    assert subjects == ["mts.v1.oms.orders.created", f"mts.v1.oms.orders.created.fund.{ORDER.fund_id}"]


async def test_a_message_nobody_can_handle_becomes_a_dead_letter(bus: EventBus):
    await publish(bus)
    sub = await bus.jetstream().subscribe("mts.v1.oms.orders.created", durable="my-consumer", manual_ack=True)
    for _ in range(5):
        msg = await sub.next_msg(timeout=WAIT)
        await msg.nak()
    pulling = asyncio.create_task(anext(sub.messages))
    letter = await asyncio.wait_for(anext(bus.consume(OMS_DEADLETTERS_CREATED, durable="dead")), WAIT)
    assert letter.payload.reason is DeadLetterReason.MAX_DELIVERIES
    await sub.unsubscribe()
    with pytest.raises(StopAsyncIteration):
        await pulling


async def test_two_instances_share_the_durable(bus: EventBus, connect_bus: ConnectBus):
    for number in range(40):
        await publish(bus, ORDER.model_copy(update={"idempotency_key": f"intent-{number}"}))
    seen: list[str] = []

    async def work(mine: EventBus) -> None:
        sub = await mine.jetstream().subscribe("mts.v1.oms.orders.created", durable="shared", manual_ack=True)
        while len(seen) < 40:
            try:
                msg = await sub.next_msg(timeout=0.2)
            except TimeoutError:
                continue
            seen.append(Order.model_validate_json(msg.data).idempotency_key)
            await msg.ack()

    async with asyncio.timeout(WAIT), asyncio.TaskGroup() as group:
        group.create_task(work(await connect_bus()))
        group.create_task(work(await connect_bus()))
    assert sorted(seen) == sorted(f"intent-{number}" for number in range(40))
