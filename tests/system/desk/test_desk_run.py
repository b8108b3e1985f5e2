"""The whole desk on a real server: the same ledger twice, books that agree, and clear words when it cannot go on."""

import asyncio
import contextlib
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest
from mts1b_desk.data.replay import Replay
from mts1b_desk.money import plain
from mts1b_desk.report.collect import collect
from mts1b_desk.report.figures import Report
from mts1b_desk.settings import DeskSettings, FundSettings, ReplaySettings
from mts1b_foundation.subjects import OMS_FILLS_CREATED_V2, TREASURY_NAV_V2
from mts1b_foundation.treasury import NavSnapshotV2
from mts1b_platform.eventbus import apply_streams, connect
from mts1b_platform.eventbus.declared import declared
from mts1b_platform.server import NatsServer

from ..chaos_desk.desk_chaos import services_of  # noqa: TID252 - tests are in no package that could be named
from .conftest import PATIENCE, Desk, Ended, Starts, make_quotes, run_desk
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


def fund_fills(ended: Ended, fund_id: str) -> int:
    fills: int = ended.ledger["funds"][fund_id]["fills"]
    return fills


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that is over, and what it left behind."""

    url: str
    data: Path
    ended: Ended
    consumers: dict[str, int]
    """How many each stream has."""
    processes: list[psutil.Process]


RUN = ("--fund", "alpha", "--fund", "beta", "--json")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """A run that several tests look at, on a server of its own that still runs."""
    home = tmp_path_factory.mktemp("finished")
    data = make_quotes(home)
    server = NatsServer(home / "nats", timeout=60)

    async def carried_out() -> Finished:
        async with await connect(server.url) as bus:
            await apply_streams(bus)
        before = set(psutil.process_iter())
        ended = await run_desk(server, home, "run", "--data", str(data), *RUN)
        assert ended.code == 0, ended.err
        left = [child for child in set(psutil.process_iter()) - before if belongs_to(home, child)]
        _, alive = await asyncio.to_thread(psutil.wait_procs, left, 10)
        async with await connect(server.url) as bus:
            streams = await bus.plain_jetstream().streams_info()
        consumers = {stream.config.name or "": stream.state.consumer_count for stream in streams}
        return Finished(server.url, data, ended, consumers, alive)

    try:
        server.start_blocking()
        yield asyncio.run(carried_out())
    finally:
        server.stop_blocking()


def belongs_to(home: Path, process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return str(home) in " ".join([*process.cmdline(), *process.environ().values()])
    return False


async def test_two_runs_give_the_same_ledger_which_is_that_of_the_rehearsal(desk: Desk, finished: Finished):
    first, second = finished.ended, await desk("run", "--data", str(finished.data), *RUN)
    assert second.code == 0, second.err
    assert json.dumps(books(first.ledger)) == json.dumps(books(second.ledger))

    source = ReplaySettings(path=finished.data)
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


async def test_the_books_in_the_streams_agree_with_the_ledger_to_the_last_digit(finished: Finished):
    ledger = finished.ended.ledger
    funds = ledger["funds"]
    assert ledger["reconciled"] is True

    cash = dict.fromkeys(funds, Decimal(100_000))
    positions: dict[str, dict[str, Decimal]] = {fund: {} for fund in funds}
    sides: set[str] = set()
    final: dict[str, NavSnapshotV2] = {}
    async with await connect(finished.url) as bus:
        async with bus.consume(OMS_FILLS_CREATED_V2, durable="auditor") as consumer:
            fills = sum(row["fills"] for row in funds.values())
            for _ in range(fills):
                async with await anext(consumer) as event:
                    fill = event.payload
                    cash[fill.fund_id] += fill.cash_change
                    held = positions[fill.fund_id]
                    held[fill.symbol] = held.get(fill.symbol, Decimal(0)) + fill.position_change
                    sides.add(fill.side.value)
                    assert event.position.pending == fills - event.seq
        async with bus.consume(TREASURY_NAV_V2, durable="auditor-nav") as consumer:
            while final.keys() != funds.keys():
                async with await anext(consumer) as event:
                    if event.payload.final:
                        final[event.payload.fund_id] = event.payload
    assert sides == {"buy", "sell"}
    for fund, row in funds.items():
        held = {symbol: quantity for symbol, quantity in sorted(positions[fund].items()) if quantity}
        assert row["cash"] == plain(cash[fund])
        assert row["positions"] == {symbol: plain(quantity) for symbol, quantity in held.items()}
        value = sum((quantity * Decimal(row["marks"][symbol]) for symbol, quantity in held.items()), Decimal(0))
        assert row["nav"] == plain(cash[fund] + value) == plain(final[fund].nav)


async def test_a_relaxed_run_has_the_same_ledger_byte_for_byte_and_says_that_it_kept_nothing(
    desk: Desk, finished: Finished, tmp_path: Path
):
    report = tmp_path / "report.json"
    relaxed = await desk("run", "--data", str(finished.data), *RUN, "--durability", "relaxed", "--report", str(report))
    assert relaxed.code == 0, relaxed.err
    assert json.dumps(relaxed.ledger["funds"]) == json.dumps(finished.ended.ledger["funds"])
    assert (relaxed.ledger["durability"], finished.ended.ledger["durability"]) == ("relaxed", "durable")
    written = json.loads(report.read_text())
    assert {fund["fund_id"]: len(fund["trades"]) for fund in written["funds"]} == {
        fund: row["fills"] for fund, row in relaxed.ledger["funds"].items()
    }
    async with await connect(finished.url) as bus:
        durable = await collect(bus, finished.ended.ledger["session"], lambda _: None)
    for fund, other in zip(Report.model_validate_json(report.read_text()).funds, durable.funds, strict=True):
        assert fund.points == other.points  # whatever was booked when
        assert fund.points[-1].nav == fund.nav
        assert len(fund.points) > fund_fills(relaxed, fund.fund_id) > 4
    refused = await desk("run", "--durability", "relaxed", "--state", str(tmp_path / "state"))
    assert refused.code == 1
    assert "a relaxed run keeps nothing" in refused.err


async def test_the_report_of_a_session_that_is_over_says_what_its_ledger_says(finished: Finished):
    ledger = finished.ended.ledger
    async with await connect(finished.url) as bus:
        report = await collect(bus, ledger["session"], lambda _: None)
        assert await collect(bus, None, lambda _: None) == report
    assert {fund.fund_id for fund in report.funds} == ledger["funds"].keys()
    for fund in report.funds:
        row = ledger["funds"][fund.fund_id]
        assert fund.final
        assert plain(fund.nav) == row["nav"]
        assert plain(fund.fees) == row["fees"]
        assert len(fund.trades) == row["fills"]
        assert {symbol: plain(held) for symbol, held in fund.positions.items()} == row["positions"]


def test_a_run_leaves_no_consumer_and_no_process(finished: Finished):
    assert finished.consumers.keys() == {stream.name for stream in declared().streams}
    assert set(finished.consumers.values()) == {0}
    assert not finished.processes


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
        services_of(process.pid)["riskengine"].kill()
        await wait_for(process, "service riskengine was killed by signal 9; it was started again")
        await wait_for(process, "fills, lag")
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert json.loads(out)["reconciled"] is True


async def test_the_process_that_starts_services_may_be_killed_as_well(start_desk: Starts):
    async with start_desk("run", "--json") as process:
        await wait_for(process, "fills, lag")
        before = services_of(process.pid)
        (forking,) = {child.ppid() for child in before.values()}
        assert forking != process.pid
        psutil.Process(forking).kill()
        await wait_for(process, "was lost with the process that starts services; it was started again")
        await wait_for(process, "fills, lag")
        after = services_of(process.pid)
        assert not [child for child in before.values() if alive(child)], "two of a service"
        assert after.keys() == before.keys()
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
        children = list(services_of(process.pid).values())
        assert len(children) == 7
        process.kill()
        await process.wait()
        gone, alive = await asyncio.to_thread(psutil.wait_procs, children, 60)
    assert not alive, [child.cmdline() for child in alive]
    assert len(gone) == 7


async def test_a_halt_stops_new_orders_until_it_is_cleared_and_late_starters_obey_it(desk: Desk, quotes_csv: Path):
    requested = await desk("halt", "--fund", "beta", "--reason", "prices look wrong")
    assert requested.code == 1, requested.err  # nobody is there to obey it yet
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
