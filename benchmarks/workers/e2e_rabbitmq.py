"""Orders through RabbitMQ: persistent messages with publisher confirms, a durable queue, manual acks, prefetch 256.

The queue's type is the last argument: ``classic`` or ``quorum``.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingImports=false
# reason: the contestant is partly untyped, and only there with the group "peers".

import asyncio
import sys
from collections import deque
from typing import Any

import aio_pika
from common import TRACE, Stopwatch, events, main, say, static_headers
from mts1b_foundation.orders import Order

KIND = sys.argv.pop()
QUEUE = f"orders-{KIND}"
WINDOW = 1_024
"""Publishes that wait for their confirms at a time."""


async def subscribe(url: str, count: int, _kind: str, _rate: float) -> None:
    connection = await aio_pika.connect(url)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=256)
    queue = await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": KIND})
    await queue.purge()
    schema = Order.schema_id()
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    received = 0

    async def take(message: Any) -> None:
        nonlocal received
        assert message.headers["mts-schema"] == schema
        Order.model_validate_json(message.body)
        await message.ack()
        received += 1
        if received == count:
            done.set_result(None)

    await queue.consume(take)
    watch = Stopwatch()
    say({"ready": True})
    await done
    say(watch.figures())
    await connection.close()


async def publish(url: str, count: int, _kind: str, _rate: float) -> None:
    connection = await aio_pika.connect(url)
    exchange = (await connection.channel(publisher_confirms=True)).default_exchange
    made: list[Any] = events("order")
    static = static_headers("order")
    watch = Stopwatch()
    waiting: deque[asyncio.Task[Any]] = deque()
    for n in range(count):
        message = aio_pika.Message(
            made[n % len(made)].model_dump_json().encode(),
            headers={"Nats-Msg-Id": f"id-{n}", "mts-trace-id": TRACE, **static},
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        if len(waiting) == WINDOW:
            await waiting.popleft()
        waiting.append(asyncio.create_task(exchange.publish(message, QUEUE)))
    await asyncio.gather(*waiting)
    say(watch.figures())
    await connection.close()


main(subscribe, publish)
