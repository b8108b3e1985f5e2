"""natsio as it is, bytes in and bytes out. Python 3.13 or newer; see ``make bench-clients``."""
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# reason: it is installed in an environment of its own.

import time

import natsio
from common import PATTERNS, SUBJECTS, TRACE, Stopwatch, events, main, paced, percentiles, say, static_headers


async def subscribe(url: str, count: int, kind: str, rate: float) -> None:
    async with await natsio.connect(url) as client:
        messages = client.subscribe(PATTERNS[kind], pending_msgs_limit=0, pending_bytes_limit=0)
        await client.flush()
        received, latencies = 0, list[int]()
        watch = Stopwatch()
        say({"ready": True})
        async for message in messages:
            headers = message.headers or {}
            if rate:
                latencies.append(time.monotonic_ns() - int(headers["Nats-Msg-Id"]))
            received += 1
            if received == count:
                break
        say(watch.figures(**(percentiles(latencies) if rate else {})))


async def publish(url: str, count: int, kind: str, rate: float) -> None:
    async with await natsio.connect(url) as client:
        payloads = [event.model_dump_json().encode() for event in events(kind)]
        static, subject = static_headers(kind), SUBJECTS[kind]
        watch = Stopwatch()
        async for n in paced(count, rate):
            headers = {"Nats-Msg-Id": str(time.monotonic_ns()), "mts-trace-id": TRACE, **static}
            await client.publish(subject, payloads[n % len(payloads)], headers=headers)
        await client.flush()
        say(watch.figures())


main(subscribe, publish)
