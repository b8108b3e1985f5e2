"""What a backup is made of.

::

    DIR/backup.json         what is in it, with a fingerprint of each file; written last, so that it means "complete"
    DIR/<stream>.tar.s2     the server's snapshot of one stream
    DIR/host.tar            with `--all`: state of services, outboxes, audit logs, `etc/`
    DIR/postgres-<n>-<database>.dump    with `--all`: state that a service keeps in PostgreSQL

With recipients each file but backup.json is encrypted with age, and its name ends with ``.age``. Without, a backup
holds every event in clear text, also those of an encrypted store. The directory is 0700, the files are 0600.
"""

import re
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from mts1b_deploy.errors import BackupError
from mts1b_deploy.record import digest_of

MANIFEST: Final = "backup.json"


class StreamBackup(BaseModel):
    """One stream in a backup."""

    model_config = ConfigDict(frozen=True)

    name: str
    config: dict[str, Any]
    state: dict[str, Any]
    file: str
    size: int
    sha256: str

    @property
    def messages(self) -> int:
        """How many messages it holds."""
        return int(self.state["messages"])


class Position(BaseModel):
    """Where a durable stood before the state of its service was saved."""

    model_config = ConfigDict(frozen=True)

    stream: str
    durable: str
    service: str | None
    floor: int
    """Up to this sequence everything was acknowledged."""


class HostBackup(BaseModel):
    """What was saved of the host itself."""

    model_config = ConfigDict(frozen=True)

    file: str
    size: int
    sha256: str
    roots: tuple[str, ...]
    """The directories and files that were saved, each with all that is in it."""
    databases: int
    """SQLite files among them; each is consistent in itself."""
    left_out: tuple[str, ...] = ()
    """Keys and secrets, which are saved in encrypted backups only."""


def database_of(url: str) -> str:
    """What people call a database: its name, as far as the address says it."""
    found = re.search(r"(?:dbname|service)\s*=\s*'?([\w.-]+)", url)
    name = urlsplit(url).path.strip("/") if "://" in url else found[1] if found else url
    return re.sub(r"[^\w.-]", "-", name) or "default"


class PostgresBackup(BaseModel):
    """One database of PostgreSQL in a backup."""

    model_config = ConfigDict(frozen=True)

    url: str
    """Where it is, without a password."""
    service: str | None
    """Whose state it is; None when it was named by hand."""
    file: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """What people call it."""
        return database_of(self.url)


class Backup(BaseModel):
    """``backup.json``."""

    model_config = ConfigDict(frozen=True)

    taken_at: datetime
    profile: str
    server_version: str
    streams: tuple[StreamBackup, ...]
    positions: tuple[Position, ...] = ()
    """Of a backup of everything: read before anything else was saved."""
    host: HostBackup | None = None
    postgres: tuple[PostgresBackup, ...] = ()
    """State that services keep in PostgreSQL."""
    recipients: tuple[str, ...] = ()
    """Who can read it; empty when it is in clear text."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(part.size for part in self.parts)

    @property
    def parts(self) -> "tuple[StreamBackup | HostBackup | PostgresBackup, ...]":
        """Everything that is a file of its own."""
        return (*([self.host] if self.host else []), *self.postgres, *self.streams)


def read_backup(directory: Path) -> Backup:
    """What a backup holds, every file compared with its fingerprint.

    Raises:
        BackupError: it is incomplete or damaged.
    """
    try:
        found = Backup.model_validate_json((directory / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise BackupError(f"{directory} is no complete backup: it has no {MANIFEST}") from None
    except (OSError, ValidationError) as error:
        raise BackupError(f"{directory / MANIFEST} cannot be understood: {error}") from error
    for part in found.parts:
        if digest_of(directory / part.file) != part.sha256:
            raise BackupError(f"{directory / part.file} is missing or damaged: use another backup. Nothing was changed")
    return found
