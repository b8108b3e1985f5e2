"""Archiving what is new: of every stream behind what is archived, of every audit log all that it says now.

A run that is killed leaves files that no manifest names; the next one writes them anew.
"""

import os
import shutil
from collections.abc import Generator, Iterable, Sequence
from contextlib import aclosing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.history.history import History, open_history
from mts1b_platform.eventbus.history.recorded import Recorded
from mts1b_platform.file_lock import try_lock
from mts1b_platform.observability.audit import AuditError
from mts1b_platform.observability.audit import verify as verify_audit

from mts1b_operations.archive.events_file import EventsFile
from mts1b_operations.archive.manifest import (
    AUDIT,
    MANIFESTS,
    ArchivedChain,
    ArchivedFile,
    ArchivedStream,
    ArchiveError,
    Manifest,
    hash_of,
    last_manifest,
    manifest_path,
)
from mts1b_operations.lag import stream_infos

_SECOND: Final = 1_000_000_000
_LEAST_AGE: Final = 86_400 * _SECOND
"""What keeps its messages for less than a day holds no events of record: probes."""
_DAY: Final = len("2026-11-29")


async def run(bus: EventBus, directory: Path, *, audit: Sequence[Path] = (), copy_to: Path | None = None) -> Manifest:
    """Bring the archive up to date.

    Args:
        bus: the connection.
        directory: the archive; begun when it is not there.
        audit: directories of audit logs.
        copy_to: another directory, such as a mounted disk, that gets the same files.

    Raises:
        ArchiveError: another run is at it, or a file cannot be written.
        AuditError: there is no such audit log.
        BusError: a stream cannot be read.
    """
    for place in audit:
        if not place.is_dir():
            raise AuditError(
                f"there is no audit log {place}: name a directory that holds one, or none. Nothing was archived"
            )
    try:
        _make(directory)
        with _alone(directory):
            before, previous = last_manifest(directory)
            known = {each.name: each for each in before.streams} if before else {}
            streams = [
                await _archive(await open_history(bus, info["config"]["name"]), info, directory, known)
                for info in await archived_infos(bus)
            ]
            made = Manifest(
                number=before.number + 1 if before else 1,
                previous=previous,
                made_at=datetime.now(UTC),
                streams=tuple(streams),
                chains=tuple(chain for place in audit for chain in _copy_log(place, directory)),
            )
            path = manifest_path(directory, made.number)
            _write(path, made.model_dump_json(indent=1).encode() + b"\n")
            path.chmod(0o644)
            if copy_to is not None:
                _copy(directory, copy_to)
            return made
    except OSError as error:
        raise ArchiveError(f"the archive {directory} cannot be written: {error}") from error


def _make(directory: Path) -> None:
    """Begin an archive: whoever watches it reads the manifests, which say how much there is; events stay closed."""
    if not directory.exists():
        directory.mkdir(parents=True)
        directory.chmod(0o711)
    place = directory / MANIFESTS
    if not place.exists():
        place.mkdir()
        place.chmod(0o755)


async def archived_infos(bus: EventBus) -> list[dict[str, Any]]:
    """The server's description of every stream that is archived, by name."""
    found = [
        info
        for info in await stream_infos(bus)
        if not info["config"]["name"].startswith(("KV_", "OBJ_"))
        and not 0 < info["config"].get("max_age", 0) < _LEAST_AGE
    ]
    return sorted(found, key=lambda info: info["config"]["name"])


def archived_through(known: ArchivedStream | None, info: dict[str, Any]) -> int:
    """The last sequence of a stream that is archived; 0 for one that is new or was made again."""
    return known.through if known is not None and known.created == info["created"] else 0


async def _archive(
    history: History, info: dict[str, Any], directory: Path, known: dict[str, ArchivedStream]
) -> ArchivedStream:
    name, created = history.stream, str(info["created"])
    through = archived_through(known.get(name), info)
    begun = through > 0
    first, last = await history.extent()
    lost = (through + 1, first - 1) if begun and through + 1 < first <= last else None
    files: list[ArchivedFile] = []
    writer = Days(directory, name, created)
    try:
        async with aclosing(history.batches(max(first, through + 1), last)) as batches:
            async for batch in batches:
                files += writer.write(batch)
        files += writer.end()
    except BaseException:
        writer.give_up()
        raise
    return ArchivedStream(name=name, created=created, through=max(through, last), files=tuple(files), lost=lost)


class Days:
    """Events of one stream into a file for each day."""

    def __init__(self, directory: Path, stream: str, created: str) -> None:
        self._directory = directory
        self._stream = stream
        self._mark = "".join(letter for letter in created if letter.isdigit())[:14]
        self._file: EventsFile | None = None
        self._part = Path()
        self._first: Recorded | None = None
        self._last: Recorded | None = None
        self._events = 0

    def write(self, batch: Sequence[Recorded]) -> list[ArchivedFile]:
        """Take the next events; the files that are complete with them."""
        done: list[ArchivedFile] = []
        start = 0
        for number in range(1, len(batch) + 1):
            if number == len(batch) or batch[number].stamp[:_DAY] != batch[start].stamp[:_DAY]:
                if self._last is not None and self._last.stamp[:_DAY] != batch[start].stamp[:_DAY]:
                    done += self.end()
                self._take(batch[start:number])
                start = number
        return done

    def _take(self, events: Sequence[Recorded]) -> None:
        if self._file is None:
            place = self._directory / self._stream / events[0].stamp[:_DAY]
            place.mkdir(parents=True, exist_ok=True)
            self._part = place / ".part"
            self._file = EventsFile(self._part)
            self._first = events[0]
        self._file.write(events)
        self._events += len(events)
        self._last = events[-1]

    def end(self) -> list[ArchivedFile]:
        """Complete the file that is open, if there is one."""
        if self._file is None or self._first is None or self._last is None:
            return []
        self._file.close()
        path = self._part.with_name(f"{self._mark}-{self._first.seq}-{self._last.seq}.parquet")
        _sync(self._part)
        self._part.replace(path)
        done = ArchivedFile(
            path=str(path.relative_to(self._directory)),
            first=self._first.seq,
            last=self._last.seq,
            events=self._events,
            since=self._first.stamp,
            until=self._last.stamp,
            size=path.stat().st_size,
            sha256=hash_of(path),
        )
        self._file, self._events = None, 0
        return [done]

    def give_up(self) -> None:
        """Leave no half of a file."""
        if self._file is not None:
            self._file.close()
            self._part.unlink(missing_ok=True)


def _copy_log(place: Path, directory: Path) -> Iterable[ArchivedChain]:
    """Copy an audit log as it is, and say where each of its chains ends."""
    log = str(place.resolve()).strip("/").replace("/", "-")
    target = directory / AUDIT / log
    for chain in (path for path in sorted(place.iterdir()) if path.is_dir()):
        for path in sorted(chain.glob("*.jsonl")):
            copy = target / chain.name / path.name
            if not copy.exists() or copy.stat().st_size != path.stat().st_size:
                copy.parent.mkdir(parents=True, exist_ok=True)
                _write(copy, path.read_bytes())
    return [
        ArchivedChain(log=log, chain=chain.path.name, head=chain.head, records=chain.records)
        for chain in (verify_audit(target) if target.is_dir() else [])
    ]


def _copy(directory: Path, target: Path) -> None:
    """What the other place lacks: files first, manifests last, so that each one there names what is there."""
    there = [path for path in sorted(directory.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    for path in sorted(there, key=lambda each: each.is_relative_to(directory / MANIFESTS)):
        copy = target / path.relative_to(directory)
        if not copy.exists() or copy.stat().st_size != path.stat().st_size:
            copy.parent.mkdir(parents=True, exist_ok=True)
            part = copy.with_name(f".{copy.name}.part")
            shutil.copyfile(path, part)
            _sync(part)
            part.replace(copy)


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    _sync(part)
    part.replace(path)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def _alone(directory: Path) -> Generator[None]:
    handle = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not try_lock(handle):
            raise ArchiveError(f"another run is at work on {directory}: wait for it")
        with suppress(OSError):
            for part in directory.rglob(".part"):
                part.unlink()
        yield
    finally:
        os.close(handle)
