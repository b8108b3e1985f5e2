"""nats-py as it is. ``raw``: bytes in, bytes out. ``naive``: typed with its ordinary means."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingImports=false, reportUntypedFunctionDecorator=false
# reason: the contestants are partly untyped, and FastStream is only there with the group "peers".

import asyncio
import sys
import time
from typing import Any

import nats
from common import (
    ACTOR,
    MODELS,
    PATTERNS,
    SUBJECTS,
    TRACE,
    Stopwatch,
    events,
    main,
    paced,
    percentiles,
    say,
    static_headers,
)
from nats.aio.msg import Msg

TYPED = sys.argv.pop() == "naive"


async def subscribe(url: str, count: int, kind: str, rate: float) -> None:
    nc = await nats.connect(url)
    model, schema = MODELS[kind], MODELS[kind].schema_id()
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    received = 0
    latencies: list[int] = []

    async def take(msg: Msg) -> None:
        nonlocal received
        headers: dict[str, str] = msg.headers or {}
        if TYPED:
            if headers.get("mts-schema") != schema:
                raise ValueError(headers)
            model.model_validate_json(msg.data)
        if rate:
            latencies.append(time.monotonic_ns() - int(headers["Nats-Msg-Id"]))
        received += 1
        if received == count:
            done.set_result(None)

    await nc.subscribe(PATTERNS[kind], cb=take, pending_msgs_limit=-1, pending_bytes_limit=0)
    await nc.flush()
    watch = Stopwatch()
    say({"ready": True})
    await done
    say(watch.figures(**(percentiles(latencies) if rate else {})))
    await nc.close()


async def publish(url: str, count: int, kind: str, rate: float) -> None:
    nc = await nats.connect(url)
    made: list[Any] = events(kind)
    payloads = [event.model_dump_json().encode() for event in made]
    static, subject = static_headers(kind), SUBJECTS[kind]
    assert static["mts-actor"] == ACTOR
    watch = Stopwatch()
    async for n in paced(count, rate):
        payload = made[n % len(made)].model_dump_json().encode() if TYPED else payloads[n % len(payloads)]
        headers = {"Nats-Msg-Id": str(time.monotonic_ns()), "mts-trace-id": TRACE, **static}
        await nc.publish(subject, payload, headers=headers)
    await nc.flush()
    say(watch.figures())
    await nc.close()


main(subscribe, publish)
