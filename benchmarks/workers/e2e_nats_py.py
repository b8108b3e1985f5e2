"""Orders through nats-py, typed by hand: ``publish_async`` here; ``fetch`` or a push consumer there, as asked."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# reason: the contestant is partly untyped.

import asyncio
import sys
from typing import Any

import nats
from common import TRACE, Stopwatch, events, main, say, static_headers
from js_common import DURABLE, STREAM, SUBJECT, fresh_stream
from js_readers import fetch_all, open_fetch, open_push
from nats.js.api import PubAck

PUSH = sys.argv.pop() == "push"


async def subscribe(url: str, count: int, _kind: str, _rate: float) -> None:
    nc = await nats.connect(url)
    await fresh_stream(nc)
    if PUSH:
        reading = await open_push(nc, count)
    else:
        reading = fetch_all(await open_fetch(nc, DURABLE, STREAM), count)
    watch = Stopwatch()
    say({"ready": True})
    await reading
    await nc.flush()
    say(watch.figures())
    await nc.close()


async def publish(url: str, count: int, _kind: str, _rate: float) -> None:
    nc = await nats.connect(url)
    js = nc.jetstream()
    made: list[Any] = events("order")
    static = static_headers("order")
    watch = Stopwatch()
    waiting: list[asyncio.Future[PubAck]] = []
    for n in range(count):
        headers = {"Nats-Msg-Id": f"id-{n}", "mts-trace-id": TRACE, **static}
        payload = made[n % len(made)].model_dump_json().encode()
        waiting.append(await js.publish_async(SUBJECT, payload, headers=headers))
    await asyncio.gather(*waiting)
    say(watch.figures())
    await nc.close()


main(subscribe, publish)
