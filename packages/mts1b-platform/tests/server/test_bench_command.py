"""``mts1b bench`` against real servers: figures that hang together, and nothing left behind. No timing is asserted."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import nats
import pytest
from mts1b_platform.server import NatsServer
from mts1b_platform.testing import StartNatsServer
from mts1b_platform.testing.programs import preload, run_program

pytestmark = pytest.mark.slow  # measuring takes seconds
preload("mts1b_platform.cli", "mts1b_platform.commands.bench")

MTS1B = Path(sys.executable).parent / "mts1b"
WAIT = 60
PATIENT = {**os.environ, "MTS1B_CONNECT_TIMEOUT": str(WAIT)}
MEASURES = ["best effort, publish and receive", "durable, publish", "durable, publish and consume"]
MAY_NOT = """
authorization { users = [ { user: svc, password: pw, permissions: {
  publish: ["mts.*.bench.>", "_INBOX.>", "$JS.API.INFO"]
  subscribe: ["mts.>", "_INBOX.>"]
} } ] }
no_auth_user: svc
"""


class Bench(Protocol):
    """What the fixture ``bench`` gives: runs ``mts1b bench`` to its end."""

    def __call__(self, url: str, *more: str, env: dict[str, str] = PATIENT) -> subprocess.CompletedProcess[str]:
        """Exit code and output."""
        ...


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    def run(url: str, *more: str, env: dict[str, str] = PATIENT) -> subprocess.CompletedProcess[str]:
        command = ["mts1b", "bench", "--seconds", "2", "--url", url, *more]
        return run_program("mts1b_platform.cli:main", command, environ=env, cwd=tmp_path, scratch=tmp_path)

    return run


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def streams(url: str) -> list[str]:
    nc = await nats.connect(url, connect_timeout=WAIT)
    try:
        return [info.config.name or "" for info in await nc.jetstream(timeout=WAIT).streams_info()]
    finally:
        await nc.close()


async def test_measures_everything_and_leaves_nothing(bench: Bench, nats_server: NatsServer):
    found = document(bench(nats_server.url, "--json"))
    assert [result["measure"] for result in found["results"]] == MEASURES
    assert found["not_measured"] is None
    assert found["url"] == nats_server.url
    for result in found["results"]:
        assert result["events"] > 1_000
        assert result["events/s"] > 0
        assert 0 < result["p50 ms"] <= result["p99 ms"]
    assert await streams(nats_server.url) == []


def test_prints_a_table_for_people_and_progress_aside(bench: Bench, nats_server: NatsServer):
    done = bench(nats_server.url)
    assert done.returncode == 0
    assert all(measure in done.stdout for measure in MEASURES)
    assert "P99 MS" in done.stdout
    assert done.stderr.count("measuring ") == len(MEASURES)


async def test_a_stream_that_stores_everything_is_not_filled(bench: Bench, nats_server: NatsServer):
    nc = await nats.connect(nats_server.url, connect_timeout=WAIT)
    js = nc.jetstream(timeout=WAIT)
    await js.add_stream(name="ARCHIVE", subjects=["mts.>"])
    done = bench(nats_server.url)
    assert done.returncode == 1
    assert "overlap" in done.stderr
    assert (await js.stream_info("ARCHIVE")).state.messages == 0
    await nc.close()


def test_without_the_right_to_create_streams_core_is_measured(
    bench: Bench, start_nats_server: StartNatsServer, tmp_path: Path
):
    config = tmp_path / "locked.conf"
    config.write_text(MAY_NOT)
    found = document(bench(start_nats_server(config=config).url, "--json"))
    assert [result["measure"] for result in found["results"]] == MEASURES[:1]
    assert "no stream could be created" in found["not_measured"]


def test_without_jetstream_core_is_measured(bench: Bench, start_nats_server: StartNatsServer):
    found = document(bench(start_nats_server(jetstream=False).url, "--json"))
    assert len(found["results"]) == 1
    assert "JetStream off" in found["not_measured"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_deletes_the_stream(nats_server: NatsServer, number: signal.Signals):
    url = nats_server.url
    command = [MTS1B, "bench", "--seconds", "8", "--url", url]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=PATIENT) as running:
        assert running.stderr is not None
        try:
            while "durable" not in (line := running.stderr.readline()):
                assert line, "it ended early"
            assert [name for name in asyncio.run(streams(url)) if name.startswith("MTS1B_BENCH_")]
            running.send_signal(number)
            rest = running.stderr.read()
            assert running.wait(WAIT) == 130, rest
        finally:
            running.kill()
    assert "the stream of the measurement was deleted" in rest
    assert asyncio.run(streams(url)) == []


def test_a_server_that_is_not_there_is_said_in_one_line(bench: Bench, free_url: str):
    done = bench(free_url, env={**os.environ, "MTS1B_CONNECT_TIMEOUT": "1"})
    assert done.returncode == 1
    assert "no NATS server at" in done.stderr
