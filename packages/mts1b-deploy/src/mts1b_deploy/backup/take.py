"""Making a backup.

A backup of everything is taken in an order that is safe to restore, while services go on:

1. where every durable stands,
2. the bucket with the marks of what was handled (of services without a dedupe store of their own),
3. the state of services, with their own marks and outboxes, audit logs and settings: files, and databases of
   PostgreSQL,
4. the streams.

So nothing that a durable or a mark says is done is missing in the state of its service, once the durable is set back to
(1); and nothing that an outbox says is published is missing in the streams.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mts1b_deploy.backup.host import Database, databases_of, take_host
from mts1b_deploy.backup.manifest import MANIFEST, Backup, HostBackup, Position, PostgresBackup, read_backup
from mts1b_deploy.backup.part import Recipient, new_part, recipients_named
from mts1b_deploy.backup.positions import read_positions
from mts1b_deploy.backup.postgres import ensure_dumpable
from mts1b_deploy.backup.streams import administration, ensure_no_mirror, stream_names, take_stream
from mts1b_deploy.errors import BackupError
from mts1b_deploy.journal import remove_tree
from mts1b_deploy.layout import Layout
from mts1b_deploy.record import InstallRecord, record_of

_NAME: Final = "%Y-%m-%dT%H%M%SZ"
"""How directories below a place of backups are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be saved.

    Attributes:
        everything: the host's own files too, not the streams alone.
        also: of them, what lies elsewhere.
        databases: addresses of databases of PostgreSQL, beside those that services of this host declare.
        recipients: who can read it; nobody: it is in clear text.
        on_step: told what is saved next.
    """

    everything: bool = False
    also: tuple[Path, ...] = ()
    databases: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    on_step: Callable[[str], object] = lambda _: None


def backup(layout: Layout, directory: Path, wanted: Wanted | None = None) -> Backup:
    """Write every stream of this installation (of the whole cluster), and what else is wanted, into ``directory``.

    Raises:
        BackupError: this site is a mirror, the directory is not empty, the server did not deliver a stream whole, or a
            file cannot be read.
    """
    wanted = wanted or Wanted()
    record = record_of(layout)
    ensure_no_mirror(record, "has no backup of its own: take it at site {other}")
    if (wanted.also or wanted.databases) and not wanted.everything:
        raise BackupError("what is to be saved beside the streams is named, but not --all: add it")
    recipients = recipients_named(wanted.recipients)
    databases = databases_of(layout, record, wanted.databases) if wanted.everything else []
    ensure_dumpable(each.url for each in databases)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(directory.iterdir()):
        raise BackupError(f"{directory} is not empty: name a new directory for each backup")
    directory.chmod(0o700)
    return asyncio.run(_backup(layout, record, directory, wanted, recipients, databases))


def backup_into(layout: Layout, place: Path, *, keep: int, wanted: Wanted | None = None) -> Path:
    """Make a backup in a new directory below ``place``, read it back, and remove all but the ``keep`` newest.

    Returns the directory, which is named by its time. Nothing is removed unless the new backup is complete and whole.

    Raises:
        BackupError: as :func:`backup` and :func:`read_backup`.
    """
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = place / datetime.now(UTC).strftime(_NAME)
    backup(layout, made, wanted)
    read_backup(made)
    ours = sorted(path for path in place.iterdir() if _is_named_by_time(path))
    whole = [path for path in ours if (path / MANIFEST).is_file()]
    for path in ours:
        if path not in whole[-keep:]:
            remove_tree(path)
    return made


def _is_named_by_time(path: Path) -> bool:
    try:
        datetime.strptime(path.name, _NAME)  # noqa: DTZ007 - only whether it is one
    except ValueError:
        return False
    return path.is_dir()


async def _backup(
    layout: Layout,
    record: InstallRecord,
    directory: Path,
    wanted: Wanted,
    recipients: Sequence[Recipient],
    databases: Sequence[Database],
) -> Backup:
    from mts1b_platform.eventbus.dedupe.kv import BUCKET

    positions: list[Position] = []
    host: HostBackup | None = None
    postgres: list[PostgresBackup] = []
    taken_at = datetime.now(UTC)
    async with administration(layout, record) as bus:
        names = await stream_names(bus)
        marks = [f"KV_{BUCKET}"] if wanted.everything and f"KV_{BUCKET}" in names else []
        if wanted.everything:
            positions = await read_positions(bus, names)
        streams = [await take_stream(bus, name, directory, recipients) for name in marks]
        if wanted.everything:
            wanted.on_step("state of services, audit logs, settings")
            host, postgres = await asyncio.to_thread(
                take_host, layout, record, directory, recipients, wanted.also, databases
            )
        for number, name in enumerate(names, 1):
            if name not in marks:
                wanted.on_step(f"stream {name} ({number} of {len(names)})")
                streams.append(await take_stream(bus, name, directory, recipients))
    made = Backup(
        taken_at=taken_at,
        profile=record.profile,
        server_version=record.server_version,
        streams=tuple(sorted(streams, key=lambda each: each.name)),
        positions=tuple(positions),
        host=host,
        postgres=tuple(postgres),
        recipients=tuple(wanted.recipients),
    )
    with new_part(directory / MANIFEST, ()) as (file, _):
        file.write(made.model_dump_json(indent=1).encode() + b"\n")
    return made
