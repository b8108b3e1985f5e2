"""State that services keep in PostgreSQL: dumped by its own programs while they go on, and put back.

A dump is one snapshot of one database: rows, marks and outbox of a service are of the same moment. The programs find
passwords where they always do (``PGPASSFILE``, ``~/.pgpass``): an address with one is refused, as it would stand in
settings, in the backup and among the processes.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from mts1b_deploy.backup.manifest import Backup, PostgresBackup, database_of
from mts1b_deploy.backup.part import Identity, Recipient, new_part, open_part
from mts1b_deploy.errors import BackupError

_REMEDY: Final = "install PostgreSQL's client programs, of its server's version or newer (Debian: postgresql-client)"
_TABLES: Final = (
    "SELECT count(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE relkind IN ('r', 'p') "
    "AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'"
)


def ensure_dumpable(urls: Iterable[str]) -> None:
    """Make sure that databases can be saved, before anything is.

    Raises:
        BackupError: an address holds a password, or there is no pg_dump.
    """
    for url in urls:
        if re.search(r"password\s*=", url, re.IGNORECASE) or ("://" in url and urlsplit(url).password is not None):
            raise BackupError(
                "the address of a database holds a password, which would stand in the backup: name it in ~/.pgpass of "
                "who runs this, or in a file that PGPASSFILE names, and leave it out"
            )
        _program("pg_dump")


def dump(url: str, service: str | None, directory: Path, recipients: Sequence[Recipient]) -> PostgresBackup:
    """Write a database into a file of ``directory``.

    Raises:
        BackupError: it cannot be dumped.
    """
    name = database_of(url)
    number = sum(1 for _ in directory.glob("postgres-*"))
    with new_part(directory / f"postgres-{number}-{name}.dump", recipients) as (file, part):
        _run(
            ["pg_dump", "--format=custom", "--no-password", "--lock-wait-timeout=30000", f"--dbname={url}"],
            name,
            written_to=file,
        )
    return PostgresBackup(url=url, service=service, file=part.path.name, size=part.size, sha256=part.sha256)


def ensure_restorable(databases: Sequence[PostgresBackup], *, replace: bool) -> None:
    """Make sure that databases can be put back, before anything is changed.

    Raises:
        BackupError: a program or a database is not there, or one holds tables (``replace``).
    """
    for each in databases:
        for program in ("pg_restore", "pg_dump", "psql"):
            _program(program)
        name = each.name
        words = ["psql", "--no-password", "--no-psqlrc", "--tuples-only", "--no-align", f"--command={_TABLES}"]
        with tempfile.TemporaryFile() as said:
            _run([*words, f"--dbname={each.url}"], name, written_to=said)
            said.seek(0)
            tables = int(said.read())
        if tables and not replace:
            raise BackupError(
                f"database {name} holds {tables} tables that would be replaced: --replace saves them in a file first. "
                "Nothing was changed"
            )


def put_back(
    found: Backup, directory: Path, identities: Sequence[Identity], aside: Path, *, replace: bool
) -> list[Path]:
    """Make every database what it was, each in one transaction; what it held is dumped below ``aside`` first.

    Tables that the backup does not know stay as they are.

    Returns: the files with what was there before.

    Raises:
        BackupError: a database could not be saved or put back; those before it were, and the message says so.
    """
    kept: list[Path] = []
    done: list[str] = []
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ")
    for each in found.postgres:
        name = each.name
        try:
            if replace:
                aside.mkdir(parents=True, exist_ok=True)
                with new_part(aside / f"{name}.before-{now}.dump", ()) as (file, part):
                    words = ["pg_dump", "--format=custom", "--no-password", f"--dbname={each.url}"]
                    _run(words, name, written_to=file)
                kept.append(part.path)
            with open_part(directory / each.file, identities) as dumped:
                words = ["pg_restore", "--clean", "--if-exists", "--single-transaction", "--exit-on-error"]
                _run([*words, "--no-password", f"--dbname={each.url}"], name, read_from=dumped)
        except BackupError as error:
            before = f"{', '.join(done)} {'is' if len(done) == 1 else 'are'} back already" if done else "none is back"
            raise BackupError(
                f"{error}. Of the databases {before}; mend it, and restore again with --replace"
            ) from error
        done.append(name)
    return kept


def wrong_with(dumped: PostgresBackup, directory: Path, identities: Sequence[Identity]) -> str | None:
    """Read a dump to its end, without a database; what is wrong with it, in words."""
    with open_part(directory / dumped.file, identities) as file:
        try:
            _run(["pg_restore", "--file=/dev/null"], dumped.name, read_from=file)
        except BackupError as error:
            return str(error)
    return None


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise BackupError(f"there is no {name}, and a service keeps its state in PostgreSQL: {_REMEDY}")
    return path


def _run(
    words: Sequence[str], name: str, *, written_to: IO[bytes] | None = None, read_from: IO[bytes] | None = None
) -> None:
    """Run one of PostgreSQL's programs, with its output or input through a file object of ours.

    Raises:
        BackupError: it failed; in its own words.
    """
    with tempfile.TemporaryFile() as complaints:
        with subprocess.Popen(
            [_program(words[0]), *words[1:]],
            stdin=subprocess.PIPE if read_from is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE if written_to is not None else subprocess.DEVNULL,
            stderr=complaints,
        ) as process:
            try:
                if written_to is not None and process.stdout is not None:
                    shutil.copyfileobj(process.stdout, written_to, 1 << 20)
                if read_from is not None and process.stdin is not None:
                    shutil.copyfileobj(read_from, process.stdin, 1 << 20)
                    process.stdin.close()
            except BrokenPipeError:
                pass  # why it reads no more is told below
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip().splitlines()
            raise BackupError(f"database {name}: {words[0]} failed: {' '.join(said[-4:])}")
