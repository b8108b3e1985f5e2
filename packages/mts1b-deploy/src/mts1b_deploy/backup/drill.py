"""A rehearsal: a backup restored into a place that is thrown away, and what that shows.

Nothing of the installation is touched: the server of a drill has ports and a directory of its own, without
authentication on loopback, and no service is started.
"""

import asyncio
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from mts1b_foundation.errors import Mts1bError

from mts1b_deploy.backup.host import is_database, unpack_host
from mts1b_deploy.backup.manifest import Backup, read_backup
from mts1b_deploy.backup.part import Identity
from mts1b_deploy.backup.positions import SetBack, set_back
from mts1b_deploy.backup.postgres import wrong_with
from mts1b_deploy.backup.restore import checked_identities
from mts1b_deploy.backup.streams import PATIENCE, administration, put_streams_back, stream_names
from mts1b_deploy.errors import BackupError
from mts1b_deploy.layout import Layout
from mts1b_deploy.profiles import LOOPBACK
from mts1b_deploy.record import InstallRecord, find_record, record_of

HOST = "{host}"
"""In a check's command: the directory with the host's files."""


@dataclass(frozen=True, slots=True)
class Check:
    """What a command that was run on the restored bus said."""

    command: str
    code: int
    said: str


@dataclass(frozen=True, slots=True)
class Drill:
    """What a rehearsal showed."""

    backup: Backup
    seconds: float
    """From the first file that was read until streams, durables and files were back."""
    missing: dict[str, int] | None
    """By stream, events that were stored since the backup; None when the bus could not be asked."""
    again: tuple[SetBack, ...]
    """Durables that would be given events a second time."""
    databases: int
    chains: int
    """Audit logs that were checked."""
    damage: tuple[str, ...]
    """What is not whole, in words."""
    checks: tuple[Check, ...]

    @property
    def good(self) -> bool:
        """Whether everything came back, and every check was content."""
        return not self.damage and all(check.code == 0 for check in self.checks)


def drill(
    layout: Layout,
    directory: Path,
    *,
    identity: Path | None = None,
    checks: Sequence[Sequence[str]] = (),
    scratch: Path | None = None,
    timeout: float = 60.0,
) -> Drill:
    """Restore ``directory`` into a place of its own, look at what came back, and throw it away.

    Args:
        layout: the installation that the backup is of, which is asked what it has stored since.
        directory: the backup.
        identity: the file with the key of an encrypted one.
        checks: commands to run on the restored bus, such as a reconciliation; ``{host}`` is where the host's files are.
        scratch: where that place is made; beside the backup by default. It needs as much room as the backup unpacked.
        timeout: seconds for the server to come up.

    Raises:
        BackupError: the backup is damaged or incomplete, cannot be decrypted, or does not come back.
    """
    found = read_backup(directory)
    identities = checked_identities(directory, found, identity)
    with ExitStack() as stack:
        try:
            place = Path(tempfile.mkdtemp(prefix=".drill-", dir=scratch or directory.absolute().parent))
        except OSError as error:
            raise BackupError(f"there is no place for a drill: {error}; name one with --scratch DIR") from error
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        began = time.monotonic()
        bus = Layout(place / "bus")
        stack.callback(_take_away, bus)
        _install(bus, timeout)
        again = asyncio.run(_restore(bus, directory, found, identities))
        host = place / "host"
        host.mkdir()
        if found.host is not None:
            unpack_host(directory, found.host, identities, lambda _: host)
        seconds = time.monotonic() - began
        databases, chains, damage = _look_at(host)
        damage += [said for each in found.postgres if (said := wrong_with(each, directory, identities)) is not None]
        return Drill(
            backup=found,
            seconds=seconds,
            missing=_missing(layout, found),
            again=tuple(again),
            databases=databases,
            chains=chains,
            damage=tuple(damage),
            checks=tuple(_run(bus, host, words) for words in checks),
        )


def _install(bus: Layout, timeout: float) -> None:
    from mts1b_deploy.install import install
    from mts1b_deploy.plan import Request

    with socket.socket() as one, socket.socket() as other:
        one.bind((LOOPBACK, 0))
        other.bind((LOOPBACK, 0))
        ports = [int(each.getsockname()[1]) for each in (one, other)]
    request = Request(profile="minimal", port=ports[0], monitor_port=ports[1], supervisor="detached", user_config=False)
    install(bus, request, timeout=timeout)


def _take_away(bus: Layout) -> None:
    from mts1b_deploy.uninstall import uninstall

    if find_record(bus) is not None:
        uninstall(bus, purge=True, timeout=10.0)


async def _restore(bus: Layout, directory: Path, found: Backup, identities: Sequence[Identity]) -> list[SetBack]:
    async with administration(bus, record_of(bus)) as there:
        await put_streams_back(there, found, directory, identities, copies=1, replace=False)
        return await set_back(there, found.positions)


def _look_at(host: Path) -> tuple[int, int, list[str]]:
    """How many SQLite files and audit logs there are, and what is wrong with them."""
    from mts1b_platform.observability.audit import verify

    damage: list[str] = []
    files = [path for path in host.rglob("*") if is_database(path)]
    for path in files:
        shown = path.relative_to(host)
        try:
            with closing(sqlite3.connect(f"file:{quote(str(path))}?immutable=1", uri=True)) as database:
                said = [str(row[0]) for row in database.execute("PRAGMA integrity_check")]
        except sqlite3.Error as error:
            said = [str(error)]
        damage += [f"/{shown}: {line}" for line in said if line != "ok"]
    places = {path.parent.parent for path in host.rglob("*.jsonl") if path.stem.isdecimal()}
    chains = [chain for place in places for chain in verify(place)]
    damage += [problem for chain in chains for problem in chain.problems]
    return len(files), len(chains), damage


def _missing(layout: Layout, found: Backup) -> dict[str, int] | None:
    record = find_record(layout)
    if record is None:
        return None
    try:
        return asyncio.run(_since(layout, record, found))
    except Mts1bError:
        return None


async def _since(layout: Layout, record: InstallRecord, found: Backup) -> dict[str, int]:
    from mts1b_platform.eventbus.jetstream.api import js_api

    saved = {stream.name: int(stream.state["last_seq"]) for stream in found.streams}
    missing: dict[str, int] = {}
    async with administration(layout, record) as bus:
        for name in await stream_names(bus):
            last = int((await js_api(bus, f"STREAM.INFO.{name}", timeout=PATIENCE))["state"]["last_seq"])
            if last > saved.get(name, 0) and not name.startswith("KV_"):
                missing[name] = last - saved.get(name, 0)
    return missing


def _run(bus: Layout, host: Path, words: Sequence[str]) -> Check:
    words = [word.replace(HOST, str(host)) for word in words]
    record = record_of(bus)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MTS1B_")}
    environ |= {
        "MTS1B_CONFIG": str(bus.config),
        "MTS1B_NATS_URL": record.url,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }
    try:
        done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False, cwd=host)
    except OSError as error:
        return Check(" ".join(words), 127, str(error))
    return Check(" ".join(words), done.returncode, (done.stdout + done.stderr).strip())
