"""pytest fixture for whole installations: a user of one's own, whose home is a temporary directory.

Loaded by pytest as a plugin; nothing to import::

    def test_the_bus_is_there(machine):
        machine.deploy("install")
        machine.python("import asyncio, mts1b_platform.eventbus as e; asyncio.run(e.connect())")

Everything runs as real processes on loopback, on ports of its own, and is gone when the test ends.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
from mts1b_platform.testing.ports import free_ports
from mts1b_platform.testing.programs import preload, run_program
from pydantic_core import from_json

from mts1b_deploy.layout import Layout

__all__ = ["Machine", "machine"]

preload(
    *(
        f"mts1b_deploy.{module}"
        for module in (
            "cli", "install", "plan", "status", "secured", "cluster", "backup.take", "backup.restore", "upgrade",
            "doctor", "uninstall",
            "cli_sites", "sites.promote", "sites.lost", "sites.follow",
        )
    ),
    *(f"mts1b_platform.eventbus.{module}" for module in ("connect", "jetstream.apply_consumers")),
)  # fmt: skip


def carry_out() -> None:
    """Be ``python -c CODE``."""
    exec(sys.argv[1], {"__name__": "__main__"})  # noqa: S102 - the code is the test's own


class Machine:
    """A home directory, free ports, and ``mts1b-deploy`` in it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.home = root / "home"
        self.home.mkdir(parents=True)
        self.port, self.monitor_port = free_ports(2)
        self.prefix = self.home / ".local" / "share" / "mts1b"
        self.user_config = self.home / ".config" / "mts1b" / "mts1b.toml"
        self.environ = {
            name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MTS1B_", "PYTEST_"))
        } | {"HOME": str(self.home), "COLUMNS": "200", "MTS1B_CONNECT_TIMEOUT": "20"}

    @property
    def layout(self) -> Layout:
        """The paths below the default prefix."""
        return Layout(self.prefix)

    @property
    def url(self) -> str:
        """Where the server is to listen."""
        return f"nats://127.0.0.1:{self.port}"

    def _words(self, *arguments: str) -> list[str]:
        """``install`` gets the ports unless it names some."""
        ports: list[str] = []
        if arguments[:1] == ("install",):
            ports += [] if "--port" in arguments else ["--port", str(self.port)]
            ports += [] if "--monitor-port" in arguments else ["--monitor-port", str(self.monitor_port)]
        return [*arguments, *ports]

    def command(self, *arguments: str) -> list[str]:
        """A whole command line, for a process of its own."""
        return [sys.executable, "-m", "mts1b_deploy", *self._words(*arguments)]

    def deploy(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run ``mts1b-deploy`` to its end; fails when the exit code is not ``code`` (None: any)."""
        done = run_program(
            "mts1b_deploy.cli:main",
            ["mts1b-deploy", *self._words(*arguments)],
            environ=self.environ, cwd=self.home, scratch=self._root,
        )  # fmt: skip
        assert code is None or done.returncode == code, (  # noqa: S101  # this is a test's helper
            f"{arguments} ended with {done.returncode}, not {code}:\n{done.stdout}{done.stderr}"
        )
        return done

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``mts1b-deploy`` and do not wait for it."""
        return subprocess.Popen(
            self.command(*arguments),
            env=self.environ,
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def json(self, *arguments: str, code: int | None = 0) -> dict[str, Any]:
        """What the command prints with ``--json``."""
        return cast("dict[str, Any]", from_json(self.deploy(*arguments, "--json", code=code).stdout))

    def python(self, code: str) -> str:
        """Run Python as this user; what it printed."""
        done = run_program(
            "mts1b_deploy.testing:carry_out", ["python", code],
            environ=self.environ, cwd=self.home, scratch=self._root,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr  # noqa: S101
        return done.stdout

    def files(self) -> dict[str, bytes]:
        """Every file below the home directory with its content, to compare before and after."""
        return {str(path.relative_to(self.home)): path.read_bytes() for path in self.home.rglob("*") if path.is_file()}

    def processes(self) -> list[psutil.Process]:
        """Every living process that has to do with this home."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = any(str(self.home) in word for word in process.cmdline())
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def clean_up(self) -> None:
        """End every process of this home, supervisors first."""
        for _ in range(3):
            for process in sorted(self.processes(), key=lambda one: one.pid):
                with contextlib.suppress(psutil.Error):
                    process.kill()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A fresh user on this machine with nothing installed; all of its processes end with the test."""
    made = Machine(tmp_path)
    try:
        yield made
    finally:
        made.clean_up()
