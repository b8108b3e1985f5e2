"""One producer emits orders; a plain and an ordered durable read them."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final

from mts1b_foundation.orders import Order, Side
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Consumer, Event, EventBus, PublishError, RetryPolicy

from simulation.plan import Plan
from simulation.record import Acked, Reader, Record
from simulation.workloads.handling import handle, number_of
from simulation.workloads.stage import Stage
from simulation.workloads.workload import Workload

ORDERED: Final = "ordered"
STANDBY: Final = "standby"
SHARE: Final = "share"
_TAKEOVER: Final = 1.0
_CREATED: Final = datetime(2030, 1, 1, tzinfo=UTC)
_PATIENCE: Final = 60.0


class Orders(Workload):
    """See the module."""

    def __init__(self, plan: Plan, record: Record) -> None:
        super().__init__(plan, record)
        self.roles = {"oms": produce}
        for durable in ("plain", ORDERED):
            record.readers[durable] = Reader(ordered=durable == ORDERED)
            self.roles[durable] = partial(read, durable=durable)


class Standbys(Workload):
    """One producer emits orders; three instances of one ordered reader stand by for each other."""

    def __init__(self, plan: Plan, record: Record) -> None:
        super().__init__(plan, record)
        self.roles = {"oms": produce}
        record.readers[STANDBY] = Reader(ordered=True)
        for name in "abc":
            self.roles[f"{STANDBY}-{name}"] = partial(read, durable=STANDBY)


class Shares(Workload):
    """One producer emits orders; three instances of one ordered reader share their keys out."""

    def __init__(self, plan: Plan, record: Record) -> None:
        super().__init__(plan, record)
        self.roles = {"oms": produce}
        for key in keys_of(plan):
            record.readers[f"{SHARE}-{key}"] = Reader(ordered=True, key=key)
        for name in "abc":
            self.roles[f"{SHARE}-{name}"] = share


def keys_of(plan: Plan) -> list[str]:
    """The funds of all orders."""
    return [f"k{number}" for number in range(plan.keys)]


def key_of(plan: Plan, number: int) -> str:
    """The fund of an order: the same when another process emits it again."""
    return f"k{(number * 2654435761 + plan.seed >> 5) % plan.keys}"


def order(number: int, fund: str) -> Order:
    """The order with this number."""
    return Order(
        order_id=f"o{number}",
        idempotency_key=f"i{number}",
        fund_id=fund,
        actor="a",
        symbol="BTC/USDT",
        side=Side.BUY,
        quantity=Decimal(1),
        created_at=_CREATED,
        updated_at=_CREATED,
    )


async def produce(stage: Stage) -> None:
    """Emit all orders, one after the other; a process that takes over repeats the one that was under way."""
    plan, record = stage.plan, stage.record
    bus = await stage.connect("mts1b-oms")
    while record.emitted < plan.events:
        number = record.emitted
        fund = key_of(plan, number)
        try:
            ack = await bus.emit(OMS_ORDERS_CREATED, order(number, fund), deadline=plan.deadline)
        except PublishError as error:
            if plan.deadline >= _PATIENCE:
                raise
            record.refused.append((number, type(error).__name__))
            continue
        record.emit_returned(number, Acked(fund, ack.seq, record.era))
        if plan.pace:
            await asyncio.sleep(plan.pace)
    record.emitted_all()
    await bus.drain()


async def read(stage: Stage, durable: str) -> None:
    """Handle orders until told to stop."""
    plan, reader = stage.plan, stage.record.readers[durable]
    bus = await stage.connect("mts1b-treasury")
    options: dict[str, Any] = {"ordered_by": "fund_id"} if reader.ordered else {}
    if durable == STANDBY:
        options |= {"instances": "standby", "takeover": _TAKEOVER, "member": stage.name.replace("#", "-")}

    def consume() -> Consumer[Order]:
        return bus.consume(
            OMS_ORDERS_CREATED,
            durable=durable,
            ack_wait=plan.ack_wait,
            prefetch=plan.prefetch,
            policy=RetryPolicy(max_deliveries=plan.max_deliveries, base=0.1, cap=0.5),
            **options,
        )

    stop = stage.stop = asyncio.Event()
    await until_stopped(stage, bus, asyncio.create_task(_READ[plan.reading](stage, reader, consume, stop)))


async def share(stage: Stage) -> None:
    """Handle the orders of some keys until told to stop; with an even seed an instance keeps its name when it dies."""
    plan = stage.plan
    bus = await stage.connect("mts1b-treasury")
    member = stage.name.replace("#", "-") if plan.seed % 2 else stage.name.partition("#")[0]
    orders = bus.consume(
        OMS_ORDERS_CREATED,
        durable=SHARE,
        ordered_by="fund_id",
        instances="share",
        keys=keys_of(plan),
        member=member,
        takeover=_TAKEOVER,
        ack_wait=plan.ack_wait,
        prefetch=plan.prefetch,
        policy=RetryPolicy(max_deliveries=plan.max_deliveries, base=0.1, cap=0.5),
    )

    async def handled(event: Event[Order]) -> None:
        await handle(stage, stage.record.readers[event.position.consumer], event)

    await until_stopped(stage, bus, asyncio.create_task(orders.run(handled, concurrency=plan.concurrency)))


async def until_stopped(stage: Stage, bus: EventBus, running: asyncio.Task[None]) -> None:
    """Drain the bus when the process is told to stop; what reads is to end then, and not before."""
    stop = stage.stop = stage.stop or asyncio.Event()
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        await bus.drain()
        await running
        stage.note("drained")
    else:
        await running
        raise RuntimeError("run() has ended though nobody stopped it")


Consume = Callable[[], Consumer[Order]]


async def _run(stage: Stage, reader: Reader, consume: Consume, _: asyncio.Event) -> None:
    await consume().run(partial(handle, stage, reader), concurrency=stage.plan.concurrency)


async def _through_a_generator(stage: Stage, reader: Reader, consume: Consume, _: asyncio.Event) -> None:
    """Each step in a task of its own, as ``asyncio.wait_for`` takes it on Python 3.11."""

    async def handled() -> AsyncGenerator[int]:
        async for event in consume():
            async with event:
                await handle(stage, reader, event)
                yield number_of(event)

    source = handled()
    while await asyncio.create_task(anext(source, None)) is not None:  # pyright: ignore[reportArgumentType] - it is one
        pass


async def _a_few_at_a_time(stage: Stage, reader: Reader, consume: Consume, stop: asyncio.Event) -> None:
    """Leave the loop after every third event, and the consumer to nobody."""

    async def some() -> None:
        left = 3
        async for event in consume():
            async with event:
                await handle(stage, reader, event)
            left -= 1
            if not left:
                break

    while not stop.is_set():
        await some()


_READ: Final[dict[str, Callable[[Stage, Reader, Consume, asyncio.Event], Coroutine[Any, Any, None]]]] = {
    "run": _run,
    "generator": _through_a_generator,
    "dropped": _a_few_at_a_time,
}
