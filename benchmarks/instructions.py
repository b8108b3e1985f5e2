"""Instructions per event, counted by callgrind: the same whatever else the machine is doing.

``python benchmarks/instructions.py [--only NAME …] [--json FILE]`` (Debian's package valgrind; ten minutes). Every
contestant runs twice, with few and with many events; the difference is what an event costs its client, from the
interpreter's instructions to those of pydantic, without starting, connecting and the kernel's share. It says nothing of
caches.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench_core import METRICS, ON_NATS_PY, RAW
from bench_jetstream import ASYNC, CONSUME, PUBLISH, PUSH, READ
from harness import (
    PURE,
    Column,
    Contestant,
    Outcome,
    Plan,
    Section,
    alone,
    both_forms,
    progress,
    python_worker,
    ready,
    run_alone,
)
from mts1b_platform.server import NatsServer

OFF = "publish and consume, unwatched"
WATCHED = both_forms(
    alone(OFF, "watched", "off", ours=True), alone("the same with metrics", "watched", "metrics", ours=True)
)
SENT = [replace(each, subscriber=each.publisher, publisher=()) for each in ON_NATS_PY]
"""Quotes that nobody hears: their publisher is what is counted."""
MEASURED = (
    ("core, a quote published", SENT, RAW),
    ("core, a quote received", ON_NATS_PY, RAW),
    ("JetStream, an order published", PUBLISH, ASYNC),
    ("JetStream, an order published and consumed", WATCHED, OFF),
    ("JetStream, an order consumed", READ, PUSH),
)
FEW, MANY = 500, 2_500
COUNTING = "MTS1B_BENCH_CALLGRIND"
"""Tells a worker to have its instructions counted from where it starts its stopwatch (``workers/common.py``)."""
TRACED = ("--instr-atstart=no", "--trace-children=yes", "--trace-children-skip=*callgrind_control")
"""A worker with a mode becomes another program."""
COLLECTED = re.compile(r"Collected : (\d+)")
PATIENCE = 900


def instructions(contestant: Contestant, url: str, count: int) -> int:
    """What the whole process executes for ``count`` events, from its stopwatch's start."""
    if contestant in READ:  # who is pushed to receives all that is stored, however few it wants
        run_alone(python_worker("js_connection", "publish"), url, str(count))
    arguments = [url, str(count), *(("quote", "0") if contestant in (*SENT, *ON_NATS_PY) else ())]
    with tempfile.NamedTemporaryFile() as profile, tempfile.TemporaryFile("w+") as errors:
        valgrind = ["valgrind", "--tool=callgrind", *TRACED, f"--callgrind-out-file={profile.name}"]
        command = [*valgrind, *contestant.subscriber, *arguments]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, COUNTING: "1"}
        ) as counted:
            try:
                if contestant.publisher and ready(counted):
                    subprocess.run(
                        [*contestant.publisher, *arguments], capture_output=True, check=True, timeout=PATIENCE
                    )
                counted.communicate(timeout=PATIENCE)
            finally:
                counted.kill()
        errors.seek(0)
        said = errors.read()
    found = COLLECTED.search(said)
    if counted.returncode != 0 or found is None:
        raise RuntimeError(f"{contestant.name}: {said[-2000:]}")
    return int(found[1])


def per_event(contestant: Contestant, url: str) -> float:
    """Instructions that one more event costs."""
    return (instructions(contestant, url, MANY) - instructions(contestant, url, FEW)) / (MANY - FEW)


def table(title: str, figures: dict[str, float], base: str) -> str:
    """Figures with their ratio to ``base``, as Markdown."""
    lines = [f"| {title} | instructions per event | times fewer than {base} |", "|---|--:|--:|"]
    for name, figure in figures.items():
        ratio = f"{figures[base] / figure:.2f}" if base in figures else ""
        lines.append(f"| {name} | {figure:,.0f} | {ratio} |")
    return "\n".join(lines)


async def section(plan: Plan) -> list[Section]:
    """A quote published and received with metrics, in both forms, and an order consumed: sections of the benchmark."""
    if shutil.which("valgrind") is None:
        raise RuntimeError("valgrind is not installed (apt-get install valgrind)")
    found: list[Section] = []
    async with NatsServer(plan.directory / "instructions") as server:
        for key, title, contestants in (
            ("published", "a quote published", SENT),
            ("received", "a quote received", ON_NATS_PY),
            ("consumed", "an order consumed", READ),
        ):
            chosen = [each for each in contestants if each.name in (METRICS, METRICS + PURE, CONSUME)]
            outcomes = [Outcome(each) for each in chosen]
            for outcome in outcomes:
                progress(f"instructions, {title}: {outcome.contestant.name}")
                counted = await asyncio.to_thread(per_event, outcome.contestant, server.url)
                outcome.rounds.append({"instructions": counted})
            columns = (Column("instructions", "instructions", ",.0f"),)
            found.append(
                Section(f"instructions {key}", f"Instructions, {title}", columns, "", outcomes, "", "instructions")
            )
    progress("")
    return found


async def measure(only: Sequence[str]) -> dict[str, dict[str, float]]:
    """By title, then by contestant."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with NatsServer(Path(folder) / "jetstream") as server:
            for title, contestants, base in MEASURED:
                chosen = [each for each in contestants if not only or any(part in each.name for part in only)]
                if not chosen:
                    continue
                for contestant in contestants:
                    if contestant.name != base and contestant not in chosen:
                        continue
                    print(f"{title}: {contestant.name} …", file=sys.stderr)
                    figures = found.setdefault(title, {})
                    figures[contestant.name] = await asyncio.to_thread(per_event, contestant, server.url)
                print(table(title, found[title], base), end="\n\n")
    return found


def main() -> None:
    """Count, print, and keep what was counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only",
        nargs="*",
        default=[],
        help="whose name contains one of these, and their base",
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not installed (Debian: apt-get install valgrind)")
    found = asyncio.run(measure(options.only))
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
