"""Everything that is measured of the bus, beside raw nats-py, the C client, FastStream, Redis Streams and RabbitMQ.

python benchmarks/bench.py [--quick] [--targets] [--sections core,jetstream] [--json FILE] [--chart FILE.svg]
                           [--markdown FILE.md]

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
import bench_durable
import bench_end_to_end
import bench_jetstream
import bench_memory
import bench_scaling
import chart
import instructions
import metrics_cost
import targets
from harness import PURE, Plan, Section, machine
from mts1b_foundation.errors import Mts1bError
from mts1b_platform.eventbus.core import CORE
from report import as_json, as_markdown, document, into_page, show, show_verdicts

SECTIONS: dict[str, Callable[[Plan], Awaitable[list[Section]]]] = {
    "core": bench_core.measure,
    "jetstream": bench_jetstream.measure,
    "end-to-end": bench_end_to_end.measure,
    "durable": bench_durable.measure,
    "fsync": bench_jetstream.measure_fsync,
    "scaling": bench_scaling.measure,
    "memory": bench_memory.measure,
    "metrics": metrics_cost.measure,
    "instructions": instructions.section,
}
RATES, FEW_RATES = "1000,5000,20000,100000", "1000,5000"
JUDGED = "core,jetstream,end-to-end,durable,instructions"
"""What ``--targets`` measures."""


async def main() -> None:
    """Measure, show, write."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="mts1b-bench-", ignore_cleanup_errors=True) as directory:
        plan = _plan(options, Path(directory))
        about = machine()
        sections: list[Section] = []
        failed = [name for name in options.sections.split(",") if not await _measured(name, plan, sections)]
    verdicts = targets.judge(sections)
    if verdicts:
        show_verdicts(verdicts)
    command = shlex.join(["python", "benchmarks/bench.py", *sys.argv[1:]])
    texts = {
        options.json: lambda: as_json(document(about, command, sections, verdicts)),
        options.markdown: lambda: as_markdown(about, command, sections, verdicts),
        options.page: lambda: into_page(
            options.page.read_text(), about, command, as_markdown(about, command, sections, verdicts)
        ),
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
    parser.add_argument(
        "--targets", action="store_true", help="what is judged, and who it is judged against, in a quarter of an hour"
    )
    parser.add_argument(
        "--count",
        type=int,
        help="messages a run on core NATS (100000, quick 20000; eight times that for the fast)",
    )
    parser.add_argument("--stored", type=int, help="messages a run on JetStream (default 20000, quick 4000)")
    parser.add_argument("--rounds", type=int, help="rounds (default 5, quick 1)")
    parser.add_argument(
        "--rates",
        help="messages a second for latency (default 1000,5000,20000,100000, the last for the fastest; 1000,5000 where "
        "it is quick)",
    )
    parser.add_argument("--sections", help=f"what to measure (default: {','.join(SECTIONS)})")
    parser.add_argument("--clients", type=Path, help="the Python of an environment with natsio and nats-core")
    parser.add_argument("--only", default="", help="contestants whose name contains one of these, comma separated")
    parser.add_argument("--json", type=Path, help="write every round there")
    parser.add_argument("--chart", type=Path, help="draw the chart there, as SVG")
    parser.add_argument("--markdown", type=Path, help="write the tables there, as Markdown")
    parser.add_argument(
        "--page", type=Path, help="put the tables in the place of those of their titles there (benchmarks/measured.md)"
    )
    options = parser.parse_args()
    options.sections = options.sections or (JUDGED if options.targets else ",".join(SECTIONS))
    unknown = set(options.sections.split(",")) - set(SECTIONS)
    if options.page is not None and not options.page.is_file():
        parser.error(f"{options.page}: there is no such page")
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    if options.targets and CORE is None:
        parser.error("the targets are those of the compiled core, which is not installed here: make setup says why")
    return options


def _plan(options: argparse.Namespace, directory: Path) -> Plan:
    quick: bool = options.quick
    return Plan(
        count=options.count or (20_000 if quick else 100_000),
        stored=options.stored or (4_000 if quick else 20_000),
        rounds=options.rounds or (1 if quick else 5),
        rates=[int(rate) for rate in (options.rates or (FEW_RATES if quick else RATES)).split(",")],
        seconds=1.0 if quick else 3.0,
        only=[part for part in options.only.split(",") if part],
        directory=directory,
        exactly=targets.names() | {bench_durable.BUS, bench_durable.BUS + PURE} if options.targets else frozenset(),
        clients=options.clients,
    )


if __name__ == "__main__":
    asyncio.run(main())
