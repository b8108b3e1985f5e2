"""JetStream: pipelined publishes, atomic batches and overlapping pulls against nats-py's own ways.

python benchmarks/bench_jetstream.py [--count 20000] [--rounds 5] [--json FILE]
"""

import argparse
import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness import Contestant, as_json, machine, python_worker, rounds, run_alone, show, table
from mts1b_platform.server import NatsServer

FSYNC = 'jetstream { sync_interval: "always" }\n'
COLUMNS = [("msgs/s", "rate", ",.0f"), ("µs CPU", "us", ".2f")]


def alone(name: str, worker: str, mode: str, share: float = 1.0) -> Contestant:
    """A contestant that is one program."""
    return Contestant(name, python_worker(worker, mode), (), share=share)


PUBLISH = [
    alone("nats-py publish, one by one", "js_nats_py", "publish_one_by_one", 0.25),
    alone("nats-py publish_async", "js_nats_py", "publish_async"),
    alone("nats-py publish_async, typed", "js_nats_py", "publish_async_typed"),
    alone("pipelined, typed", "js_seam", "publish"),
    alone("atomic batches of 1000, typed", "js_seam", "atomic"),
]
CONSUME = [
    alone("nats-py fetch(256)", "js_nats_py", "fetch"),
    alone("nats-py push", "js_nats_py", "push"),
    alone("overlapping pulls, typed", "js_seam", "pulls"),
]
THROUGH = [alone("pipelined and pulls, typed", "js_seam", "through")]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="messages per run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write every round there")
    options = parser.parse_args()
    report: list[dict[str, object]] = []

    def run(title: str, url: str, chosen: Sequence[Contestant], base: str, count: int) -> None:
        outcomes = rounds(chosen, count, options.rounds, lambda c, n: run_alone(c.subscriber, url, str(n)))
        show(table(title, outcomes, COLUMNS, base))
        report.append(as_json(title, outcomes))

    with tempfile.TemporaryDirectory(prefix="mts1b-bench-") as name:
        directory = Path(name)
        async with NatsServer(directory / "server") as server:
            run("Publish, an ack each", server.url, PUBLISH, "nats-py publish_async", options.count)
            # The last publisher leaves a full stream; every reader begins at its start.
            run_alone(python_worker("js_seam", "publish"), server.url, str(options.count))
            run("Consume, validate, ack", server.url, CONSUME, "nats-py fetch(256)", options.count)
            run("Publish, consume and ack", server.url, THROUGH, THROUGH[0].name, options.count)
        config = directory / "fsync.conf"
        config.write_text(FSYNC)
        async with NatsServer(directory / "synced", config=config) as server:
            chosen = [alone("nats-py publish_async", "js_nats_py", "publish_async", 0.25), PUBLISH[3], PUBLISH[4]]
            title = "Durable on fsync (sync_interval: always)"
            run(title, server.url, chosen, "pipelined, typed", options.count)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "runs": report}, indent=1))


if __name__ == "__main__":
    asyncio.run(main())
