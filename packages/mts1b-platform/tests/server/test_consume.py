"""What `consume` promises: every event is handled, or stored as a dead letter; on a real server."""

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from mts1b_foundation.deadletters import DeadLetter, DeadLetterReason
from mts1b_foundation.errors import UnknownParameter
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import (
    MARKETDATA_QUOTES,
    OMS_DEADLETTERS_CREATED,
    OMS_FILLS_CREATED,
    OMS_ORDERS_ACCEPTED,
    OMS_ORDERS_CREATED,
)
from mts1b_platform.eventbus import (
    BusClosed,
    ConsumeError,
    Consumer,
    ConsumerConflict,
    ConsumerGone,
    Event,
    EventBus,
    NoStream,
    NotStored,
    Reject,
    Retry,
    RetryPolicy,
)
from mts1b_platform.eventbus.consuming import settling
from mts1b_platform.eventbus.jetstream.api import ApiError, js_api
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus

QUICK = RetryPolicy(max_deliveries=3, base=0.05, jitter=0)
NEVER = RetryPolicy(max_deliveries=1000)
"""Of readers that crash: none of them gives an event up, however often it came meanwhile."""
WAIT = 60.0
LONG = 3600.0
"""An ack wait that no test here lives to see."""


def order(key: str = "intent-1", fund: str = "alpha") -> Order:
    return ORDER.model_copy(update={"order_id": f"order-{key}", "idempotency_key": key, "fund_id": fund})


async def next_of(consumer: Consumer[Any]) -> Any:
    return await asyncio.wait_for(anext(consumer), WAIT)


async def dead_letters(bus: EventBus, count: int) -> list[DeadLetter]:
    letters: list[DeadLetter] = []
    async with bus.consume(OMS_DEADLETTERS_CREATED, durable="reader-of-the-dead") as reader:
        while len(letters) < count:
            event = await next_of(reader)
            async with event:
                letters.append(event.payload)
    assert (await bus.jetstream(timeout=WAIT).stream_info("DEADLETTERS")).state.messages == count
    return letters


async def settled(bus: EventBus, stream: str, durable: str) -> bool:
    """Whether the server waits for nothing from the durable any more."""
    clock = asyncio.get_running_loop()
    end = clock.time() + WAIT
    while clock.time() < end:
        info = await bus.jetstream(timeout=WAIT).consumer_info(stream, durable)
        if info.num_ack_pending == 0 and info.num_pending == 0:
            return True
        await asyncio.sleep(0.02)
    return False


async def deliveries(bus: EventBus, durable: str = "t") -> int:
    """How often the server has handed out something to the durable."""
    try:
        return (await js_api(bus, f"CONSUMER.INFO.OMS_ORDERS.{durable}", timeout=WAIT))["delivered"]["consumer_seq"]
    except ApiError:  # it does not exist yet
        return 0


async def test_both_forms_of_a_subject_are_read_and_typed(bus: EventBus):
    await bus.jetstream(timeout=WAIT).publish(
        "mts.v1.oms.orders.created",
        order("bare").model_dump_json().encode(),
        headers={
            "NATS-Msg-Id": "bare",
            "mts-schema": "mts1b_foundation.orders.Order:v1",
            "mts-source-repo": "mts1b-oms",
        },
    )
    await bus.emit(OMS_ORDERS_CREATED, order("scoped"))
    orders = bus.consume(OMS_ORDERS_CREATED, durable="t")
    for expected in ("bare", "scoped"):
        async with await next_of(orders) as event:
            assert event.payload == order(expected)
            assert event.deliveries == 1
    assert await settled(bus, "OMS_ORDERS", "t")


async def test_a_fund_is_read_alone(bus: EventBus):
    await bus.emit_many(OMS_ORDERS_CREATED, [order("a", "alpha"), order("b", "beta"), order("c", "alpha")])
    alpha = bus.consume(OMS_ORDERS_CREATED, durable="alpha", fund_id="alpha")
    keys: list[str] = []
    for _ in range(2):
        async with await next_of(alpha) as event:
            keys.append(event.payload.idempotency_key)
    assert keys == ["a", "c"]
    assert await settled(bus, "OMS_ORDERS", "alpha")


async def test_several_subjects_of_a_stream_are_read_in_its_order(bus: EventBus):
    await bus.emit(OMS_ORDERS_CREATED, order("a"))
    await bus.emit(OMS_ORDERS_ACCEPTED, order("a").accept(ORDER.updated_at))
    await bus.emit(OMS_ORDERS_CREATED, order("b"))
    both = bus.consume(OMS_ORDERS_CREATED, OMS_ORDERS_ACCEPTED, durable="both")
    seen: list[str] = []
    for _ in range(3):
        async with await next_of(both) as event:
            seen.append(f"{event.payload.idempotency_key} {event.registered.tokens[-1]}")
    assert seen == ["a created", "a accepted", "b created"]


async def test_a_failing_handler_gets_the_event_again_after_its_delay_and_then_a_dead_letter(bus: EventBus):
    await bus.emit(OMS_ORDERS_CREATED, order(), trace_id="cd" * 16)
    orders = bus.consume(OMS_ORDERS_CREATED, durable="t", policy=QUICK)
    moments: list[float] = []
    for attempt in (1, 2, 3):
        async with await next_of(orders) as event:
            moments.append(asyncio.get_running_loop().time())
            assert event.deliveries == attempt
            raise ZeroDivisionError(f"attempt {attempt}")
    assert moments[1] - moments[0] >= 0.05
    assert moments[2] - moments[1] >= 0.1
    (letter,) = await dead_letters(bus, 1)
    assert letter.reason is DeadLetterReason.MAX_DELIVERIES
    assert letter.subject == "mts.v1.oms.orders.created.fund.alpha"
    assert letter.error == "attempt 3"
    assert letter.deliveries == 3
    assert "ZeroDivisionError" in (letter.traceback or "")
    assert Order.model_validate_json(letter.payload) == order()
    assert letter.headers["mts-trace-id"] == "cd" * 16
    assert (letter.stream, letter.sequence, letter.consumer) == ("OMS_ORDERS", 1, "t")
    assert await settled(bus, "OMS_ORDERS", "t")
    assert bus.counters.consume_errors[OMS_ORDERS_CREATED.pattern] == 3
    assert bus.counters.deadletters[OMS_ORDERS_CREATED.pattern] == 1


async def test_reject_dead_letters_at_once_and_retry_sets_its_own_delay(bus: EventBus):
    await bus.emit(OMS_ORDERS_CREATED, order())
    orders = bus.consume(OMS_ORDERS_CREATED, durable="t")
    async with await next_of(orders) as event:
        raise Retry(0.01)
    async with await next_of(orders) as event:
        assert event.deliveries == 2
        raise Reject("the fund is closed")
    (letter,) = await dead_letters(bus, 1)
    assert letter.reason is DeadLetterReason.REJECTED
    assert letter.error == "the fund is closed"


@pytest.mark.parametrize(
    ("headers", "payload", "reason", "words"),
    [
        ({}, b"{}", DeadLetterReason.SCHEMA_MISMATCH, "has no mts-schema header"),
        (
            {"mts-schema": "mts1b_foundation.orders.Order:v9", "mts-source-repo": "mts1b-oms"},
            b"{}",
            DeadLetterReason.SCHEMA_MISMATCH,
            "expected mts1b_foundation.orders.Order:v1",
        ),
        (
            {"mts-schema": "mts1b_foundation.orders.Order:v1", "mts-source-repo": "mts1b-treasury"},
            b"{}",
            DeadLetterReason.SCHEMA_MISMATCH,
            "only mts1b-oms publishes here",
        ),
        (
            {"mts-schema": "mts1b_foundation.orders.Order:v1", "mts-source-repo": "mts1b-oms"},
            b'{"order_id": 7}',
            DeadLetterReason.INVALID_PAYLOAD,
            "order_id: Input should be a valid string",
        ),
        (
            {"MTS-Schema": "mts1b_foundation.orders.Order:v1", "mts-source-repo": "mts1b-oms"},
            b"\xff not json",
            DeadLetterReason.INVALID_PAYLOAD,
            "Invalid JSON",
        ),
    ],
    ids=["no schema", "other schema", "other producer", "invalid payload", "garbage"],
)
async def test_a_message_that_is_not_what_it_should_be_is_a_dead_letter_and_the_consumer_goes_on(
    bus: EventBus, headers: dict[str, str], payload: bytes, reason: DeadLetterReason, words: str
):
    # past the bus's own canonical headers, as a foreign client would
    await bus.plain_jetstream().publish("mts.v1.oms.orders.created", payload, headers=headers or None)
    await bus.emit(OMS_ORDERS_CREATED, order("good"))
    async with await next_of(bus.consume(OMS_ORDERS_CREATED, durable="t")) as event:
        assert event.payload.idempotency_key == "good"
    (letter,) = await dead_letters(bus, 1)
    assert letter.reason is reason
    assert words in letter.error
    assert letter.payload == payload
    assert await settled(bus, "OMS_ORDERS", "t")
    assert bus.counters.schema_mismatch[OMS_ORDERS_CREATED.pattern] == 1


async def test_an_event_whose_handlers_all_crashed_becomes_a_dead_letter(bus: EventBus, connect_bus: ConnectBus):
    await bus.emit(OMS_ORDERS_CREATED, order("poison"))
    while await deliveries(bus) < 1 + QUICK.max_deliveries:  # nothing is written at the first delivery
        victim = await connect_bus()
        await next_of(victim.consume(OMS_ORDERS_CREATED, durable="t", ack_wait=1, policy=NEVER))
        await victim.close()  # the process is gone without an answer
    await bus.emit(OMS_ORDERS_CREATED, order("good"))
    survivor = bus.consume(OMS_ORDERS_CREATED, durable="t", policy=QUICK)
    handled: set[str] = set()

    async def handle(event: Event[Order]) -> None:
        handled.add(event.payload.idempotency_key)

    surviving = asyncio.create_task(survivor.run(handle))
    (letter,) = await dead_letters(bus, 1)
    assert letter.reason is DeadLetterReason.MAX_DELIVERIES
    assert "crashed or hung" in letter.error
    assert Order.model_validate_json(letter.payload).idempotency_key == "poison"
    assert await settled(bus, "OMS_ORDERS", "t")
    await survivor.stop()
    await surviving
    assert handled == {"good"}


async def test_two_instances_share_one_durable_without_handling_anything_twice(bus: EventBus, connect_bus: ConnectBus):
    await bus.emit_many(OMS_ORDERS_CREATED, [order(f"intent-{n}") for n in range(200)])
    seen: list[str] = []
    everything = asyncio.Event()

    async def work(mine: Consumer[Order]) -> int:
        count = 0
        async for event in mine:
            async with event:
                await asyncio.sleep(0)
                seen.append(event.payload.idempotency_key)
                count += 1
            if len(seen) == 200:
                everything.set()
        return count

    first, second = await connect_bus(), await connect_bus()
    readers = [mine.consume(OMS_ORDERS_CREATED, durable="shared", prefetch=8) for mine in (first, second)]
    for reader in readers:
        await reader.start()
    async with asyncio.TaskGroup() as group:
        one, two = (group.create_task(work(reader)) for reader in readers)
        await asyncio.wait_for(everything.wait(), WAIT)
        await first.drain()
        await second.drain()
    assert sorted(seen) == sorted(f"intent-{n}" for n in range(200))
    assert min(one.result(), two.result()) > 0


async def test_a_handler_slower_than_the_ack_wait_sees_its_event_once_and_so_do_those_behind_it(
    bus: EventBus, standstill: Callable[[], float]
):
    keys = [*(f"quick-{n}" for n in range(8)), "slow", "waits", "waits-too"]
    await bus.emit_many(OMS_ORDERS_CREATED, [order(key) for key in keys])
    durables = (f"t{number}" for number in count())
    while True:
        standstill()
        orders = bus.consume(OMS_ORDERS_CREATED, durable=next(durables), ack_wait=1)
        seen: list[tuple[str, int]] = []
        for key in keys:
            async with await next_of(orders) as event:
                seen.append((event.payload.idempotency_key, event.deliveries))
                if key == "slow":
                    async with asyncio.timeout(WAIT):
                        while orders.waiting < 2:  # noqa: ASYNC110 - nothing tells that events wait
                            await asyncio.sleep(0.01)
                    await asyncio.sleep(2.5)
        if seen == [(key, 1) for key in keys] and await deliveries(bus, orders.durable) == len(keys):
            break
        assert standstill() > 0.3, seen  # else the ack wait was never over
        await orders.stop()
    assert await settled(bus, "OMS_ORDERS", orders.durable)


async def test_order_is_kept_per_key_while_one_event_fails_and_other_keys_go_on(bus: EventBus):
    await bus.emit_many(OMS_ORDERS_CREATED, [order(f"{key}-{n}") for n in range(3) for key in "abc"])
    orders = bus.consume(
        OMS_ORDERS_CREATED,
        durable="t",
        ordered_by=lambda payload: payload.idempotency_key[0],
        policy=RetryPolicy(max_deliveries=1000, base=0.1, factor=1, jitter=0),
    )
    handled: list[str] = []

    async def handle(event: Event[Order]) -> None:
        key = event.payload.idempotency_key
        if key == "b-0" and (event.deliveries < 3 or len(handled) < 6):  # other keys do not wait for the one that fails
            raise ConnectionError("not yet")
        handled.append(key)
        if len(handled) == 9:
            await orders.stop()

    await asyncio.wait_for(orders.run(handle, concurrency=4), WAIT)
    assert len(handled) == 9
    for key in "abc":
        assert [k for k in handled if k[0] == key] == [f"{key}-{n}" for n in range(3)]
    assert await settled(bus, "OMS_ORDERS", "t")


async def test_an_event_that_fails_for_good_lets_the_next_of_its_key_go(bus: EventBus):
    await bus.emit_many(OMS_ORDERS_CREATED, [order("a-0"), order("a-1")])
    orders = bus.consume(OMS_ORDERS_CREATED, durable="t", ordered_by="fund_id", policy=QUICK)
    for _ in range(3):
        async with await next_of(orders) as event:
            assert event.payload.idempotency_key == "a-0"
            raise ValueError("never")
    async with await next_of(orders) as event:
        assert event.payload.idempotency_key == "a-1"
    (letter,) = await dead_letters(bus, 1)
    assert (letter.reason, letter.deliveries) == (DeadLetterReason.MAX_DELIVERIES, 3)
    assert await settled(bus, "OMS_ORDERS", "t")


async def test_what_was_in_the_hands_of_processes_that_died_has_all_its_tries(bus: EventBus, connect_bus: ConnectBus):
    await bus.emit_many(OMS_ORDERS_CREATED, [order(key) for key in ("n0", "n1", "n2", "n3")])
    async with bus.consume(OMS_ORDERS_CREATED, durable="t", ack_wait=0.3, prefetch=1):
        pass
    careless = await connect_bus()
    pulls = await careless.plain_jetstream().pull_subscribe_bind(consumer="t", stream="OMS_ORDERS")
    taken = dict.fromkeys(range(1, 5), 0)
    while min(taken.values()) < 3:  # three processes die with all four in their hands
        for msg in await pulls.fetch(4, timeout=WAIT):
            taken[msg.metadata.sequence.stream] = msg.metadata.num_delivered
    await careless.close()
    handled: set[str] = set()
    survivor = bus.consume(OMS_ORDERS_CREATED, durable="t", policy=QUICK)
    while len(handled) < 4:
        async with await next_of(survivor) as event:
            assert event.deliveries > QUICK.max_deliveries
            assert event.tries == 1
            handled.add(event.payload.idempotency_key)
    assert handled == {"n0", "n1", "n2", "n3"}
    await dead_letters(bus, 0)


async def test_order_is_kept_over_a_crash(bus: EventBus, connect_bus: ConnectBus):
    await bus.emit_many(OMS_ORDERS_CREATED, [order(f"k-{n}") for n in range(3)])
    victim = await connect_bus()
    dying = victim.consume(OMS_ORDERS_CREATED, durable="t", ack_wait=1, ordered_by="fund_id")
    await next_of(dying)
    await victim.close()
    await bus.emit_many(OMS_ORDERS_CREATED, [order(f"k-{n}") for n in range(3, 6)])
    survivor = bus.consume(OMS_ORDERS_CREATED, durable="t", ordered_by="fund_id", ack_wait=1)
    handled: list[str] = []
    while len(handled) < 6:
        async with await next_of(survivor) as event:
            handled.append(event.payload.idempotency_key)
    assert handled == [f"k-{n}" for n in range(6)]
    assert await settled(bus, "OMS_ORDERS", "t")


async def test_in_order_an_event_blamed_for_the_crash_lets_the_next_of_its_key_go(
    bus: EventBus, connect_bus: ConnectBus
):
    await bus.emit(OMS_ORDERS_CREATED, order("a-0"))
    while await deliveries(bus) < 3:
        victim = await connect_bus()
        await next_of(victim.consume(OMS_ORDERS_CREATED, durable="t", ack_wait=0.3, policy=NEVER))
        await victim.close()
    await bus.emit_many(OMS_ORDERS_CREATED, [order("a-1"), order("a-2")])
    policy = RetryPolicy(max_deliveries=2, base=0.05)
    survivor = bus.consume(OMS_ORDERS_CREATED, durable="t", ordered_by="fund_id", policy=policy)
    handled: list[str] = []
    while len(handled) < 2:
        async with await next_of(survivor) as event:
            handled.append(event.payload.idempotency_key)
    assert handled == ["a-1", "a-2"]
    (letter,) = await dead_letters(bus, 1)
    assert "crashed or hung" in letter.error


async def test_handlers_run_at_the_same_time_up_to_the_limit(bus: EventBus):
    await bus.emit_many(OMS_ORDERS_CREATED, [order(f"k-{n}") for n in range(20)])
    orders = bus.consume(OMS_ORDERS_CREATED, durable="t")
    running = peak = done = 0
    full = asyncio.Event()

    async def handle(_: Event[Order]) -> None:
        nonlocal running, peak, done
        running += 1
        peak = max(peak, running)
        if running == 4:
            full.set()
        await full.wait()
        running -= 1
        done += 1
        if done == 20:
            await orders.stop()

    await asyncio.wait_for(orders.run(handle, concurrency=4), WAIT)
    assert peak == 4
    assert done == 20


async def test_a_loop_that_was_left_gives_its_events_to_others(bus: EventBus, connect_bus: ConnectBus):
    await bus.emit_many(OMS_ORDERS_CREATED, [order(f"intent-{n}") for n in range(10)])
    left = await connect_bus()
    async for event in left.consume(OMS_ORDERS_CREATED, durable="t", ack_wait=1):
        async with event:
            pass
        if event.payload.idempotency_key == "intent-4":
            break
    async with asyncio.timeout(WAIT):
        while (await js_api(bus, "CONSUMER.INFO.OMS_ORDERS.t", timeout=WAIT))["ack_floor"]["stream_seq"] < 5:
            pass
    seen: set[str] = set()
    others = bus.consume(OMS_ORDERS_CREATED, durable="t", ack_wait=1)
    while len(seen) < 5:
        async with await next_of(others) as event:
            seen.add(event.payload.idempotency_key)
    assert seen == {f"intent-{n}" for n in range(5, 10)}


async def test_stopping_gives_waiting_events_back_at_once(bus: EventBus, connect_bus: ConnectBus):
    await bus.emit_many(OMS_ORDERS_CREATED, [order(f"intent-{n}") for n in range(7)])
    first = bus.consume(OMS_ORDERS_CREATED, durable="t", ack_wait=LONG)
    for _ in range(4):  # the pull of 4 has three events waiting behind it
        async with await next_of(first):
            pass
    await first.stop()
    with pytest.raises(StopAsyncIteration):
        await anext(first)
    second = (await connect_bus()).consume(OMS_ORDERS_CREATED, durable="t")
    seen: set[str] = set()
    for _ in range(3):
        async with await next_of(second) as event:
            seen.add(event.payload.idempotency_key)
    assert seen == {"intent-4", "intent-5", "intent-6"}


async def test_a_deleted_durable_raises_instead_of_going_silent(bus: EventBus):
    orders = bus.consume(OMS_ORDERS_CREATED, durable="t")
    waiting = asyncio.create_task(anext(orders))
    while True:
        info = [c.name for c in await bus.jetstream(timeout=WAIT).consumers_info("OMS_ORDERS")]
        if "t" in info:
            break
        await asyncio.sleep(0.01)
    await bus.jetstream(timeout=WAIT).delete_consumer("OMS_ORDERS", "t")
    with pytest.raises(ConsumerGone, match=r"'t' on OMS_ORDERS was deleted"):
        await asyncio.wait_for(waiting, WAIT)


async def test_a_consumer_goes_on_after_a_server_kill(bus: EventBus, nats_server: NatsServer):
    await bus.emit(OMS_ORDERS_CREATED, order("before"))
    orders = bus.consume(OMS_ORDERS_CREATED, durable="t")
    async with await next_of(orders):
        pass
    nats_server.kill()
    await nats_server.restart()
    await bus.emit(OMS_ORDERS_CREATED, order("after"))
    seen: set[str] = set()
    while "after" not in seen:  # "before" may come again: its ack may have died with the server
        async with await next_of(orders) as event:
            seen.add(event.payload.idempotency_key)


async def test_drain_lets_the_handler_finish_and_flushes_its_ack(bus: EventBus, connect_bus: ConnectBus):
    await bus.emit(OMS_ORDERS_CREATED, order())
    worker = await connect_bus()
    begun, finish = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async for event in worker.consume(OMS_ORDERS_CREATED, durable="t"):
            async with event:
                begun.set()
                await finish.wait()

    working = asyncio.create_task(work())
    await begun.wait()
    draining = asyncio.create_task(worker.drain())
    asyncio.get_running_loop().call_later(0.2, finish.set)
    await asyncio.wait_for(draining, WAIT)
    await asyncio.wait_for(working, WAIT)
    assert await settled(bus, "OMS_ORDERS", "t")


async def test_cancelling_a_handler_gives_its_event_back(bus: EventBus):
    await bus.emit(OMS_ORDERS_CREATED, order())
    orders = bus.consume(OMS_ORDERS_CREATED, durable="t", ack_wait=LONG)
    event = await next_of(orders)

    async def handle() -> None:
        async with event:
            await asyncio.Event().wait()

    task = asyncio.create_task(handle())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with await next_of(orders) as again:
        assert again.deliveries == 2


async def test_closing_the_bus_under_an_iteration_raises_instead_of_ending_quietly(
    bus: EventBus, connect_bus: ConnectBus
):
    await bus.emit(OMS_ORDERS_CREATED, order())
    worker = await connect_bus()
    orders = worker.consume(OMS_ORDERS_CREATED, durable="t")
    async with await next_of(orders):
        pass
    quotes = worker.listen(MARKETDATA_QUOTES)
    await quotes.start()
    waiting: asyncio.Task[Any] = asyncio.create_task(anext(orders))
    heard: asyncio.Task[Any] = asyncio.create_task(anext(quotes))
    await worker.flush()
    await worker.close()
    tasks = (waiting, heard)
    for task in tasks:
        with pytest.raises(BusClosed, match="closed"):
            await asyncio.wait_for(task, WAIT)


async def test_an_existing_durable_keeps_its_own_ack_wait(bus: EventBus, standstill: Callable[[], float]):
    for durable in (f"t{number}" for number in count()):
        async with bus.consume(OMS_ORDERS_CREATED, durable=durable, ack_wait=1, fund_id=durable):
            pass
        await bus.emit(OMS_ORDERS_CREATED, order(durable, fund=durable))  # now: what the first reader gives back counts
        standstill()
        orders = bus.consume(OMS_ORDERS_CREATED, durable=durable, fund_id=durable)
        async with await next_of(orders):
            await asyncio.sleep(2.2)
        if (handed_out := await deliveries(bus, durable)) == 1:
            assert await settled(bus, "OMS_ORDERS", durable)
            break
        assert standstill() > 0.3, handed_out  # else the ack wait was never over
        await orders.stop()


async def test_a_durable_that_reads_something_else_is_a_conflict(bus: EventBus):
    await bus.consume(OMS_ORDERS_CREATED, durable="t").start()
    with pytest.raises(ConsumerConflict, match=r"it reads .*created.*wanted .*accepted"):
        await bus.consume(OMS_ORDERS_ACCEPTED, durable="t").start()


async def test_wrong_questions_get_clear_answers(bus: EventBus):
    with pytest.raises(NotStored, match=r"use bus\.listen"):
        bus.consume(MARKETDATA_QUOTES, durable="t")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UnknownParameter, match="no parameter 'symbol'"):
        bus.consume(OMS_ORDERS_CREATED, durable="t", symbol="BTC/USDT")
    with pytest.raises(ConsumeError, match="no consumer name"):
        bus.consume(OMS_ORDERS_CREATED, durable="a.b")
    with pytest.raises(ConsumeError, match="one durable reads one stream"):
        await bus.consume(OMS_ORDERS_CREATED, OMS_FILLS_CREATED, durable="t").start()  # pyright: ignore[reportArgumentType]
    with pytest.raises(UnknownParameter, match="leave symbol out to match all"):
        bus.listen(MARKETDATA_QUOTES, symbol="*")


async def test_consuming_without_the_stream_names_it_and_the_remedy(connect_bus: ConnectBus):
    bare = await connect_bus()
    with pytest.raises(NoStream, match=r"OMS_ORDERS does not exist.*mts1b streams apply"):
        await next_of(bare.consume(OMS_ORDERS_CREATED, durable="t"))


@pytest.mark.parametrize("ordered", [False, True])
async def test_an_event_whose_dead_letter_was_cut_short_comes_again(
    bus: EventBus, monkeypatch: pytest.MonkeyPatch, *, ordered: bool
):
    await bus.emit(OMS_ORDERS_CREATED, order())
    options: dict[str, Any] = {"ordered_by": "fund_id"} if ordered else {}
    orders = bus.consume(OMS_ORDERS_CREATED, durable="t", ack_wait=LONG, policy=QUICK, **options)
    storing = asyncio.Event()

    async def never(*_args: Any, **_options: Any) -> None:
        storing.set()
        await asyncio.sleep(LONG)

    async def handle() -> None:
        async with await next_of(orders):
            raise Reject("of no use")

    with monkeypatch.context() as cut:
        cut.setattr(settling, "store_dead_letter", never)
        handling = asyncio.create_task(handle())
        await asyncio.wait_for(storing.wait(), WAIT)
        handling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await handling
    async with await next_of(orders) as again:
        assert again.deliveries == 2
        raise Reject("of no use")
    (letter,) = await dead_letters(bus, 1)
    assert letter.reason is DeadLetterReason.REJECTED
    await orders.stop()
    assert orders.open == 0
