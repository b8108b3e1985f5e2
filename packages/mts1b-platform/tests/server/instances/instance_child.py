"""One instance of a reader in a process of its own: it books each order once, in a database that the judge reads.

python instance_child.py INSTANCES NAME URL STORE TAKEOVER
"""

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from mts1b_foundation.orders import Order
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Event, connect
from mts1b_platform.eventbus.dedupe.postgres import PostgresDedupe
from mts1b_platform.eventbus.dedupe.sqlite import SqliteDedupe

DURABLE = "books"
FUNDS = [f"fund-{number}" for number in range(8)]
FROZEN = 1.0
"""Seconds after which PostgreSQL ends the transaction of an instance that stands still."""


async def read(
    instances: Any,
    name: str,
    url: str,
    where: str,
    takeover: float,
    *,
    reads: Callable[[], None],
    stop: asyncio.Event,
) -> None:
    """Book orders until ``stop`` is set; ``reads`` is called when it has begun to read."""
    options: dict[str, Any] = {"keys": FUNDS, "member": name} if instances == "share" else {}
    store: Any = PostgresDedupe(where, frozen=FROZEN) if "://" in where else SqliteDedupe(where)
    async with await connect(url.split(","), service="mts1b-brokers", connect_timeout=60) as bus, store:
        orders = bus.consume(
            OMS_ORDERS_CREATED,
            durable=DURABLE,
            ordered_by="fund_id",
            instances=instances,
            takeover=takeover,
            **options,
        )

        async def end() -> None:
            await stop.wait()
            await orders.stop()

        async def book(event: Event[Order]) -> None:
            async with event.once(store) as tx:
                await asyncio.sleep(0.001)
                key, at = event.payload.idempotency_key, time.time()
                row = f"('{event.payload.fund_id}', {int(key)}, '{name}', {event.term}, {at})"
                await tx.execute(f"INSERT INTO effects (fund, number, who, term, at) VALUES {row}")  # noqa: S608

        await orders.start()
        reads()
        ending = asyncio.create_task(end())
        await orders.run(book, concurrency=4)
        await ending


async def main(instances: str, name: str, url: str, where: str, takeover: str) -> None:
    """Read until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    reads = partial(print, "reads", flush=True)
    await read(instances, name, url, where, float(takeover), reads=reads, stop=stop)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
