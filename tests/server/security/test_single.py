"""Services on a locked-down server: what they need works, and the specification's examples run unchanged."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from locked_server import PATIENCE, Locked
from mts1b_deploy.permissions import ADMIN
from mts1b_desk.errors import DeskError
from mts1b_desk.protocol import Progress
from mts1b_desk.services.requests import NoAnswer, ask, running_desk, serve_endpoints
from mts1b_foundation.deadletters import DeadLetter
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import DEAD_LETTER, FILL, ORDER, QUOTE
from mts1b_foundation.subjects import (
    MARKETDATA_QUOTES,
    OMS_DEADLETTERS_CREATED,
    OMS_FILLS_CREATED,
    OMS_ORDERS_CREATED,
    OMS_ORDERS_FILLED,
    OPERATIONS_DEADLETTERS_CREATED,
)
from mts1b_operations.deadletters import DeadLetterError, discard, letters, requeue
from mts1b_operations.deadletters.mover import Mover
from mts1b_operations.halt import clear_halt, halts_in_force, request_halt
from mts1b_platform.eventbus import AccessDenied, Listener, RetryPolicy
from mts1b_platform.eventbus.dedupe import KvDedupe
from mts1b_platform.eventbus.jetstream.api import js_api

EXAMPLES = Path(__file__).parents[3] / "examples"


def environment(locked: Locked, service: str) -> dict[str, str]:
    return {
        **os.environ,
        "MTS1B_NATS_URL": locked.url,
        "MTS1B_CONFIG": str(locked.empty_config()),
        "MTS1B_SERVICE": service,
    }


async def test_the_specs_two_examples_run_unchanged_as_two_services(locked: Locked):
    producer = await asyncio.create_subprocess_exec(
        sys.executable,
        EXAMPLES / "spec_producer.py",
        env=environment(locked, "mts1b-oms"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(producer.communicate(), PATIENCE)
    assert out.decode().splitlines() == ["OMS_ORDERS 1 stored", "OMS_ORDERS 1 duplicate"], err.decode()
    consumer = await asyncio.create_subprocess_exec(
        sys.executable,
        EXAMPLES / "spec_consumer.py",
        env=environment(locked, "mts1b-treasury"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        oms = await locked.bus("mts1b-oms")
        now = ORDER.updated_at
        filled: Order = ORDER.accept(now).fill(ORDER.quantity, ORDER.limit_price or ORDER.quantity, now)
        await oms.emit(OMS_ORDERS_FILLED, filled)
        assert consumer.stdout is not None
        assert consumer.stderr is not None
        line = (await asyncio.wait_for(consumer.stdout.readline(), PATIENCE)).decode()
        assert line.startswith(f"{filled.order_id} filled"), (await consumer.stderr.read()).decode()
    finally:
        consumer.kill()
        await consumer.wait()


async def test_typed_events_flow_between_services_of_both_tiers(locked: Locked):
    oms, treasury = await locked.bus("mts1b-oms"), await locked.bus("mts1b-treasury")
    marketdata = await locked.bus("mts1b-marketdata")
    async with treasury.listen(MARKETDATA_QUOTES) as quotes:
        await marketdata.emit(MARKETDATA_QUOTES, QUOTE)
        assert (await asyncio.wait_for(anext(quotes), PATIENCE)).payload == QUOTE
    assert (await oms.emit(OMS_FILLS_CREATED, FILL)).stream == "OMS_FILLS"
    acks = await oms.emit_many(OMS_ORDERS_CREATED, [ORDER])
    assert [ack.stream for ack in acks] == ["OMS_ORDERS"]


async def test_operations_halts_and_sees_halts_without_a_consumer_of_its_own(locked: Locked):
    operations = await locked.bus("mts1b-operations")
    halt, _ = await request_halt(operations, fund_id="alpha", reason="a test", actor="alice")
    assert [each.request.halt_id for each in await halts_in_force(operations)] == [halt.halt_id]
    await clear_halt(operations, halt.halt_id, reason="over", actor="alice")
    assert await halts_in_force(operations) == ()


async def test_the_dead_letter_mover_works_with_what_the_administration_made(locked: Locked):
    operations = await locked.bus("mts1b-operations")
    oms, treasury = await locked.bus("mts1b-oms"), await locked.raw("mts1b-treasury")
    now = ORDER.updated_at
    await oms.emit(OMS_ORDERS_FILLED, ORDER.accept(now).fill(ORDER.quantity, ORDER.quantity, now))
    mover = Mover(operations)
    moving = asyncio.create_task(mover.run())
    pulled = await treasury.jetstream().pull_subscribe_bind(consumer="my-consumer", stream="OMS_ORDERS")
    async with letters_of_operations(locked) as heard:
        (msg,) = await pulled.fetch(1, timeout=PATIENCE)
        await msg.term()
        letter = (await asyncio.wait_for(anext(heard), PATIENCE)).payload
    assert letter.consumer == "my-consumer"
    mover.stop()
    await asyncio.wait_for(moving, PATIENCE)


async def test_operations_lists_and_discards_dead_letters_also_after_a_requeue_that_was_refused(locked: Locked):
    operations, oms = await locked.bus("mts1b-operations"), await locked.bus("mts1b-oms")
    await oms.emit(OMS_DEADLETTERS_CREATED, DEAD_LETTER)
    [letter] = await letters(operations)
    with pytest.raises(DeadLetterError, match="mts1b-operations may not publish on it"):
        await requeue(operations, letter, to="consumer", actor="alice")
    assert (await discard(operations, letter, actor="alice", reason="booked by hand")).action == "discarded"
    assert await letters(operations) == []


@asynccontextmanager
async def letters_of_operations(locked: Locked) -> AsyncGenerator[Listener[DeadLetter], None]:
    """Dead letters of the operations as they are stored."""
    hearing = await locked.bus("mts1b-research")
    async with hearing.listen(OPERATIONS_DEADLETTERS_CREATED) as heard:
        yield heard


async def test_a_publish_whose_ack_was_lost_can_be_looked_up_by_its_producer(locked: Locked):
    oms = await locked.bus("mts1b-oms")
    acks = await oms.emit_many(OMS_ORDERS_CREATED, [ORDER], atomic=True)
    found = await js_api(oms, "STREAM.MSG.GET.OMS_ORDERS", {"seq": acks[0].seq})
    assert found["message"]["subject"] == acks[0].subject


async def test_an_endpoint_of_the_desk_answers_a_service_and_is_found_by_operations(locked: Locked):
    """Its answers go where they are waited for, though it answers on a connection of nats-py."""
    marketdata, research = await locked.bus("mts1b-marketdata"), await locked.bus("mts1b-research")
    operations = await locked.bus("mts1b-operations")

    async def status(_: bytes) -> Progress:
        return Progress(quotes=3)

    async def refuse(_: bytes) -> Progress:
        raise DeskError("not today")

    micro = await serve_endpoints(marketdata, "marketdata", {"session": "s1"}, {"status": status, "book": refuse})
    assert (await ask(research, "marketdata", "status", Progress, timeout=PATIENCE)).quotes == 3
    with pytest.raises(DeskError, match=r"svc\.v1\.marketdata\.book: not today"):
        await ask(research, "marketdata", "book", Progress, timeout=PATIENCE)
    assert await running_desk(operations) == {"mts1b-desk-marketdata": {"session": "s1"}}
    await micro.stop()
    with pytest.raises(NoAnswer, match="does not run"):
        await ask(research, "marketdata", "status", Progress, timeout=PATIENCE)


async def test_each_service_answers_to_its_own_inbox_prefix(locked: Locked):
    oms = await locked.bus("mts1b-oms")
    assert oms.new_inbox().startswith("_INBOX_mts1b-oms.")


async def test_a_service_without_a_certificate_is_told_what_is_missing(locked: Locked):
    with pytest.raises(AccessDenied, match=r"refuses this identity.*MTS1B_TLS_DIR"):
        await locked.bus(None)


async def test_the_next_process_of_a_service_knows_how_often_an_event_was_tried(locked: Locked):
    await KvDedupe(await locked.bus(ADMIN)).ensure_bucket()
    oms = await locked.bus("mts1b-oms")
    await oms.emit(OMS_ORDERS_FILLED, ORDER)
    tries: list[int] = []
    for _ in range(2):
        treasury = await locked.bus("mts1b-treasury")
        policy = RetryPolicy(base=0.1, cap=0.1)
        async with treasury.consume(OMS_ORDERS_FILLED, durable="my-consumer", policy=policy) as filled:
            event = await asyncio.wait_for(anext(filled), PATIENCE)
            with suppress(ValueError):
                async with event:
                    tries.append(event.tries)
                    raise ValueError("no such book")
        await treasury.drain()
    assert tries == [1, 2]
