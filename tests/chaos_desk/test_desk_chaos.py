"""A short form of ``make chaos-desk``: services, the NATS server and the run itself killed, and the same ledger."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
from mts1b_platform.eventbus import apply_streams, connect
from mts1b_platform.server import NatsServer

from .desk_chaos import Outcome, Plan, compare, desk_file, make_quotes, run_desk

pytestmark = pytest.mark.slow


async def test_kills_of_services_and_of_the_server_do_not_change_the_ledger(tmp_path: Path):
    arguments = (
        "--data", str(make_quotes(tmp_path / "made-up.csv", quotes=300)),
        "--settings", str(desk_file(tmp_path / "desk.json")),
    )  # fmt: skip
    calm, fired = await compare(tmp_path, arguments, Plan(kills=5, server_kills=1, pause=0.3), calm=1)
    assert sum(fired.killed.values()) == 6
    assert fired.books == calm.books
    assert fired.ledger["reconciled"] is True
    assert all(row["fills"] > 0 for row in fired.ledger["funds"].values())
    assert "it was started again" in fired.log


async def test_a_run_that_was_killed_is_gone_on_with_where_it_was(tmp_path: Path):
    arguments = [
        "--data", str(make_quotes(tmp_path / "made-up.csv", quotes=300)),
        "--settings", str(desk_file(tmp_path / "desk.json")),
    ]  # fmt: skip
    async with NatsServer(tmp_path / "nats") as server:
        async with await connect(server.url) as bus:
            await apply_streams(bus)
        calm = await run_desk(server, tmp_path / "calm", *arguments)
        state = tmp_path / "state"
        await _killed_half_way(server, tmp_path, *arguments, "--state", str(state))
        session = json.loads((state / "settings.json").read_bytes())["session"]
        resumed = await run_desk(server, tmp_path / "resumed", "--state", str(state))
        again = await run_desk(server, tmp_path / "again", "--state", str(state))
    assert f"Going on with session {session}" in resumed.log
    assert resumed.ledger["session"] == again.ledger["session"] == session
    assert resumed.books == calm.books
    assert again.books == calm.books


async def _killed_half_way(server: NatsServer, cwd: Path, *arguments: str) -> None:
    """A run at some speed, killed with its services when something was traded."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mts1b_desk", "run", *arguments, "--speed", "6",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, cwd=cwd,
        env={**os.environ, "MTS1B_NATS_URL": server.url, "XDG_CONFIG_HOME": str(cwd)},
    )  # fmt: skip
    assert process.stderr is not None
    while b" fills, lag" not in (line := await process.stderr.readline()) or b" 0 fills" in line:
        assert line, "the run ended before anything was traded"
    children = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGKILL)
    await process.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, 20)
    assert not alive, "services outlived their run"


def test_the_books_are_compared_without_the_name_of_the_run():
    one, other = (Outcome({"session": name, "funds": {"alpha": {"cash": "1"}}}, 0.0) for name in ("a", "b"))
    assert one.books == other.books
    assert one.books != Outcome({"session": "a", "funds": {"alpha": {"cash": "2"}}}, 0.0).books
