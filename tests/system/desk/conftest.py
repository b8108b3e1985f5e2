"""The desk's tests on a real server: its command as a subprocess, and small files of made-up market data."""

import asyncio
import csv
import json
import os
import random
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_asyncio
from mts1b_platform.eventbus import apply_streams, connect
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.programs import run_program

PATIENCE = 300
"""Seconds that a run's services may take to become ready: seven start at once, on a machine that may be busy."""
START = datetime(2022, 5, 4, 13, 30, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def ledger(self) -> dict[str, Any]:
        """The ledger that the command printed; the books of two runs compare without session and source."""
        document: dict[str, Any] = json.loads(self.out)
        return document


class Desk(Protocol):
    """What the fixture ``desk`` gives: runs ``mts1b-desk`` against the test's server until it ends."""

    async def __call__(self, *arguments: str) -> Ended:
        """Exit code and output of the command."""
        ...


class Starts(Protocol):
    """What the fixture ``start_desk`` gives: as ``desk``, while it runs."""

    def __call__(self, *arguments: str) -> Any:
        """A context with the process."""
        ...


@pytest_asyncio.fixture
async def streams(nats_server: NatsServer) -> NatsServer:
    """A server with every stream."""
    async with await connect(nats_server.url) as bus:
        await apply_streams(bus)
    return nats_server


def environment_of(server: NatsServer, home: Path) -> dict[str, str]:
    """What the desk's command finds: a server, and no configuration of the user's."""
    return {**os.environ, "MTS1B_NATS_URL": server.url, "XDG_CONFIG_HOME": str(home), "TMPDIR": str(home)}


def patient(arguments: tuple[str, ...]) -> tuple[str, ...]:
    return (*arguments, "--start-within", str(PATIENCE)) if arguments[0] == "run" else arguments


@pytest.fixture
def start_desk(nats_server: NatsServer, tmp_path: Path) -> Starts:
    """Starts ``mts1b-desk``; what still runs at the end of the block is killed."""

    @asynccontextmanager
    async def start(*arguments: str) -> AsyncGenerator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mts1b_desk", *patient(arguments),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=environment_of(nats_server, tmp_path), cwd=tmp_path,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
                await process.wait()

    return start


async def run_desk(server: NatsServer, home: Path, *arguments: str) -> Ended:
    """Run ``mts1b-desk`` in ``home`` to its end."""
    done = await asyncio.to_thread(
        run_program,
        "mts1b_desk.cli:main",
        ["mts1b-desk", *patient(arguments)],
        environ=environment_of(server, home), cwd=home, scratch=home,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def desk(nats_server: NatsServer, tmp_path: Path) -> Desk:
    """Runs ``mts1b-desk`` to its end."""
    return partial(run_desk, nats_server, tmp_path)


def make_quotes(directory: Path) -> Path:
    """Three hundred made-up quotes of two symbols whose names need care; no real prices."""
    rng = random.Random(5)  # noqa: S311 - made-up prices
    prices = {"BRK.B": 310.0, "BTC/USD": 38_000.0}
    now = START
    path = directory / "made-up.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["timestamp", "symbol", "bid", "ask", "bid_size", "ask_size"])
        for number in range(300):
            now += timedelta(milliseconds=rng.randrange(40, 400))
            symbol = ("BRK.B", "BTC/USD")[number % 2]
            prices[symbol] *= 1 + rng.gauss(0, 3e-4)
            bid = round(prices[symbol], 2)
            size = round(rng.uniform(0, 60) if symbol == "BRK.B" else rng.uniform(0, 0.5), 4)
            writer.writerow([now.isoformat(), symbol, bid, round(bid * 1.0001, 2), size, size])
    return path


@pytest.fixture
def quotes_csv(tmp_path: Path) -> Path:
    """A file of made-up quotes."""
    return make_quotes(tmp_path)
