"""nats-py's ways to read a durable, validate and acknowledge: what every measurement of them shares."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# reason: nats-py is partly untyped.

import asyncio
import contextlib

import nats.errors
from js_common import fresh_durable
from mts1b_foundation.orders import Order
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

Pull = JetStreamContext.PullSubscription


async def open_fetch(nc: Client, durable: str, stream: str) -> Pull:
    """A pull subscription that begins at the start of the stream."""
    await fresh_durable(nc)
    return await nc.jetstream().pull_subscribe_bind(durable, stream)


async def fetch_all(sub: Pull, count: int) -> None:
    """Fetch 256 at a time until ``count`` are acknowledged."""
    received = 0
    while received < count:
        with contextlib.suppress(nats.errors.TimeoutError):
            for msg in await sub.fetch(256, timeout=5):
                Order.model_validate_json(msg.data)
                await msg.ack()
                received += 1


async def open_push(nc: Client, count: int) -> asyncio.Future[None]:
    """A push consumer at work; the future is done when ``count`` are acknowledged."""
    inbox = nc.new_inbox()
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    received = 0

    async def take(msg: Msg) -> None:
        nonlocal received
        Order.model_validate_json(msg.data)
        await msg.ack()
        received += 1
        if received == count:
            done.set_result(None)

    await nc.subscribe(inbox, cb=take)
    await nc.flush()
    await fresh_durable(nc, deliver_subject=inbox)
    return done
