"""What a publisher keeps in memory while the server is frozen: ``memory.py send_volatile|emit|emit_many "" count``.

The server is this program's own, stopped with SIGSTOP and released at the end.
"""

import asyncio
import contextlib
import json
import sys
import time
from pathlib import Path

from common import REPOS, TRACE, events, numbered_orders
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_ORDERS_CREATED
from mts1b_platform.eventbus import EventBus, apply_streams, connect
from mts1b_platform.server import NatsServer

FROZEN = 5.0
"""Seconds; the bus notices after at most three."""
PUBLISHERS = 100
"""Tasks that each emit one order after the other."""


class Growth:
    """Peak of this process's resident memory over what it was at first (Linux)."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        self._first = _status("VmRSS")

    def megabytes(self) -> float:
        """The growth so far."""
        return (_status("VmHWM") - self._first) / 1024


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


async def send_volatile(bus: EventBus, server: NatsServer, _count: int) -> dict[str, float]:
    """Best effort: as fast as it goes, for as long as the server is frozen."""
    quotes = events("quote")
    publisher = bus.publisher(MARKETDATA_QUOTES)
    server.pause()
    growth, end = Growth(), time.monotonic() + FROZEN
    offered = taken = 0
    while time.monotonic() < end:
        for quote in quotes:
            taken += publisher.send_volatile(quote, TRACE)
        offered += len(quotes)
        await asyncio.sleep(0)
    peak = growth.megabytes()
    dropped = sum(bus.counters.publish_dropped.values())
    assert dropped >= offered - taken, "a drop was not counted"
    return {"megabytes": peak, "offered": offered, "dropped": dropped, "stored": 0}


async def emit(bus: EventBus, server: NatsServer, count: int) -> dict[str, float]:
    """Durable, from many tasks: each waits for its ack."""
    orders = iter(numbered_orders(count))
    offered = 0

    async def work() -> None:
        nonlocal offered
        for order in orders:
            offered += 1
            await bus.emit(OMS_ORDERS_CREATED, order, deadline=60)

    server.pause()
    growth = Growth()
    workers = [asyncio.create_task(work()) for _ in range(PUBLISHERS)]
    await asyncio.sleep(FROZEN)
    peak, waited = growth.megabytes(), offered
    server.resume()
    await asyncio.gather(*workers)
    return {"megabytes": peak, "offered": waited, "dropped": 0, "stored": await _stored(bus)}


async def emit_many(bus: EventBus, server: NatsServer, count: int) -> dict[str, float]:
    """Durable, one call: what it was given is serialised, a window of it under way."""
    orders = numbered_orders(count)
    server.pause()
    growth = Growth()
    call = asyncio.create_task(bus.emit_many(OMS_ORDERS_CREATED, orders, deadline=60))
    await asyncio.sleep(FROZEN)
    peak = growth.megabytes()
    server.resume()
    assert len(await call) == count
    return {"megabytes": peak, "offered": count, "dropped": 0, "stored": await _stored(bus)}


async def _stored(bus: EventBus) -> int:
    return (await bus.plain_jetstream().stream_info("OMS_ORDERS")).state.messages


async def main() -> None:
    """Run one mode against a server of its own."""
    mode, count = sys.argv[1], int(sys.argv[3])
    run, kind = {"send_volatile": (send_volatile, "quote"), "emit": (emit, "order"), "emit_many": (emit_many, "order")}[
        mode
    ]
    async with NatsServer() as server, await connect(server.url, service=REPOS[kind]) as bus:
        await apply_streams(bus)
        try:
            result = await run(bus, server, count)
        finally:
            with contextlib.suppress(ProcessLookupError):
                server.resume()
        print(json.dumps(result))


asyncio.run(main())
