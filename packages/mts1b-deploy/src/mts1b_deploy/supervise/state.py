"""The state of the detached supervisor, in ``run/supervisor.json``."""

from typing import Literal

from pydantic import BaseModel, ValidationError

from mts1b_deploy.journal import write_whole
from mts1b_deploy.layout import Layout


class SupervisorState(BaseModel):
    """The last thing that the supervisor did; only meaningful while its process lives."""

    supervisor_pid: int
    phase: Literal["running", "waiting", "stopping"]
    """``waiting``: the server ended and will be started again."""
    server_pid: int | None
    restarts: int
    """How often the server ended under this supervisor without being told to."""
    last_exit: str | None
    """How it ended the last time, in words."""


def read_state(layout: Layout) -> SupervisorState | None:
    """The state as last written, None when there is none that can be read."""
    try:
        return SupervisorState.model_validate_json(layout.supervisor_state.read_text())
    except (OSError, ValidationError, UnicodeDecodeError):
        return None


def write_state(layout: Layout, state: SupervisorState) -> None:
    """Replace the state."""
    write_whole(layout.supervisor_state, (state.model_dump_json() + "\n").encode(), 0o644)
