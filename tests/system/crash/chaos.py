"""The long form of the crash matrix: ``python tests/system/crash/chaos.py`` (``make chaos``); prints figures,
exits 1 on any broken promise.

    --events 12000   over all kinds of store, and SQLite once more in the mode that is ordered by key
    --kills 160      roughly; the named points are used in turn, a fifth are at random moments, some are the server's
    --seed 0         repeats a plan; timing is never repeated exactly
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import get_args

from crash_harness import CONSUMER_POINTS, Figures, Plan, Run, producer_points
from crash_places import Kind
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.postgres import PostgresServer


def plan_for(kind: Kind, events: int, kills: int, seed: int, *, ordered: bool) -> Plan:
    """One run's share of the whole."""
    points = len(CONSUMER_POINTS) + len(producer_points(kind))
    server, at_random = max(1, kills // 12), max(1, kills // 5)
    rounds = max(1, round((kills - server - at_random) / points))
    return Plan(
        kind,
        events=events,
        rounds=rounds,
        at_most=max(1, events // (rounds * points * 2)),
        random_kills=at_random,
        server_kills=server,
        server_stops=max(1, server // 2),
        poison_every=7,
        ordered=ordered,
        seed=seed,
    )


async def run_all(events: int, kills: int, seed: int, kinds: list[Kind]) -> list[Figures]:
    """One run after the other, each on servers of its own."""
    runs: list[tuple[Kind, bool]]
    results: list[Figures] = []
    postgres = PostgresServer().start()
    try:
        runs = [(kind, False) for kind in kinds]
        if "sqlite" in kinds:
            runs.append(("sqlite", True))
        for kind, ordered in runs:
            with tempfile.TemporaryDirectory(prefix="mts1b-chaos-") as directory:
                home = Path(directory)
                where = postgres.new_database() if kind == "postgres" else str(home / "place")
                async with NatsServer(home / "nats") as server:
                    plan = plan_for(kind, events // len(runs), kills // len(runs), seed, ordered=ordered)
                    figures = await Run(plan, where, server, home).carry_out()
                print(figures.line(), flush=True)
                if figures.complaints:
                    print((home / f"{kind}.log").read_text()[-3000:], file=sys.stderr)
                results.append(figures)
    finally:
        postgres.stop()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=12_000)
    parser.add_argument("--kills", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=get_args(Kind))
    given = parser.parse_args()
    began = time.monotonic()
    kinds: list[Kind] = given.kind or list(get_args(Kind))
    results = asyncio.run(run_all(given.events, given.kills, given.seed, kinds))
    kills: Counter[str] = Counter()
    for figures in results:
        kills.update(figures.kills)
    for point, count in sorted(kills.items()):
        print(f"  {count:4} {point}")
    print(
        f"{sum(f.committed for f in results)} events, {sum(f.killed for f in results)} kills, "
        f"{kills['server stop']} freezes, {time.monotonic() - began:.0f} s, seed {given.seed}; "
        f"{sum(len(f.unburnt) for f in results)} planned kills not reached"
    )
    sys.exit(any(figures.complaints for figures in results))


if __name__ == "__main__":
    main()
