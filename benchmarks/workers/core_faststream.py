"""FastStream with a pydantic model in and out, as its documentation shows it; the same six headers."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingImports=false, reportUntypedFunctionDecorator=false
# reason: the contestants are partly untyped, and FastStream is only there with the group "peers".

import asyncio
import logging
import time
from typing import Any

from common import MODELS, PATTERNS, SUBJECTS, TRACE, Stopwatch, events, main, paced, percentiles, say, static_headers
from faststream import Context
from faststream.nats import NatsBroker
from peer_models import lax

logging.disable(logging.INFO)


async def subscribe(url: str, count: int, kind: str, rate: float) -> None:
    broker = NatsBroker(url, logger=None)
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    latencies: list[int] = []
    received = 0

    async def take(event: Any, message: Any = Context()) -> None:  # noqa: ARG001, B008 - FastStream's way
        nonlocal received
        if rate:
            latencies.append(time.monotonic_ns() - int(message.headers["Nats-Msg-Id"]))
        received += 1
        if received == count:
            done.set_result(None)

    take.__annotations__["event"] = lax(MODELS[kind])
    broker.subscriber(PATTERNS[kind], pending_msgs_limit=-1, pending_bytes_limit=0)(take)
    await broker.start()
    watch = Stopwatch()
    say({"ready": True})
    await done
    say(watch.figures(**(percentiles(latencies) if rate else {})))
    await broker.stop()


async def publish(url: str, count: int, kind: str, rate: float) -> None:
    broker = NatsBroker(url, logger=None)
    await broker.connect()
    made: list[Any] = events(kind)
    static, subject = static_headers(kind), SUBJECTS[kind]
    watch = Stopwatch()
    async for n in paced(count, rate):
        headers = {"Nats-Msg-Id": str(time.monotonic_ns()), "mts-trace-id": TRACE, **static}
        await broker.publish(made[n % len(made)], subject, headers=headers)
    await broker.ping(10)
    say(watch.figures())
    await broker.stop()


main(subscribe, publish)
