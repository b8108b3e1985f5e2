"""Orders stored, consumed and acknowledged through the public API: ``emit_many`` here, ``consume`` there."""

import sys

from common import REPOS, Stopwatch, main, numbered_orders, say
from js_common import DURABLE, fresh_stream
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import connect

FUNDS = int(sys.argv.pop())
AT_ONCE = 2_000
"""Orders per call: the call serialises all of its events before it sends the first."""
PREFETCH = 1_000


async def subscribe(url: str, count: int, _kind: str, _rate: float) -> None:
    async with await connect(url, service="mts1b-treasury") as bus:
        await fresh_stream(bus)
        consumer = bus.consume(OMS_ORDERS_CREATED, durable=DURABLE, prefetch=PREFETCH)
        await consumer.start()
        received = 0
        watch = Stopwatch()
        say({"ready": True})
        async for event in consumer:
            async with event:
                received += 1
            if received == count:
                break
        await bus.flush()
        say(watch.figures())


async def publish(url: str, count: int, _kind: str, _rate: float) -> None:
    async with await connect(url, service=REPOS["order"]) as bus:
        orders = numbered_orders(count, FUNDS)
        watch = Stopwatch()
        for first in range(0, count, AT_ONCE):
            acks = await bus.emit_many(OMS_ORDERS_CREATED, orders[first : first + AT_ONCE])
            assert not any(ack.duplicate for ack in acks)
        say(watch.figures())


main(subscribe, publish)
