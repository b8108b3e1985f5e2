"""What the dedupe stores promise: one suite, run for each store that promises it, on real servers."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import FILL, ORDER
from mts1b_foundation.subjects import OMS_FILLS_CREATED, OMS_ORDERS_ACCEPTED, OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Event, EventBus, RetryPolicy, apply_streams
from mts1b_platform.eventbus.dedupe import Claim, DedupeStore, Memory
from mts1b_platform.eventbus.dedupe.postgres import PostgresDedupe
from mts1b_platform.eventbus.dedupe.sqlite import SqliteDedupe
from mts1b_platform.eventbus.dedupe.store import DAY
from mts1b_platform.eventbus.errors import (
    AlreadyDone,
    LeaseLost,
    Retry,
    StoreError,
    StoreHeld,
    StoreMisused,
    Superseded,
)
from mts1b_platform.eventbus.events.once import Fences, Marks, Term
from mts1b_platform.eventbus.streams import STREAMS
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus

from .dedupe_kinds import KINDS, LEASE, WAIT, Bench, Place, having

TRANSACTIONAL = having(lambda features: features.transaction)
PRUNING = having(lambda features: features.prunes)
LEASING = having(lambda features: features.lease)
QUICK = RetryPolicy(max_deliveries=5, base=0.02, jitter=0)


@pytest_asyncio.fixture(params=KINDS)
async def bench(
    request: pytest.FixtureRequest, tmp_path: Path, bus: EventBus, new_postgres_database: Callable[[], str]
) -> AsyncIterator[Bench]:
    """Each kind of store in turn; a test of what not all can do names those that can by ``having``."""
    _, opened = KINDS[request.param]
    async with opened(Place(tmp_path, bus, new_postgres_database)) as made:
        yield made


async def handled(store: DedupeStore[Any], bench: Bench, key: str, consumer: str = "broker") -> bool:
    try:
        async with store.once(consumer, key) as tx:
            await bench.act(tx, key)
    except AlreadyDone:
        return False
    return True


async def test_a_key_is_handled_once_by_each_consumer(bench: Bench):
    store = await bench.open()
    assert [await handled(store, bench, "a"), await handled(store, bench, "a")] == [True, False]
    assert await handled(store, bench, "b")
    assert await handled(store, bench, "a", consumer="treasury")
    assert await bench.effects() == ["a", "b", "a"]


async def test_what_one_instance_has_done_another_knows(bench: Bench):
    assert await handled(await bench.open(), bench, "a")
    assert not await handled(await bench.open(), bench, "a")


async def test_a_handler_that_raises_marks_nothing_and_the_next_try_may_act_at_once(bench: Bench):
    store = await bench.open()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            async with store.once("broker", "a"):
                raise ZeroDivisionError
    async with asyncio.timeout(LEASE / 2):  # it does not wait for the lease to end
        assert await handled(store, bench, "a")


async def test_a_cancelled_handler_marks_nothing_and_leaves_the_store_usable(bench: Bench):
    store = await bench.open()
    entered = asyncio.Event()

    async def hang() -> None:
        async with store.once("broker", "a"):
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(hang())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await handled(store, bench, "a")


async def test_two_instances_with_the_same_key_at_the_same_time_act_once(bench: Bench):
    stores = [await bench.open() for _ in range(2)]
    results = await asyncio.gather(*(handled(store, bench, f"k{n}") for n in range(20) for store in stores))
    assert sum(results) == 20
    assert sorted(await bench.effects()) == sorted(f"k{n}" for n in range(20))


async def test_the_second_takes_over_when_the_first_fails(bench: Bench):
    first, second = await bench.open(), await bench.open()
    inside, fail = asyncio.Event(), asyncio.Event()

    async def failing() -> None:
        async with first.once("broker", "a"):
            inside.set()
            await fail.wait()
            raise ZeroDivisionError

    task = asyncio.create_task(failing())
    await inside.wait()
    waiting = asyncio.create_task(handled(second, bench, "a"))
    fail.set()
    with pytest.raises(ZeroDivisionError):
        await task
    assert await waiting


@pytest.mark.parametrize("bench", TRANSACTIONAL, indirect=True)
async def test_a_failing_handlers_writes_are_undone(bench: Bench):
    store = await bench.open()
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - what was written before it failed is the point
        async with store.once("broker", "a") as tx:
            await bench.act(tx, "never")
            raise ZeroDivisionError
    assert await bench.effects() == []


async def mark(store: DedupeStore[Any], tx: Any, *keys: str) -> None:
    assert isinstance(store, Marks)
    for key in keys:
        await store.mark(tx, "broker", key)


@pytest.mark.parametrize("bench", TRANSACTIONAL, indirect=True)
async def test_several_events_are_marked_in_one_transaction_or_none_of_them(bench: Bench):
    store = await bench.open()
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - what was written before it failed is the point
        async with store.once("broker", "a") as tx:
            await mark(store, tx, "b")
            raise ZeroDivisionError
    assert await handled(store, bench, "b")
    async with store.once("broker", "a") as tx:
        await mark(store, tx, "c")
        with pytest.raises(AlreadyDone):
            await mark(store, tx, "b")
        await bench.act(tx, "a and c")
    assert [await handled(store, bench, key) for key in "abc"] == [False] * 3
    assert await bench.effects() == ["b", "a and c"]
    with pytest.raises(StoreMisused, match=r"none is open"):
        await mark(store, tx, "d")


@pytest.mark.parametrize("bench", TRANSACTIONAL, indirect=True)
async def test_a_handler_cannot_commit_behind_the_stores_back_unnoticed(bench: Bench):
    store = await bench.open()
    with pytest.raises(Exception, match=r"[Tt]ransaction"):
        async with store.once("broker", "a") as tx:
            await tx.commit()


async def test_old_marks_are_forgotten(bench: Bench):
    store = await bench.open(Memory(keep=1, limit=2))
    assert await handled(store, bench, "a")
    await asyncio.sleep(1.2)
    for key in ("b", "c", "d"):
        await handled(store, bench, key)
    async with asyncio.timeout(WAIT):
        while not await handled(store, bench, "a"):  # noqa: ASYNC110 - the server forgets when it comes to it
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("bench", PRUNING, indirect=True)
@pytest.mark.parametrize("jump", [30 * DAY, -30 * DAY])
async def test_marks_are_kept_when_the_clock_jumps(bench: Bench, monkeypatch: pytest.MonkeyPatch, jump: float):
    for module in PRUNING:
        monkeypatch.setattr(f"mts1b_platform.eventbus.dedupe.{module}._PRUNE_EVERY", 1)
    right = time.time
    before = await bench.open()
    assert await handled(before, bench, "a")
    monkeypatch.setattr(time, "time", lambda: right() + jump)
    meanwhile = await bench.open()
    assert await handled(meanwhile, bench, "b")
    assert await handled(before, bench, "c")
    monkeypatch.setattr(time, "time", right)
    after = await bench.open()
    assert await handled(after, bench, "d")
    for store in (before, meanwhile, after):
        for key in "abcd":
            assert not await handled(store, bench, key)


async def test_no_more_marks_are_kept_than_the_limit_and_the_oldest_go_first(bench: Bench):
    store = await bench.open(Memory(limit=10))
    for n in range(40):
        assert await handled(store, bench, f"k{n}")
    assert not await handled(store, bench, "k39")
    assert await handled(store, bench, "k0")


async def test_any_key_that_an_event_can_have_is_one_key(bench: Bench):
    store = await bench.open()
    keys = ("a.b", "a b", "*", ">", "ä|ö", "x" * 200)
    assert [await handled(store, bench, key) for key in keys] == [True] * len(keys)
    assert [await handled(store, bench, key) for key in keys] == [False] * len(keys)


async def test_a_store_that_cannot_be_opened_says_which_and_what_to_do(tmp_path: Path):
    with pytest.raises(StoreError, match=r"nowhere/books\.db cannot be opened.*directory exists"):
        async with SqliteDedupe(tmp_path / "nowhere" / "books.db"):
            pass
    with pytest.raises(StoreError, match=r"no PostgreSQL connection within 0\.2 s"):
        async with PostgresDedupe("postgresql://postgres@127.0.0.1:1/none", timeout=0.2):
            pass
    with pytest.raises(ValueError, match="limit is 0"):
        Memory(limit=0)


# Leases.


@pytest.mark.parametrize("bench", LEASING, indirect=True)
async def test_a_dead_owners_lease_ends_and_another_takes_over(bench: Bench):
    dead, heir = await bench.open(lease=1), await bench.open()
    claim = dead.once("broker", "a")
    await claim.__aenter__()
    for task in asyncio.all_tasks():  # it renews no more, as after a crash
        if task.get_name().startswith("lease "):
            task.cancel()
    async with heir.once("broker", "a") as won:
        assert isinstance(won, Claim)
    with pytest.raises(LeaseLost, match="may have happened twice"):
        await claim.__aexit__(None, None, None)


@pytest.mark.parametrize("bench", LEASING, indirect=True)
async def test_a_living_owner_keeps_its_lease_and_the_other_is_told_to_come_later(
    bench: Bench, standstill: Callable[[], float]
):
    owner, other = await bench.open(lease=2), await bench.open(lease=2)
    keys = (f"k{number}" for number in count())
    while True:
        key, told = next(keys), list[str]()
        with suppress(LeaseLost):
            async with owner.once("broker", key) as claim:
                standstill()
                try:
                    async with other.once("broker", key):
                        told.append("taken over")
                except Retry as retry:
                    told.append(str(retry))
                told += ["lost"] if claim.lost else []
        if "lost" not in told and "taken over" not in told:
            break
        assert standstill() > 0.3, told  # else the owner had time to renew
    assert "handled by another instance" in told[0]
    with pytest.raises(AlreadyDone):
        async with other.once("broker", key):
            pass


@pytest.mark.parametrize("bench", LEASING, indirect=True)
async def test_a_server_restart_between_claim_and_done_changes_nothing(bench: Bench, nats_server: NatsServer):
    store = await bench.open()
    async with store.once("broker", "a"):
        nats_server.kill()
        await nats_server.restart()
    with pytest.raises(AlreadyDone):
        async with store.once("broker", "a"):
            pass


# With the bus.


async def consume(bus: EventBus, store: DedupeStore[Any], bench: Bench, count: int, durable: str = "broker") -> None:
    """Deal with ``count`` deliveries."""
    async with bus.consume(OMS_ORDERS_CREATED, OMS_ORDERS_ACCEPTED, durable=durable, policy=QUICK) as events:
        for _ in range(count):
            event: Event[Any] = await asyncio.wait_for(anext(events), WAIT)
            async with event, event.once(store) as tx:
                await bench.act(tx, event.payload.idempotency_key)


async def stored_twice(bus: EventBus, window: float) -> Order:
    """Wait until the dedupe window between the copies of an order is over; nothing else is in its stream."""
    loop = asyncio.get_running_loop()
    keys = (f"intent-{number}" for number in count())
    while True:
        order = ORDER.model_copy(update={"idempotency_key": next(keys)})
        began = loop.time()
        first, second = await bus.emit(OMS_ORDERS_CREATED, order), await bus.emit(OMS_ORDERS_CREATED, order)
        if loop.time() - began < window:
            break
        await bus.jetstream(timeout=WAIT).purge_stream("OMS_ORDERS")  # the machine stood still for the whole window
    assert second.duplicate, "inside the window it is stored once"
    while (again := await bus.emit(OMS_ORDERS_CREATED, order)).duplicate:  # noqa: ASYNC110 - nothing tells its end
        await asyncio.sleep(0.1)
    assert again.seq == first.seq + 1, "after the window it is stored twice"
    return order


async def test_an_event_stored_twice_after_the_dedupe_window_has_one_effect(bench: Bench, connect_bus: ConnectBus):
    bus = await connect_bus()
    orders = next(stream for stream in STREAMS if stream.name == "OMS_ORDERS")
    await apply_streams(bus, streams=[replace(orders, duplicate_window="2s")])
    order = await stored_twice(bus, 2)
    await consume(bus, await bench.open(), bench, 2)
    assert await bench.effects() == [order.idempotency_key]
    assert bus.counters.deduplicated == {OMS_ORDERS_CREATED.pattern: 1}


async def test_the_steps_of_one_order_share_its_key_and_are_handled_each(bench: Bench, bus: EventBus):
    await bus.emit(OMS_ORDERS_CREATED, ORDER)
    await bus.emit(OMS_ORDERS_ACCEPTED, ORDER.accept(ORDER.created_at))
    await consume(bus, await bench.open(), bench, 2)
    assert len(await bench.effects()) == 2


async def test_an_event_that_was_done_is_acknowledged_and_does_not_come_again(bench: Bench, bus: EventBus):
    store = await bench.open()
    await bus.emit(OMS_ORDERS_CREATED, ORDER)
    async with store.once("broker", f"{OMS_ORDERS_CREATED.pattern}|{ORDER.idempotency_key}") as tx:
        await bench.act(tx, "before")
    await consume(bus, store, bench, 1)
    assert await bench.effects() == ["before"]
    while (await bus.jetstream(timeout=WAIT).consumer_info("OMS_ORDERS", "broker")).num_ack_pending:  # noqa: ASYNC110
        await asyncio.sleep(0.01)  # an ack is on its way; the test's timeout ends this when none is


async def test_a_handler_that_fails_and_then_succeeds_has_one_effect(bench: Bench, bus: EventBus):
    store = await bench.open()
    await bus.emit(OMS_ORDERS_CREATED, ORDER)
    async with bus.consume(OMS_ORDERS_CREATED, durable="broker", policy=QUICK) as events:
        for attempt in range(3):
            event = await asyncio.wait_for(anext(events), WAIT)
            async with event, event.once(store) as tx:
                if attempt < 2:
                    raise ZeroDivisionError
                await bench.act(tx, "done")
    assert await bench.effects() == ["done"]


async def test_other_tiers_are_recognised_by_their_message_id(bus: EventBus):
    await bus.emit(OMS_FILLS_CREATED, FILL)
    async with bus.consume(OMS_FILLS_CREATED, durable="treasury") as events:
        event = await asyncio.wait_for(anext(events), WAIT)
        assert event.identity == f"{OMS_FILLS_CREATED.pattern}|{FILL.fill_id}"
        await event.ack()


# Several instances of one reader: who has taken over writes, who was in office before does not.


def in_term(store: DedupeStore[Any], key: str, number: int) -> Any:
    assert isinstance(store, Fences)
    return store.once_in_term("broker", key, Term("OMS_ORDERS.broker", number))


async def test_a_store_that_knows_a_greater_term_refuses_the_lesser_and_writes_nothing(bench: Bench):
    first, heir = await bench.open(), await bench.open()
    async with in_term(first, "a", 7) as tx:
        await bench.act(tx, "a")
    async with in_term(heir, "b", 8) as tx:
        await bench.act(tx, "b")
    with pytest.raises(Superseded, match="another instance has taken over with term 8; this one has 7") as refused:
        async with in_term(first, "c", 7):
            pytest.fail("it was entered")
    assert refused.value.held == 8
    async with in_term(heir, "c", 8) as tx:
        await bench.act(tx, "c")
    assert await handled(first, bench, "d"), "who has no term is not asked for one"
    assert await bench.effects() == ["a", "b", "c", "d"]


@pytest.mark.parametrize("bench", ["postgres"], indirect=True)
async def test_handlers_of_one_term_work_side_by_side(bench: Bench):
    store, inside = await bench.open(), asyncio.Barrier(3)

    async def handle(key: str) -> None:
        async with in_term(store, key, 9) as tx:
            await bench.act(tx, key)
            if key in "abc":
                await inside.wait()

    async with asyncio.timeout(WAIT):
        await asyncio.gather(*map(handle, "def"))  # that of the first one is new: the others wait for its commit
        await asyncio.gather(*map(handle, "abc"))
    assert sorted(await bench.effects()) == list("abcdef")


async def test_a_file_that_a_frozen_process_keeps_locked_names_the_process(tmp_path: Path):
    path = tmp_path / "books.db"
    async with SqliteDedupe(path, busy_timeout=0.1) as store:
        program = (
            f"import sqlite3; db = sqlite3.connect({str(path)!r}); db.execute('BEGIN IMMEDIATE'); "
            "print(db.in_transaction, flush=True); input()"
        )
        other = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert other.stdout is not None
        assert await asyncio.wait_for(other.stdout.readline(), WAIT) == b"True\n"
        other.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, other.pid, os.WSTOPPED | os.WNOWAIT)
        with pytest.raises(StoreHeld, match=rf"process {other.pid}, which is stopped \(`kill -CONT {other.pid}`"):
            async with store.once("broker", "a"):
                pytest.fail("it was entered")
        other.kill()
        await asyncio.wait_for(other.wait(), WAIT)
        async with store.once("broker", "a"):
            pass
