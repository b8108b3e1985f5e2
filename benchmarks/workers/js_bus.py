"""JetStream through the public API: ``emit_many``, ``ingest``, and ``consume`` with ``async with event``."""

from typing import Any

from common import REPOS, Stopwatch, numbered_orders
from js_common import DURABLE, forget_durable, fresh_stream, main
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import connect


async def publish(url: str, count: int, *, atomic: bool) -> dict[str, Any]:
    """Every order with its own message id, an ack each (or one a batch)."""
    async with await connect(url, service=REPOS["order"]) as bus:
        await fresh_stream(bus)
        orders = numbered_orders(count)
        watch = Stopwatch()
        acks = await bus.emit_many(OMS_ORDERS_CREATED, orders, atomic=atomic)
        result = watch.per_message(count)
        assert len(acks) == count
        assert not any(ack.duplicate for ack in acks)
        return result


async def emit_many(url: str, count: int) -> dict[str, Any]:
    return await publish(url, count, atomic=False)


async def emit_atomic(url: str, count: int) -> dict[str, Any]:
    return await publish(url, count, atomic=True)


async def ingest(url: str, count: int) -> dict[str, Any]:
    async with await connect(url, service=REPOS["order"]) as bus:
        await fresh_stream(bus)
        orders = numbered_orders(count)
        watch = Stopwatch()
        stored = await bus.ingest(OMS_ORDERS_CREATED, orders)
        result = watch.per_message(count)
        assert stored.events == count
        return result


async def consume(url: str, count: int) -> dict[str, Any]:
    async with await connect(url, service="mts1b-treasury") as bus:
        await forget_durable(bus)
        received = 0
        watch = Stopwatch()
        async for event in bus.consume(OMS_ORDERS_CREATED, durable=DURABLE, prefetch=1000):
            async with event:
                received += 1
            if received == count:
                break
        await bus.flush()
        return watch.per_message(count)


main(emit_many=emit_many, emit_atomic=emit_atomic, ingest=ingest, consume=consume)
