"""nats-core as it is, bytes in and bytes out. Python 3.13 or newer; see ``make bench-clients``."""
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false
# reason: it is installed in an environment of its own, where "nats" is another package.

import time

from common import PATTERNS, SUBJECTS, TRACE, Stopwatch, events, main, paced, percentiles, say, static_headers
from nats.client import connect


async def subscribe(url: str, count: int, kind: str, rate: float) -> None:
    client = await connect(url)
    messages = await client.subscribe(PATTERNS[kind], max_pending_messages=None, max_pending_bytes=None)
    await client.flush()
    received, latencies = 0, list[int]()
    watch = Stopwatch()
    say({"ready": True})
    async for message in messages:
        if rate:
            latencies.append(time.monotonic_ns() - int(message.headers.get("Nats-Msg-Id")))
        received += 1
        if received == count:
            break
    say(watch.figures(**(percentiles(latencies) if rate else {})))
    await client.close()


async def publish(url: str, count: int, kind: str, rate: float) -> None:
    client = await connect(url)
    payloads = [event.model_dump_json().encode() for event in events(kind)]
    static, subject = static_headers(kind), SUBJECTS[kind]
    watch = Stopwatch()
    async for n in paced(count, rate):
        headers = {"Nats-Msg-Id": str(time.monotonic_ns()), "mts-trace-id": TRACE, **static}
        await client.publish(subject, payloads[n % len(payloads)], headers=headers)
    await client.flush()
    say(watch.figures())
    await client.close()


main(subscribe, publish)
