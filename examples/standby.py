"""Two instances of one reader: one is handed the orders, the other takes over when it ends; each fund in order.

Both run in one process here. In earnest each is a process of its own, on a machine of its own.
"""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

from mts1b_foundation.orders import OrderV2, Side
from mts1b_foundation.subjects import OMS_ORDERS_CREATED_V2
from mts1b_platform.eventbus import apply_streams, connect


def order(name: str) -> OrderV2:
    now = datetime.now(UTC)
    return OrderV2(
        order_id=name,
        idempotency_key=f"intent-{name}",
        fund_id="alpha",
        actor="crypto_dual_paper",
        symbol="BTC/USDT",
        side=Side.BUY,
        quantity=Decimal("0.25"),
        created_at=now,
        updated_at=now,
    )


async def instance(name: str, durable: str, enough: int, reading: asyncio.Event) -> None:
    async with await connect(service="mts1b-brokers") as bus:
        orders = bus.consume(
            OMS_ORDERS_CREATED_V2,
            durable=durable,
            deliver="new",
            ordered_by="fund_id",  # the orders of a fund one after the other, in the stream's order
            instances="standby",  # start it as often as you like
            takeover=2,  # seconds after which another takes over from one that dies
            inactive_threshold=60,
        )
        await orders.start()
        reading.set()
        async for event in orders:
            async with event:
                print(f"{name} handles {event.payload.order_id} in term {event.term}")
            enough -= 1
            if not enough:
                await orders.stop()  # hands over at once


async def main() -> None:
    run = uuid4().hex[:8]
    async with await connect(service="mts1b-oms") as bus:
        await apply_streams(bus)  # an installed bus has them already
        instances: list[asyncio.Task[None]] = []
        for name, enough in (("one", 3), ("two", 2)):
            reading = asyncio.Event()
            instances.append(asyncio.create_task(instance(name, f"trial-{run}", enough, reading)))
            await reading.wait()
        for number in range(5):
            await bus.emit(OMS_ORDERS_CREATED_V2, order(f"{run}-{number}"))
        await asyncio.gather(*instances)


if __name__ == "__main__":
    asyncio.run(main())
