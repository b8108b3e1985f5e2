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

from mts1b_deploy import cli_backup, cli_cluster, cli_pki, cli_release, cli_server, cli_services, cli_sites, output
from mts1b_deploy.cli_options import (
    CheckoutOption,
    EncryptOption,
    JsonOption,
    ListenOption,
    MonitorPortOption,
    NatsServerOption,
    PkiOption,
    PrefixOption,
    SiteOption,
    SitesOption,
    StartTimeout,
    StopTimeout,
    SupervisorOption,
    UserConfigOption,
    WebsocketPortOption,
    examples,
)
from mts1b_deploy.layout import layout_of
from mts1b_deploy.nodes import DEFAULT_LEAF_PORT
from mts1b_deploy.profiles import (
    DEFAULT_PORT,
    DEFAULT_PROFILE,
    PARTS,
    PROFILES,
)

app = root("Install the MTS1B event bus (NATS with JetStream) and keep it running.", package="mts1b-deploy")


@app.command(
    "plan",
    help="Say what `install` with the same options would write and change. Changes nothing.",
    epilog=examples("mts1b-deploy plan --profile single", "mts1b-deploy plan --json"),
)
@app.command(
    "install",
    epilog=examples(
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
    site: SiteOption = None,
    sites: SitesOption = None,
    edges: Annotated[
        str | None,
        typer.Option(
            metavar="EDGES",
            help="single, production: the edges that forward to this site: name=host,…",
            show_default=False,
        ),
    ] = None,
    hub: Annotated[
        str | None,
        typer.Option(
            metavar="HUB",
            help="edge: the site that it forwards to, with all of its nodes: name=host[:leaf-port],…",
            show_default=False,
        ),
    ] = None,
    leaf_port: Annotated[
        int | None,
        typer.Option(help=f"Where edges connect. Default: {DEFAULT_LEAF_PORT}.", show_default=False),
    ] = None,
    listen: ListenOption = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST",
            help="single, production: a name or address that clients dial, for the certificate. Repeatable.",
            show_default=False,
        ),
    ] = None,
    websocket_port: WebsocketPortOption = None,
    encrypt: EncryptOption = None,
    pki: PkiOption = None,
    checkout: CheckoutOption = None,
    services: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="single, production as root under systemd: what this host runs beside the server, a unit for each "
            "(`mts1b-deploy services example`). Default: as installed before.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help=f"Port for clients. Default: as installed before, else {DEFAULT_PORT}.", show_default=False),
    ] = None,
    monitor_port: MonitorPortOption = None,
    supervisor: SupervisorOption = None,
    nats_server: NatsServerOption = None,
    user_config: UserConfigOption = True,
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
    timeout: StartTimeout = 30.0,
) -> None:
    """Install, start and set up a NATS server on this machine. Run twice, the second run changes nothing.

    Profile minimal listens on 127.0.0.1 without authentication: for development only. single is one node that is
    locked down, production a member of a cluster.

    If anything fails, what this run wrote is taken back.
    """
    # Imported here: commands that write no files start twice as fast without what renders them.
    from mts1b_deploy import install as install_
    from mts1b_deploy.leaf.asked import Asked
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
        sites=Asked(site=site, sites=sites, edges=edges, hubs=hub, leaf_port=leaf_port),
        websocket_port=websocket_port,
        encrypted=encrypt,
        pki=pki,
        checkouts=tuple(checkout or ()),
        services=services.resolve() if services is not None else None,
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


cli_server.add_to(app)


@app.command(epilog=examples("mts1b-deploy uninstall", "mts1b-deploy uninstall --purge"))
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


@app.command(epilog=examples("mts1b-deploy doctor", "mts1b-deploy doctor --json"))
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


@app.command(epilog=examples("mts1b-deploy render compose --out ./bus", "mts1b-deploy render helm --out ./bus"))
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


cli_backup.add_to(app)
cli_sites.add_to(app)
app.add_typer(cli_cluster.app, name="cluster")
app.add_typer(cli_pki.app, name="pki")
app.add_typer(cli_release.app, name="release")
app.add_typer(cli_services.app, name="services")
app.add_typer(cli_pki.permissions_app, name="permissions")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """The entry point: errors become one line on standard error and an exit code."""
    signal.signal(signal.SIGTERM, _interrupt)  # an install that is told to end takes back what it wrote
    sys.exit(command_line.run(app, sys.argv[1:], name="mts1b-deploy"))
