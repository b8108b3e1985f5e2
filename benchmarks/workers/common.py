"""What every worker shares: the events, the ids, the pace, the figures."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from mts1b_foundation.event import Event
from mts1b_foundation.marketdata import Quote
from mts1b_foundation.orders import Order, Side

SUBJECTS = {"quote": "mts.v1.marketdata.quotes.BTC=2FUSD", "order": "mts.v1.oms.orders.created"}
PATTERNS = {"quote": "mts.v1.marketdata.quotes.*", "order": "mts.v1.oms.orders.created"}
MODELS: dict[str, type[Event]] = {"quote": Quote, "order": Order}
REPOS = {"quote": "mts1b-marketdata", "order": "mts1b-oms"}
ACTOR = "crypto_dual_paper"
TRACE = "0af7651916cd43dd8448eb211c80319c"
DISTINCT = 512
COUNTING = "MTS1B_BENCH_CALLGRIND"
"""Set for a worker under callgrind: instructions are counted from the start of its stopwatch, not while it imports."""


def events(kind: str) -> list[Any]:
    """Some hundred different valid events; publishing serialises one anew each time."""
    made: list[Any] = []
    now = datetime(2021, 1, 8, 12, tzinfo=UTC)
    for n in range(1, DISTINCT + 1):
        if kind == "quote":
            made.append(
                Quote(
                    symbol="BTC/USD",
                    bid=40_000 + n / 8,
                    ask=40_001 + n / 8,
                    bid_size=1.5,
                    ask_size=0.25 * n,
                    timestamp=now,
                    sequence=n,
                    session="20210108-1",
                    source="replay:benchmark",
                )
            )
        else:
            made.append(
                Order(
                    order_id=f"order-{n:06d}",
                    idempotency_key=f"intent-{n:06d}",
                    fund_id="alpha",
                    actor=ACTOR,
                    symbol="BTC/USD",
                    side=Side.BUY,
                    quantity=Decimal("0.125") * n,
                    reference_price=Decimal("40000.5"),
                    created_at=now,
                    updated_at=now,
                )
            )
    return made


def numbered_orders(count: int, funds: int = 1) -> list[Order]:
    """``count`` orders with a key each, spread over ``funds``; made ahead, as a producer has its orders at hand."""
    made = events("order")
    return [
        made[n % DISTINCT].model_copy(
            update={"idempotency_key": f"id-{n}", "fund_id": "alpha" if funds == 1 else f"fund-{n % funds}"}
        )
        for n in range(count)
    ]


def quotes_of(symbols: int) -> list[Quote]:
    """A valid quote for each of ``symbols`` instruments."""
    made = events("quote")
    return [made[n % DISTINCT].model_copy(update={"symbol": symbol_of(n)}) for n in range(symbols)]


def symbol_of(number: int) -> str:
    """The name of an instrument."""
    return f"S{number}/USD"


def static_headers(kind: str) -> dict[str, str]:
    """The four headers that do not change."""
    return {
        "content-type": "application/json",
        "mts-source-repo": REPOS[kind],
        "mts-schema": MODELS[kind].schema_id(),
        "mts-actor": ACTOR,
    }


class Stopwatch:
    """Wall and CPU time of this process from now on."""

    def __init__(self) -> None:
        if COUNTING in os.environ:
            subprocess.run(["callgrind_control", "--instr=on", str(os.getpid())], check=True, capture_output=True)  # noqa: S607
        self.start = time.monotonic_ns()
        self._cpu = time.process_time()

    def figures(self, **more: float) -> dict[str, float]:
        """Start, end (ns) and CPU (s), and whatever else was measured."""
        end = time.monotonic_ns()
        return {"start": self.start, "last": end, "cpu": time.process_time() - self._cpu, **more}

    def per_message(self, count: int) -> dict[str, float]:
        """What a program that works alone reports: messages a second, CPU microseconds each."""
        result = self.figures()
        return {"rate": count / (result["last"] - result["start"]) * 1e9, "us": result["cpu"] / count * 1e6}


def say(result: dict[str, Any]) -> None:
    """One line for the harness."""
    print(json.dumps(result), flush=True)


def percentiles(latencies_ns: list[int]) -> dict[str, float]:
    """p50, p99 and p99.9 in milliseconds, without the first tenth (connections and caches warm up)."""
    kept = sorted(latencies_ns[len(latencies_ns) // 10 :])
    last = len(kept) - 1
    return {name: kept[round(last * part)] / 1e6 for name, part in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))}


async def paced(count: int, rate: float) -> AsyncGenerator[int]:
    """Yield the numbers below ``count``, ``rate`` a second on an absolute schedule (0: as fast as asked)."""
    start = time.monotonic()
    for n in range(count):
        if rate:
            ahead = start + n / rate - time.monotonic()
            if ahead > 0:
                await asyncio.sleep(ahead)
        yield n


def message_ids(count: int) -> Iterator[str]:
    """Message ids that are also the time of sending, which is how latency is measured by everybody alike."""
    for _ in range(count):
        yield str(time.monotonic_ns())


Role = Callable[[str, int, str, float], Any]


def main(subscriber: Role, publisher: Role) -> None:
    """Run a role: ``worker.py role url count kind rate``."""
    role, url, count, kind, rate = sys.argv[1:6]
    asyncio.run({"sub": subscriber, "pub": publisher}[role](url, int(count), kind, float(rate)))
