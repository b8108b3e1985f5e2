"""systemd units: of the user where a user manager runs, of the machine where root installs for good."""

import os
import shutil
import subprocess
from collections.abc import Callable
from typing import Literal

from mts1b_deploy.errors import StartFailed
from mts1b_deploy.layout import Layout

_SYSTEMCTL = "systemctl"
_READY = {"running", "degraded", "starting", "initializing"}


Scope = Literal["--user", "--system"]


class SystemdSupervision:
    """systemd starts the server: at login or at boot, and after every end."""

    def __init__(self, scope: Scope = "--user") -> None:
        self.name = "systemd" if scope == "--user" else "systemd-system"
        self._scope: Scope = scope

    def start(self, layout: Layout) -> Callable[[], bool]:
        """Enable and start the unit; returns a function that says whether systemd still keeps it running."""
        _systemctl(self._scope, "daemon-reload")
        _systemctl(self._scope, "enable", "--now", layout.unit_name)
        return lambda: _answer(self._scope, "is-active", layout.unit_name) in {"active", "activating", "reloading"}

    def request_stop(self, layout: Layout) -> None:
        """Ask the server to end; returns at once."""
        _systemctl(self._scope, "stop", "--no-block", layout.unit_name)

    def forget(self, layout: Layout) -> None:
        """Remove what only has a meaning while the server runs."""
        layout.nats_pid.unlink(missing_ok=True)

    def is_enabled(self, layout: Layout) -> bool:
        """Whether systemd will start the server again when it ends."""
        return _answer(self._scope, "is-active", layout.unit_name) in {"active", "activating", "reloading"}

    def logs_hint(self, layout: Layout) -> str:
        """Where systemd's log of the unit is."""
        return f"journalctl {self._scope} -u {layout.unit_name}"

    def remove(self, layout: Layout) -> None:
        """Disable the unit; its file is removed by the caller."""
        _answer(self._scope, "disable", layout.unit_name)

    def reload_units(self) -> None:
        """Let systemd read the unit files again."""
        _answer(self._scope, "daemon-reload")


def user_manager_runs() -> bool:
    """Whether systemd's user manager can be asked on this machine, in this session."""
    return shutil.which(_SYSTEMCTL) is not None and _answer("--user", "is-system-running") in _READY


def system_manager_runs() -> bool:
    """Whether this runs as root under systemd, on a machine or in a container."""
    return (
        os.geteuid() == 0
        and shutil.which(_SYSTEMCTL) is not None
        and _answer("--system", "is-system-running") in _READY
    )


def _answer(scope: Scope, *arguments: str) -> str:
    """The first line of systemctl's output; empty when it cannot be run."""
    try:
        said = subprocess.run([_SYSTEMCTL, scope, *arguments], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.strip().partition("\n")[0]


def _systemctl(scope: Scope, *arguments: str) -> None:
    try:
        said = subprocess.run([_SYSTEMCTL, scope, *arguments], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StartFailed(f"`systemctl {scope} {' '.join(arguments)}` could not be run: {error}") from error
    if said.returncode != 0:
        raise StartFailed(
            f"`systemctl {scope} {' '.join(arguments)}` failed: {said.stderr.strip() or said.stdout.strip()}. "
            f"Use --supervisor detached where no such manager runs"
        )
