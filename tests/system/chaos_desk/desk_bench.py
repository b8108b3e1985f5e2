"""How fast the whole desk is, where the time goes, and whether its memory stays flat.

``python tests/system/chaos_desk/desk_bench.py`` (``make bench-desk``) runs desks, each on a server of its own:

- *Latency*: a simulated market at a steady pace. A listener hears every event of the chain; the hops from the quote
  that closed a bar to the fill that is booked are told apart by trace and by order. Once on a server that syncs its
  disk from time to time, as the profile minimal has it, and once on one that syncs always, as the profile single.
- *An order*: what an order takes at full speed, durable and relaxed: the time of a run that trades less that of one
  that never does. The ledgers must be equal.
- *A day*: twenty symbols, four funds, two strategies, two brokers, 100,000 quotes over a day of market time at full
  speed. Quotes per second, CPU and memory of every service, sampled at each tenth of the day.

``--only latency``, ``--only order`` and ``--only day`` run one of them; ``--quotes`` sets the length of the day. Exit
code 1 when the books or the ledgers disagree, or a service grew by more than ``--grow`` MB over the second half of the
day.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
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

_DAY = 86_400
_HOPS = ("quote", "signal", "created", "risk passed", "accepted", "broker fill", "fill booked")


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
    directory: Path, settings: DeskSettings, speed: str, *, sync: str = "2m"
) -> AsyncGenerator[tuple[NatsServer, Any]]:
    """A running desk on a server of its own, which syncs its disk every ``sync``."""
    file, config = directory / "desk.json", directory / "nats.conf"
    await asyncio.to_thread(file.write_text, settings.model_dump_json())
    await asyncio.to_thread(config.write_text, f'jetstream {{ sync_interval: "{sync}" }}\n')
    async with NatsServer(directory / "nats", config=config) as server:
        async with await connect(server.url) as bus:
            await apply_streams(bus)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mts1b_desk", "run", "--settings", str(file), "--speed", speed, "--json",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, cwd=directory,
            env={**os.environ, "MTS1B_NATS_URL": server.url, "XDG_CONFIG_HOME": str(directory)},
        )  # fmt: skip
        try:
            yield server, process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def latency(directory: Path, *, orders: int, profile: str, sync: str) -> None:
    """Print the hops from quote to booked fill."""
    settings = settings_of(3, None, tick_ms=50, interval="1s", latency_ms=0)
    async with desk(directory, settings, "8", sync=sync) as (server, process), await connect(server.url) as bus:
        times = await _hear(bus, orders)
        process.send_signal(signal.SIGINT)
        ledger = json.loads((await process.communicate())[0])
    rate = 8 * 1000 / 50
    print(
        f"latency on {profile} at {rate:.0f} quotes/s, {len(times)} orders filled, books agree: {ledger['reconciled']}"
    )
    print(f"  {'from':12} {'to':12} {'p50 ms':>8} {'p99 ms':>8} {'share':>7}")
    total = _quantile([each[_HOPS[-1]] - each[_HOPS[0]] for each in times], 0.5)
    for first, then in pairwise(_HOPS):
        hops = [each[then] - each[first] for each in times]
        share = _quantile(hops, 0.5) / total if total else 0
        print(f"  {first:12} {then:12} {_quantile(hops, 0.5):8.2f} {_quantile(hops, 0.99):8.2f} {share:7.0%}")
    whole = [each[_HOPS[-1]] - each[_HOPS[0]] for each in times]
    placed = [each["created"] - each["quote"] for each in times]
    print(f"  quote to order: p50 {_quantile(placed, 0.5):.2f} ms, p99 {_quantile(placed, 0.99):.2f} ms")
    print(f"  quote to order to fill: p50 {_quantile(whole, 0.5):.2f} ms, p99 {_quantile(whole, 0.99):.2f} ms")


async def an_order(directory: Path, *, quotes: int) -> bool:
    """Print what an order takes, durable and relaxed; says whether their ledgers are equal."""
    ledgers: dict[str, str] = {}
    async with NatsServer(directory / "nats") as server:
        async with await connect(server.url) as bus:
            await apply_streams(bus)
        environment = {**os.environ, "MTS1B_NATS_URL": server.url, "XDG_CONFIG_HOME": str(directory)}

        async def run(*more: str) -> tuple[float, dict[str, Any]]:
            began = time.perf_counter()
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "mts1b_desk", "run", "--json", "--quotes", str(quotes), "--speed", "max",
                "--interval", "500ms", "--fast", "1", *more,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, cwd=directory, env=environment,
            )  # fmt: skip
            out, _ = await process.communicate()
            return time.perf_counter() - began, json.loads(out)["funds"]

        for mode in ("durable", "relaxed"):
            idle, _ = await run("--slow", str(quotes), "--durability", mode)
            took, funds = await run("--slow", "2", "--durability", mode)
            orders = sum(sum(fund["orders"].values()) for fund in funds.values())
            ledgers[mode] = json.dumps(funds)
            print(f"an order, {mode}: {1000 * (took - idle) / orders:.2f} ms ({orders} orders, {took:.1f} s in all)")
    equal = len(set(ledgers.values())) == 1
    print(f"  the ledgers are {'equal' if equal else 'DIFFERENT'}")
    return equal


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
    async with desk(directory, settings, "max") as (server, process), await connect(server.url) as bus:
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
    parser.add_argument("--grow", type=float, default=20.0)
    parser.add_argument("--only", choices=("latency", "order", "day"))
    options = parser.parse_args()
    agreed, equal, grown = True, True, 0.0
    with tempfile.TemporaryDirectory(prefix="mts1b-bench-desk-") as directory:
        place = Path(directory)
        if options.only in (None, "latency"):
            for profile, sync in (("minimal", "2m"), ("single", "always")):
                (place / profile).mkdir()
                asyncio.run(latency(place / profile, orders=options.orders, profile=profile, sync=sync))
        if options.only in (None, "order"):
            (place / "order").mkdir()
            equal = asyncio.run(an_order(place / "order", quotes=3_000))
        if options.only in (None, "day"):
            (place / "day").mkdir()
            agreed, grown = asyncio.run(day(place / "day", quotes=options.quotes, symbols=options.symbols))
            print(f"  grown most over the second half: {grown:.1f} MB (limit {options.grow:g})")
    return 0 if agreed and equal and grown <= options.grow else 1


if __name__ == "__main__":
    sys.exit(main())
