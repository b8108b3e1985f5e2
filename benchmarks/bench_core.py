"""Core NATS, end to end: typed events on the bus against nats-py, FastStream and the C client.

The server's CPU of an event is what no client can do without: with a publisher and a reader on two cores it bounds
the rate of a client that takes nothing itself.
"""

import shutil
import subprocess
from dataclasses import replace
from functools import partial

from harness import (
    PURE,
    WORKERS,
    Column,
    Contestant,
    Plan,
    Result,
    Section,
    beside,
    both_forms,
    needs,
    pair,
    rounds,
    run_pair,
)
from mts1b_platform.server import NatsServer

CONFIG = """
max_pending: 512MB
write_deadline: "60s"
"""
"""A publisher at full speed outruns every subscriber; the server shall buffer, not cut it off."""

RAW, CONNECTION, BUS = "nats-py raw", "connection typed", "bus typed (publisher, listen)"
METRICS = "bus typed, with metrics"
NATSIO, NATS_CORE = "natsio raw, Python 3.13", "nats-core raw, Python 3.13"
CALLBACK = "bus typed (publisher, listen with a callback)"
FASTSTREAM, C_CLIENT = "FastStream typed", "C client, two headers read"

LONG, PURE_LONG = 8.0, 3.0
"""Shares of the fast, who would be done in a fifth of a second: with these they take one or two, as the others do."""

SUSTAINED = 20_000
"""Messages a second that everybody sustains; beyond that only the fastest are asked."""
FASTEST = (BUS, METRICS, C_CLIENT)

FLAT_OUT = (
    Column("msgs/s", "rate", ",.0f"),
    Column("µs CPU publish", "pub_us", ".2f"),
    Column("µs CPU receive", "sub_us", ".2f"),
    Column("µs CPU server", "server_us", ".2f"),
)
LATENCY = tuple(Column(f"{name} ms", f"sub_{figure}", ".3f") for name, figure in
                (("p50", "p50"), ("p99", "p99"), ("p99.9", "p999")))  # fmt: skip


def c_client(plan: Plan) -> Contestant:
    """The C client, compiled from our own source; absent without its library or a compiler."""
    program = plan.directory / "core_c"
    absent = ""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        absent = "no C compiler (apt-get install gcc)"
    else:
        source = [str(WORKERS / "core_c.c"), "-I/usr/include/nats", "-lnats"]
        built = subprocess.run([compiler, "-O2", "-o", str(program), *source], capture_output=True, check=False)
        if built.returncode:
            absent = "libnats does not compile or is not installed (apt-get install libnats-dev)"
    return Contestant(C_CLIENT, [str(program), "sub"], [str(program), "pub"], absent, share=LONG)


_FORMS = both_forms(
    pair(RAW, "core_nats_py", "raw", share=0.5),
    pair("nats-py naive typed", "core_nats_py", "naive", share=0.5),
    pair(CONNECTION, "core_connection", ours=True),
    pair(BUS, "core_bus", ours=True),
    pair(METRICS, "core_bus", "metrics", ours=True),
    pair(CALLBACK, "core_bus", "callback", ours=True),
)
ON_NATS_PY = [
    replace(each, share=PURE_LONG if each.name.endswith(PURE) else LONG) if each.ours else each for each in _FORMS
]


def contestants(plan: Plan) -> list[Contestant]:
    """Everybody, present or not."""
    return [
        *ON_NATS_PY,
        pair(FASTSTREAM, "core_faststream", absent=needs("faststream"), share=0.1),
        c_client(plan),
        *elsewhere(plan),
    ]


def elsewhere(plan: Plan) -> list[Contestant]:
    """Clients that want another Python than the bus, in an environment of their own; none without it."""
    if plan.clients is None:
        return []
    here = (pair(NATSIO, "core_natsio", share=0.5), pair(NATS_CORE, "core_nats_core", share=0.5))
    other = str(plan.clients)
    return [
        replace(each, subscriber=[other, *each.subscriber[1:]], publisher=[other, *each.publisher[1:]]) for each in here
    ]


async def measure(plan: Plan) -> list[Section]:
    """Flat out, and the latency at each rate of the plan."""
    config = plan.directory / "core.conf"
    config.write_text(CONFIG)
    chosen = plan.chosen(contestants(plan))

    def run(contestant: Contestant, count: int, *, rate: float = 0) -> Result:
        return run_pair(contestant, server.url, count, "quote", str(rate))

    def flat_out(contestant: Contestant, count: int) -> Result:
        return beside(server, lambda: run(contestant, count), count)

    async with NatsServer(plan.directory / "core", config=config, jetstream=False) as server:
        outcomes = rounds(chosen, plan.count, plan.rounds, flat_out)
        sections = [Section("core", "Core NATS, a Quote with six headers, end to end", FLAT_OUT, RAW, outcomes)]
        equal = [replace(contestant, share=1.0) for contestant in chosen]
        for rate in plan.rates:
            taking_part = [each for each in equal if rate <= SUSTAINED or each.name in FASTEST]
            if not taking_part:
                continue
            outcomes = rounds(taking_part, int(rate * plan.seconds), plan.rounds, partial(run, rate=rate))
            title = f"Core NATS, latency at {rate:,} messages a second"
            sections.append(Section(latency_key(rate), title, LATENCY, RAW, outcomes, compared="sub_p99"))
    return sections


def latency_key(rate: int) -> str:
    """The name of the section with the latency at ``rate`` messages a second."""
    return f"latency {rate}"
