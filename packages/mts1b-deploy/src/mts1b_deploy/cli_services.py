"""``mts1b-deploy services``: what a host runs beside its server."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from mts1b_platform.command_line import noun
from mts1b_platform.output import print_listing

from mts1b_deploy import output
from mts1b_deploy.cli_options import JsonOption, PrefixOption
from mts1b_deploy.layout import layout_of
from mts1b_deploy.record import record_of
from mts1b_deploy.services.definition import EXAMPLE, Services, certificates_of, user_of
from mts1b_deploy.services.units import is_active, unit_name

app = noun("Services of this host as systemd units: what there may be, and how they are.")


@app.command("example")
def example(*, prefix: PrefixOption = None) -> None:
    """Print a file for `mts1b-deploy install --services`: the reference desk, the monitor and the responders.

    Example: mts1b-deploy services example > services.toml
    """
    typer.echo(EXAMPLE.format(venv=sys.prefix, etc=layout_of(prefix).config.parent), nl=False)


@app.command("ls")
def ls(*, prefix: PrefixOption = None, json: JsonOption = False) -> None:
    """List the services of this installation. Exit code 1 when one does not run.

    Example: mts1b-deploy services ls --json
    """
    layout = layout_of(prefix)
    record = record_of(layout)
    found = Services.read(layout.services, venv=record.release).services if record.services else {}
    rows = [
        {
            "service": name,
            "runs": is_active(unit_name(name)),
            "unit": unit_name(name),
            "user": user_of(name),
            "certificates": certificates_of(name, found[name]),
            "command": " ".join(found[name].command),
        }
        for name in record.services
    ]
    print_listing(rows, as_json=json, empty="no services run as units: `mts1b-deploy install --services FILE`")
    if not all(row["runs"] for row in rows):
        raise typer.Exit(1)


@app.command("seal")
def seal(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The secret. It is removed once it is encrypted.")],
    *,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Under which services know it. Default: the file's name.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the file with the secret where it is.")] = False,
) -> None:
    """Encrypt a secret for this host alone (systemd-creds, systemd 250 or newer): FILE.sealed, for `sealed`.

    Keep the secret elsewhere, too: no other host opens what was sealed on this one.

    Example: mts1b-deploy services seal /etc/mts1b/secrets/ntfy-token
    """
    from mts1b_deploy.services import sealing

    made = sealing.seal(file.absolute(), name, keep=keep)
    output.line("sealed", f"{made}, for this host alone")
    output.line("next", f'sealed = {{ {name or file.name} = "{made}" }} in services.toml, then `mts1b-deploy install`')
