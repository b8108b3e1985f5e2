"""What watching costs the server: consumers polled for their lag every few seconds, CPU of server and monitor.

``python benchmarks/lag_cost.py [consumers] [seconds]``; default 200 consumers, half of them behind, for 30 seconds.
"""

import asyncio
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_operations.lag import consumer_lags
from mts1b_operations.monitor.survey import survey
from mts1b_platform.eventbus import apply_streams, connect
from mts1b_platform.server import NatsServer
from nats.js.api import AckPolicy, ConsumerConfig

INTERVAL = 5.0


async def main(consumers: int, seconds: float) -> None:
    async with NatsServer() as server, await connect(server.url, service="mts1b-oms") as bus:
        await apply_streams(bus)
        js = bus.plain_jetstream()
        for number in range(consumers):
            config = ConsumerConfig(
                durable_name=f"c{number}",
                ack_policy=AckPolicy.EXPLICIT,
                filter_subject=f"mts.v1.oms.orders.*.fund.{'alpha' if number % 2 else 'nobody'}",
            )
            await js.add_consumer("OMS_ORDERS", config)  # pyright: ignore[reportUnknownMemberType]
        for number in range(1_000):
            await bus.emit(OMS_ORDERS_CREATED, ORDER, msg_id=str(number))
        pid = server.pid or 0
        idle = await measured(pid, seconds, None)
        lags = await measured(pid, seconds, lambda: consumer_lags(bus))
        looks = await measured(pid, seconds, lambda: survey(bus))
        began = time.perf_counter()
        found = await consumer_lags(bus)
        took = time.perf_counter() - began
        behind = sum(lag.seconds > 0 for lag in found)
        print(f"{len(found)} consumers, {behind} behind; one look {took * 1000:.0f} ms")
        for name, (there, here) in {"idle": idle, "lag every 5 s": lags, "monitor's survey every 5 s": looks}.items():
            print(f"{name:28} server {there:6.2%} of a core   this process {here:6.2%}")


async def measured(pid: int, seconds: float, look: Callable[[], Awaitable[object]] | None) -> tuple[float, float]:
    """CPU of the server and of this process while looking, as shares of one core."""
    before, own, began = cpu(pid), own_cpu(), time.monotonic()
    while (left := seconds - (time.monotonic() - began)) > 0:
        if look is not None:
            await look()
        await asyncio.sleep(min(INTERVAL, left))
    passed = time.monotonic() - began
    return (cpu(pid) - before) / passed, (own_cpu() - own) / passed


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def own_cpu() -> float:
    """The same for this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200, float(sys.argv[2]) if len(sys.argv) > 2 else 30.0))
