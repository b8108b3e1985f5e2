"""Seeing what is stored: finding with and without the index, exporting, building the index.

``python benchmarks/bench_seeing.py [messages]``; default a million orders on a server of its own. Each line has the
processor time of this process beside the time that passed: on a busy machine the processor time is what to compare.
"""

import asyncio
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED, registry
from mts1b_operations.history.query import parse
from mts1b_operations.history.search import Search
from mts1b_operations.history.seen import Decoders
from mts1b_operations.index.feed import Feed
from mts1b_operations.index.find import ByIndex, pointing
from mts1b_operations.index.store import IndexStore
from mts1b_operations.story.names import Name
from mts1b_platform.eventbus import EventBus, apply_streams, connect
from mts1b_platform.eventbus.history.history import History, open_history
from mts1b_platform.eventbus.history.message_get import MessageGet
from mts1b_platform.server import NatsServer

STREAM = "OMS_ORDERS"
R = TypeVar("R")


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        async with NatsServer(place / "nats") as server, await connect(server.url, service="mts1b-oms") as bus:
            await apply_streams(bus)
            await bus.ingest(OMS_ORDERS_CREATED, orders(count))
            await measured(bus, server.url, count, place)


def orders(count: int) -> Iterator[Order]:
    for number in range(count):
        yield ORDER.model_copy(
            update={"order_id": f"desk-1.ma_cross.{number:09}.alpha", "idempotency_key": f"intent-{number:09}"}
        )


async def measured(bus: EventBus, url: str, count: int, place: Path) -> None:
    history, decoders = await open_history(bus, STREAM), Decoders(registry())
    await timed("read in batches", count, lambda: drain(history, count))
    few = min(count, 50_000)
    await timed("read one by one (secured service)", few, lambda: drain(History(STREAM, MessageGet(bus, STREAM)), few))

    middle = f"desk-1.ma_cross.{count // 2:09}.alpha"

    async def search(text: str) -> None:
        found = Search([history], parse(text).query, decoders, most=count, within=600)
        async for _ in found.run():
            pass

    await timed("search all for one order", count, lambda: search(f"order:{middle}"))
    await timed("search all for a number", count, lambda: search("quantity>0.4 quantity<0.4"))
    newest = Search([history], parse("fund:alpha").query, decoders, limit=50)
    began = time.perf_counter()
    found = [seen async for seen in newest.run()]
    print(f"{'first 50 results without the index':36} {time.perf_counter() - began:8.3f} s  ({len(found)} found)")

    for name, file in (("export to Parquet", "orders.parquet"), ("export to JSON lines", "orders.jsonl")):
        await asyncio.to_thread(exported, name, url, place / file, count)

    with IndexStore(place / "index.db", write=True) as store:
        feed = Feed(bus, store, decoders)
        await timed("build the index", count, feed.catch_up)
        keys = store.keys()
    with IndexStore(place / "index.db") as store:
        print(f"{'index':36} {store.bytes / keys:8.1f} bytes a key, {keys:,} keys")
        finder = ByIndex(pointing(store), {STREAM: history}, decoders, most=200_000, within=5)
        began = time.perf_counter()
        events = (await finder.find([Name("order_id", middle)])).events
        print(f"{'find an order by the index':36} {time.perf_counter() - began:8.4f} s  ({len(events)} found)")


async def drain(history: History, last: int) -> None:
    async for _ in history.batches(1, last):
        pass


def exported(name: str, url: str, file: Path, messages: int) -> None:
    """Export by the command, its start included, and print how fast it was and what it took."""
    command = (
        sys.executable,
        "-m",
        "mts1b_platform",
        "events",
        "export",
        "subject:oms.orders.>",
        str(file),
        "--servers",
        url,
    )
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    took, used = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"{name:36} {messages / took:10,.0f}/s  {took:8.2f} s, {cpu / messages * 1e6:5.1f} us of CPU a message, "
        f"at most {used.ru_maxrss // 1024:,} MB"
    )


async def timed(name: str, messages: int, work: Callable[[], Awaitable[R]]) -> R:
    """Run and print how fast it was."""
    began, own = time.perf_counter(), time.process_time()
    result = await work()
    took, used = time.perf_counter() - began, time.process_time() - own
    print(f"{name:36} {messages / took:10,.0f}/s  {took:8.2f} s, {used / messages * 1e6:5.1f} us of CPU a message")
    return result


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
