"""``mts1b-deploy pki`` and ``mts1b-deploy permissions``: who is who on a locked-down bus, and what each may do."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from mts1b_platform.command_line import duration, noun
from mts1b_platform.output import print_listing, print_table

from mts1b_deploy import lifecycle, output
from mts1b_deploy.cli_options import JsonOption, PrefixOption
from mts1b_deploy.errors import UnknownName
from mts1b_deploy.layout import layout_of
from mts1b_deploy.lock import prefix_lock
from mts1b_deploy.record import find_record

if TYPE_CHECKING:
    from mts1b_deploy.pki.store import Entry, Pki

app = noun("Certificates: an authority of your own, one certificate per service and server, renewal, withdrawal.")
permissions_app = noun("What each service may do, as it follows from the registry.")

DirOption = Annotated[
    Path | None, typer.Option("--dir", metavar="DIR", help="Certificates elsewhere than in an installation.")
]
LifetimeOption = Annotated[
    str, typer.Option("--lifetime", metavar="TIME", help="How long they are valid: 30d, 12h, 45m.")
]
Checkouts = Annotated[
    list[Path] | None,
    typer.Option(
        "--checkout", metavar="DIR", help="A checkout that counts as declared, too. Repeatable.", show_default=False
    ),
]


@app.command()
def init(
    *,
    prefix: PrefixOption = None,
    directory: DirOption = None,
    ca_cert: Annotated[Path | None, typer.Option(help="Certificate of an authority that you have.")] = None,
    ca_key: Annotated[
        Path | None, typer.Option(help="Its key. Without it, `issue` writes requests for you to have signed.")
    ] = None,
) -> None:
    """Make an authority, or take your own. Run twice, the second run changes nothing.

    Example: mts1b-deploy pki init --ca-cert corporate-ca.crt
    """
    with _pki(prefix, directory) as pki:
        made = pki.init(ca=ca_cert, ca_key=ca_key)
    output.line("created" if made else "unchanged", str(pki.ca))


@app.command()
def issue(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Repos such as mts1b-oms, or a server.")],
    *,
    host: Annotated[
        list[str] | None, typer.Option(help="A server: an address or name that clients dial. May be given often.")
    ] = None,
    lifetime: LifetimeOption = "30d",
    prefix: PrefixOption = None,
    directory: DirOption = None,
) -> None:
    """Certificates for services, or with --host for a server. Good ones that are there stay.

    Example: mts1b-deploy pki issue mts1b-oms mts1b-treasury
    """
    with _pki(prefix, directory) as pki:
        entries = [pki.issue(name, hosts=host or (), lifetime=_lifetime(lifetime)) for name in names]
    for entry in entries:
        _show_made(pki, entry)
    if directory is None:
        _hand_out(prefix, [entry.name for entry in entries])


@app.command()
def take(
    name: Annotated[str, typer.Argument(help="For whom the request was.")],
    certificate: Annotated[
        Path, typer.Argument(help="What the authority made of it, PEM; with its chain if it has one.")
    ],
    *,
    prefix: PrefixOption = None,
    directory: DirOption = None,
) -> None:
    """Put a certificate that your own authority signed beside its key.

    Example: mts1b-deploy pki take mts1b-oms signed.crt
    """
    with _pki(prefix, directory) as pki:
        entry = pki.take(name, certificate)
    _show_made(pki, entry)


@app.command()
def rotate(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="Whose. Default: everybody's.")] = None,
    *,
    due: Annotated[bool, typer.Option("--due", help="Only those of which a third or less is left.")] = False,
    lifetime: LifetimeOption = "30d",
    prefix: PrefixOption = None,
    directory: DirOption = None,
) -> None:
    """Renew certificates. A running server reads its own again; no connection is broken.

    Services present theirs when they next connect. Run `rotate --due` once a day.

    Example: mts1b-deploy pki rotate --due
    """
    with _pki(prefix, directory) as pki:
        entries = pki.rotate(names or (), due=due, lifetime=_lifetime(lifetime))
    for entry in entries:
        _show_made(pki, entry)
    if not entries:
        output.line("unchanged", "nothing is due")
    elif directory is None:
        _hand_out(prefix, [entry.name for entry in entries])
    if entries and directory is None and any(entry.kind == "server" for entry in entries):
        _reload(prefix)


@app.command("ls")
def ls(*, prefix: PrefixOption = None, directory: DirOption = None, json: JsonOption = False) -> None:
    """List certificates: for whom, until when, and how they are. Exit code 1 when one has ended or is due.

    Example: mts1b-deploy pki ls --json
    """
    with _pki(prefix, directory, change=False) as pki:
        entries, now = pki.entries(), datetime.now(UTC)
    if json:
        output.print_json([{**asdict(entry), "state": entry.state(now)} for entry in entries])
    else:
        rows = [
            {
                "name": entry.name,
                "identity": entry.identity if entry.kind == "service" else entry.hosts,
                "state": entry.state(now),
                "until": entry.not_after[:16].replace("T", " ") or None,
            }
            for entry in entries
        ]
        print_table(rows)
    if any(entry.state(now) in ("expired", "due") for entry in entries):
        raise typer.Exit(1)


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Whose certificates are not to be believed any more.")],
    *,
    prefix: PrefixOption = None,
    directory: DirOption = None,
) -> None:
    """Withdraw every certificate of a service made so far. Its next one carries another identity.

    Example: mts1b-deploy pki revoke mts1b-oms
    """
    with _pki(prefix, directory) as pki:
        entry = pki.revoke(name)
    output.line("revoked", f"{entry.identity} (serial {entry.serial})")
    output.complain(
        f"warning: until the server reads a configuration without {entry.identity}, it goes on believing it: run "
        "`mts1b-deploy install` with your profile, which also makes a new certificate"
    )


@permissions_app.command("show")
def permissions_show(
    repo: Annotated[str, typer.Argument(help="The service, such as mts1b-oms.")],
    *,
    checkout: Checkouts = None,
    json: JsonOption = False,
) -> None:
    """Everything that a service may do, and why. What is not listed is refused.

    Example: mts1b-deploy permissions show mts1b-treasury
    """
    from mts1b_platform.by_hand import declared_here

    from mts1b_deploy.permissions import permissions_of

    found = permissions_of(repo, declared_here(checkout).sources)
    if json:
        output.print_json(asdict(found))
        return
    print_table([{"may": grant.action, "subject": grant.subject, "why": grant.why} for grant in found.grants])
    for problem in found.problems:
        output.complain(f"warning: not granted: {problem}")


@permissions_app.command("ls")
def permissions_ls(*, checkout: Checkouts = None, json: JsonOption = False) -> None:
    """The services of this bus, and how much each may do.

    Example: mts1b-deploy permissions ls --json
    """
    from mts1b_platform.by_hand import declared_here

    from mts1b_deploy.permissions import all_permissions

    rows = [
        {"repo": repo, "publish": len(each.publish), "subscribe": len(each.subscribe), "problems": len(each.problems)}
        for repo, each in all_permissions(declared_here(checkout).sources).items()
    ]
    print_listing(rows, as_json=json)


@contextmanager
def _pki(prefix: Path | None, directory: Path | None, *, change: bool = True) -> Generator["Pki", None, None]:
    # Imported here: commands that touch no certificate start twice as fast without the cryptography.
    from mts1b_deploy.pki.store import Pki

    if directory is not None or not change:
        yield Pki(directory or layout_of(prefix).pki)
        return
    layout = layout_of(prefix)
    with prefix_lock(layout, on_wait=output.complain):
        yield Pki(layout.pki)


def _show_made(pki: "Pki", entry: "Entry") -> None:
    if entry.serial:
        output.line("valid", f"{pki.pem(entry.name)} until {entry.not_after[:16].replace('T', ' ')} UTC")
        return
    request = pki.directory / f"{entry.name}.csr"
    output.line("requested", f"have {request} signed, then: mts1b-deploy pki take {entry.name} <certificate>")


def _hand_out(prefix: Path | None, of: list[str]) -> None:
    """Give the system users of this host what was renewed."""
    layout = layout_of(prefix)
    record = find_record(layout)
    if record is None or not record.handed:
        return
    from mts1b_deploy.services.hand_out import hand_out

    for user in hand_out(layout, record, of):
        output.line("handed out", f"to {user}, in {layout.handed(user)}")


def _reload(prefix: Path | None) -> None:
    layout = layout_of(prefix)
    record = find_record(layout)
    if record is not None and lifecycle.reload(layout, record):
        output.line("reloaded", f"{record.url}: new connections see the new certificate")


def _lifetime(text: str) -> timedelta:
    found = duration(text, "dhm")
    if found is None:
        raise UnknownName(f"--lifetime {text!r} is no time: write a number and d, h or m, such as 30d")
    return found
