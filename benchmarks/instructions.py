"""Instructions per JetStream event, counted by callgrind: the same whatever else the machine is doing.

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
from pathlib import Path

from bench_jetstream import ASYNC, PUBLISH, PUSH, READ
from harness import Contestant, alone, python_worker, run_alone
from mts1b_platform.server import NatsServer

OFF = "publish and consume, unwatched"
WATCHED = (alone(OFF, "watched", "off", ours=True), alone("the same with metrics", "watched", "metrics", ours=True))
MEASURED = (("publish", PUBLISH, ASYNC), ("watched", WATCHED, OFF), ("consume", READ, PUSH))
FEW, MANY = 500, 2_500
COUNTING = "MTS1B_BENCH_CALLGRIND"
"""Tells a worker to have its instructions counted from where it starts its stopwatch (``workers/common.py``)."""
COLLECTED = re.compile(r"Collected : (\d+)")
PATIENCE = 900


def instructions(contestant: Contestant, url: str, count: int) -> int:
    """What the whole process executes for ``count`` events, from its stopwatch's start."""
    if contestant in READ:  # who is pushed to receives all that is stored, however few it wants
        run_alone(python_worker("js_seam", "publish"), url, str(count))
    with tempfile.NamedTemporaryFile() as profile:
        done = subprocess.run(
            [
                shutil.which("valgrind") or "valgrind", "--tool=callgrind", "--instr-atstart=no",
                f"--callgrind-out-file={profile.name}", *contestant.subscriber, url, str(count),
            ],
            capture_output=True, text=True, check=False, timeout=PATIENCE, env={**os.environ, COUNTING: "1"},
        )  # fmt: skip
    found = COLLECTED.search(done.stderr)
    if done.returncode != 0 or found is None:
        raise RuntimeError(f"{contestant.name}: {done.stderr[-2000:]}")
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
                print(table(f"JetStream {title}", found[title], base), end="\n\n")
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
