"""The whole desk on a real server: the same ledger twice, books that agree, and clear words when it cannot go on."""

import asyncio
import json
import os
import signal
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest
from mts1b_desk.data.replay import Replay
from mts1b_desk.money import plain
from mts1b_desk.settings import DeskSettings, FundSettings, ReplaySettings
from mts1b_foundation.subjects import OMS_FILLS_CREATED, TREASURY_NAV
from mts1b_platform.eventbus import connect
from mts1b_platform.server import NatsServer

from .conftest import PATIENCE, Desk, Starts
from .rehearsal import Rehearsal

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("streams")]


def books(ledger: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in ledger.items() if name != "session"}


async def wait_for(process: asyncio.subprocess.Process, text: str) -> str:
    """Read standard error up to the line that holds ``text``."""
    seen = ""
    while True:
        line = (await process.stderr.readline()).decode()  # type: ignore[union-attr]
        assert line, f"the desk ended before it said {text!r}: {seen}"
        seen += line
        if text in line:
            return seen


async def test_two_runs_give_the_same_ledger_which_is_that_of_the_rehearsal(desk: Desk, quotes_csv: Path):
    run = ("run", "--data", str(quotes_csv), "--fund", "alpha", "--fund", "beta", "--json")
    first, second = await desk(*run), await desk(*run)
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert json.dumps(books(first.ledger)) == json.dumps(books(second.ledger))

    source = ReplaySettings(path=quotes_csv)
    settings = DeskSettings(
        session="rehearsal", source=source, funds=(FundSettings(fund_id="alpha"), FundSettings(fund_id="beta"))
    )
    expected = Rehearsal(settings, Replay(source)).run()
    for fund, row in first.ledger["funds"].items():
        held = expected.treasury.funds[fund]
        assert row["fills"] == held.fills > 4
        assert row["orders"] == expected.oms.funds[fund].orders
        assert row["cash"] == plain(held.cash)
        assert row["nav"] == plain(held.nav)
        assert row["positions"] == {symbol: plain(quantity) for symbol, quantity in held.positions.items()}


async def test_the_books_in_the_streams_agree_with_the_ledger_to_the_last_digit(
    streams: NatsServer, desk: Desk, quotes_csv: Path
):
    ended = await desk("run", "--data", str(quotes_csv), "--json")
    assert ended.code == 0, ended.err
    row = ended.ledger["funds"]["alpha"]
    assert ended.ledger["reconciled"] is True

    cash, positions, sides = Decimal(100_000), dict[str, Decimal](), set[str]()
    async with await connect(streams.url) as bus:
        async with bus.consume(OMS_FILLS_CREATED, durable="auditor") as consumer:
            for _ in range(row["fills"]):
                async with await anext(consumer) as event:
                    fill = event.payload
                    cash += fill.cash_change
                    positions[fill.symbol] = positions.get(fill.symbol, Decimal(0)) + fill.position_change
                    sides.add(fill.side.value)
                    assert event.position.pending == row["fills"] - event.seq
        snapshot = None
        async with bus.consume(TREASURY_NAV, durable="auditor-nav", fund_id="alpha") as consumer:
            while snapshot is None or not snapshot.final:
                async with await anext(consumer) as event:
                    snapshot = event.payload
    assert sides == {"buy", "sell"}
    assert row["cash"] == plain(cash)
    assert row["positions"] == {symbol: plain(held) for symbol, held in sorted(positions.items()) if held}
    value = sum((held * Decimal(row["marks"][symbol]) for symbol, held in positions.items() if held), Decimal(0))
    assert row["nav"] == plain(cash + value) == plain(snapshot.nav)


async def test_a_run_leaves_no_consumer_and_no_process(streams: NatsServer, desk: Desk, quotes_csv: Path):
    before = {child.pid for child in psutil.process_iter()}
    ended = await desk("run", "--data", str(quotes_csv), "--json")
    assert ended.code == 0, ended.err
    async with await connect(streams.url) as bus:
        for stream in await bus.plain_jetstream().streams_info():
            assert stream.state.consumer_count == 0, stream.config.name
    left = [child for child in psutil.process_iter(["cmdline"]) if child.pid not in before]
    assert not [child for child in left if str(quotes_csv.parent) in " ".join(child.info["cmdline"] or [])]


async def test_ctrl_c_closes_the_simulated_session_and_prints_its_ledger(start_desk: Starts):
    async with start_desk("run", "--speed", "40", "--json") as process:
        await wait_for(process, "fills, lag")
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    ledger = json.loads(out)
    assert ledger["reconciled"] is True
    assert "SIMULATED" in ledger["source"]


async def test_a_second_desk_on_the_same_server_is_refused(start_desk: Starts, desk: Desk):
    async with start_desk("run", "--json") as process:
        await wait_for(process, "fills, lag")
        second = await desk("run", "--quotes", "10")
        assert second.code == 1
        assert "a desk runs on this server already" in second.err
        running = await desk("ledger", "--json")
        assert running.code == 0, running.err
        assert set(running.ledger["funds"]) == {"alpha"}
        while (agreed := await desk("reconcile")).code:  # asked while a fill is on its way, they differ by it
            assert "number of fills: oms says" in agreed.out
        assert agreed.out.strip() == "order management, brokers and treasury agree"
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0


async def test_a_service_that_is_killed_is_started_again_and_the_run_says_so(start_desk: Starts):
    async with start_desk("run", "--json") as process:
        await wait_for(process, "fills, lag")
        victim = next(child for child in psutil.Process(process.pid).children() if "riskengine" in child.cmdline())
        os.kill(victim.pid, signal.SIGKILL)
        await wait_for(process, "service riskengine was killed by signal 9; it was started again")
        await wait_for(process, "fills, lag")
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert json.loads(out)["reconciled"] is True


async def test_a_service_that_cannot_start_ends_the_run_with_its_name_and_last_words(desk: Desk, tmp_path: Path):
    state = tmp_path / "state"
    state.mkdir()
    (state / "treasury.db").write_bytes(b"this is no database, " * 400)
    file = tmp_path / "desk.json"
    file.write_text(DeskSettings(session="file", deaths_within=PATIENCE).model_dump_json())
    ended = await desk("run", "--settings", str(file), "--state", str(state))
    assert ended.code == 1
    assert "service treasury ended with code 1, 5 times within" in ended.err
    assert "treasury.db" in ended.err.replace("\n", "")


async def test_a_state_of_other_data_is_refused_by_name(desk: Desk, quotes_csv: Path, tmp_path: Path):
    state = tmp_path / "state"
    done = await desk("run", "--quotes", "50", "--speed", "max", "--state", str(state), "--json")
    assert done.code == 0, done.err
    ended = await desk("run", "--data", str(quotes_csv), "--state", str(state))
    assert ended.code == 1
    assert f"{state} holds session {done.ledger['session']}" in ended.err
    assert "Traceback" not in ended.err


async def test_services_end_when_their_run_is_killed(start_desk: Starts):
    async with start_desk("run") as process:
        await wait_for(process, "fills, lag")
        children = psutil.Process(process.pid).children()
        assert len(children) == 7
        process.kill()
        await process.wait()
        gone, alive = await asyncio.to_thread(psutil.wait_procs, children, 60)
    assert not alive, [child.cmdline() for child in alive]
    assert len(gone) == 7


async def test_a_halt_stops_new_orders_until_it_is_cleared_and_late_starters_obey_it(desk: Desk, quotes_csv: Path):
    requested = await desk("halt", "--fund", "beta", "--reason", "prices look wrong")
    assert requested.code == 0, requested.err
    halt_id = next(word for word in requested.out.split() if word.startswith("halt-"))
    run = ("run", "--data", str(quotes_csv), "--fund", "alpha", "--fund", "beta", "--json")
    halted = await desk(*run)
    assert halted.code == 0, halted.err
    assert f"halt {halt_id} is in force for fund beta" in " ".join(halted.err.split())
    alpha, beta = halted.ledger["funds"]["alpha"], halted.ledger["funds"]["beta"]
    assert alpha["fills"] > 4
    assert beta["fills"] == 0
    assert set(beta["orders"]) == {"rejected"}

    cleared = await desk("halt", "--clear", halt_id)
    assert cleared.code == 0, cleared.err
    assert (await desk(*run)).ledger["funds"]["beta"]["fills"] == alpha["fills"]


async def test_a_bad_file_is_refused_before_anything_starts(desk: Desk, tmp_path: Path):
    bad = tmp_path / "bad.csv"
    bad.write_text("timestamp,bid,ask\n2022-05-04T13:30:00Z,1,2\n2022-05-04T13:30:01Z,nan,2\n")
    ended = await desk("run", "--data", str(bad))
    assert ended.code == 1
    assert f"{bad}, row 2, column 'bid': 'nan' is no price" in ended.err
    assert "Traceback" not in ended.err


async def test_without_a_server_the_desk_says_how_to_get_one(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MTS1B_CONNECT_TIMEOUT", "3")  # it tries for as long
    ended = await desk("run", "--servers", "nats://127.0.0.1:9", "--quotes", "10")
    assert ended.code == 1
    assert "mts1b-deploy install --profile minimal --include nats" in ended.err
    assert "Traceback" not in ended.err
