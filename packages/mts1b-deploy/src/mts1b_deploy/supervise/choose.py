"""Which supervision this machine offers."""

from collections.abc import Callable
from typing import Protocol

from mts1b_deploy.errors import UnknownName
from mts1b_deploy.layout import Layout
from mts1b_deploy.record import SupervisorName
from mts1b_deploy.supervise.detached import DetachedSupervision
from mts1b_deploy.supervise.systemd import SystemdSupervision, system_manager_runs, user_manager_runs


class Supervision(Protocol):
    """What keeps a server running: systemd or a detached supervisor, with the same interface."""

    name: str

    def start(self, layout: Layout) -> Callable[[], bool]:
        """Start the server; returns a function that says whether it is still supervised."""
        ...

    def request_stop(self, layout: Layout) -> None:
        """Ask for a graceful end and return at once."""
        ...

    def forget(self, layout: Layout) -> None:
        """Remove files that only mean something while the server runs."""
        ...

    def is_enabled(self, layout: Layout) -> bool:
        """Whether the server would be started again if it ended now."""
        ...

    def remove(self, layout: Layout) -> None:
        """Undo what makes it start again; its files are removed by the caller."""
        ...

    def reload_units(self) -> None:
        """Called when its files were removed."""
        ...

    def logs_hint(self, layout: Layout) -> str:
        """Where the supervisor's own log is."""
        ...


def supervision(name: SupervisorName) -> Supervision:
    """The supervision of this name."""
    match name:
        case "systemd":
            return SystemdSupervision("--user")
        case "systemd-system":
            return SystemdSupervision("--system")
        case "detached":
            return DetachedSupervision()


def choose_supervisor(asked: str, *, for_good: bool = False) -> SupervisorName:
    """What ``--supervisor`` means on this machine.

    Args:
        asked: the option's value.
        for_good: the profile is meant to run from boot on, so that root gets a unit of the machine.

    Raises:
        UnknownName: there is no such supervisor, or it cannot be had here.
    """
    match asked:
        case "auto":
            if for_good and system_manager_runs():
                return "systemd-system"
            return "systemd" if user_manager_runs() else "detached"
        case "detached":
            return "detached"
        case "systemd":
            if user_manager_runs():
                return "systemd"
            raise UnknownName(
                "--supervisor systemd: no systemd user manager answers in this session. "
                "Log in where one runs (`systemctl --user status` shows it), or use --supervisor detached"
            )
        case "systemd-system":
            if system_manager_runs():
                return "systemd-system"
            raise UnknownName(
                "--supervisor systemd-system: it takes root on a machine that systemd started. "
                "Use sudo there, or --supervisor detached"
            )
        case _:
            raise UnknownName(f"no supervisor {asked!r}: choose --supervisor auto, systemd, systemd-system or detached")
