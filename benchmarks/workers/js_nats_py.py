"""JetStream through nats-py: raw bytes with six headers, or typed where the mode says so."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingImports=false, reportUntypedFunctionDecorator=false
# reason: the contestants are partly untyped, and FastStream is only there with the group "peers".

import asyncio
from typing import Any

import nats
from common import TRACE, Stopwatch, events, static_headers
from js_common import DURABLE, STREAM, SUBJECT, fresh_stream, main
from js_readers import fetch_all, open_fetch, open_push


async def publish(url: str, count: int, *, pipelined: bool, typed: bool) -> dict[str, Any]:
    nc = await nats.connect(url)
    await fresh_stream(nc)
    js = nc.jetstream()
    made: list[Any] = events("order")
    payloads = [event.model_dump_json().encode() for event in made]
    static = static_headers("order")
    watch = Stopwatch()
    waiting: list[Any] = []
    for n in range(count):
        payload = made[n % len(made)].model_dump_json().encode() if typed else payloads[n % len(made)]
        headers = {"Nats-Msg-Id": f"id-{n}", "mts-trace-id": TRACE, **static}
        if pipelined:
            waiting.append(await js.publish_async(SUBJECT, payload, headers=headers))
        else:
            await js.publish(SUBJECT, payload, headers=headers)
    acks = await asyncio.gather(*waiting)
    result = watch.per_message(count)
    assert all(ack.stream == STREAM for ack in acks)
    await nc.close()
    return result


async def publish_async(url: str, count: int) -> dict[str, Any]:
    return await publish(url, count, pipelined=True, typed=False)


async def publish_async_typed(url: str, count: int) -> dict[str, Any]:
    return await publish(url, count, pipelined=True, typed=True)


async def publish_one_by_one(url: str, count: int) -> dict[str, Any]:
    return await publish(url, count, pipelined=False, typed=False)


async def fetch(url: str, count: int) -> dict[str, Any]:
    nc = await nats.connect(url)
    sub = await open_fetch(nc, DURABLE, STREAM)
    watch = Stopwatch()
    await fetch_all(sub, count)
    await nc.flush()
    result = watch.per_message(count)
    await nc.close()
    return result


async def push(url: str, count: int) -> dict[str, Any]:
    nc = await nats.connect(url)
    watch = Stopwatch()
    await (await open_push(nc, count))
    await nc.flush()
    result = watch.per_message(count)
    await nc.close()
    return result


main(
    publish_async=publish_async,
    publish_async_typed=publish_async_typed,
    publish_one_by_one=publish_one_by_one,
    fetch=fetch,
    push=push,
)
