"""JetStream, one process at a time: publishes with an ack each, reading with an ack each, and the price of an fsync."""

from collections.abc import Sequence
from dataclasses import replace

from harness import (
    LEAST,
    Column,
    Contestant,
    Plan,
    Result,
    Section,
    alone,
    beside,
    both_forms,
    python_worker,
    rounds,
    run_alone,
)
from mts1b_platform.server import NatsServer

FSYNC = 'jetstream { sync_interval: "always" }\n'
COLUMNS = (
    Column("msgs/s", "rate", ",.0f"),
    Column("µs CPU", "us", ".2f"),
    Column("µs CPU server", "server_us", ".1f"),
)

ASYNC, PIPELINED, EMIT_MANY = "nats-py publish_async", "pipelined, typed", "bus.emit_many"
ATOMIC, EMIT_ATOMIC = "atomic batches of 1000, typed", "bus.emit_many(atomic=True)"
PUSH, FETCH, PULLS, CONSUME = "nats-py push", "nats-py fetch(256)", "overlapping pulls, typed", "bus.consume"

READS = 5
"""So many times as many are read as are published: what a reader begins with, 20 ms, is no part of an order's cost."""
PULLED = (
    "Under way at most: push 20,000, overlapping pulls 2,048, bus.consume 1,000 (prefetch). At least 100,000 are read."
)

OURS = both_forms(
    alone(PIPELINED, "js_connection", "publish", ours=True),
    alone(EMIT_MANY, "js_bus", "emit_many", ours=True),
    alone(ATOMIC, "js_connection", "atomic", ours=True),
    alone(EMIT_ATOMIC, "js_bus", "emit_atomic", ours=True),
    alone("bus.ingest (an ack per 256)", "js_bus", "ingest", ours=True),
)
PUBLISH = (
    alone("nats-py publish, one by one", "js_nats_py", "publish_one_by_one", share=0.25),
    alone(ASYNC, "js_nats_py", "publish_async"),
    alone("nats-py publish_async, typed", "js_nats_py", "publish_async_typed"),
    *OURS,
)
READ = both_forms(
    alone(PUSH, "js_nats_py", "push"),
    alone(FETCH, "js_nats_py", "fetch"),
    alone(PULLS, "js_connection", "pulls", ours=True),
    alone(CONSUME, "js_bus", "consume", ours=True),
)
SYNCED = (alone(ASYNC, "js_nats_py", "publish_async", share=0.25), *OURS)


async def measure(plan: Plan) -> list[Section]:
    """Publish, and read what is stored."""
    published = Section("publish", "JetStream publish, an ack each", COLUMNS, ASYNC, ())
    consumed = Section("consume", "JetStream consume, validate, ack", COLUMNS, PUSH, (), PULLED)
    reads = max(LEAST, READS * plan.stored)
    async with NatsServer(plan.directory / "jetstream") as server:
        published = _section(plan, server, published, PUBLISH, plan.stored)
        # A full stream for the readers; every one of them begins at its start.
        run_alone(python_worker("js_connection", "publish"), server.url, str(reads))
        return [published, _section(plan, server, consumed, READ, reads)]


async def measure_fsync(plan: Plan) -> list[Section]:
    """Publish where every ack means that the disk has it."""
    config = plan.directory / "fsync.conf"
    config.write_text(FSYNC)
    title = "JetStream publish, durable on fsync (sync_interval: always)"
    async with NatsServer(plan.directory / "synced", config=config) as server:
        return [_section(plan, server, Section("fsync", title, COLUMNS, PIPELINED, ()), SYNCED, plan.stored)]


def _section(plan: Plan, server: NatsServer, empty: Section, contestants: Sequence[Contestant], count: int) -> Section:
    def run(contestant: Contestant, count: int) -> Result:
        return beside(server, lambda: run_alone(contestant.subscriber, server.url, str(count)), count)

    outcomes = rounds(plan.chosen(contestants), count, plan.rounds, run)
    return replace(empty, outcomes=outcomes)
