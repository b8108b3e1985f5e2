"""The consumer of the specification, on the bus: raw nats-py style stays possible.

Run it against a fresh install of profile minimal: `python examples/spec_consumer.py`, and `spec_producer.py` beside it.
Ctrl-C ends it. On a locked-down bus its durable has to be declared: docs/security.md shows the line.
"""

import asyncio

from mts1b_foundation.orders import Order
from mts1b_platform.eventbus import connect


def handle(order: Order) -> None:
    """What this consumer does with an order: say it. Raise here, and the order comes again after 30 seconds."""
    print(order.order_id, order.status, order.filled_quantity, order.symbol, flush=True)


async def main():  # noqa: ANN201 - as the specification prints it
    nc = await connect()  # uses platform/config — TLS + auth handled
    js = nc.jetstream()
    sub = await js.subscribe(
        "mts.v1.oms.orders.filled",
        durable="my-consumer",  # JetStream tracks ack state
        manual_ack=True,
    )
    async for msg in sub.messages:
        order = Order.model_validate_json(msg.data)
        try:
            handle(order)
            await msg.ack()
        except Exception as e:  # noqa: BLE001, F841  # pyright: ignore[reportUnusedVariable] - as the specification prints it
            # NATS will redeliver up to max_deliver times, then move to DLQ
            await msg.nak(delay=30.0)


if __name__ == "__main__":
    asyncio.run(main())
