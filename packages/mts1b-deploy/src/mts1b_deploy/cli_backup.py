"""``mts1b-deploy backup`` and ``restore``."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from mts1b_deploy import output
from mts1b_deploy.cli_options import JsonOption, PrefixOption
from mts1b_deploy.layout import layout_of


def add_to(app: typer.Typer) -> None:
    """Add both commands."""
    app.command(epilog=_BACKUP)(backup)
    app.command(epilog=_RESTORE)(restore)


_BACKUP = """\b
Examples:
  mts1b-deploy backup /backups/2026-11-23
  mts1b-deploy backup /backups --keep 14 --all --recipient /etc/mts1b/backup.pub
  mts1b-deploy backup /backups/today --all --also /etc/mts1b --recipient age1…"""
_RESTORE = """\b
Examples:
  mts1b-deploy restore /backups/2026-11-23
  mts1b-deploy restore /backups/2026-11-23 --all --identity key.txt
  mts1b-deploy restore /backups/2026-11-23 --all --keep-streams --replace
  mts1b-deploy restore /backups/2026-11-23 --drill --check "mts1b-desk reconcile --state {host}" """.rstrip()


def backup(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A new directory; with --keep the one that holds all backups."),
    ],
    *,
    keep: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Make a directory named by its time in DIR, read the backup back, and remove all but the N newest.",
            show_default=False,
        ),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Also state of services, outboxes, audit logs, settings; keys when it is encrypted."
        ),
    ] = False,
    also: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="With --all: a directory or file to save as well. Repeatable."),
    ] = None,
    database: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="With --all: a database of PostgreSQL to save beside those that services.toml names. Repeatable.",
        ),
    ] = None,
    recipient: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY",
            help="Encrypt it with age for this key (age1…, ssh-ed25519 …), or for those in this file. Repeatable.",
        ),
    ] = None,
    prefix: PrefixOption = None,
    json: JsonOption = False,
) -> None:
    """Write every stream with its consumers into a directory, while services go on; with --all all of this host."""
    from mts1b_deploy.backup.manifest import read_backup
    from mts1b_deploy.backup.take import Wanted, backup_into
    from mts1b_deploy.backup.take import backup as take

    layout = layout_of(prefix)
    wanted = Wanted(
        everything=everything,
        also=tuple(also or ()),
        databases=tuple(database or ()),
        recipients=tuple(recipient or ()),
        on_step=_say_on_a_terminal,
    )
    if keep is not None:
        directory = backup_into(layout, directory, keep=keep, wanted=wanted)
        made = read_backup(directory)
        output.complain(f"saved in {directory}, and read back")
    else:
        made = take(layout, directory, wanted)
    output.print_json(made) if json else output.show_backup("saved", made)


def restore(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="What `backup` wrote.")],
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Also this host's own files, of a backup that was made with --all.")
    ] = False,
    keep_streams: Annotated[
        bool,
        typer.Option(
            "--keep-streams",
            help="With --all: leave the streams as they are, as only this host was lost, and deliver again what its "
            "services do not know.",
        ),
    ] = False,
    identity: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The key of an encrypted backup.", show_default=False)
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete streams that hold messages now; move files that are there aside.")
    ] = False,
    rehearse: Annotated[
        bool,
        typer.Option(
            "--drill", help="Change nothing: restore into a place that is thrown away, and say what that shows."
        ),
    ] = False,
    check: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COMMAND",
            help="With --drill: run this on the restored bus; {host} is where the host's files are. Repeatable.",
        ),
    ] = None,
    scratch: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="With --drill: where that place is made. Default: beside the backup."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="How long the server may take to come up.")
    ] = 60.0,
    prefix: PrefixOption = None,
    json: JsonOption = False,
) -> None:
    """Bring the streams and consumers of a backup back, with --all the host's own files too. Stop the services first.

    Files are compared with their fingerprints before anything is touched, and the streams with the backup afterwards.
    Exit code 1 when a drill shows damage, or one of its checks fails.
    """
    from mts1b_deploy.backup.drill import drill
    from mts1b_deploy.backup.restore import Wanted
    from mts1b_deploy.backup.restore import restore as bring_back

    layout = layout_of(prefix)
    if rehearse:
        if everything or keep_streams or replace:
            raise typer.BadParameter("a drill restores everything, and replaces nothing", param_hint="--drill")
        words = [shlex.split(each) for each in check or ()]
        shown = drill(layout, directory, identity=identity, checks=words, scratch=scratch, timeout=timeout)
        output.print_json(shown) if json else output.show_drill(shown)
        raise typer.Exit(0 if shown.good else 1)
    if check or scratch:
        raise typer.BadParameter("only with --drill", param_hint="--check" if check else "--scratch")
    wanted = Wanted(
        everything=everything, keep_streams=keep_streams, replace=replace, identity=identity, timeout=timeout
    )
    done = bring_back(layout, directory, wanted)
    output.print_json(done) if json else output.show_restored(done)


def _say_on_a_terminal(step: str) -> None:
    if sys.stderr.isatty():
        output.complain(f"saving {step}")
