"""Which supervision this machine offers."""

from collections.abc import Callable
from typing import Protocol

from mts1b_deploy.errors import UnknownName
from mts1b_deploy.layout import Layout
from mts1b_deploy.record import SupervisorName
from mts1b_deploy.supervise.detached import DetachedSupervision
from mts1b_deploy.supervise.systemd import SystemdSupervision, user_manager_runs


class Supervision(Protocol):
    """What keeps a server running. Both ways do the same for the commands above them."""

    name: str

    def start(self, layout: Layout) -> Callable[[], bool]:
        """See to it that the server runs; gives a question: is it still being kept?"""
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

    def logs_hint(self, layout: Layout) -> str:
        """Where this supervision writes about itself."""
        ...


def supervision(name: SupervisorName) -> Supervision:
    """The supervision of this name."""
    return SystemdSupervision() if name == "systemd" else DetachedSupervision()


def choose_supervisor(asked: str) -> SupervisorName:
    """What ``--supervisor`` means on this machine.

    Raises:
        UnknownName: there is no such supervisor, or it cannot be had here.
    """
    match asked:
        case "auto":
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
        case _:
            raise UnknownName(f"no supervisor {asked!r}: choose --supervisor auto, systemd or detached")
