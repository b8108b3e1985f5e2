"""Orders through FastStream's JetStream as its documentation shows it: a durable pull subscriber that acks on success.

Its publisher waits for each ack, as ``broker.publish(..., stream=...)`` does.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingImports=false, reportUntypedFunctionDecorator=false
# reason: the contestant is partly untyped, and only there with the group "peers".

import asyncio
import logging
from typing import Any

import nats
from common import TRACE, Stopwatch, events, main, say, static_headers
from faststream.nats import JStream, NatsBroker, PullSub
from js_common import DURABLE, STREAM, SUBJECT, forget_durable, fresh_stream
from mts1b_foundation.orders import Order
from peer_models import lax

logging.disable(logging.INFO)


async def subscribe(url: str, count: int, _kind: str, _rate: float) -> None:
    nc = await nats.connect(url)
    await fresh_stream(nc)
    await forget_durable(nc)
    broker = NatsBroker(url, logger=None)
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    received = 0

    async def take(event: Any) -> None:  # noqa: ARG001 - FastStream validates it
        nonlocal received
        received += 1
        if received == count:
            done.set_result(None)

    take.__annotations__["event"] = lax(Order)
    stream = JStream(STREAM, declare=False)
    broker.subscriber(SUBJECT, durable=DURABLE, stream=stream, pull_sub=PullSub(batch_size=256))(take)
    await broker.start()
    watch = Stopwatch()
    say({"ready": True})
    await done
    say(watch.figures())
    await broker.stop()
    await nc.close()


async def publish(url: str, count: int, _kind: str, _rate: float) -> None:
    broker = NatsBroker(url, logger=None)
    await broker.connect()
    made: list[Any] = events("order")
    static = static_headers("order")
    watch = Stopwatch()
    for n in range(count):
        headers = {"Nats-Msg-Id": f"id-{n}", "mts-trace-id": TRACE, **static}
        await broker.publish(made[n % len(made)], SUBJECT, headers=headers, stream=STREAM)
    say(watch.figures())
    await broker.stop()


main(subscribe, publish)
