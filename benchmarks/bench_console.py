"""What the console costs, each figure beside its limit, and whether it is kept: tails, people, stories, large things.

It fails when a limit is not kept.

``python benchmarks/bench_console.py [--rate 10000] [--seconds 20] [--orders 100000]`` on a server and a console of its
own, and in Debian's Chromium. Processor time is of the console's process alone: on a busy machine compare that.
"""

import argparse
import asyncio
import gzip
import os
import re
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import console_pages as pages
from mts1b_console.bundle import bundle
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER, QUOTE
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_ORDERS_CREATED
from mts1b_platform.eventbus import apply_streams, connect
from mts1b_platform.server import NatsServer

_MTS1B = Path(sys.executable).with_name("mts1b")
SYMBOLS = 100
PEOPLE = 20


class Console:
    """The process of a console, and a browser at it."""

    def __init__(self, process: Process, address: str, http: aiohttp.ClientSession) -> None:
        self.process, self.address, self.http = process, address, http
        self.csrf = ""

    async def get(self, path: str) -> Any:
        """The answer at ``path``."""
        async with self.http.get(f"{self.address}{path}") as answer:
            answer.raise_for_status()
            return await answer.json()

    @property
    def seconds(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def megabytes(self) -> float:
        """Memory that it holds."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0


async def main(rate: int, seconds: float, orders: int) -> None:
    program_size()
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index.db"
        environ = {**os.environ, "MTS1B_INDEX_FILE": str(index), "MTS1B_CONFIG": str(Path(folder) / "none.toml")}
        (Path(folder) / "none.toml").touch()
        async with NatsServer(Path(folder) / "nats") as server, await connect(server.url, service="mts1b-oms") as bus:
            await apply_streams(bus)
            for part in (range(orders // 2), range(orders // 2 + 1, orders - 1)):
                await bus.ingest(OMS_ORDERS_CREATED, map(_order, part))  # one trace
                await bus.emit(OMS_ORDERS_CREATED, _order(part.stop))  # a trace of its own, as orders have
            words = ("console", "serve", "--servers", server.url, "--listen", "127.0.0.1:0")
            process = await asyncio.create_subprocess_exec(_MTS1B, *words, stdout=PIPE, cwd=folder, env=environ)
            try:
                assert process.stdout is not None
                address = (await process.stdout.readline()).decode().removeprefix("console: ").strip()
                async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
                    console = Console(process, address, http)
                    console.csrf = (await console.get("/api/me"))["csrf"]
                    await story(console, orders, "without an index", 3_000)
                    command = (_MTS1B, "index", "build", str(index), "--servers", server.url)
                    indexing = await asyncio.create_subprocess_exec(*command, env=environ, stdout=DEVNULL)
                    assert await indexing.wait() == 0
                    await story(console, orders, "with an index", 300)
                    await people(console, seconds, hidden=True)
                    await people(console, seconds, hidden=False)
                    for mode in ("sample", "latest"):
                        await tail(console, server.url, mode, rate, seconds)
                    place = await bus.jetstream().publish("mts.v1.oms.orders.created", pages.large_payload())
                    async with pages.chromium() as browser:
                        large = f"{place.stream}/{place.seq}"
                        await shown(browser, console, server.url, large, rate, seconds)
                        try:
                            took, frames = await pages.table(browser, Path(folder))
                        except pages.NothingCame:
                            took, frames = float("inf"), 0.0
                        judge("a table of 100,000 rows opens", took, "ms", most=200)
                        judge("a table of 100,000 rows scrolls, frames a second", frames, "", least=50)
            finally:
                process.terminate()
                await process.wait()


def tell(what: str, figure: str, note: str = "") -> None:
    """One figure without a limit."""
    print(f"{'':7} {what:64} {figure:>12}   {note}".rstrip(), flush=True)


_missed: list[str] = []


def judge(what: str, value: float, unit: str, *, most: float | None = None, least: float | None = None) -> None:
    """One figure, what it may be, and whether it is."""
    kept = (most is None or value <= most) and (least is None or value >= least)
    limit = f"at least {least:g}" if most is None else f"at most {most:g}"
    if not kept:
        _missed.append(what)
    figure = f"{value:,.1f} {unit}".replace(".0 ", " ").strip()
    print(f"{'kept' if kept else 'MISSED':7} {what:64} {figure:>12}   {limit}", flush=True)


def program_size() -> None:
    whole = sum(len(gzip.compress(file.content, mtime=0)) for file in bundle().values())
    judge("the browser's program, gzipped", whole / 1000, "kB", most=120)


async def story(console: Console, orders: int, how: str, most: float) -> None:
    """The newest order, and one in the middle of the stream."""
    for words, number in (("newest", orders - 1), ("middle one", orders // 2)):
        began, used = time.perf_counter(), console.seconds
        found = await console.get(f"/api/order/desk-1.ma_cross.{number:09}.alpha")
        took, used = time.perf_counter() - began, console.seconds - used
        assert len(found["events"] or ()) == 1, found
        assert (found["searched"]["how"] == "index") is ("with an" in how), found["searched"]
        judge(f"story of the {words} of {orders:,} orders, {how}", took * 1000, "ms", most=most)
        tell("of which the console's processor time", f"{used * 1000:.0f} ms")


async def shown(browser: Any, console: Console, url: str, large: str, rate: int, seconds: float) -> None:
    """The pages in a browser."""
    painted = await pages.first_paint(browser, console.address)
    judge("first paint from an empty cache", painted, "ms", most=300)
    used, held, began = console.seconds, console.megabytes, time.monotonic()

    async def flood() -> None:
        words = (sys.executable, __file__, "--flood", url, f"{rate}", f"{seconds + 10}")
        await (await asyncio.create_subprocess_exec(*words)).wait()

    found, dialog = await pages.flooded(browser, console.address, seconds, flood)
    share = (console.seconds - used) / (time.monotonic() - began)
    what = f"a page's tail at {rate:,} events/s:"
    judge(f"{what} frames drawn a second", found["frames"], "", least=50)
    tell(f"{what} age of what is seen, p50", f"{found['p50']:.0f} ms")
    judge(f"{what} age of what is seen, p99", found["p99"], "ms", most=250)
    judge(f"{what} growth of the page's heap", found["heap"], "MB", most=20)
    judge(f"{what} tasks over 50 ms", found["long"], "", most=0)
    tell(f"{what} the longest task", f"{found['longest']:.0f} ms")
    judge(f"{what} the console's processor time", share * 100, "%", most=20)
    judge(f"{what} the console's memory", console.megabytes - held, "MB", most=30)
    judge(f"{what} the halt dialog opens", dialog, "ms", most=100)
    judge("a payload of 0.9 MB opens", await pages.event(browser, console.address, large), "ms", most=200)


async def people(console: Console, seconds: float, *, hidden: bool) -> None:
    """Pages as they lie open: they look every two seconds; hidden ones ask every five minutes who is signed in."""
    every, path = (300, "/api/me") if hidden else (2, "/api/now")
    await console.get(path)
    began, used = time.monotonic(), console.seconds

    async def one(number: int) -> None:
        await asyncio.sleep(number * every / PEOPLE)
        while True:
            await console.get(path)
            await asyncio.sleep(every)

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(one(number) for number in range(PEOPLE)))
    share = (console.seconds - used) / (time.monotonic() - began)
    what = f"{PEOPLE} people, their pages {'hidden' if hidden else 'open'}: processor time"
    if hidden:
        judge(what, share * 100, "%", most=1)
    else:
        tell(what, f"{share:.1%}")


async def tail(console: Console, url: str, mode: str, rate: int, seconds: float) -> None:
    """A flood of quotes, seen by one browser."""
    async with console.http.ws_connect(f"{console.address}/live", headers={"Origin": console.address}) as socket:
        await socket.send_json({"op": "hello", "csrf": console.csrf})
        await socket.receive_json()
        await socket.send_json({"op": "watch", "id": 1, "subject": "mts.v1.>", "mode": mode})
        await socket.receive_json()
        held, used, began = console.megabytes, console.seconds, time.monotonic()
        flood = await asyncio.create_subprocess_exec(sys.executable, __file__, "--flood", url, f"{rate}", f"{seconds}")
        ended = asyncio.create_task(flood.wait())
        frame: dict[str, Any] = {}
        frames = size = 0
        while not ended.done():
            said = await socket.receive()
            frame = said.json()
            frames, size = frames + 1, size + len(said.data)
        passed = time.monotonic() - began
        what = f"a tail in mode {mode} at {frame['n'] / seconds:,.0f} events/s:"
        judge(f"{what} processor time", (console.seconds - used) / passed * 100, "%", most=20)
        judge(f"{what} memory", console.megabytes - held, "MB", most=30)
        tell(f"{what} frames a second", f"{frames / passed:.1f}", f"{size / passed / 1000:.0f} kB/s")
        tell(f"{what} processor time a frame", f"{(console.seconds - used) / max(frames, 1) * 1000:.1f} ms")
        judge(f"{what} events dropped", frame["dropped"], "", most=0)


async def flood(url: str, rate: int, seconds: float) -> None:
    """Publish quotes of 100 symbols."""
    quotes = [QUOTE.model_copy(update={"symbol": f"S{number}"}) for number in range(SYMBOLS)]
    async with await connect(url, service="mts1b-marketdata") as bus:
        began, sent = time.monotonic(), 0
        while (passed := time.monotonic() - began) < seconds:
            for number in range(sent, int(passed * rate)):
                quote = quotes[number % SYMBOLS]
                # when it was published, so that the pages know how old it is
                await bus.emit(MARKETDATA_QUOTES, quote.model_copy(update={"ask": float(int(time.time() * 1000))}))
            sent = int(passed * rate)
            await asyncio.sleep(0.005)
        await bus.flush()


def _order(number: int) -> Order:
    name = f"{number:09}"
    changes = {"order_id": f"desk-1.ma_cross.{name}.alpha", "idempotency_key": f"i-{name}", "signal_id": f"s-{name}"}
    return ORDER.model_copy(update=changes)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--flood"]:
        asyncio.run(flood(sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--rate", type=int, default=10_000)
        parser.add_argument("--seconds", type=float, default=20)
        parser.add_argument("--orders", type=int, default=100_000)
        asked = parser.parse_args()
        asyncio.run(main(asked.rate, asked.seconds, asked.orders))
        if _missed:
            raise SystemExit(f"{len(_missed)} limits are not kept: {'; '.join(_missed)}")
        print("every limit is kept")
