"""Bringing a backup back: the streams, and of a backup of everything the host's own files too."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from mts1b_deploy.backup.host import STATE, put_host_back
from mts1b_deploy.backup.manifest import Backup, read_backup
from mts1b_deploy.backup.part import Identity, identities_in, open_part
from mts1b_deploy.backup.positions import SetBack, set_back
from mts1b_deploy.backup.postgres import ensure_restorable, put_back
from mts1b_deploy.backup.streams import administration, ensure_no_mirror, put_streams_back
from mts1b_deploy.errors import BackupError
from mts1b_deploy.layout import Layout
from mts1b_deploy.record import InstallRecord, find_record, record_of
from mts1b_deploy.streams import apply_streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be brought back.

    Attributes:
        everything: the host's own files too.
        keep_streams: the streams stay as they are, as only this host was lost.
        replace: delete streams that hold messages, and move files that are there aside.
        identity: the file with the key of an encrypted backup.
        timeout: seconds for the server to come up.
    """

    everything: bool = False
    keep_streams: bool = False
    replace: bool = False
    identity: Path | None = None
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did."""

    backup: Backup
    set_back: tuple[SetBack, ...]
    """Durables that had gone further than the state that was restored."""
    aside: tuple[Path, ...]
    """Where that is kept which was there before."""


def restore(layout: Layout, directory: Path, wanted: Wanted | None = None) -> Restored:
    """Bring a backup back; then apply the definitions of today. Services must not run meanwhile.

    Durables are set back to where they stood before the state of services was saved, so that these get what they do
    not know. With ``keep_streams`` those alone whose services' state was restored.

    Raises:
        BackupError: the backup is damaged or incomplete or cannot be decrypted, services run, or something would be
            lost (``replace``). Nothing was changed then.
    """
    wanted = wanted or Wanted()
    found = read_backup(directory)
    identities = checked_identities(directory, found, wanted.identity)
    if found.host is None and wanted.everything:
        raise BackupError(f"{directory} holds streams alone: it was made without --all. Nothing was changed")
    if wanted.keep_streams and not wanted.everything:
        raise BackupError("--keep-streams leaves nothing to restore without --all")
    before = find_record(layout)
    if before is not None:
        ensure_no_mirror(before, "copies its streams: restore at site {other}")
        _ensure_services_are_stopped(before)
    aside: list[Path] = []
    if wanted.everything and found.host is not None:
        ensure_restorable(found.postgres, replace=wanted.replace)
        aside = put_host_back(directory, found.host, identities, replace=wanted.replace)
        aside += put_back(found, directory, identities, layout.prefix, replace=wanted.replace)
        _bring_up(layout, wanted.timeout)
    record = record_of(layout)
    moved = asyncio.run(_restore(layout, record, directory, found, identities, wanted))
    return Restored(found, tuple(moved), tuple(aside))


def checked_identities(directory: Path, found: Backup, identity: Path | None) -> list[Identity]:
    """The keys for a backup, tried on one of its files.

    Raises:
        BackupError: they do not decrypt it.
    """
    identities = identities_in(identity)
    if found.recipients and found.parts:
        with open_part(directory / found.parts[0].file, identities) as file:
            file.read(1)
    return identities


def _ensure_services_are_stopped(record: InstallRecord) -> None:
    from mts1b_deploy.services.units import is_active, unit_name

    if running := [unit_name(name) for name in record.services if is_active(unit_name(name))]:
        raise BackupError(
            f"services run: `systemctl stop {' '.join(running)}`, then restore, then `mts1b-deploy install` starts "
            "them. Nothing was changed"
        )


def _bring_up(layout: Layout, timeout: float) -> None:
    """Run the server on the files that were put back, and leave the services for later."""
    from mts1b_platform.config import user_config

    from mts1b_deploy.install import install
    from mts1b_deploy.plan import Request

    record = record_of(layout)
    own = str(user_config()) in record.files
    install(layout, Request(user_config=own, start_services=False), timeout=timeout)


async def _restore(
    layout: Layout,
    record: InstallRecord,
    directory: Path,
    found: Backup,
    identities: list[Identity],
    wanted: Wanted,
) -> list[SetBack]:
    async with administration(layout, record) as bus:
        if not wanted.keep_streams:
            copies = 3 if record.clustered else 1
            await put_streams_back(bus, found, directory, identities, copies=copies, replace=wanted.replace)
            await asyncio.to_thread(apply_streams, layout, record)
        services = _restored_services(layout, record, found) if wanted.keep_streams else None
        return await set_back(bus, found.positions, services=services)


def _restored_services(layout: Layout, record: InstallRecord, found: Backup) -> set[str] | None:
    """Whose state was restored, as durables name them; None: that of all."""
    from mts1b_deploy.services.definition import Services, certificates_of, user_of

    roots = set(found.host.roots) if found.host else set[str]()
    if not record.services or not roots:
        return None
    databases = {each.service for each in found.postgres}
    services = Services.read(layout.services, venv=record.release).services
    return {
        identity
        for name, each in services.items()
        if str(STATE / user_of(name)) in roots or name in databases
        for identity in certificates_of(name, each)
    }
