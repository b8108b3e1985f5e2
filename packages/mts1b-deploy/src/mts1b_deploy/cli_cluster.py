"""``mts1b-deploy cluster``: three nodes of profile production on this machine, to rehearse failures with."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from mts1b_platform.command_line import noun
from mts1b_platform.output import print_table

from mts1b_deploy import output
from mts1b_deploy.cli_options import JsonOption

if TYPE_CHECKING:
    from mts1b_deploy.cluster import Cluster

app = noun("A whole cluster on this machine, to rehearse failures with: profile production, three nodes on loopback.")

_COLUMNS = ("node", "state", "healthy", "leads", "pid", "url")

PrefixOption = Annotated[
    Path | None,
    typer.Option("--prefix", metavar="DIR", help="Where the nodes live. Default: ~/.local/share/mts1b-cluster."),
]
NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="Which node, such as n1.")]


def _cluster(prefix: Path | None) -> "Cluster":
    # Imported here: commands of other nouns start twice as fast without what renders files.
    from mts1b_deploy.cluster import Cluster

    return Cluster(prefix)


@app.command()
def up(
    *,
    local: Annotated[int, typer.Option(metavar="N", help="How many nodes.")] = 3,
    prefix: PrefixOption = None,
    nats_server: Annotated[Path | None, typer.Option(metavar="FILE", help="The nats-server to install.")] = None,
    checkout: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="A checkout that counts as declared, too. Repeatable.", show_default=False),
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="How long each node may take.")] = 60.0,
    json: JsonOption = False,
) -> None:
    """Install, start and set up the nodes. Run twice, the second run starts what is down.

    Example: mts1b-deploy cluster up --local 3
    """
    cluster = _cluster(prefix)
    done = cluster.up(local, server=nats_server, checkouts=tuple(checkout or ()), timeout=timeout)
    if json:
        output.print_json([output.installed_as_dict(each) for each in done])
        return
    for each in done:
        output.line(each.server, f"{each.plan.record.node} on {each.plan.record.url}")
    settings = cluster.layout(cluster.names()[0]).config
    output.line("ready", f"MTS1B_CONFIG={settings} leads connect() to it")


@app.command()
def kill(node: NodeArgument, *, prefix: PrefixOption = None) -> None:
    """Kill a node with its supervisor (kill -9), as when its host crashes. `restart` brings it back.

    Example: mts1b-deploy cluster kill n2
    """
    _cluster(prefix).kill(node)
    output.line("killed", node)


@app.command()
def freeze(node: NodeArgument, *, prefix: PrefixOption = None) -> None:
    """Freeze a node (SIGSTOP): connections stay open, nothing answers. `thaw` lets it go on.

    Example: mts1b-deploy cluster freeze n2
    """
    _cluster(prefix).freeze(node)
    output.line("frozen", node)


@app.command()
def thaw(node: NodeArgument, *, prefix: PrefixOption = None) -> None:
    """Let a frozen node go on.

    Example: mts1b-deploy cluster thaw n2
    """
    _cluster(prefix).thaw(node)
    output.line("thawed", node)


@app.command()
def stop(
    node: NodeArgument,
    *,
    prefix: PrefixOption = None,
    timeout: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Before it is killed.")] = 15.0,
) -> None:
    """Stop a node gracefully. It stays down until `restart`.

    Example: mts1b-deploy cluster stop n3
    """
    output.line(_cluster(prefix).stop(node, timeout=timeout), node)


@app.command()
def restart(
    node: NodeArgument,
    *,
    prefix: PrefixOption = None,
    timeout: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="How long it may take.")] = 60.0,
) -> None:
    """Start a node that is down, or stop and start one that runs; wait until it has caught up.

    Example: mts1b-deploy cluster restart n1
    """
    output.line(_cluster(prefix).restart(node, timeout=timeout), node)


@app.command()
def upgrade(
    *,
    prefix: PrefixOption = None,
    nats_server: Annotated[Path | None, typer.Option(metavar="FILE", help="The nats-server to run.")] = None,
    back: Annotated[bool, typer.Option("--back", help="Run the one that the last upgrade exchanged.")] = False,
    force: Annotated[bool, typer.Option("--restart", help="Restart as gently also when nothing changes.")] = False,
) -> None:
    """Upgrade every node, one after another; stops at the first that does not come back.

    Example: mts1b-deploy cluster upgrade --nats-server ./nats-server-2.15.2
    """
    cluster = _cluster(prefix)
    for node in cluster.names():
        done = cluster.upgrade(node, server=nats_server, back=back, restart=force)
        output.line("upgraded" if done.restarted else "unchanged", f"{node} to {done.after} in {done.seconds:.1f} s")


@app.command()
def status(*, prefix: PrefixOption = None, json: JsonOption = False) -> None:
    """Show every node. Exit code 1 when one is not running or not well.

    Example: mts1b-deploy cluster status --json
    """
    states = _cluster(prefix).status()
    if json:
        output.print_json([asdict(state) for state in states])
    else:
        print_table([{name: getattr(state, name) for name in _COLUMNS} for state in states])
    raise typer.Exit(0 if all(state.healthy for state in states) else 1)


@app.command()
def down(
    *,
    prefix: PrefixOption = None,
    purge: Annotated[bool, typer.Option("--purge", help="Also delete streams and certificates.")] = False,
) -> None:
    """Stop and remove every node. The data stays unless --purge.

    Example: mts1b-deploy cluster down --purge
    """
    cluster = _cluster(prefix)
    names = cluster.names()
    cluster.down(purge=purge)
    for node in names:
        output.line("removed", node)
