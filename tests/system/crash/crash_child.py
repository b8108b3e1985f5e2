"""The processes that are killed: a producer and a consumer, each with a fuse that burns at a named point.

The library under test knows nothing of fuses: they sit in the handlers, and around methods that this file replaces in
its own process.

Producer (with an outbox): before commit, between commit and publish, between publish and mark, after removal.
Producer (without):        before publish, between ack and note.
Consumer:                  before effect, after effect, after mark, before ack, after ack, before dead letter,
                           after dead letter.
"""

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from typing import Any

import crash_places
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_operations.deadletters import Mover
from mts1b_platform.eventbus import JetStreamUnavailable, Reject, RetryPolicy, ServerUnavailable, connect
from mts1b_platform.eventbus.consuming import settling
from mts1b_platform.eventbus.consuming.settling import Settler
from mts1b_platform.eventbus.outbox import Relay

DURABLE = "chaos"
POISON = "poison"
FUNDS = 5
"""Funds that orders belong to; the key of the ordered mode."""
ACK_WAIT = 1.0
AGAIN = 75
"""Exit code of a child that found no server to start on: whoever supervises it starts it again."""


class Fuse:
    """Kills this process with SIGKILL when ``point`` is reached for the ``at``-th time."""

    def __init__(self, point: str, at: int) -> None:
        self._point = point
        self._left = at

    def __call__(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


def run(job: dict[str, Any]) -> None:
    """Do ``job`` until it is done or the fuse burns."""
    fuse = Fuse(job.get("point", ""), job.get("at", 1))
    if job["role"] == "mover":
        asyncio.run(_move(job, fuse))
        return
    place = crash_places.Place(job["kind"], job["where"])
    if job["role"] == "consumer":
        asyncio.run(_consume(job, place, fuse))
    elif place.kind in ("sqlite", "postgres"):
        asyncio.run(_produce_by_outbox(job, place, fuse))
    else:
        asyncio.run(_produce(job, place, fuse))


def is_temporary(error: BaseException) -> bool:
    """Whether the child ended only because the server was away while it started."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_temporary(one) for one in error.exceptions)  # pyright: ignore[reportUnknownVariableType,reportUnknownMemberType,reportUnknownArgumentType]
    return isinstance(error, JetStreamUnavailable | ServerUnavailable)


def order(number: int, poison_every: int) -> Order:
    """Order ``number``; every so often one that no handler can digest."""
    bad = poison_every and number % poison_every == 0
    return ORDER.model_copy(
        update={
            "order_id": f"order-{number}",
            "idempotency_key": str(number),
            "fund_id": f"{POISON if bad else 'fund'}-{number % FUNDS}",
        }
    )


async def _produce(job: dict[str, Any], place: crash_places.Place, fuse: Fuse) -> None:
    done = set(place.committed(job["producer"]))
    async with await connect(job["url"], service="mts1b-oms", connect_timeout=30) as bus:
        for number in range(job["producer"], job["events"], 2):
            if number in done:
                continue
            fuse("before publish")
            await bus.emit(OMS_ORDERS_CREATED, order(number, job["poison_every"]), deadline=60)
            fuse("between ack and note")
            place.published(number)


async def _produce_by_outbox(job: dict[str, Any], place: crash_places.Place, fuse: Fuse) -> None:
    done = set(place.committed(job["producer"]))
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(await connect(job["url"], service="mts1b-oms", connect_timeout=30))
        outbox = await place.outbox(stack)
        remove = outbox.remove

        async def burning_remove(rows: Any) -> None:
            fuse("between publish and mark")
            await remove(rows)
            fuse("after removal")

        outbox.remove = burning_remove
        await stack.enter_async_context(Relay(bus, outbox, lease=2, batch=5))
        for number in range(job["producer"], job["events"], 2):
            if number in done:
                continue
            async with place.transaction() as tx:
                await tx.execute(f"INSERT INTO orders VALUES ({number}, {job['producer']})")  # noqa: S608 - two drivers
                await outbox.add(tx, OMS_ORDERS_CREATED, order(number, job["poison_every"]))
                fuse("before commit")
            fuse("between commit and publish")
        while (await outbox.backlog()).waiting:  # noqa: ASYNC110 - another process's relay may empty it
            await asyncio.sleep(0.02)


async def _consume(job: dict[str, Any], place: crash_places.Place, fuse: Fuse) -> None:
    store_dead_letter: Any = getattr(settling, "store_dead_letter")  # noqa: B009 - no public name

    async def burning_dead_letter(*args: Any, **options: Any) -> None:
        fuse("before dead letter")
        await store_dead_letter(*args, **options)
        fuse("after dead letter")

    setattr(settling, "store_dead_letter", burning_dead_letter)  # noqa: B010 - the same
    _burn_acks(fuse)
    policy = RetryPolicy(max_deliveries=1000, base=0.05, factor=1.5, cap=0.5)
    async with await connect(job["url"], service="mts1b-brokers", connect_timeout=30) as bus:
        store = place.store(bus)
        options: dict[str, Any] = {"ordered_by": _fund} if job["ordered"] else {}
        events = bus.consume(OMS_ORDERS_CREATED, durable=DURABLE, ack_wait=ACK_WAIT, policy=policy, **options)

        async def handle(event: Any) -> None:
            if store is None:
                await _handle(None, event.payload, place, fuse)
            else:
                async with event.once(store) as tx:
                    await _handle(tx, event.payload, place, fuse)
            fuse("after mark")

        watching = asyncio.create_task(_note_stalls(place))
        await events.run(handle, concurrency=4 if job["ordered"] else 1)
        watching.cancel()


def _burn_acks(fuse: Fuse) -> None:
    """Around the ack of each settler, which is the compiled core's where that is at work."""
    init: Any = Settler.__init__

    def burning_init(self: Settler, *args: Any, **options: Any) -> None:
        init(self, *args, **options)
        acked = self.acked

        def burning_acked(event: Any) -> bool:
            fuse("before ack")
            crowded = acked(event)
            fuse("after ack")
            return crowded

        self.acker = None  # or leaving a block would go past what is put around its method
        self.acked = burning_acked  # type: ignore[method-assign]

    Settler.__init__ = burning_init  # type: ignore[method-assign]


async def _note_stalls(place: crash_places.Place) -> None:
    """On a machine that stands still, events are handled again without anybody having been killed."""
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        await asyncio.sleep(0.02)
        if loop.time() - began > crash_places.STALL:
            place.stalled()


def _fund(payload: Order) -> int:
    return int(payload.order_id.removeprefix("order-")) % FUNDS


async def _handle(tx: Any, payload: Order, place: crash_places.Place, fuse: Fuse) -> None:
    if payload.fund_id.startswith(POISON):
        raise Reject("no handler can digest this")
    fuse("before effect")
    await place.act(tx, payload.idempotency_key)
    fuse("after effect")


async def _move(job: dict[str, Any], fuse: Fuse) -> None:
    async with await connect(job["url"], service="mts1b-operations", connect_timeout=30) as bus:
        emit: Any = bus.emit

        async def burning_emit(*args: Any, **options: Any) -> Any:
            fuse("before dead letter")
            ack = await emit(*args, **options)
            fuse("after dead letter")
            return ack

        bus.emit = burning_emit  # type: ignore[method-assign]
        await Mover(bus, ack_wait=ACK_WAIT).run()
