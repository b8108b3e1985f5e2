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
from mts1b_deploy.permissions import ADMIN, OPERATIONS
from mts1b_desk.errors import DeskError
from mts1b_desk.protocol import Progress
from mts1b_desk.services.requests import NoAnswer, ask, running_desk, serve_endpoints
from mts1b_foundation.deadletters import DeadLetter, DeadLetterReason
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import FILL, ORDER, QUOTE
from mts1b_foundation.subjects import (
    MARKETDATA_QUOTES,
    OMS_FILLS_CREATED,
    OMS_ORDERS_CREATED,
    OMS_ORDERS_FILLED,
    OPERATIONS_DEADLETTERS_CREATED,
    RESEARCH_DEADLETTERS_CREATED,
    TREASURY_DEADLETTERS_CREATED,
)
from mts1b_operations.deadletters import DeadLetterError, discard, letters, requeue
from mts1b_operations.deadletters.letters import Letter
from mts1b_operations.deadletters.mover import Mover
from mts1b_operations.deadletters.republish import OwnerAway
from mts1b_operations.halt import clear_halt, halts_in_force, request_halt
from mts1b_platform.eventbus import AccessDenied, Listener, RetryPolicy
from mts1b_platform.eventbus.dedupe import KvDedupe
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.jetstream.stored import read_stored
from mts1b_platform.service import Service
from mts1b_platform.service.requeue import answer_requeues

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


async def dead_letter_of_an_order(locked: Locked) -> Letter:
    """The letter of an order that the OMS has published, as the treasury dead-letters it."""
    oms, treasury = await locked.bus("mts1b-oms"), await locked.bus("mts1b-treasury")
    ack = await oms.emit(OMS_ORDERS_CREATED, ORDER)
    held = await read_stored(oms, ack.stream, seq=ack.seq)
    assert held is not None
    letter = DeadLetter.of_stored(
        subject=ack.subject,
        headers=held.wire.headers.readable(),
        payload=held.wire.payload,
        stream=ack.stream,
        sequence=ack.seq,
        stored_at=held.time,
        consumer="my-consumer",
        deliveries=1,
        reason=DeadLetterReason.REJECTED,
        error="a bug",
    )
    await treasury.emit(TREASURY_DEADLETTERS_CREATED, letter)
    (found,) = await letters(await locked.bus("mts1b-operations"))
    return found


async def test_a_requeue_is_published_by_the_service_whose_event_it_is(locked: Locked):
    letter = await dead_letter_of_an_order(locked)
    oms, operations = (
        Service("mts1b-oms", config=locked.empty_config(), servers=locked.url),
        await locked.bus(OPERATIONS),
    )
    running = asyncio.create_task(oms.serve())
    await oms.started()
    outcome = await requeue(operations, letter, to="consumer", actor="alice")
    again = await read_stored(operations, "OMS_ORDERS", seq=2)
    assert again is not None
    headers = again.wire.headers
    assert (again.wire.payload, headers.get("mts-only-durable")) == (letter.letter.payload, "my-consumer")
    assert headers.get("mts-source-repo") == "mts1b-oms"
    assert outcome.detail.endswith("OMS_ORDERS:2")
    assert await letters(operations) == []
    oms.stop()
    assert await asyncio.wait_for(running, PATIENCE) == 0


async def test_a_requeue_whose_owner_is_away_is_refused_in_words_and_deletes_nothing(
    locked: Locked, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("mts1b_operations.deadletters.republish.OWNER_WITHIN", 0.3)
    letter = await dead_letter_of_an_order(locked)
    operations = await locked.bus(OPERATIONS)
    with pytest.raises(OwnerAway, match=r"mts1b-oms, which alone may publish it again, has not answered for 0\.3 s"):
        await requeue(operations, letter, to="consumer", actor="alice")
    assert await letters(operations) == [letter]
    assert await read_stored(operations, "OMS_ORDERS", seq=2) is None
    await answer_requeues(await locked.bus("mts1b-oms"))
    assert (await requeue(operations, letter, to="subject", actor="alice")).action == "requeued"


async def test_a_service_publishes_nothing_again_that_it_has_not_published(locked: Locked):
    """A forged dead letter is a way to have another publish what one wants, if it believes the letter."""
    genuine = await dead_letter_of_an_order(locked)
    operations = await locked.bus(OPERATIONS)
    await answer_requeues(await locked.bus("mts1b-oms"))
    await discard(operations, genuine, actor="alice", reason="make room")
    forger = await locked.bus("mts1b-research")
    for number, changes in enumerate(
        [{"sequence": 7}, {"subject": "mts.v1.oms.orders.filled"}, {"subject": "mts.v1.treasury.nav.alpha"}]
    ):
        forged = genuine.letter.model_copy(update={"dead_letter_id": f"OMS_ORDERS:{number}:x:0", **changes})
        await forger.emit(RESEARCH_DEADLETTERS_CREATED, forged)
    found = await letters(operations)
    assert len(found) == 3
    of_the_oms = [letter for letter in found if not letter.letter.subject.startswith("mts.v1.treasury")]
    for letter in of_the_oms:
        with pytest.raises(DeadLetterError, match="OMS_ORDERS does not hold the event under"):
            await requeue(operations, letter, to="consumer", actor="alice", force=True)
    evil = genuine.letter.model_copy(update={"dead_letter_id": "OMS_ORDERS:1:y:0", "payload": b'{"quantity":"1e9"}'})
    await forger.emit(RESEARCH_DEADLETTERS_CREATED, evil)
    (letter,) = [each for each in await letters(operations) if each.id == evil.dead_letter_id]
    await requeue(operations, letter, to="subject", actor="alice")
    stored = await read_stored(operations, "OMS_ORDERS", seq=2)
    assert stored is not None
    assert stored.wire.payload == genuine.letter.payload


async def test_only_operations_may_have_an_event_published_again(locked: Locked):
    for service in ("mts1b-research", "mts1b-treasury"):
        bus = await locked.bus(service)
        for owner in ("oms", "marketdata"):
            with pytest.raises(AccessDenied, match=f"{service} may not publish"):
                await bus.request(f"svc.v1.{owner}.requeue", b"{}", timeout=PATIENCE)


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
