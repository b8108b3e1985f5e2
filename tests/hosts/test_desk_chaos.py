"""A short form of ``make chaos-desk``: services, the NATS server and the run itself killed, and the same ledger."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from mts1b_desk.data.replay import Replay
from mts1b_desk.ledger import ledger_document
from mts1b_desk.saved import reconcile_saved
from mts1b_desk.settings import DeskSettings, ReplaySettings
from mts1b_platform.eventbus import connect

from ..system.chaos_desk.desk_chaos import (  # noqa: TID252 - tests are not installed: they have no absolute name
    Outcome,
    Plan,
    Target,
    bus_of,
    desk_file,
    make_quotes,
    run_desk,
    services_of,
)
from ..system.desk.rehearsal import Rehearsal  # noqa: TID252 - tests are not installed: they have no absolute name


@dataclass(frozen=True, slots=True)
class Case:
    """A desk, its data, and the ledger that its cores give without a bus."""

    arguments: tuple[str, ...]
    funds: dict[str, Any]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A busy desk on a small file; what it must end with is rehearsed in this process, where nothing is killed."""
    data = make_quotes(tmp_path / "made-up.csv", quotes=250)
    file = desk_file(tmp_path / "desk.json")
    source = ReplaySettings(path=data)
    settings = DeskSettings.read(file).model_copy(update={"source": source})
    books = Rehearsal(settings, Replay(source)).run()
    funds = ledger_document(books.oms, books.brokers, books.treasury, [], session="")["funds"]
    return Case(("--data", str(data), "--settings", str(file)), funds)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncGenerator[Target]:
    """A server with the streams, that may be killed."""
    async with bus_of("minimal", tmp_path / "nats") as target:
        yield target


@pytest.mark.slow(seconds=8)
async def test_kills_of_services_and_of_the_server_do_not_change_the_ledger(server: Target, case: Case, tmp_path: Path):
    plan = Plan(kills=7, server_kills=1, pause=0.4)
    fired = await run_desk(server, tmp_path, *case.arguments, plan=plan)
    assert len(fired.killed) == sum(fired.killed.values()) == 8
    assert fired.ledger["funds"] == case.funds
    assert fired.ledger["reconciled"] is True
    assert all(row["fills"] > 0 for row in case.funds.values())
    assert "it was started again" in fired.log


@pytest.mark.slow(seconds=25)
async def test_on_a_locked_down_bus_one_session_after_another_gives_the_same_ledger_whatever_is_killed(
    case: Case, tmp_path: Path
):
    async with bus_of("single", tmp_path / "bus") as server:
        abandoned = tmp_path / "abandoned"
        await _killed_half_way(server, tmp_path, *case.arguments, "--state", str(abandoned))
        plan = Plan(kills=7, server_kills=1, freezes=1, pause=0.4, standby=True)
        fired = await run_desk(server, tmp_path, *case.arguments, "--standby", plan=plan)
        assert sum(fired.killed.values()) == 9
        assert fired.ledger["funds"] == case.funds
        assert fired.ledger["reconciled"] is True
        with pytest.raises(AssertionError, match="another session has begun on this bus since"):
            await run_desk(server, tmp_path, "--state", str(abandoned))


@pytest.mark.slow(seconds=8)
async def test_a_run_that_was_killed_is_gone_on_with_where_it_was(server: Target, case: Case, tmp_path: Path):
    state = tmp_path / "state"
    await _killed_half_way(server, tmp_path, *case.arguments, "--state", str(state))
    session = json.loads((state / "settings.json").read_bytes())["session"]
    settings = DeskSettings.read(state / "settings.json")
    async with await connect(servers=server.environment["MTS1B_NATS_URL"], service="mts1b-operations") as bus:
        left = await reconcile_saved(bus, state, settings)  # in the midst of it, with what was on its way
    assert left["differences"] == []
    assert 0 < sum(row["fills"] for row in left["funds"].values()) < sum(row["fills"] for row in case.funds.values())
    resumed = await run_desk(server, tmp_path / "resumed", "--state", str(state), "--speed", "max")
    assert f"Going on with session {session}" in resumed.log
    assert resumed.ledger["session"] == session
    assert resumed.ledger["funds"] == case.funds
    again = await run_desk(server, tmp_path / "again", "--state", str(state))
    assert again.books == resumed.books


async def _killed_half_way(server: Target, cwd: Path, *arguments: str) -> None:
    """A run at some speed, killed with its services when something was traded."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mts1b_desk", "run", *arguments, "--speed", "6", "--start-within", "300",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, cwd=cwd,
        env={**os.environ, **server.environment, "XDG_CONFIG_HOME": str(cwd)},
    )  # fmt: skip
    assert process.stderr is not None
    while b" fills, lag" not in (line := await process.stderr.readline()) or b" 0 fills" in line:
        assert line, "the run ended before anything was traded"
    children = list(services_of(process.pid).values())
    process.send_signal(signal.SIGKILL)
    await process.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, 60)
    assert not alive, "services outlived their run"


def test_the_books_are_compared_without_the_name_of_the_run():
    one, other = (Outcome({"session": name, "funds": {"alpha": {"cash": "1"}}}, 0.0) for name in ("a", "b"))
    assert one.books == other.books
    assert one.books != Outcome({"session": "a", "funds": {"alpha": {"cash": "2"}}}, 0.0).books
