"""The systemd user unit, where a user manager runs."""

import shutil
import subprocess
from collections.abc import Callable

from mts1b_deploy.errors import StartFailed
from mts1b_deploy.layout import Layout

_SYSTEMCTL = "systemctl"
_READY = {"running", "degraded", "starting", "initializing"}


class SystemdSupervision:
    """systemd's user manager starts the server, at login and after every end."""

    name = "systemd"

    def start(self, layout: Layout) -> Callable[[], bool]:
        """Enable and start the unit; gives a question: has systemd not given up?"""
        _systemctl("daemon-reload")
        _systemctl("enable", "--now", layout.unit_name)
        return lambda: _answer("is-active", layout.unit_name) in {"active", "activating", "reloading"}

    def request_stop(self, layout: Layout) -> None:
        """Ask the server to end; returns at once."""
        _systemctl("stop", "--no-block", layout.unit_name)

    def forget(self, layout: Layout) -> None:
        """Remove what only has a meaning while the server runs."""
        layout.nats_pid.unlink(missing_ok=True)

    def is_enabled(self, layout: Layout) -> bool:
        """Whether systemd will start the server again when it ends."""
        return _answer("is-active", layout.unit_name) in {"active", "activating", "reloading"}

    def logs_hint(self, layout: Layout) -> str:
        """Where systemd writes about the unit."""
        return f"journalctl --user -u {layout.unit_name}"

    def remove(self, layout: Layout) -> None:
        """Disable the unit; its file is removed by the caller."""
        _answer("disable", layout.unit_name)

    def reload_units(self) -> None:
        """Let systemd read the unit files again."""
        _answer("daemon-reload")


def user_manager_runs() -> bool:
    """Whether systemd's user manager can be asked on this machine, in this session."""
    return shutil.which(_SYSTEMCTL) is not None and _answer("is-system-running") in _READY


def _answer(*arguments: str) -> str:
    """The first line that systemctl says; empty when it cannot be run."""
    try:
        said = subprocess.run(
            [_SYSTEMCTL, "--user", *arguments], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.strip().partition("\n")[0]


def _systemctl(*arguments: str) -> None:
    try:
        said = subprocess.run(
            [_SYSTEMCTL, "--user", *arguments], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StartFailed(f"`systemctl --user {' '.join(arguments)}` could not be run: {error}") from error
    if said.returncode != 0:
        raise StartFailed(
            f"`systemctl --user {' '.join(arguments)}` failed: {said.stderr.strip() or said.stdout.strip()}. "
            f"Use --supervisor detached where no user manager runs"
        )
