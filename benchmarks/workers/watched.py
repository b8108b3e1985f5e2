"""Orders published and consumed by one process, watched or not: what watching costs an event, in instructions."""

from collections.abc import Callable
from functools import partial
from typing import Any

from common import Stopwatch, numbered_orders
from js_common import DURABLE, fresh_stream, main
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import EventBus, connect
from mts1b_platform.observability import observe


def nothing(_: EventBus) -> None:
    pass


def metrics(bus: EventBus) -> None:
    observe(bus, port=0)


async def through(url: str, count: int, *, watch: Callable[[EventBus], None]) -> dict[str, Any]:
    async with await connect(url, service="mts1b-oms") as oms, await connect(url, service="mts1b-treasury") as treasury:
        await fresh_stream(oms)
        for bus in (oms, treasury):
            watch(bus)
        orders = numbered_orders(count)
        stopwatch = Stopwatch()
        await oms.emit_many(OMS_ORDERS_CREATED, orders)
        received = 0
        async for event in treasury.consume(OMS_ORDERS_CREATED, durable=DURABLE):
            async with event:
                received += 1
            if received == count:
                break
        return stopwatch.per_message(count)


main(off=partial(through, watch=nothing), metrics=partial(through, watch=metrics))
