"""The producer of the specification, on the bus: publish twice, stored once."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

from mts1b_foundation.orders import Order, Side
from mts1b_platform.eventbus import connect

NOW = datetime.now(UTC)


async def main() -> None:
    nc = await connect()
    js = nc.jetstream()

    order = Order(
        order_id=f"order-{uuid4().hex[:8]}",
        idempotency_key=f"intent-{uuid4().hex[:8]}",
        fund_id="alpha",
        actor="crypto_dual_paper",
        symbol="BTC/USDT",
        side=Side.BUY,
        quantity=Decimal("0.25"),
        created_at=NOW,
        updated_at=NOW,
    )  # validated pydantic model
    for _ in range(2):
        ack = await js.publish(
            subject="mts.v1.oms.orders.created",
            payload=order.model_dump_json().encode(),
            headers={
                "NATS-Msg-Id": order.idempotency_key,  # dedupe key for JetStream
                "mts-schema": "mts1b_foundation.orders.Order:v1",
                "mts-source-repo": "mts1b-oms",
                "mts-actor": order.actor,
            },
        )
        # ack contains stream + sequence — log for audit
        print(ack.stream, ack.seq, "duplicate" if ack.duplicate else "stored")
    await nc.drain()


if __name__ == "__main__":
    asyncio.run(main())
