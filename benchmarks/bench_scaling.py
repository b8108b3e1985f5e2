"""What a message costs with one, a hundred and ten thousand subscriptions, instruments and funds."""

from harness import Column, Contestant, Plan, Section, pair, rounds, run_pair
from mts1b_platform.server import NatsServer

STEPS = (1, 100, 10_000)
RAW = "raw-"
COLUMNS = (
    Column("msgs/s", "rate", ",.0f"),
    Column("µs CPU publish", "pub_us", ".2f"),
    Column("µs CPU receive", "sub_us", ".2f"),
)
NOTE = "Spread evenly. Quotes are counted once every instrument was heard; orders from the first of each fund on."


def _steps(what: str, worker: str, prefix: str) -> list[Contestant]:
    return [pair(f"{what}: {step:,}", worker, f"{prefix}{step}", ours=prefix != RAW) for step in STEPS]


QUOTES = [
    *_steps("listeners, an instrument each", "core_spread", "subscriptions-"),
    *_steps("instruments, heard by one listener", "core_spread", "symbols-"),
    *_steps("subscriptions of raw nats-py, an instrument each", "core_spread", RAW),
]
ORDERS = _steps("funds", "e2e_bus", "")


async def measure(plan: Plan) -> list[Section]:
    """Quotes on core NATS, orders on JetStream."""
    async with NatsServer(plan.directory / "scaling") as server:
        quotes = rounds(
            plan.chosen(QUOTES), plan.count, plan.rounds, lambda c, n: run_pair(c, server.url, n, "quote", "0")
        )
        orders = rounds(
            plan.chosen(ORDERS), plan.stored, plan.rounds, lambda c, n: run_pair(c, server.url, n, "order", "0")
        )
    return [
        Section(
            "scaling", "Many subscriptions, many subjects: quotes", COLUMNS, QUOTES[0].name, quotes, NOTE, "sub_us"
        ),
        Section("scaling stored", "Many subjects: stored orders", COLUMNS, ORDERS[0].name, orders, NOTE, "sub_us"),
    ]
