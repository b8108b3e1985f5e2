"""A reader in a process of its own, which tells on standard output what it has handled.

python outcome_child.py SURFACE URL DURABLE
"""

import asyncio
import sys
from typing import Any

from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Event, RetryPolicy, connect
from mts1b_platform.service import Service

ACK_WAIT = 0.5


async def handle(event: Event[Any]) -> None:
    await asyncio.sleep(0.04)
    print(event.payload.order_id, flush=True)


async def read(surface: str, url: str, durable: str) -> None:
    options: dict[str, Any] = {"durable": durable, "ack_wait": ACK_WAIT, "policy": RetryPolicy(max_deliveries=2)}
    if surface == "Service":
        service = Service("mts1b-oms", servers=url)
        service.consumes(OMS_ORDERS_CREATED, **options)(handle)
        await service.serve()
        return
    if surface == "ordered_by":
        options["ordered_by"] = "fund_id"
    async with await connect(service="mts1b-oms", servers=url) as bus:
        await bus.consume(OMS_ORDERS_CREATED, **options).run(handle)


if __name__ == "__main__":
    asyncio.run(read(*sys.argv[1:]))
