"""Publish with an ack, store, consume, validate, ack: publisher and consumer in two processes, on several brokers."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

from harness import Column, Contestant, Plan, Result, Section, beside, both_forms, needs, pair, rounds, run_pair
from mts1b_platform.server import NatsServer
from servers import ServerAbsent, rabbitmq_server, redis_server

BUS, FASTSTREAM, REDIS = "bus (emit_many, consume)", "FastStream JetStream, pull", "Redis Streams, pipelined"
NATS_PY = "nats-py publish_async, fetch"
COLUMNS = (
    Column("msgs/s", "rate", ",.0f"),
    Column("µs CPU publish", "pub_us", ".2f"),
    Column("µs CPU consume", "sub_us", ".2f"),
    Column("µs CPU server", "server_us", ".1f"),
)
NOTE = (
    "Orders as JSON, validated by pydantic, with six headers. NATS: file storage, fsync every 2 minutes as it comes; "
    "the bus emits 2000 a call and prefetches 1000. "
    "Redis: appendonly, appendfsync everysec; XADD in pipelines of 1000, XREADGROUP and one XACK per 1000. RabbitMQ: "
    "persistent messages, durable queue, a confirm each (after its fsync) with 1024 under way, prefetch 256, an ack "
    "each. FastStream: waits for each ack before the next publish, as it does by default. The server's CPU is "
    "that of nats-server."
)

Start = Callable[[Path], AbstractContextManager[str]]


def contestants() -> list[Contestant]:
    """Those on NATS."""
    return both_forms(
        pair(BUS, "e2e_bus", "1", ours=True),
        pair(NATS_PY, "e2e_nats_py", "fetch"),
        pair("nats-py publish_async, push", "e2e_nats_py", "push"),
        pair(FASTSTREAM, "e2e_faststream", absent=needs("faststream"), share=0.1),
    )


def elsewhere() -> list[tuple[Start, list[Contestant]]]:
    """Those on other brokers, with what starts these."""
    rabbit = [
        pair(f"RabbitMQ, {kind} queue", "e2e_rabbitmq", kind, absent=needs("aio-pika"), share=0.25)
        for kind in ("classic", "quorum")
    ]
    return [
        (redis_server, [pair(REDIS, "e2e_redis", absent=needs("redis") or needs("hiredis"))]),
        (rabbitmq_server, rabbit),
    ]


async def measure(plan: Plan) -> list[Section]:
    """All of them in turn, each on its own server."""
    with ExitStack() as servers:
        others = [c for start, group in elsewhere() for c in _started(plan, servers, start, plan.chosen(group))]
        async with NatsServer(plan.directory / "through") as server:
            chosen = [*(replace(c, url=server.url) for c in plan.chosen(contestants())), *others]

            def run(contestant: Contestant, count: int) -> Result:
                def both() -> Result:
                    return run_pair(contestant, contestant.url, count, "order", "0")

                return beside(server, both, count) if contestant.url == server.url else both()

            outcomes = rounds(chosen, plan.stored, plan.rounds, run)
    title = "Durable end to end: publish, store, consume, ack"
    return [Section("end to end", title, COLUMNS, NATS_PY, outcomes, NOTE)]


def _started(plan: Plan, servers: ExitStack, start: Start, group: list[Contestant]) -> list[Contestant]:
    if not group or group[0].absent:
        return group
    try:
        url = servers.enter_context(start(plan.directory / start.__name__))
    except ServerAbsent as absent:
        return [replace(contestant, absent=str(absent)) for contestant in group]
    return [replace(contestant, url=url) for contestant in group]
