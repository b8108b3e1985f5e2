"""Publish an order and consume it, typed: the twenty lines of the README."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

from mts1b_foundation.orders import OrderV2, Side
from mts1b_foundation.subjects import OMS_ORDERS_CREATED_V2
from mts1b_platform.eventbus import apply_streams, connect


async def main() -> None:
    now, name = datetime.now(UTC), uuid4().hex
    order = OrderV2(
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
    async with await connect(service="mts1b-oms") as bus:
        await apply_streams(bus)  # an installed bus has them already
        ack = await bus.emit(OMS_ORDERS_CREATED_V2, order)
        print(f"stored in {ack.stream} at {ack.seq}")

        trial = bus.consume(OMS_ORDERS_CREATED_V2, durable="trial", fund_id="alpha", inactive_threshold=60)
        async for event in trial:  # a trial's durable: the server forgets it a minute after its last reader
            async with event:  # leaves: ack; raises: again after a delay, at last a dead letter
                print(event.payload.side, event.payload.quantity, event.payload.symbol)
            if event.payload.order_id == order.order_id:
                break


if __name__ == "__main__":
    asyncio.run(main())
