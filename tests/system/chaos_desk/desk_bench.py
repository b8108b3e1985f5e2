"""How fast the whole desk is, where the time goes, and whether its memory stays flat.

``python tests/system/chaos_desk/desk_bench.py`` (``make bench-desk``) runs desks, each on a server of its own:

- *Latency*: a simulated market at a steady pace. A listener hears every event of the chain; the hops from the quote
  that closed a bar to the fill that is booked are told apart by trace and by order. Once on a server of profile
  minimal, which syncs its disk from time to time, and once on an installation of profile single, which always does,
  with certificates and permissions.
- *An order*: what an order takes at full speed, durable and relaxed: the time of a run that trades less that of one
  that never does, medians of ``--rounds`` in which all four take turns. Of a relaxed one the processor time as well,
  its server's included. The ledgers must be equal.
- *The same*: the ledgers of a durable and of a relaxed run, byte for byte: of the day below, or of the files that
  ``--data`` names, each with the funds, strategies and brokers of the day.
- *A day*: twenty symbols, four funds, two strategies, two brokers, 100,000 quotes over a day of market time at full
  speed. Quotes per second, CPU and memory of every service, sampled at each tenth of the day.

``--only latency``, ``order``, ``same`` or ``day`` runs one of them; ``--quotes`` sets the length of the day. The exit
code is 1 when the books or the ledgers disagree, or a service grew by more than ``--grow`` MB over the second half of
the day.
"""

import argparse
import asyncio
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import pairwise, product
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from mts1b_desk.protocol import SERVICES, Status
from mts1b_desk.services.requests import NoAnswer, ask
from mts1b_desk.settings import BrokerSettings, DeskSettings, FundSettings, SimulationSettings, StrategySettings
from mts1b_foundation.subjects import (
    BROKERS_FILLS_RAW_V2,
    MARKETDATA_QUOTES_V2,
    OMS_FILLS_CREATED_V2,
    OMS_ORDERS_ACCEPTED_V2,
    OMS_ORDERS_CREATED_V2,
    RESEARCH_SIGNALS_PUBLISHED_V2,
    RISK_GATE_PASSED,
    Subject,
)
from mts1b_platform.eventbus import EventBus, apply_streams, connect
from mts1b_platform.server import NatsServer

if not __package__:  # run as a script, or beside one
    from desk_chaos import bus_of
else:
    from .desk_chaos import bus_of

_DAY = 86_400
_MODES = ("durable", "relaxed")
_HOPS = ("quote", "signal", "created", "risk passed", "accepted", "broker fill", "fill booked")
_SPANS = {
    "quote to order": ("quote", "created"),
    "order to fill": ("created", "fill booked"),
    "quote to fill": ("quote", "fill booked"),
}
"""Quantiles of their own: not the sums of those of the hops."""


def settings_of(symbols: int, quotes: int | None, *, tick_ms: int, interval: str, latency_ms: int) -> DeskSettings:
    """Four funds, two strategies, two brokers on a simulated market."""
    names = ("BTC/USD", "ETH/USD", "BRK.B", *(f"SYM{number}" for number in range(symbols - 3)))
    return DeskSettings(
        session="bench",
        funds=tuple(
            FundSettings(fund_id=fund, strategy=strategy, broker=broker, max_position_notional=Decimal(60_000))
            for fund, strategy, broker in (
                ("alpha", "ma_cross", "paper"),
                ("beta", "breakout", "sim2"),
                ("gamma", "ma_cross", "sim2"),
                ("delta", "breakout", "paper"),
            )
        ),
        brokers=(BrokerSettings(latency_ms=latency_ms), BrokerSettings(name="sim2", latency_ms=latency_ms)),
        strategies=(StrategySettings(), StrategySettings(name="breakout", fast=1, slow=12)),
        source=SimulationSettings(symbols=names, quotes=quotes, tick_ms=tick_ms),
        intervals=(interval,),
        nav_interval_ms=600_000,
    )


@asynccontextmanager
async def desk(
    directory: Path, settings: DeskSettings, speed: str, *, profile: str
) -> AsyncGenerator[tuple[EventBus, Any]]:
    """A running desk on a bus of its own, which is handed out as somebody who may hear everything."""
    file = directory / "desk.json"
    await asyncio.to_thread(file.write_text, settings.model_dump_json())
    async with bus_of(profile, directory / "nats") as target:
        where = target.environment
        config = where.get("MTS1B_CONFIG")
        service = "mts1b-operations" if config else None
        async with await connect(where.get("MTS1B_NATS_URL"), config=config, service=service, watched=False) as bus:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "mts1b_desk", "run", "--settings", str(file), "--speed", speed, "--json",
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, cwd=directory,
                env={**os.environ, **where, "XDG_CONFIG_HOME": str(directory)},
            )  # fmt: skip
            try:
                yield bus, process
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()


async def latency(directory: Path, *, orders: int, profile: str) -> None:
    """Print the hops from quote to booked fill."""
    settings = settings_of(3, None, tick_ms=50, interval="1s", latency_ms=0)
    async with desk(directory, settings, "8", profile=profile) as (bus, process):
        times = await _hear(bus, orders)
        process.send_signal(signal.SIGINT)
        ledger = json.loads((await process.communicate())[0])
    rate = 8 * 1000 / 50
    print(
        f"latency on {profile} at {rate:.0f} quotes/s, {len(times)} orders filled, books agree: {ledger['reconciled']}"
    )
    whole = _quantile([each["fill booked"] - each["quote"] for each in times], 0.5)
    print(f"  {'':28} {'p50 ms':>8} {'p99 ms':>8} {'share':>7}")
    for name, (first, then) in {**{f"{a} > {b}": (a, b) for a, b in pairwise(_HOPS)}, **_SPANS}.items():
        hops = [each[then] - each[first] for each in times]
        half = _quantile(hops, 0.5)
        print(f"  {name:28} {half:8.2f} {_quantile(hops, 0.99):8.2f} {half / whole:7.0%}")


async def an_order(directory: Path, *, quotes: int, rounds: int) -> bool:
    """Print what an order takes, durable and relaxed; says whether their ledgers are equal."""
    ledgers: set[str] = set()
    fast = ("--quotes", str(quotes), "--interval", "500ms", "--fast", "1")
    took: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    used: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    orders = 0
    async with _server(directory) as environment:
        for _ in range(rounds):
            for mode, slow in product(_MODES, (str(quotes), "2")):
                before = _used()
                seconds, funds = await _run(environment, *fast, "--slow", slow, "--durability", mode)
                took[mode, slow].append(seconds)
                used[mode, slow].append(_used() - before)
                if slow == "2":
                    orders = sum(sum(fund["orders"].values()) for fund in funds.values())
                    ledgers.add(json.dumps(funds))

    def an(times: dict[tuple[str, str], list[float]], mode: str) -> float:
        return 1000 * (median(times[mode, "2"]) - median(times[mode, str(quotes)])) / orders

    for mode in _MODES:
        cpu = f", {an(used, mode):.2f} ms of the processor" if mode == "relaxed" else ""
        print(f"an order, {mode}: {an(took, mode):.2f} ms{cpu} ({orders} orders, median of {rounds})")
    equal = len(ledgers) == 1
    print(f"  durable takes {an(took, 'durable') / an(took, 'relaxed'):.1f} times as long")
    print(f"  the ledgers are {'equal' if equal else 'DIFFERENT'}")
    return equal


def _used() -> float:
    """Seconds of processor time that desks which have ended have used."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


async def same(directory: Path, *, quotes: int, symbols: int, data: Sequence[Path]) -> bool:
    """Say whether durable and relaxed runs end with the same ledgers."""
    file = directory / "desk.json"
    settings = settings_of(symbols, quotes, tick_ms=_DAY * 1000 // quotes, interval="5m", latency_ms=50)
    if data:
        settings = settings.model_copy(update={"intervals": ("1s",)})
    await asyncio.to_thread(file.write_text, settings.model_dump_json())
    equal = True
    async with _server(directory) as environment:
        for path in data or (None,):
            what = ("--data", str(path)) if path else ()
            ledgers: list[str] = []
            for mode in _MODES:
                _, funds = await _run(environment, "--settings", str(file), *what, "--durability", mode)
                ledgers.append(json.dumps(funds))
            orders = sum(sum(fund["orders"].values()) for fund in json.loads(ledgers[0]).values())
            agreed = ledgers[0] == ledgers[1]
            equal = equal and agreed
            name = path.name if path else f"a day of {quotes} quotes"
            said = "the same, byte for byte" if agreed else "DIFFERENT"
            print(f"{name}: durable and relaxed ledger of {len(ledgers[0])} bytes, {orders} orders: {said}")
    return equal


@asynccontextmanager
async def _server(directory: Path) -> AsyncGenerator[dict[str, str]]:
    """A server with every stream; yields the environment of commands that use it."""
    async with NatsServer(directory / "nats") as server:
        async with await connect(server.url) as bus:
            await apply_streams(bus)
        yield {**os.environ, "MTS1B_NATS_URL": server.url, "XDG_CONFIG_HOME": str(directory)}


async def _run(environment: dict[str, str], *options: str) -> tuple[float, dict[str, Any]]:
    """Run a desk at full speed; how many seconds it took, and its funds."""
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mts1b_desk", "run", "--json", "--speed", "max", *options,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment,
    )  # fmt: skip
    out, err = await process.communicate()
    if not out:
        raise SystemExit(f"a desk ended with code {process.returncode} and without a ledger:\n{err.decode()}")
    return time.perf_counter() - began, json.loads(out)["funds"]


async def _hear(bus: EventBus, orders: int) -> list[dict[str, float]]:
    """Milliseconds at which the steps of ``orders`` orders were heard. Orders that waited for another are left out."""
    quotes: dict[str, float] = {}
    signals: dict[str, tuple[float, str]] = {}
    steps: defaultdict[str, dict[str, float]] = defaultdict(dict)
    done: list[dict[str, float]] = []
    full = asyncio.Event()

    async def hear(subject: Subject[Any], step: str) -> None:
        async for heard in bus.listen(subject):
            now, payload, trace = time.perf_counter() * 1000, heard.payload, heard.trace_id or ""
            if step == "quote":
                quotes[trace] = now
                if len(quotes) > 50_000:
                    quotes.pop(next(iter(quotes)))
            elif step == "signal":
                signals[payload.signal_id] = now, trace
            else:
                _note(steps, step, payload, now)
                if step == "fill booked":
                    _finish(steps.pop(payload.order_id, {}), signals, quotes, done)
                    if len(done) >= orders:
                        full.set()

    heard = (
        (MARKETDATA_QUOTES_V2, "quote"),
        (RESEARCH_SIGNALS_PUBLISHED_V2, "signal"),
        (OMS_ORDERS_CREATED_V2, "created"),
        (RISK_GATE_PASSED, "risk passed"),
        (OMS_ORDERS_ACCEPTED_V2, "accepted"),
        (BROKERS_FILLS_RAW_V2, "broker fill"),
        (OMS_FILLS_CREATED_V2, "fill booked"),
    )
    tasks = [asyncio.create_task(hear(subject, step)) for subject, step in heard]
    try:
        await asyncio.wait_for(full.wait(), 300)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return done


def _note(steps: "defaultdict[str, dict[str, float]]", step: str, payload: Any, now: float) -> None:
    order = payload.client_order_id if step == "broker fill" else payload.order_id
    steps[order].setdefault(step, now)


def _finish(
    seen: dict[str, float],
    signals: dict[str, tuple[float, str]],
    quotes: dict[str, float],
    done: list[dict[str, float]],
) -> None:
    """Keep what was heard of an order when all of it was, and it was made at once from its signal."""
    if len(seen) < len(_HOPS) - 2:
        return
    for signal_id, (at, trace) in reversed(signals.items()):
        if 0 <= seen["created"] - at < 1_000 and trace in quotes and signal_id:
            done.append({**seen, "signal": at, "quote": quotes[trace]})
            return


async def day(directory: Path, *, quotes: int, symbols: int) -> tuple[bool, float]:
    """Print speed, CPU and memory of a day; whether the books agree, and the most that a service grew by in MB."""
    settings = settings_of(symbols, quotes, tick_ms=_DAY * 1000 // quotes, interval="5m", latency_ms=50)
    memory: dict[str, list[float]] = {service: [] for service in SERVICES}
    cpu: dict[str, float] = {}
    began = ended = 0.0
    async with desk(directory, settings, "max", profile="minimal") as (bus, process):
        for tenth in range(1, 11):
            while (position := await _position(bus)) < quotes * tenth // 10:
                began = began or (time.monotonic() if position else 0.0)
                assert process.returncode is None, "the desk ended before the day did"
                await asyncio.sleep(0.05)
            ended = time.monotonic()
            for service in SERVICES:
                one = psutil.Process((await ask(bus, service, "status", Status)).pid)
                memory[service].append(one.memory_info().rss / 1e6)
                cpu[service] = sum(one.cpu_times()[:2])
        ledger = json.loads((await process.communicate())[0])
    funds = ledger["funds"].values()
    fills = sum(row["fills"] for row in funds)
    orders = sum(sum(row["orders"].values()) for row in funds)
    seconds = ended - began
    print(
        f"a day of {quotes} quotes, {symbols} symbols, {len(funds)} funds at full speed: {seconds:.1f} s, "
        f"{quotes / seconds:,.0f} quotes/s worked by every reader; {orders} orders, {fills} fills, books agree: "
        f"{ledger['reconciled']}"
    )
    print(f"  {'service':12} {'CPU s':>7} {'us/quote':>9}   MB at each tenth of the day")
    for service in SERVICES:
        grown = " ".join(f"{value:.0f}" for value in memory[service])
        print(f"  {service:12} {cpu[service]:7.1f} {cpu[service] / quotes * 1e6:9.1f}   {grown}")
    return ledger["reconciled"], max(samples[-1] - samples[len(samples) // 2 - 1] for samples in memory.values())


async def _position(bus: EventBus) -> int:
    """How far the slowest reader of quotes is."""
    try:
        return min([(await ask(bus, name, "status", Status)).position for name in ("brokers", "treasury")])
    except NoAnswer:
        return 0


def _quantile(times: Sequence[float], share: float) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description="Speed, latency and memory of the whole desk.")
    parser.add_argument("--quotes", type=int, default=100_000)
    parser.add_argument("--symbols", type=int, default=20)
    parser.add_argument("--orders", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of `order`")
    parser.add_argument("--grow", type=float, default=20.0)
    parser.add_argument("--only", choices=("latency", "order", "same", "day"))
    parser.add_argument("--data", type=Path, nargs="+", default=[], help="files of market data for `same`")
    options = parser.parse_args()
    agreed, equal, grown = True, True, 0.0
    with tempfile.TemporaryDirectory(prefix="mts1b-bench-desk-") as directory:
        place = Path(directory)
        if options.only in (None, "latency"):
            for profile in ("minimal", "single"):
                (place / profile).mkdir()
                asyncio.run(latency(place / profile, orders=options.orders, profile=profile))
        if options.only in (None, "order"):
            (place / "order").mkdir()
            equal = asyncio.run(an_order(place / "order", quotes=6_000, rounds=options.rounds))
        if options.only in (None, "same"):
            (place / "same").mkdir()
            data = [path.resolve() for path in options.data]
            found = same(place / "same", quotes=options.quotes, symbols=options.symbols, data=data)
            equal = asyncio.run(found) and equal
        if options.only in (None, "day"):
            (place / "day").mkdir()
            agreed, grown = asyncio.run(day(place / "day", quotes=options.quotes, symbols=options.symbols))
            print(f"  grown most over the second half: {grown:.1f} MB (limit {options.grow:g})")
    return 0 if agreed and equal and grown <= options.grow else 1


if __name__ == "__main__":
    sys.exit(main())
