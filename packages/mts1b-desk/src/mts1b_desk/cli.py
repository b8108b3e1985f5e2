"""The command ``mts1b-desk``; what only a running desk needs is imported when one runs."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from mts1b_foundation.errors import Mts1bError
from mts1b_foundation.orders import TimeInForce
from mts1b_platform import command_line
from mts1b_platform.command_line import root
from mts1b_platform.output import Json, print_json
from pydantic import ValidationError
from rich.console import Console

from mts1b_desk.errors import DeskError
from mts1b_desk.ledger import print_ledger
from mts1b_desk.protocol import SERVICES
from mts1b_desk.report.write import check_path
from mts1b_desk.run.asked import Asked, begun, check, on_servers, resumed
from mts1b_desk.run.children import SETTINGS, prepare
from mts1b_desk.run.words import next_steps, source_of, title_of
from mts1b_desk.settings import DeskSettings, Durability, ReplaySettings, explain

app = root("The reference desk: seven small services that trade over the bus, from quote to NAV.", package="mts1b-desk")

if TYPE_CHECKING:
    from mts1b_desk.report.figures import Report

_MTS1B = "from mts1b_platform.cli import main; main()"

_ANSWER = 30.0
"""Seconds that a service of a running desk may take to answer a command: it may be busy, and nobody asks again."""

Servers = Annotated[str | None, typer.Option(help="NATS URLs, comma-separated. Default: $MTS1B_NATS_URL, mts1b.toml.")]
Symbol = Annotated[str | None, typer.Option(help="The instrument of a file without a symbol column.")]
Utc = Annotated[bool, typer.Option("--utc", help="Read times without a zone in the file as UTC.")]
Sort = Annotated[bool, typer.Option("--sort", help="Sort the file's rows by time, in memory.")]
Signed = Annotated[
    list[str] | None, typer.Option(help="A symbol whose prices may be zero or negative; repeat for several.")
]


@app.command()
def run(
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Quotes, trades or bars: a file, or a folder with one per symbol. Without: a simulated market."
        ),
    ] = None,
    replayed: Annotated[
        str | None,
        typer.Option(help="Hear the quotes of this session on the bus, as `mts1b events replay` publishes them."),
    ] = None,
    symbol: Symbol = None,
    utc: Utc = False,
    sort: Sort = False,
    signed_prices: Signed = None,
    speed: Annotated[
        str | None, typer.Option(help="Market seconds per second, or `max`. Default: max for a file, 10 if simulated.")
    ] = None,
    fund: Annotated[list[str] | None, typer.Option(help="A fund; repeat for several.")] = None,
    cash: Annotated[str, typer.Option(help="Cash that each fund starts with.")] = "100000",
    notional: Annotated[str, typer.Option(help="Value of the position that a signal asks for.")] = "10000",
    fast: Annotated[int, typer.Option(help="Bars in the fast average.")] = 3,
    slow: Annotated[int, typer.Option(help="Bars in the slow average.")] = 8,
    strategy: Annotated[str, typer.Option(help="Strategy plugin: ma_cross or breakout.")] = "ma_cross",
    interval: Annotated[str | None, typer.Option(help="Length of research's bars, such as 1s or 1m.")] = None,
    latency_ms: Annotated[int, typer.Option(help="Latency of the paper broker, in market time.")] = 50,
    fee_bps: Annotated[str, typer.Option(help="Commission of the paper broker in basis points.")] = "1",
    tif: Annotated[TimeInForce, typer.Option(help="How long orders work.")] = TimeInForce.IOC,
    seed: Annotated[int, typer.Option(help="Seed of the simulated market.")] = 1,
    quotes: Annotated[int | None, typer.Option(help="Quotes of the simulated market. Default: until Ctrl-C.")] = None,
    state: Annotated[
        Path | None, typer.Option(help="Keep the run's state in this directory; a run that is there is gone on with.")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(help="Keep services' state in PostgreSQL: a URL with {service} in it, a database for each."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--settings", help="Funds, brokers and strategies from this file (`mts1b-desk settings`)."),
    ] = None,
    durability: Annotated[
        Durability | None,
        typer.Option(help="`relaxed` keeps nothing: for backtests, many times as fast, the same ledger."),
    ] = None,
    standby: Annotated[
        bool | None,
        typer.Option("--standby/--no-standby", help="Run every service twice: one stands by, and takes over."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write the session's report to this .html, .md or .json file.")
    ] = None,
    start_within: Annotated[
        float | None, typer.Option(help="Seconds that the services may take to become ready. Default: 30.")
    ] = None,
    json_output: Json = False,
    servers: Servers = None,
) -> None:
    """Run all services on a file or a simulated market, show progress, and print the ledger at the end.

    Example: mts1b-desk run --data quotes.parquet --speed 20
    """
    console = Console(stderr=True)
    say = partial(console.print, highlight=False, soft_wrap=True)
    asked = Asked(
        data=data,
        replayed=replayed,
        symbol=symbol,
        utc=utc,
        sort=sort,
        signed_prices=signed_prices,
        speed=speed,
        fund=fund,
        cash=cash,
        notional=notional,
        fast=fast,
        slow=slow,
        strategy=strategy,
        interval=interval,
        latency_ms=latency_ms,
        fee_bps=fee_bps,
        tif=tif,
        seed=seed,
        quotes=quotes,
        state=state,
        database=database,
        file=file,
        durability=durability,
        standby=standby,
        start_within=start_within,
    )

    def act() -> int:
        if report is not None:
            check_path(report)
        stored = state / SETTINGS if state is not None else None
        if stored is not None and stored.exists():
            settings, summary = resumed(stored, asked), None
            say(f"Going on with session {settings.session} in {state}, with the settings it began with")
        else:
            settings, summary = begun(asked)
            for line in summary.columns_in_short() if summary is not None else ():
                say(line)
        settings = on_servers(settings, servers)
        if settings.durability is Durability.DURABLE:
            prepare()
        from mts1b_desk.run.desk import Run, loop_of

        title = title_of(settings, summary)
        say(title)
        with asyncio.Runner(loop_factory=loop_of(settings)) as runner:
            document = runner.run(Run(settings, console, title, report=report)())
        document["durability"] = settings.durability.value
        document["source"] = source_of(settings)
        _print(document, json_output=json_output)
        if not json_output:
            say(next_steps(settings))
        return 0 if document["reconciled"] else 1

    _exit(act)


@app.command()
def look(
    file: Annotated[Path, typer.Argument(help="A file of quotes, trades or bars, or a folder with one per symbol.")],
    *,
    symbol: Symbol = None,
    utc: Utc = False,
    sort: Sort = False,
    signed_prices: Signed = None,
    json_output: Json = False,
) -> None:
    """Read market data to its end, and say what each column was taken for and what is in it.

    Exit code 1, with file, row and column, when `mts1b-desk run --data` would refuse it.

    Example: mts1b-desk look BTCUSDT-1m-2024-01.csv.gz
    """

    def act() -> int:
        source = ReplaySettings(path=file.resolve(), symbol=symbol, utc=utc, sort=sort)
        summary = check(source, signed_prices or ())
        if json_output:
            print_json(asdict(summary))
            return 0
        console = Console()
        for line in summary.told():
            console.print(line, highlight=False, soft_wrap=True)
        return 0

    _exit(act)


@app.command()
def ledger(*, json_output: Json = False, servers: Servers = None) -> None:
    """Print the ledger of the desk that runs on this server.

    Example: mts1b-desk ledger --json
    """
    _exit(lambda: _print(_ask_ledger(servers), json_output=json_output))


@app.command()
def reconcile(
    *,
    state: Annotated[
        Path | None,
        typer.Option(
            help="Instead of a running desk: the state of one that was saved, SQLite files below this folder."
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--settings", help="With --state: the settings of that desk.", show_default=False)
    ] = None,
    json_output: Json = False,
    servers: Servers = None,
) -> None:
    """Compare order management, brokers and treasury of the running desk; exit 1 at a difference.

    With --state those of a saved one, as if everything had arrived that was on its way; nothing is published.

    Example: mts1b-desk reconcile --state /backups/unpacked --settings desk.json
    """

    def act() -> int:
        document = _ask_ledger(servers) if state is None else _saved_ledger(state, file, servers)
        if json_output:
            print_json({"reconciled": not document["differences"], "differences": document["differences"]})
            return 1 if document["differences"] else 0
        console = Console()
        for difference in document["differences"]:
            console.print(difference, highlight=False, soft_wrap=True)
        if not document["differences"]:
            console.print("order management, brokers and treasury agree")
        return 1 if document["differences"] else 0

    _exit(act)


@app.command()
def report(
    *,
    out: Annotated[Path, typer.Option(help="The file to write: .html, .md or .json.")] = Path("report.html"),
    session: Annotated[
        str | None, typer.Option(help="The session, as its run printed it. Default: the one that was valued last.")
    ] = None,
    servers: Servers = None,
) -> None:
    """Write a session's equity, drawdown, exposure, trades, fees and rejected orders to a file, from its streams.

    The session may run or be over, as long as the streams hold its events. A page (.html) holds its charts and needs no
    network.

    Example: mts1b-desk report --session 1f9c22ab --out report.md
    """
    console = Console(stderr=True)

    def act() -> int:
        from mts1b_desk.report.collect import collect
        from mts1b_desk.report.write import write_report
        from mts1b_desk.run.operator import connect_as_operator

        check_path(out)

        async def collected() -> "Report":
            async with await connect_as_operator(servers) as bus:
                return await collect(bus, session, status.update)

        with console.status("connecting") as status:
            found = asyncio.run(collected())
            status.update(f"writing {out}")
            write_report(found, out)
        trades = sum(len(fund.trades) for fund in found.funds)
        console.print(
            f"{out}: session {found.session}, {len(found.funds)} funds, {trades} trades",
            highlight=False,
            soft_wrap=True,
        )
        return 0

    _exit(act)


@app.command()
def halt(
    *,
    fund: Annotated[str | None, typer.Option(help="Halt this fund.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Halt every fund.")] = False,
    reason: Annotated[str, typer.Option(help="Why.")] = "halted by hand",
    clear: Annotated[str | None, typer.Option(help="End this halt instead.")] = None,
    servers: Servers = None,
) -> None:
    """Stop trading of a fund or of all, or let it go on: short for `mts1b halt request` and `mts1b halt clear`.

    Example: mts1b-desk halt --fund alpha --reason "prices look wrong"
    """
    verb = (
        ["clear", clear] if clear else ["request", *(["--fund", fund] if fund else []), *(["--all"] if every else [])]
    )
    where = ["--servers", servers] if servers else []
    # Operations owns the halt; the desk only asks it, as packages of services do not import each other.
    command = [sys.executable, "-c", _MTS1B, "halt", *verb, "--reason", reason, *where]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


@app.command()
def settings(session: Annotated[str, typer.Option(help="Name of the run.")] = "demo") -> None:
    """Print the settings of a desk as JSON: a file to start from for services that are started one by one.

    Example: mts1b-desk settings > desk.json
    """
    typer.echo(DeskSettings(session=session).model_dump_json(indent=2))


def _add_service(name: str) -> None:
    def command(
        *,
        file: Annotated[
            Path | None, typer.Option("--settings", help="The run's settings. Default: a simulated market.")
        ] = None,
        session: Annotated[str, typer.Option(help="Name of the run, without --settings.")] = "demo",
        servers: Servers = None,
    ) -> None:
        def act() -> int:
            loaded = DeskSettings.read(file) if file else DeskSettings(session=session, speed=1.0)
            if servers:
                loaded = loaded.model_copy(update={"servers": tuple(servers.split(","))})
            from mts1b_desk.services.process import run_service

            return run_service(name, loaded)

        _exit(act)

    text = f"Run the {name} service alone, until told to end.\n\nExample: mts1b-desk {name} --settings desk.json"
    app.command(name, help=text)(command)


for _service in reversed(SERVICES):
    _add_service(_service)


def _exit(act: Callable[[], int | None]) -> None:
    """Run ``act`` and end with its exit code; an expected error is one line of text and exit code 1."""
    try:
        code = act()
    except ValidationError as error:
        typer.echo(f"mts1b-desk: {explain(error)}", err=True)
        code = 2
    except Mts1bError as error:
        typer.echo(f"mts1b-desk: {error}", err=True)
        code = 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        typer.echo("mts1b-desk: aborted; the session was not closed", err=True)
        code = 130
    raise typer.Exit(code or 0)


def _print(document: dict[str, Any], *, json_output: bool) -> None:
    if json_output:
        sys.stdout.write(json.dumps(document) + "\n")
        sys.stdout.flush()
    else:
        print_ledger(document, Console() if sys.stdout.isatty() else Console(width=140))


def _ask_ledger(servers: str | None) -> dict[str, Any]:
    from mts1b_desk.run.desk import ledger_of
    from mts1b_desk.run.operator import connect_as_operator

    async def asked() -> dict[str, Any]:
        async with await connect_as_operator(servers) as bus:
            return await ledger_of(bus, timeout=_ANSWER)

    return asyncio.run(asked())


def _saved_ledger(state: Path, file: Path | None, servers: str | None) -> dict[str, Any]:
    from mts1b_desk.run.operator import connect_as_operator
    from mts1b_desk.saved import reconcile_saved

    path = file or next(iter(sorted(state.rglob(SETTINGS))), None)
    if path is None:
        raise DeskError(f"{state} holds no {SETTINGS}: name the settings of that desk with --settings")
    settings = DeskSettings.read(path)

    async def compared() -> dict[str, Any]:
        async with await connect_as_operator(servers) as bus:
            return await reconcile_saved(bus, state, settings)

    return asyncio.run(compared())


def main() -> None:
    """Entry point of the command."""
    sys.exit(command_line.run(app, sys.argv[1:], name="mts1b-desk"))
