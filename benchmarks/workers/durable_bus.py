"""One order at a time, from ``emit`` to its ack and to a handler in another process, through the public API."""

import time

from common import REPOS, Stopwatch, main, numbered_orders, percentiles, say
from mts1b_foundation.subjects import OMS_ORDERS_FILLED
from mts1b_platform.eventbus import connect

READER, DURABLE = "mts1b-treasury", "my-consumer"
"""Who may read what on a bus that asks: declared by the checkout that the server is installed with."""


async def subscribe(url: str, count: int, _kind: str, _rate: float) -> None:
    async with await connect(url or None, service=READER) as bus:
        latencies: list[int] = []
        consumer = bus.consume(OMS_ORDERS_FILLED, durable=DURABLE)
        await consumer.start()
        watch = Stopwatch()
        say({"ready": True})
        async for event in consumer:
            async with event:
                latencies.append(time.monotonic_ns() - int(event.trace_id or "0", 16))
            if len(latencies) == count:
                break
        await bus.flush()
        say(watch.figures(**percentiles(latencies)))


async def publish(url: str, count: int, _kind: str, _rate: float) -> None:
    async with await connect(url or None, service=REPOS["order"]) as bus:
        latencies: list[int] = []
        begun = time.time_ns()
        orders = [order.model_copy(update={"idempotency_key": f"{begun}-{n}"})
                  for n, order in enumerate(numbered_orders(count))]  # fmt: skip
        watch = Stopwatch()
        for order in orders:
            sent = time.monotonic_ns()  # travels as the trace id
            await bus.emit(OMS_ORDERS_FILLED, order, trace_id=f"{sent:032x}")
            latencies.append(time.monotonic_ns() - sent)
        say(watch.figures(**percentiles(latencies)))


main(subscribe, publish)
