"""Core NATS, end to end: typed events on the bus against nats-py, FastStream and the C client.

python benchmarks/bench_core.py [--count 100000] [--rounds 5] [--latency 1000,5000,20000] [--json FILE]
"""

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import WORKERS, Contestant, Outcome, as_json, machine, needs, python_worker, rounds, run_pair, show, table
from mts1b_platform.server import NatsServer

CONFIG = """
max_pending: 512MB
write_deadline: "60s"
"""
"""A publisher at full speed outruns every subscriber; the server shall buffer, not cut it off."""


def c_client(directory: Path) -> Contestant:
    """The C client, compiled from our own source; absent without its library or a compiler."""
    program = directory / "core_c"
    absent = ""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        absent = "no C compiler"
    else:
        source = WORKERS / "core_c.c"
        built = subprocess.run(
            [compiler, "-O2", "-o", str(program), str(source), "-I/usr/include/nats", "-lnats"],
            capture_output=True,
            text=True,
            check=False,
        )
        if built.returncode:
            absent = "libnats is not installed (apt install libnats-dev)"
    return Contestant("C client, two headers read", [str(program), "sub"], [str(program), "pub"], absent)


def contestants(directory: Path) -> list[Contestant]:
    """Everybody, present or not."""

    def ours(name: str, worker: str, *mode: str, absent: str = "", share: float = 1.0) -> Contestant:
        # The mode is the last argument, after what the harness adds.
        wrapper = [sys.executable, str(WORKERS / "with_mode.py"), *(mode or ("-",))]
        pair = [[*wrapper, *python_worker(worker, role)[1:]] for role in ("sub", "pub")]
        return Contestant(name, pair[0], pair[1], absent, share)

    return [
        ours("nats-py raw", "core_nats_py", "raw", share=0.5),
        ours("nats-py naive typed", "core_nats_py", "naive", share=0.5),
        ours("seam typed", "core_seam"),
        ours("bus typed (publisher, listen)", "core_bus"),
        ours("FastStream typed", "core_faststream", absent=needs("faststream"), share=0.1),
        c_client(directory),
    ]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="messages per run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--latency", default="1000,5000,20000", help="messages a second; empty: leave latency out")
    parser.add_argument("--only", default="", help="contestants whose name contains one of these, comma separated")
    parser.add_argument("--json", type=Path, help="write every round there")
    options = parser.parse_args()
    report: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="mts1b-bench-") as name:
        directory = Path(name)
        config = directory / "bench.conf"
        config.write_text(CONFIG)
        chosen = [
            c for c in contestants(directory) if not options.only or any(o in c.name for o in options.only.split(","))
        ]
        async with NatsServer(directory / "server", config=config, jetstream=False) as server:
            flat_out = rounds(
                chosen, options.count, options.rounds, lambda c, n: run_pair(c, server.url, n, "quote", "0")
            )
            columns = [
                ("msgs/s", "rate", ",.0f"),
                ("µs CPU publish", "pub_us", ".2f"),
                ("µs CPU receive", "sub_us", ".2f"),
            ]
            show(table("Core NATS, Quote with six headers, end to end", flat_out, columns, "nats-py raw"))
            report.append(as_json("flat out", flat_out))
            for rate in filter(None, options.latency.split(",")):
                paced = latency(chosen, server.url, float(rate), options.rounds)
                columns = [(f"{p} ms", f"sub_{p}", ".3f") for p in ("p50", "p99", "p999")]
                show(table(f"Latency at {int(rate):,} messages a second", paced, columns, "nats-py raw"))
                report.append(as_json(f"latency at {rate}/s", paced))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "runs": report}, indent=1))


def latency(chosen: list[Contestant], url: str, rate: float, repeat: int) -> list[Outcome]:
    """Three seconds at a fixed rate, everybody with the same number of messages."""
    equal = [Contestant(c.name, c.subscriber, c.publisher, c.absent) for c in chosen]
    return rounds(equal, int(rate * 3), repeat, lambda c, n: run_pair(c, url, n, "quote", str(rate)))


if __name__ == "__main__":
    asyncio.run(main())
