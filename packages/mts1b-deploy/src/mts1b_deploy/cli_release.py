"""``mts1b-deploy release``: the environment that services run."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from mts1b_platform.command_line import noun
from mts1b_platform.output import print_listing

from mts1b_deploy import output
from mts1b_deploy.cli_options import JsonOption, PrefixOption
from mts1b_deploy.layout import layout_of
from mts1b_deploy.record import record_of

if TYPE_CHECKING:
    from mts1b_deploy.release import Changed, Options

Settle = Annotated[
    float, typer.Option(min=0, metavar="SECONDS", help="How long a service must stay ready before the next one's turn.")
]
Timeout = Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How long it may take to become ready.")]

app = noun("Releases of the services of this host: one environment each, exchanged under traffic, and back.")


@app.command("make")
def make(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the environment is made.")],
    packages: Annotated[
        list[str] | None, typer.Argument(metavar="[PACKAGE]...", help="Default: this project's wheels in WHEELS.")
    ] = None,
    *,
    wheels: Annotated[
        Path, typer.Option(metavar="WHEELS", help="A directory with all wheels that are needed; no network is asked.")
    ],
    requirements: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What to install, as pip reads it, with hashes to compare with.")
    ] = None,
    python: Annotated[str, typer.Option(metavar="FILE", help="The Python that runs it.")] = sys.executable,
) -> None:
    """Make the environment of a release from wheels, without a network.

    Example: mts1b-deploy release make /opt/mts1b/2026-12-01 --wheels ./wheels --python /usr/bin/python3
    """
    from mts1b_deploy.services.environment import make_environment

    for line in make_environment(directory, wheels, packages or (), requirements=requirements, python=python):
        output.line("installed", line)
    output.line("next", f"{directory.absolute()}/bin/mts1b-deploy release apply")


@app.command("apply")
def apply(
    *, prefix: PrefixOption = None, settle: Settle = 5.0, timeout: Timeout = 120.0, json: JsonOption = False
) -> None:
    """Bring the services of this host to the environment of this very mts1b-deploy, one at a time, under traffic.

    Permissions, streams and durables come first. Exit code 1 when an event that was stored meanwhile is not there, or
    there twice. A service that does not become ready, or does not stay it, brings all
    of them back to the release before.

    Example: /opt/mts1b/2026-12-01/bin/mts1b-deploy release apply
    """
    from mts1b_deploy import release

    _show(release.apply(layout_of(prefix), _options(settle, timeout)), json=json)


@app.command("rollback")
def rollback(
    *, prefix: PrefixOption = None, settle: Settle = 5.0, timeout: Timeout = 120.0, json: JsonOption = False
) -> None:
    """Bring the services back to the release before, in the same way. The bus keeps its streams and permissions.

    Example: mts1b-deploy release rollback
    """
    from mts1b_deploy import release

    _show(release.rollback(layout_of(prefix), _options(settle, timeout)), json=json)


@app.command("ls")
def ls(*, prefix: PrefixOption = None, json: JsonOption = False) -> None:
    """Say which environment each service runs, and which one a rollback would bring back.

    Example: mts1b-deploy release ls
    """
    from mts1b_deploy.services.definition import Services
    from mts1b_deploy.services.units import unit_path

    layout = layout_of(prefix)
    record = record_of(layout)
    rows: list[dict[str, object]] = []
    if record.services:
        services = Services.read(layout.services, venv=record.release)
        for name in record.services:
            start = next(line for line in unit_path(name).read_text().splitlines() if line.startswith("ExecStart="))
            program = Path(start.removeprefix("ExecStart=").strip('"').split('"')[0].split()[0])
            there = services.venv if program.is_relative_to(services.venv) else program.parent.parent
            rows.append({"service": name, "release": str(there), "before": str(record.release_before or "")})
    print_listing(rows, as_json=json, empty="no services run as units: `mts1b-deploy install --services FILE`")


def _options(settle: float, timeout: float) -> "Options":
    from mts1b_deploy.release import Options

    return Options(settle=settle, timeout=timeout, on_step=_say, on_wait=output.complain)


def _say(name: str) -> None:
    output.complain(f"{name}: started anew, then watched")


def _show(changed: "Changed", *, json: bool) -> None:
    traffic = changed.traffic
    if json:
        output.print_json(asdict(changed))
    else:
        for name, seconds in changed.services.items():
            output.line("released", f"{name} (ready after {seconds:.1f} s)")
        if traffic is not None:
            lost, doubled = sum(traffic.lost.values()), sum(traffic.doubled.values())
            output.line(
                "counted" if traffic.good else "problem",
                f"lost {lost:,}, doubled {doubled:,} of {traffic.stored:,} events that were stored meanwhile; "
                f"{traffic.given_up:,} dead letters",
            )
            for name in sorted({*traffic.lost, *traffic.doubled}):
                output.line("", f"{name}: lost {traffic.lost.get(name, 0):,}, doubled {traffic.doubled.get(name, 0):,}")
        what = "changed" if changed.before != changed.after else "unchanged"
        output.line(what, f"{changed.before} to {changed.after}" if what == "changed" else str(changed.after))
    if traffic is not None and not traffic.good:
        raise typer.Exit(1)
