"""What an archive holds: a chain of manifests, each with the hash of the one before.

::

    DIR/manifests/000001.json                     one for each run
    DIR/<stream>/<day>/<first>-<last>.parquet     what the stream stored on that day
    DIR/audit/<log>/<chain>/000001.jsonl          audit logs as they are
"""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from mts1b_foundation.errors import Mts1bError
from pydantic import BaseModel, ConfigDict, ValidationError

MANIFESTS: Final = "manifests"
AUDIT: Final = "audit"


class ArchiveError(Mts1bError):
    """The archive cannot be written or read."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)


class ArchivedFile(_Document):
    """One file of events."""

    path: str
    """Below the archive."""
    first: int
    last: int
    """The sequences that it covers; what the stream had deleted between them is not in it."""
    events: int
    since: str
    until: str
    """When the stream stored the first and the last one, RFC 3339 in UTC."""
    size: int
    sha256: str


class ArchivedStream(_Document):
    """What one run did about one stream."""

    name: str
    created: str
    """When the server made the stream: one that was made again has other events under the same sequences."""
    through: int
    """The last sequence that is archived."""
    files: tuple[ArchivedFile, ...] = ()
    """The new ones."""
    lost: tuple[int, int] | None = None
    """Sequences that had left the stream before they were archived."""


class ArchivedChain(_Document):
    """What one run found in one chain of an audit log."""

    log: str
    """The directory below ``audit``."""
    chain: str
    head: str
    """Hash of its last record."""
    records: int


class Manifest(_Document):
    """One run."""

    number: int
    previous: str | None
    """SHA-256 of the manifest before."""
    made_at: datetime
    streams: tuple[ArchivedStream, ...]
    chains: tuple[ArchivedChain, ...]

    @property
    def lost(self) -> list[ArchivedStream]:
        """Streams of which something was not archived in time."""
        return [each for each in self.streams if each.lost is not None]


def manifest_path(directory: Path, number: int) -> Path:
    """Where a manifest lies."""
    return directory / MANIFESTS / f"{number:06}.json"


def manifests(directory: Path) -> Iterator[tuple[Manifest, str]]:
    """Every manifest, oldest first, with its hash.

    Raises:
        ArchiveError: there is none, or one cannot be understood.
    """
    paths = sorted((directory / MANIFESTS).glob("*.json"))
    if not paths:
        raise ArchiveError(
            f"{directory} is no archive: it has no {MANIFESTS}; `mts1b archive run {directory}` begins one"
        )
    yield from map(_read, paths)


def _read(path: Path) -> tuple[Manifest, str]:
    try:
        content = path.read_bytes()
        return Manifest.model_validate_json(content), hashlib.sha256(content).hexdigest()
    except (OSError, ValidationError) as error:
        raise ArchiveError(f"{path} cannot be understood: {error}") from error


def last_manifest(directory: Path) -> tuple[Manifest | None, str | None]:
    """The newest one and its hash; nothing before the first run.

    Raises:
        ArchiveError: it cannot be understood.
    """
    try:
        newest = max((path for path in (directory / MANIFESTS).iterdir() if path.suffix == ".json"), default=None)
    except FileNotFoundError:
        return None, None
    except OSError as error:
        raise ArchiveError(f"the manifests of {directory} cannot be read: {error}") from error
    return _read(newest) if newest is not None else (None, None)


def hash_of(path: Path) -> str:
    """The fingerprint of a file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
