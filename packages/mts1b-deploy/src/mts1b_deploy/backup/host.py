"""What a host keeps beside its streams: state of services, outboxes, audit logs, settings and keys; saved, put back.

A SQLite file is copied through SQLite's own backup: consistent in itself while its service goes on. Other files are
copied as they are; an audit log may end within a line, as after a crash. Whoever runs this must be able to read them.
"""

import os
import shutil
import sqlite3
import stat
import tarfile
import tempfile
import tomllib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote

from mts1b_deploy.backup.manifest import HostBackup, PostgresBackup
from mts1b_deploy.backup.part import Identity, Recipient, new_part, open_part
from mts1b_deploy.backup.postgres import dump
from mts1b_deploy.errors import BackupError
from mts1b_deploy.layout import Layout
from mts1b_deploy.record import InstallRecord
from mts1b_deploy.services.definition import ServiceDefinition, Services, user_of

_SQLITE: Final = b"SQLite format 3\0"
_BESIDE: Final = ("-wal", "-shm", "-journal")
STATE: Final = Path("/var/lib")
"""Where systemd keeps the state of services."""


def roots_of(layout: Layout, record: InstallRecord, also: Iterable[Path]) -> list[Path]:
    """What is saved: settings, certificates and keys; the state of every service; a local stop; and ``also``.

    In the reverse order of their names: of the reference desk so the treasury is saved before the order management, and
    that before the brokers. Whatever the one has booked the next one has, or has in its outbox.

    Raises:
        BackupError: something of ``also`` is not there.
    """
    also = [path.absolute() for path in also]
    for path in also:
        if not path.exists():
            raise BackupError(f"{path}, which is to be saved as well, is not there")
    state = [STATE / user_of(name) for name in record.services]
    wanted = [layout.config.parent, layout.stop_file, *state, *_owned(layout, record), *also]
    found: list[Path] = []
    for path in sorted({each for each in wanted if each.exists()}):
        if not any(path.is_relative_to(each) for each in found):
            found.append(path)
    return found[::-1]


def _owned(layout: Layout, record: InstallRecord) -> list[Path]:
    """Directories that services own beside their state."""
    return [path for each in _services(layout, record).values() for path in each.owns]


def _services(layout: Layout, record: InstallRecord) -> dict[str, ServiceDefinition]:
    return Services.model_validate(tomllib.loads(layout.services.read_text())).services if record.services else {}


@dataclass(frozen=True, slots=True)
class Database:
    """A database of PostgreSQL that is to be saved."""

    url: str
    service: str | None
    """Whose state it is."""

    @property
    def place(self) -> Path:
        """What it comes before: the directory of its service; of one that was named by hand, everything."""
        return STATE / user_of(self.service) if self.service is not None else Path("/~")


def databases_of(layout: Layout, record: InstallRecord, urls: Iterable[str]) -> list[Database]:
    """Those that the services of this host declare, and those named by ``urls``, in the order of ``roots_of``."""
    declared = [
        Database(each.database, name) for name, each in _services(layout, record).items() if each.database is not None
    ]
    return sorted([*declared, *(Database(url, None) for url in urls)], key=lambda each: each.place, reverse=True)


def take_host(
    layout: Layout,
    record: InstallRecord,
    directory: Path,
    recipients: Sequence[Recipient],
    also: Iterable[Path],
    databases: Iterable[Database] = (),
) -> tuple[HostBackup, list[PostgresBackup]]:
    """Write all files into one of ``directory``, and each database into another, just before its service's files.

    Without ``recipients`` keys and secrets are left out.

    Raises:
        BackupError: something cannot be read.
    """
    roots = roots_of(layout, record, also)
    left_out: list[str] = []
    files = 0
    waiting = list(databases)
    dumped: list[PostgresBackup] = []

    def dump_until(place: Path) -> None:
        while waiting and waiting[0].place >= place:
            each = waiting.pop(0)
            dumped.append(dump(each.url, each.service, directory, recipients))

    try:
        with (
            new_part(directory / "host.tar", recipients) as (file, part),
            tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive,
        ):
            for path in _walk_all(roots, before=dump_until):
                if not recipients and _is_secret(path, (layout.config.parent, Path("/etc"))):
                    left_out.append(str(path))
                elif is_database(path):
                    files += 1
                    with _copy_of(path, directory) as copy:
                        _add(archive, path, copy)
                elif not _is_beside_a_database(path):
                    _add(archive, path, None)
            dump_until(Path("/"))
    except (OSError, sqlite3.Error, tarfile.TarError) as error:
        raise BackupError(
            f"the files of this host cannot be saved: {error}. Run it as the user who may read them"
        ) from error
    host = HostBackup(
        file=part.path.name,
        size=part.size,
        sha256=part.sha256,
        roots=tuple(map(str, roots)),
        databases=files,
        left_out=tuple(left_out),
    )
    return host, dumped


def unpack_host(
    directory: Path, saved: HostBackup, identities: Sequence[Identity], into: Callable[[Path], Path]
) -> None:
    """Write what was saved below other directories, each path under the name that it had.

    Args:
        directory: the backup.
        saved: what it says of the host.
        identities: keys that it can be read with.
        into: below which directory a path goes.

    Raises:
        BackupError: it cannot be read or written.
    """
    try:
        with (
            open_part(directory / saved.file, identities) as file,
            tarfile.open(fileobj=file, mode="r|") as archive,
        ):
            for member in archive:
                if not member.isdir() and not member.isreg() and not member.issym():
                    raise BackupError(f"{saved.file} holds {member.name}, which is no file: no backup made it")
                archive.extract(member, into(Path("/") / member.name), filter=_safe)
    except (OSError, tarfile.TarError) as error:
        raise BackupError(f"{directory / saved.file} cannot be unpacked: {error}. Nothing was replaced") from error


def put_host_back(directory: Path, saved: HostBackup, identities: Sequence[Identity], *, replace: bool) -> list[Path]:
    """Put everything where it was; what was there is kept beside it, under the paths that are returned.

    All of it is unpacked before anything is moved. Keys that the backup was made without stay those of before.

    Raises:
        BackupError: something is there already (``replace``), or it cannot be written.
    """
    roots = [Path(root) for root in saved.roots]
    if (there := [root for root in roots if root.exists()]) and not replace:
        raise BackupError(
            f"{', '.join(map(str, there))} would be replaced: --replace moves what is there aside. Nothing was changed"
        )
    with ExitStack() as stack:
        beside: dict[Path, Path] = {}
        for root in roots:  # on the same disk, so that it can be moved into its place
            place = next(path for path in root.parents if path.is_dir())
            made = stack.enter_context(tempfile.TemporaryDirectory(prefix=".mts1b-restore-", dir=place))
            beside[root] = Path(made)
        unpack_host(
            directory,
            saved,
            identities,
            lambda path: next(made for root, made in beside.items() if path.is_relative_to(root)),
        )
        return _exchange(roots, beside, saved)


def _exchange(roots: Iterable[Path], beside: Mapping[Path, Path], saved: HostBackup) -> list[Path]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ")
    aside: list[Path] = []
    for root in roots:
        unpacked = beside[root] / root.relative_to("/")
        if not os.path.lexists(unpacked):
            continue
        if root.exists():
            kept = root.with_name(f"{root.name}.before-{now}")
            root.rename(kept)
            aside.append(kept)
            for path in map(Path, saved.left_out):
                if path.is_relative_to(root) and (own := kept / path.relative_to(root)).exists():
                    held = own.stat()
                    there = unpacked / path.relative_to(root)
                    shutil.copy2(own, there)
                    os.chown(there, held.st_uid, held.st_gid)
        root.parent.mkdir(parents=True, exist_ok=True)
        unpacked.rename(root)
    return aside


def _safe(member: tarfile.TarInfo, into: str) -> tarfile.TarInfo:
    """As it was, with its owner and mode, but never outside of ``into``."""
    checked = tarfile.tar_filter(member, into)
    return checked.replace(mode=member.mode, deep=False)


def _walk_all(roots: Iterable[Path], *, before: Callable[[Path], object]) -> Iterator[Path]:
    for root in roots:
        before(root)
        yield from _walk(root)


def _walk(root: Path) -> Iterator[Path]:
    yield root
    if root.is_dir() and not root.is_symlink():
        for child in sorted(root.iterdir(), reverse=True):
            yield from _walk(child)


def _is_secret(path: Path, settings: Iterable[Path]) -> bool:
    """Whether it is among the settings and for its owner alone: a key, or a certificate with one."""
    if not any(path.is_relative_to(each) for each in settings):
        return False
    mode = path.lstat().st_mode
    return stat.S_ISREG(mode) and not mode & 0o077


def is_database(path: Path) -> bool:
    """Whether it is a SQLite file."""
    if path.is_symlink() or not path.is_file():
        return False
    if path.with_name(f"{path.name}-wal").exists():
        return True
    with suppress(OSError), path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE
    return False


def _is_beside_a_database(path: Path) -> bool:
    return any(path.name.endswith(end) and is_database(path.with_name(path.name.removesuffix(end))) for end in _BESIDE)


@contextmanager
def _copy_of(path: Path, place: Path) -> Generator[BinaryIO]:
    """A consistent copy of a SQLite file, which has no name any more when the block begins."""
    handle, name = tempfile.mkstemp(prefix=".copy-", dir=place)
    os.close(handle)
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=30)) as source,
            closing(sqlite3.connect(name)) as target,
        ):
            source.backup(target)
        copy = Path(name).open("rb")  # noqa: SIM115 - closed by the caller's block
    finally:
        for each in (name, *(name + end for end in _BESIDE)):
            Path(each).unlink(missing_ok=True)
    with copy:
        yield copy


def _add(archive: tarfile.TarFile, path: Path, copy: BinaryIO | None) -> None:
    """Add a file as it is, or with the content of ``copy``; one that is gone meanwhile is left out."""
    try:
        file = copy or (path.open("rb") if stat.S_ISREG(path.lstat().st_mode) else None)
        if not (path.is_symlink() or path.is_file() or path.is_dir()):
            return  # a socket, a pipe
        member = archive.gettarinfo(path, arcname=str(path.relative_to("/")), fileobj=None)
    except FileNotFoundError:
        return
    member.type = tarfile.REGTYPE if member.islnk() else member.type
    if member.isreg() and file is not None:
        with file:
            member.size = os.fstat(file.fileno()).st_size
            archive.addfile(member, file)
    elif member.isdir() or member.issym():
        archive.addfile(member)
