"""Everything that is measured of the bus, beside raw nats-py, the C client, FastStream, Redis Streams and RabbitMQ.

python benchmarks/bench.py [--quick] [--sections core,publish] [--json FILE] [--chart FILE.svg] [--markdown FILE.md]

Contestants run in processes of their own, in turn, several rounds; medians are compared. Who cannot run here is named
with the reason. Nothing is installed and no server of the machine is touched: all are started for the measurement.
"""

import argparse
import asyncio
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import bench_core
import bench_end_to_end
import bench_jetstream
import bench_memory
import bench_scaling
import chart
import metrics_cost
from harness import Plan, Section, machine
from mts1b_foundation.errors import Mts1bError
from report import as_json, as_markdown, document, show, show_verdicts
from targets import judge

SECTIONS: dict[str, Callable[[Plan], Awaitable[list[Section]]]] = {
    "core": bench_core.measure,
    "jetstream": bench_jetstream.measure,
    "end-to-end": bench_end_to_end.measure,
    "fsync": bench_jetstream.measure_fsync,
    "scaling": bench_scaling.measure,
    "memory": bench_memory.measure,
    "metrics": metrics_cost.measure,
}


async def main() -> None:
    """Measure, show, write."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="mts1b-bench-", ignore_cleanup_errors=True) as directory:
        plan = _plan(options, Path(directory))
        about = machine()
        sections: list[Section] = []
        failed = [name for name in options.sections.split(",") if not await _measured(name, plan, sections)]
    verdicts = judge(sections)
    if verdicts:
        show_verdicts(verdicts)
    command = shlex.join(["python", "benchmarks/bench.py", *sys.argv[1:]])
    texts = {
        options.json: lambda: as_json(document(about, command, sections, verdicts)),
        options.markdown: lambda: as_markdown(about, command, sections, verdicts),
        options.chart: lambda: chart.draw(sections, f"{about['cpu']}, {about['cores']} cores, {about['date']}"),
    }
    for path, text in texts.items():
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text())
            print(f"written: {path}")
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")


async def _measured(name: str, plan: Plan, sections: list[Section]) -> bool:
    """Measure what goes by ``name`` and show it; False, said why, when it cannot be: the others still count."""
    try:
        for section in await SECTIONS[name](plan):
            show(section)
            sections.append(section)
    except (Mts1bError, RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return False
    return True


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="everything small, in about two minutes; noisy")
    parser.add_argument("--count", type=int, help="messages a run on core NATS (default 100000, quick 20000)")
    parser.add_argument("--stored", type=int, help="messages a run on JetStream (default 20000, quick 4000)")
    parser.add_argument("--rounds", type=int, help="rounds (default 5, quick 1)")
    parser.add_argument("--rates", help="messages a second for latency (default 1000,5000,20000, quick 1000,5000)")
    parser.add_argument("--sections", default=",".join(SECTIONS), help="what to measure (default: %(default)s)")
    parser.add_argument("--only", default="", help="contestants whose name contains one of these, comma separated")
    parser.add_argument("--json", type=Path, help="write every round there")
    parser.add_argument("--chart", type=Path, help="draw the chart there, as SVG")
    parser.add_argument("--markdown", type=Path, help="write the tables there, as Markdown")
    options = parser.parse_args()
    unknown = set(options.sections.split(",")) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    return options


def _plan(options: argparse.Namespace, directory: Path) -> Plan:
    quick: bool = options.quick
    return Plan(
        count=options.count or (20_000 if quick else 100_000),
        stored=options.stored or (4_000 if quick else 20_000),
        rounds=options.rounds or (1 if quick else 5),
        rates=[int(rate) for rate in (options.rates or ("1000,5000" if quick else "1000,5000,20000")).split(",")],
        seconds=1.0 if quick else 3.0,
        only=[part for part in options.only.split(",") if part],
        directory=directory,
    )


if __name__ == "__main__":
    asyncio.run(main())
