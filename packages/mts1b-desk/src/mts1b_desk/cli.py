"""The command ``mts1b-desk``; what only a running desk needs is imported when one runs."""

import asyncio
import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
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
from mts1b_desk.run.children import SETTINGS, prepare
from mts1b_desk.settings import (
    BEFORE_ANY_MARKET,
    SIMULATION_START,
    BrokerSettings,
    DeskSettings,
    Durability,
    FundSettings,
    HeardSettings,
    ReplaySettings,
    SimulationSettings,
    StrategySettings,
    explain,
)
from mts1b_desk.strategies.strategy import make_strategy

app = root("The reference desk: seven small services that trade over the bus, from quote to NAV.", package="mts1b-desk")

if TYPE_CHECKING:
    from mts1b_desk.data.summary import Summary
    from mts1b_desk.report.figures import Report

_MTS1B = "from mts1b_platform.cli import main; main()"

_ANSWER = 30.0
"""Seconds that a service of a running desk may take to answer a command: it may be busy, and nobody asks again."""

SIMULATED_SPEED = 10.0
"""Market seconds per second of a simulated market: the first trades come within seconds."""

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

    def act() -> int:
        if report is not None:
            check_path(report)
        stored = state / SETTINGS if state is not None else None
        if stored is not None and stored.exists():
            settings, summary = _resumed(stored, data, speed, start_within), None
            console.print(f"Going on with session {settings.session} in {state}, with the settings it began with")
        else:
            settings, summary = _begun()
        if servers:
            settings = settings.model_copy(update={"servers": tuple(servers.split(","))})
        if settings.durability is Durability.RELAXED and (servers or settings.state or settings.database):
            raise DeskError(
                "a relaxed run keeps nothing, on a server of its own: leave --servers, --state and --database out, or "
                "--durability relaxed"
            )
        for each in settings.strategies:
            make_strategy(each)  # a name that no plugin has is said here, not by a process that dies
        if settings.durability is Durability.DURABLE:
            prepare()
        from mts1b_desk.run.desk import Run

        title = _title(settings, summary)
        console.print(title, highlight=False, soft_wrap=True)
        document = asyncio.run(Run(settings, console, title, report=report)())
        document["durability"] = settings.durability.value
        document["source"] = _source(settings)
        _print(document, json_output=json_output)
        if not json_output:
            console.print(_next_steps(settings), highlight=False, soft_wrap=True)
        return 0 if document["reconciled"] else 1

    def _begun() -> "tuple[DeskSettings, Summary | None]":
        base = DeskSettings.read(file) if file is not None else None
        signed = tuple(signed_prices or (base.signed_prices if base else ()))
        summary = None
        source: ReplaySettings | SimulationSettings | HeardSettings = SimulationSettings(seed=seed, quotes=quotes)
        if replayed is not None:
            source = HeardSettings()
        if data is not None:
            source = ReplaySettings(path=data.resolve(), symbol=symbol, utc=utc, sort=sort)
            summary = _check(source, signed)
            for line in summary.columns_in_short():
                console.print(line, highlight=False, soft_wrap=True)
        own: dict[str, Any] = {
            "session": replayed or secrets.token_hex(4),
            "source": source,
            "speed": _speed(speed, SIMULATED_SPEED if summary is None else None),
            "state": state.resolve() if state is not None else None,
            "database": database,
            "signed_prices": signed,
            "durability": durability or (base.durability if base else Durability.DURABLE),
            "market_start": SIMULATION_START if summary is None else summary.first,
        }
        if replayed is not None:
            own |= {"speed": None, "market_start": BEFORE_ANY_MARKET}
        if start_within is not None:
            own["start_within"] = start_within
        if base is not None:
            if data is None:
                own["source"] = base.source
                own["market_start"] = base.market_start
            if data is None and isinstance(base.source, ReplaySettings):
                summary = _check(base.source, signed)
                own["market_start"] = summary.first
                own["speed"] = _speed(speed, None)
            if summary is not None and summary.interval is not None:
                own["intervals"] = (summary.interval,)
            return DeskSettings.model_validate({**dict(base), **own}), summary
        funds = tuple(
            _fund(name, _decimal("--cash", cash), _decimal("--notional", notional), strategy)
            for name in fund or ["alpha"]
        )
        return DeskSettings(
            funds=funds,
            brokers=(BrokerSettings(latency_ms=latency_ms, fee_bps=_decimal("--fee-bps", fee_bps)),),
            strategies=(StrategySettings(name=strategy, fast=fast, slow=slow),),
            intervals=(_interval(interval, summary),),
            time_in_force=tif,
            **own,
        ), summary

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
        summary = _check(source, signed_prices or ())
        if json_output:
            print_json(asdict(summary))
            return 0
        console = Console()
        for line in summary.told():
            console.print(line, highlight=False, soft_wrap=True)
        return 0

    _exit(act)


def _check(source: ReplaySettings, signed: Iterable[str]) -> "Summary":
    from mts1b_desk.data.replay import Replay  # it loads pyarrow

    return Replay(source, signed).check()


def _resumed(stored: Path, data: Path | None, speed: str | None, start_within: float | None) -> DeskSettings:
    """The settings of the run whose state is kept beside ``stored``."""
    settings = DeskSettings.read(stored)
    if data is not None and not (
        isinstance(settings.source, ReplaySettings) and settings.source.path == data.resolve()
    ):
        raise DeskError(
            f"{stored.parent} holds session {settings.session}, which is a {_source(settings)}, not one of {data}: "
            "leave --data out to go on with it, or name an empty directory to begin another"
        )
    changed: dict[str, Any] = {"servers": None}  # the server may have moved: it is found as for a new run
    if speed is not None:
        changed["speed"] = _speed(speed, None)
    if start_within is not None:
        changed["start_within"] = start_within
    return settings.model_copy(update=changed)


def _next_steps(settings: DeskSettings) -> str:
    """What the services reported, and what to try next."""
    if settings.durability is Durability.RELAXED:
        return "\nNothing of this run was kept; `--report report.html` writes down what it did."
    again = (
        "" if settings.kept else "  make run ARGS='--state var/desk'          the same, with state that outlives it\n"
    )
    return (
        "\nWhat you saw: quotes became bars, signals, orders that risk let through, fills and a NAV, each an event on "
        "the bus.\nTry next:\n"
        "  make run DATA=quotes.parquet              replay a file of your own at full speed\n"
        f"{again}"
        "  mts1b streams ls                          where those events are stored (mts1b lag: who reads them)\n"
        "  mts1b-desk ledger                         the books of a desk that runs (from another terminal)\n"
        "  make stop                                 stop the NATS server"
    )


@app.command()
def ledger(*, json_output: Json = False, servers: Servers = None) -> None:
    """Print the ledger of the desk that runs on this server.

    Example: mts1b-desk ledger --json
    """
    _exit(lambda: _print(_ask_ledger(servers), json_output=json_output))


@app.command()
def reconcile(*, json_output: Json = False, servers: Servers = None) -> None:
    """Compare order management, brokers and treasury of the running desk; exit 1 at a difference.

    Example: mts1b-desk reconcile
    """

    def act() -> int:
        document = _ask_ledger(servers)
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
        from mts1b_platform.eventbus import connect

        from mts1b_desk.report.collect import collect
        from mts1b_desk.report.write import write_report

        check_path(out)

        async def collected() -> "Report":
            async with await connect(servers) as bus:
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
    from mts1b_platform.eventbus import connect

    from mts1b_desk.run.desk import ledger_of

    async def asked() -> dict[str, Any]:
        async with await connect(servers) as bus:
            return await ledger_of(bus, timeout=_ANSWER)

    return asyncio.run(asked())


def _decimal(option: str, text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise DeskError(f"{option} {text!r} is no number; write it like 100000 or 0.5") from None


def _fund(name: str, cash: Decimal, notional: Decimal, strategy: str) -> FundSettings:
    """A fund whose limits leave room for a reversal from short to long and some slippage."""
    limit = notional * Decimal("2.5")
    return FundSettings(
        fund_id=name,
        cash=cash,
        strategy=strategy,
        order_notional=notional,
        max_order_notional=limit,
        max_position_notional=limit,
    )


def _speed(text: str | None, default: float | None) -> float | None:
    if text is None:
        return default
    if text == "max":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise DeskError(f"--speed {text!r} is no speed; write `max`, or market seconds per second such as 1 or 20")
    return value


def _interval(text: str | None, summary: "Summary | None") -> str:
    if summary is not None and summary.interval is not None:
        if text not in (None, summary.interval):
            raise DeskError(f"the file has bars of {summary.interval}; --interval {text} cannot be made of them")
        return summary.interval
    return text or "1s"


def _source(settings: DeskSettings) -> str:
    source = settings.source
    if isinstance(source, ReplaySettings):
        return f"replay of {source.path.name}"
    if isinstance(source, HeardSettings):
        return "quotes that are replayed on the bus"
    return f"SIMULATED market, seed {source.seed}"


def _title(settings: DeskSettings, summary: "Summary | None") -> str:
    if isinstance(settings.source, HeardSettings):
        return f"Desk {settings.session}: waits for its quotes; publish them with `mts1b events replay`"
    pace = "full speed" if settings.speed is None else f"{settings.speed:g}x"
    if summary is None:
        made = " (no real prices)" if isinstance(settings.source, SimulationSettings) else ""
        return f"Desk {settings.session}: {_source(settings)}{made}, {pace}"
    path = settings.source.path if isinstance(settings.source, ReplaySettings) else ""
    return (
        f"Desk {settings.session}: {summary.ticks} {summary.kind} of {summary.symbols_in_short()} from {path}, "
        f"{summary.span}, {pace}"
    )


def main() -> None:
    """Entry point of the command."""
    sys.exit(command_line.run(app, sys.argv[1:], name="mts1b-desk"))
