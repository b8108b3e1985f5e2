"""``make simulate``: run seeds, and print what they broke as plans that repeat it."""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from simulation.campaign import Campaign, portions
from simulation.known import known
from simulation.plan import PROFILES, Plan
from simulation.real import replay
from simulation.run import Result, simulate
from simulation.shrink import shrink

_LOG: Final = 60
_SHOWN: Final = 5
"""Failing seeds that are shrunk and shown; of the others only a line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 1 when something was violated, or a known fault is gone."""
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seeds", default="0..1000", help="such as 0..1000 (without the last) or 7")
    parser.add_argument("--profile", default="all", choices=["all", *PROFILES])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time; every core")
    parser.add_argument("--plan", help="a plan to repeat, as JSON or the path of a file with it")
    parser.add_argument("--trace", type=Path, help="with --plan or one seed: where to write the whole transcript")
    parser.add_argument("--shrink", action="store_true", help="with --plan: make it smaller, known faults too")
    parser.add_argument("--real", action="store_true", help="with --plan: beside a real server, as far as it can be")
    options = parser.parse_args(arguments)
    if options.plan:
        plan = _read_plan(options.plan)
        if options.real:
            return replay(plan)
        return _one(plan, options.trace, smaller=options.shrink)
    return _many(_seeds(options.seeds), options.profile, options.jobs)


def _read_plan(text: str) -> Plan:
    if not text.lstrip().startswith("{"):
        text = Path(text).read_text()
    document = json.loads(text)
    return Plan.from_json(json.dumps(document.get("plan", document)))


def _seeds(text: str) -> range:
    first, dots, end = text.partition("..")
    return range(int(first), int(end) if dots else int(first) + 1)


def _one(plan: Plan, trace: Path | None, *, smaller: bool) -> int:
    result = simulate(plan, verbose=trace is not None)
    if smaller and result.violations:
        result = shrink(result, result.violations[0].oracle)
    _show(result)
    if trace is not None:
        trace.write_text("\n".join(result.lines))
    return any(known(result.plan, violation) is None for violation in result.violations)


def _many(seeds: range, profile: str, jobs: int) -> int:
    campaign, began = Campaign(), time.monotonic()
    try:
        for portion in portions(seeds, profile, jobs):
            campaign.add(portion)
            for result, oracle in portion.failed:
                _tell(result, oracle, shown=len(campaign.failed) <= _SHOWN)
            _progress(campaign.seeds.total(), len(seeds), began)
    except KeyboardInterrupt:
        print("interrupted")
    print(campaign.summary())
    print(f"{time.monotonic() - began:.0f} s with {jobs} at a time")
    return bool(campaign.failed or campaign.mended)


def _progress(done: int, total: int, began: float) -> None:
    if sys.stderr.isatty():
        left = (time.monotonic() - began) / done * (total - done)
        print(f"\r{done} of {total} seeds, {left:.0f} s left ", end="", file=sys.stderr)


def _tell(result: Result, oracle: str, *, shown: bool) -> None:
    """What a seed breaks is shown at once, the first ones shrunk."""
    print(f"\nseed {result.plan.seed} of profile {result.plan.profile} violates: {oracle}", flush=True)
    if shown:
        _show(shrink(result, oracle))
        sys.stdout.flush()


def _show(result: Result) -> None:
    plan = result.plan.to_json()
    print("\n".join(result.lines[-_LOG:]))
    for violation in result.violations:
        name = known(result.plan, violation)
        print(f"violated: {violation.oracle}{f' (known: {name})' if name else ''}: {violation.facts}")
    print(f"checksum {result.checksum:08x}, {result.virtual:.1f} virtual seconds")
    print(f"plan: {plan}")
    print(f"repeat it: make simulate PLAN='{plan}'")


if __name__ == "__main__":
    sys.exit(main())
