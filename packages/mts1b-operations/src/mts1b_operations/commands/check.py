"""Check the server against levels: exit code 0 fine, 1 warning, 2 critical, 3 unknown."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from mts1b_foundation.errors import Mts1bError
from mts1b_platform.eventbus import EventBus, connect
from mts1b_platform.eventbus.declared import declared
from mts1b_platform.output import noun

from mts1b_operations.checks import Checked, Levels, State, judged, recent_deadletters, worst
from mts1b_operations.commands._bus import Servers
from mts1b_operations.commands._check_format import nagios, prometheus, to_json
from mts1b_operations.monitor.probe import probe
from mts1b_operations.monitor.reading import Reading
from mts1b_operations.monitor.survey import (
    certificates,
    discard_risks,
    missing_consumers,
    missing_streams,
    slow_consumers,
    survey,
)

app = noun(__doc__ or "")

_YEAR = 365 * 86_400


class Format(StrEnum):
    """How the outcome is printed."""

    NAGIOS = "nagios"
    PROMETHEUS = "prometheus"
    JSON = "json"


Warning_ = Annotated[float, typer.Option("--warning", "-w", help="Beyond this: exit code 1.")]
Critical = Annotated[float, typer.Option("--critical", "-c", help="Beyond this: exit code 2.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print the outcome.")]
Gather = Callable[[EventBus], Awaitable[Iterable[Reading]]]


@app.command("lag")
def lag(
    *,
    warning: Warning_ = 10,
    critical: Critical = 30,
    ignore: Annotated[list[str] | None, typer.Option(help="Consumers to ignore, as stream/name with *.")] = None,
    servers: Servers = None,
    form: FormatOption = Format.NAGIOS,
) -> None:
    """Seconds that each consumer lags.

    Example: mts1b check lag --warning 5 --critical 30
    """

    async def gather(bus: EventBus) -> Iterable[Reading]:
        return slow_consumers(await survey(bus), ignore or ())

    _check("lag", "s", Levels(warning, critical), gather, servers, form)


@app.command("limits")
def limits(
    *,
    warning: Warning_ = 0.7,
    critical: Critical = 0.9,
    servers: Servers = None,
    form: FormatOption = Format.NAGIOS,
) -> None:
    """How near each stream is to discarding what a consumer has not read (1: it does).

    Example: mts1b check limits --critical 0.8
    """

    async def gather(bus: EventBus) -> Iterable[Reading]:
        return discard_risks(await survey(bus))

    _check("limits", "", Levels(warning, critical), gather, servers, form)


@app.command("streams")
def streams(*, servers: Servers = None, form: FormatOption = Format.NAGIOS) -> None:
    """Whether every declared stream is there.

    Example: mts1b check streams --format json
    """

    async def gather(bus: EventBus) -> Iterable[Reading]:
        return missing_streams(await survey(bus), [each.name for each in declared(bus.settings.checkouts).streams])

    _check("streams", "", Levels(None, 0), gather, servers, form)


@app.command("consumers")
def consumers(
    expected: Annotated[list[str], typer.Argument(help="Durables that must exist, as stream/durable.")],
    *,
    servers: Servers = None,
    form: FormatOption = Format.NAGIOS,
) -> None:
    """Whether the durables named are there.

    Example: mts1b check consumers OMS_ORDERS/riskengine
    """

    async def gather(bus: EventBus) -> Iterable[Reading]:
        return missing_consumers(await survey(bus), expected)

    _check("consumers", "", Levels(None, 0), gather, servers, form)


@app.command("deadletters")
def deadletters(
    *,
    warning: Warning_ = 0,
    critical: Critical = 100,
    within: Annotated[float, typer.Option(min=0, max=_YEAR, help="Seconds to look back.")] = 600,
    servers: Servers = None,
    form: FormatOption = Format.NAGIOS,
) -> None:
    """How many messages were given up lately.

    Example: mts1b check deadletters --within 3600
    """

    async def gather(bus: EventBus) -> Iterable[Reading]:
        return [await recent_deadletters(bus, within, most=int(max(warning, critical)) + 1)]

    _check("deadletters", "", Levels(warning, critical), gather, servers, form)


@app.command("server")
def server(
    *,
    warning: Warning_ = 1,
    critical: Critical = 5,
    servers: Servers = None,
    form: FormatOption = Format.NAGIOS,
) -> None:
    """Seconds that storing a message takes, end to end: the only proof that a cluster has its quorum.

    Example: mts1b check server --format prometheus
    """

    async def gather(bus: EventBus) -> Iterable[Reading]:
        return [await probe(bus, critical)]

    _check("server", "s", Levels(warning, critical), gather, servers, form)


@app.command("certificates")
def certificate_expiry(
    paths: Annotated[list[Path], typer.Argument(help="PEM files.")],
    *,
    warning: Warning_ = 7,
    critical: Critical = 3,
    form: FormatOption = Format.NAGIOS,
) -> None:
    """Days until each certificate expires.

    Example: mts1b check certificates /etc/mts1b/pki/*.pem
    """
    _print("certificates", "d", judged(certificates(paths), Levels(warning, critical, less_is_worse=True)), form)


def _check(name: str, unit: str, levels: Levels, gather: Gather, servers: str | None, form: Format) -> None:
    async def run() -> list[Checked]:
        async with await connect(servers, service="mts1b-operations") as bus:
            return judged(await gather(bus), levels)

    try:
        found = asyncio.run(run())
    except Mts1bError as error:
        sys.stdout.write(f"UNKNOWN {name}: {error}\n")
        sys.exit(State.UNKNOWN)
    _print(name, unit, found, form)


def _print(name: str, unit: str, found: list[Checked], form: Format) -> None:
    write = {Format.NAGIOS: nagios, Format.PROMETHEUS: prometheus, Format.JSON: to_json}[form]
    sys.stdout.write(write(name, unit, found))
    sys.exit(worst(found))
