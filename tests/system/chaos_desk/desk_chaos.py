"""The desk under fire: the same data with and without kills must give the same ledger, bit for bit.

``python tests/system/chaos_desk/desk_chaos.py`` (``make chaos-desk``) prints figures and exits 1 on a difference::

    --data quotes.parquet    what is replayed at full speed; without: a file that it makes
    --kills 30               kill -9 of services, all alike, at random moments of the run
    --server-kills 5         kill -9 of the NATS server, which comes back on its store a moment later
    --seed 0                 repeats the plan; timing is never repeated exactly
    --profile single         on an installation with certificates and permissions, and a process for each identity;
                             ``cluster``: on three nodes of profile production, one of which is killed instead
    --standby                every service twice
    --freezes 0              SIGSTOP of services, for longer than another instance takes to take over
"""

import argparse
import asyncio
import contextlib
import csv
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import psutil
from mts1b_desk.declared import TAKEOVER
from mts1b_desk.settings import BrokerSettings, DeskSettings, FundSettings, StrategySettings
from mts1b_platform.eventbus import apply_streams, connect
from mts1b_platform.server import NatsServer

if not __package__:  # run as a script, or beside one
    from installed import clustered, installed
else:
    from .installed import clustered, installed

VICTIMS = ("operations", "riskengine", "oms", "brokers", "treasury", "research", "marketdata")
_START = datetime(2022, 5, 4, 13, 30, tzinfo=UTC)


class Target(Protocol):
    """A bus that a desk runs on, and whose server may be killed."""

    @property
    def environment(self) -> dict[str, str]:
        """How commands find it."""
        ...

    @property
    def running(self) -> bool:
        """Whether the server runs."""
        ...

    def kill(self) -> None:
        """End the server as a crash would."""
        ...

    async def start(self) -> object:
        """Return when the server is back."""
        ...


class Bare(NatsServer):
    """A server without identities, as profile minimal has it."""

    @property
    def environment(self) -> dict[str, str]:
        """How commands find it."""
        return {"MTS1B_NATS_URL": self.url}


@asynccontextmanager
async def bus_of(profile: str, directory: Path) -> AsyncGenerator[Target]:
    """A bus of ``profile`` with every stream, below ``directory``."""
    if profile != "minimal":
        async with clustered(directory) if profile == "cluster" else installed(directory) as target:
            yield target
        return
    async with Bare(directory, timeout=60) as server:
        async with await connect(server.url) as bus:
            await apply_streams(bus)
        yield server


@dataclass(slots=True)
class Outcome:
    """What a run ended with."""

    ledger: dict[str, Any]
    seconds: float
    killed: Counter[str] = field(default_factory=Counter[str])
    log: str = ""

    @property
    def books(self) -> str:
        """The ledger without the name of the run: what must be the same."""
        return json.dumps({name: value for name, value in self.ledger.items() if name != "session"}, sort_keys=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What happens to a run: how often to whom, and the longest pause before the next one in seconds."""

    kills: int = 0
    server_kills: int = 0
    freezes: int = 0
    pause: float = 0.4
    seed: int = 0
    standby: bool = False
    """Whether there are two of each service to be killed and frozen."""


def make_quotes(
    path: Path, *, quotes: int = 1_500, symbols: Sequence[str] = ("BRK.B", "BTC/USD"), seed: int = 5
) -> Path:
    """A file of made-up quotes; no real prices."""
    rng = random.Random(seed)  # noqa: S311 - made-up prices
    prices = {symbol: rng.uniform(50, 5_000) for symbol in symbols}
    now = _START
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["timestamp", "symbol", "bid", "ask", "bid_size", "ask_size"])
        for number in range(quotes):
            now += timedelta(milliseconds=rng.randrange(20, 200))
            symbol = symbols[number % len(symbols)]
            prices[symbol] *= 1 + rng.gauss(0, 3e-4)
            bid = round(prices[symbol], 2)
            size = round(rng.uniform(0, 30_000) / bid, 4)
            writer.writerow([now.isoformat(), symbol, bid, round(bid * 1.0001 + 0.01, 2), size, size])
    return path


def desk_file(path: Path, *, interval: str = "250ms") -> Path:
    """Settings of a busy desk: four funds of different size, two strategies, two brokers, short bars."""
    funds = tuple(
        FundSettings(fund_id=fund, strategy=strategy, broker=broker, order_notional=notional)
        for fund, strategy, broker, notional in (
            ("alpha", "ma_cross", "paper", Decimal(10_000)),
            ("beta", "breakout", "sim2", Decimal(5_000)),
            ("gamma", "ma_cross", "sim2", Decimal(2_500)),
            ("delta", "breakout", "paper", Decimal(7_500)),
        )
    )
    settings = DeskSettings(
        session="file",
        funds=funds,
        brokers=(BrokerSettings(), BrokerSettings(name="sim2", latency_ms=120, fee_bps=Decimal(2))),
        strategies=(StrategySettings(), StrategySettings(name="breakout", fast=1, slow=4)),
        intervals=(interval, "1s"),
    )
    path.write_text(settings.model_dump_json())
    return path


async def run_desk(server: Target, directory: Path, *arguments: str, plan: Plan | None = None) -> Outcome:
    """One run to its end, under fire when there is a plan.

    Raises:
        AssertionError: it ended badly.
    """
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - tests may wait for a disk
    log = directory / "run.log"
    began = time.monotonic()
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mts1b_desk", "run", *arguments, "--json", "--start-within", "300",
            stdout=asyncio.subprocess.PIPE, stderr=errors, cwd=directory,
            env={**os.environ, **server.environment, "XDG_CONFIG_HOME": str(directory)},
        )  # fmt: skip
        killed: Counter[str] = Counter()
        firing = asyncio.create_task(_fire(process.pid, server, plan, killed)) if plan is not None else None
        try:
            out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            if firing is not None:
                firing.cancel()
                await asyncio.gather(firing, return_exceptions=True)
            if not server.running:
                await server.start()
    said = log.read_text(errors="replace")
    assert process.returncode == 0, f"the run ended with code {process.returncode}: {said[-3000:]}"
    return Outcome(json.loads(out), time.monotonic() - began, killed, said)


async def _fire(run: int, server: Target, plan: Plan, killed: Counter[str]) -> None:
    """Kill the services in turn, shuffled, at random moments, from the moment that market data runs."""
    rng = random.Random(plan.seed)  # noqa: S311 - which service dies when
    victims = [*VICTIMS, *(f"{victim}-2" for victim in VICTIMS if plan.standby)]
    shots = [(victims[number % len(victims)], _kill) for number in range(plan.kills)]
    shots += [(rng.choice(victims), _freeze) for _ in range(plan.freezes)]
    shots += [("nats-server", _kill)] * plan.server_kills
    rng.shuffle(shots)
    thawing: set[asyncio.Task[None]] = set()
    while "marketdata" not in services_of(run):  # noqa: ASYNC110 - processes tell nobody
        await asyncio.sleep(0.01)
    for victim, shoot in shots:
        await asyncio.sleep(rng.uniform(0, plan.pause))
        if victim == "nats-server":
            server.kill()
            await asyncio.sleep(rng.uniform(0, 0.3))
            await server.start()
        else:
            while (process := services_of(run).get(victim)) is None:  # noqa: ASYNC110 - it is being started again
                await asyncio.sleep(0.01)
            thawing.add(asyncio.create_task(shoot(process)))
        killed[victim] += 1
    await asyncio.gather(*thawing)


async def _kill(process: psutil.Process) -> None:
    process.kill()


async def _freeze(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):  # it may be killed meanwhile
        process.suspend()
        await asyncio.sleep(TAKEOVER + 1.5)
        process.resume()


def services_of(run: int) -> dict[str, psutil.Process]:
    """The services that the run ``run`` has now, by name; the fork server is between them and the run."""
    found: dict[str, psutil.Process] = {}
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(run).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                title = " ".join(child.cmdline()).split()
                if title[:1] == ["mts1b-desk"] and child.status() != psutil.STATUS_ZOMBIE:
                    found[title[1]] = child
    return found


async def compare(
    directory: Path, arguments: Sequence[str], plan: Plan, *, calm: int = 2, profile: str = "minimal"
) -> list[Outcome]:
    """``calm`` undisturbed runs, then one under fire; each on a server and with state of its own."""
    outcomes: list[Outcome] = []
    for number in range(calm + 1):
        place = directory / f"run-{number}"
        async with bus_of(profile, place / "nats") as server:
            firing = plan if number == calm else None
            outcomes.append(await run_desk(server, place, *arguments, "--state", str(place / "state"), plan=firing))
    return outcomes


def main() -> int:
    """Print what happened; 1 when the ledgers differ or fewer kills fell into the run than were asked for."""
    parser = argparse.ArgumentParser(description="The desk's ledger with and without kills.")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--server-kills", type=int, default=5)
    parser.add_argument("--pause", type=float, default=0.4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--freezes", type=int, default=0)
    parser.add_argument("--profile", choices=("minimal", "single", "cluster"), default="minimal")
    parser.add_argument("--standby", action="store_true")
    options = parser.parse_args()
    plan = Plan(
        kills=options.kills,
        server_kills=options.server_kills,
        freezes=options.freezes,
        pause=options.pause,
        seed=options.seed,
        standby=options.standby,
    )
    with tempfile.TemporaryDirectory(prefix="mts1b-chaos-desk-") as directory:
        place = Path(directory)
        data: Path = options.data.resolve() if options.data else make_quotes(place / "made-up.csv")
        arguments = ["--data", str(data), "--settings", str(desk_file(place / "desk.json"))]
        arguments += ["--standby"] if plan.standby else []
        outcomes = asyncio.run(compare(place, arguments, plan, profile=options.profile))
    first, second, fired = outcomes
    for name, outcome in zip(("undisturbed", "again", "under fire"), outcomes, strict=True):
        funds = outcome.ledger["funds"].values()
        orders = sum(sum(row["orders"].values()) for row in funds)
        fills = sum(row["fills"] for row in funds)
        print(
            f"{name:12} {outcome.seconds:6.1f} s  {orders} orders, {fills} fills, reconciled "
            f"{outcome.ledger['reconciled']}, ledger {'the same' if outcome.books == first.books else 'DIFFERENT'}"
        )
    services = sum(count for victim, count in fired.killed.items() if victim != "nats-server")
    print(f"killed or frozen: {services} services ({dict(sorted(fired.killed.items()))})")
    enough = services >= plan.kills + plan.freezes and fired.killed["nats-server"] >= plan.server_kills
    if not enough:
        print("the run was over before every kill was done: make the pause shorter with --pause")
    same = first.books == second.books == fired.books
    if not same:
        print(f"undisturbed: {first.books}\nunder fire:  {fired.books}\n{fired.log}")
    return 0 if same and enough and fired.ledger["reconciled"] else 1


if __name__ == "__main__":
    sys.exit(main())
