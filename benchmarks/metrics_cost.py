"""What being watched costs an event: CPU per event with metrics off, on, with the audit log, and with traces.

``python benchmarks/metrics_cost.py [rounds]``. Publisher and reader share one process, so that its CPU time is the
whole cost of an event; the variants take turns, and the least of each is printed, as noise only ever adds.
"""

import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from harness import Column, Contestant, Outcome, Plan, Section
from mts1b_foundation.samples import ORDER, QUOTE
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_ORDERS_CREATED
from mts1b_platform.eventbus import EventBus, apply_streams, connect
from mts1b_platform.eventbus.hooks import joined
from mts1b_platform.observability import observe
from mts1b_platform.observability.audit import AuditHook, AuditLog
from mts1b_platform.observability.tracing import Tracing, provider_for
from mts1b_platform.server import NatsServer
from opentelemetry.context import Context

COLUMNS = (Column("µs CPU", "us", ".2f"), Column("µs wall", "wall", ".2f"))
NOTE = "Publisher and reader in one process, so its CPU is the whole cost of an event."
QUOTES = 40_000
ORDERS = 16_000
"""Enough that starting the metrics endpoint does not count."""


async def quotes(market: EventBus, reader: EventBus) -> int:
    async with reader.listen(MARKETDATA_QUOTES) as listener:
        sent = 0
        while sent < QUOTES:
            for _ in range(1_000):
                await market.emit(MARKETDATA_QUOTES, QUOTE)
            sent += 1_000
            await market.flush()
            heard = 0
            async for _ in listener:
                heard += 1
                if heard == 1_000:
                    break
    return QUOTES


async def orders(oms: EventBus, reader: EventBus) -> int:
    events = [ORDER.model_copy(update={"idempotency_key": f"{time.time_ns()}-{n}"}) for n in range(ORDERS)]
    await oms.emit_many(OMS_ORDERS_CREATED, events)
    done = 0
    async for event in reader.consume(OMS_ORDERS_CREATED, durable="bench"):
        async with event:
            done += 1
        if done == ORDERS:
            break
    return ORDERS


def nothing(_: EventBus) -> None:
    pass


def metrics(bus: EventBus) -> None:
    observe(bus, port=0)


def unsampled(bus: EventBus) -> None:
    bus.hooks = joined(bus.hooks, Tracing(provider_for(bus.service), ratio=0.0))


def sampled(bus: EventBus) -> None:
    bus.hooks = joined(bus.hooks, Tracing(provider_for(bus.service), ratio=1.0))


def audit(bus: EventBus) -> None:
    bus.hooks = joined(bus.hooks, AuditHook(AuditLog(Path(tempfile.mkdtemp(prefix="mts1b-audit-")), bus.service)))


VARIANTS: dict[str, Callable[[EventBus], None]] = {
    "off": nothing,
    "metrics": metrics,
    "traces, none recorded": unsampled,
    "traces, all recorded": sampled,
    "audit log": audit,
}


async def cost(publisher: str, work: Callable[[EventBus, EventBus], Awaitable[int]], watch: str) -> tuple[float, float]:
    """CPU and wall microseconds an event."""
    async with (
        NatsServer() as server,
        await connect(server.url, service=publisher) as sender,
        await connect(server.url, service="mts1b-treasury") as reader,
    ):
        await apply_streams(sender)
        for bus in (sender, reader):
            VARIANTS[watch](bus)
        before, began = cpu(), time.perf_counter()
        count = await work(sender, reader)
        return (cpu() - before) / count * 1e6, (time.perf_counter() - began) / count * 1e6


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def span_cost() -> float:
    """CPU microseconds of an empty span of OpenTelemetry's SDK that nobody exports: the least that one can cost."""
    tracer, spans, context = provider_for("x").get_tracer("x"), 2_000, Context()
    least = float("inf")
    for _ in range(5):
        before = cpu()
        for _ in range(spans):
            tracer.start_span("send", context).end()
        least = min(least, (cpu() - before) / spans * 1e6)
    return least


async def measure(plan: Plan) -> list[Section]:
    """Every variant once a round, in turn, for quotes and for orders."""
    note = f"{NOTE} An empty span of the SDK, started and ended: {span_cost():.1f} µs; a recorded order has two."
    return [
        Section(
            "metrics quotes", "What watching costs a quote", COLUMNS, "off", await _rounds("quotes", plan), note, "us"
        ),
        Section(
            "metrics orders",
            "What watching costs a stored order",
            COLUMNS,
            "off",
            await _rounds("orders", plan),
            note,
            "us",
        ),
    ]


async def _rounds(kind: str, plan: Plan) -> list[Outcome]:
    publisher, work = {"quotes": ("mts1b-marketdata", quotes), "orders": ("mts1b-oms", orders)}[kind]
    outcomes = [Outcome(Contestant(watch, (), (), ours=True)) for watch in VARIANTS]
    for number in range(plan.rounds):
        for outcome in outcomes if number % 2 == 0 else reversed(outcomes):  # who comes first has an edge
            spent, wall = await cost(publisher, work, outcome.contestant.name)
            outcome.rounds.append({"us": spent, "wall": wall})
    return outcomes


async def main(rounds: int) -> None:
    plan = Plan(count=0, stored=0, rounds=rounds, rates=(), seconds=0, only=(), directory=Path())
    for section in await measure(plan):
        print(section.title)
        least = {o.contestant.name: min(each["us"] for each in o.rounds) for o in section.outcomes}
        print(section.note)
        for watch, spent in least.items():
            print(f"  {watch:22} {spent:7.2f} us CPU  {spent / least['off'] - 1:+7.1%}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
