"""Typed events through the whole bus: ``bus.publisher``, ``bus.listen``, counters and all.

With the mode ``callback`` the reader gives ``bus.listen`` a function instead of iterating; with ``metrics`` both serve
Prometheus metrics.
"""

import asyncio
import sys
import time
from typing import Any

from common import REPOS, TRACE, Stopwatch, events, main, paced, percentiles, say
from mts1b_foundation.subjects import MARKETDATA_QUOTES, Subject
from mts1b_platform.eventbus import EventBus, LiveEvent, connect
from mts1b_platform.observability import observe

SUBJECTS: dict[str, Subject[Any]] = {"quote": MARKETDATA_QUOTES}


def watched(bus: EventBus) -> None:
    if sys.argv[-1] == "metrics":
        observe(bus, port=0)


async def subscribe(url: str, count: int, kind: str, rate: float) -> None:
    read = heard if sys.argv[-1] == "callback" else iterated
    async with await connect(url, service="benchmark") as bus:
        watched(bus)
        latencies: list[int] = []
        watch = await read(bus, SUBJECTS[kind], count, latencies if rate else None)
        say(watch.figures(**(percentiles(latencies) if rate else {})))


async def iterated(bus: EventBus, subject: Subject[Any], count: int, latencies: list[int] | None) -> Stopwatch:
    received = 0
    async with bus.listen(subject, limit=10_000_000) as listener:
        watch = Stopwatch()
        say({"ready": True})
        async for event in listener:
            if latencies is not None:
                latencies.append(time.monotonic_ns() - int(event.trace_id or "0", 16))
            received += 1
            if received == count:
                break
    return watch


async def heard(bus: EventBus, subject: Subject[Any], count: int, latencies: list[int] | None) -> Stopwatch:
    received = 0
    done = asyncio.Event()

    def on_event(event: LiveEvent[Any]) -> None:
        nonlocal received
        if latencies is not None:
            latencies.append(time.monotonic_ns() - int(event.trace_id or "0", 16))
        received += 1
        if received == count:
            done.set()

    async with bus.listen(subject, on_event):
        watch = Stopwatch()
        say({"ready": True})
        await done.wait()
    return watch


async def publish(url: str, count: int, kind: str, rate: float) -> None:
    async with await connect(url, service=REPOS[kind]) as bus:
        watched(bus)
        made: list[Any] = events(kind)
        send, connection = bus.publisher(SUBJECTS[kind]).send_volatile, bus.connection
        watch = Stopwatch()
        if rate:
            # The message id of a quote is not ours to give, so the time of sending travels as the trace id.
            async for n in paced(count, rate):
                if connection.above_high_water:  # an event that is dropped here is one that the reader waits for
                    await connection.writable()
                send(made[n % len(made)], f"{time.monotonic_ns():032x}")
        else:
            for n in range(count):
                send(made[n % len(made)], TRACE)
                if connection.above_high_water:
                    await connection.writable()
        await bus.flush()
        say(watch.figures(dropped=sum(bus.counters.publish_dropped.values())))


main(subscribe, publish)
