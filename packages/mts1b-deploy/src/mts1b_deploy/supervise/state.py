"""The state of the detached supervisor, in ``run/supervisor.json``.

A supervisor lives as long as its server and only writes: what checks the state is loaded by those who read it.
"""

import json
from dataclasses import asdict, dataclass
from typing import Literal

from mts1b_platform.whole_file import write_whole

from mts1b_deploy.layout import Layout

Phase = Literal["running", "waiting", "stopping"]
"""``waiting``: the server ended and will be started again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorState:
    """The last thing that the supervisor did; only meaningful while its process lives."""

    supervisor_pid: int
    phase: Phase
    server_pid: int | None
    restarts: int
    """How often the server ended under this supervisor without being told to."""
    last_exit: str | None
    """How it ended the last time, in words."""


def read_state(layout: Layout) -> SupervisorState | None:
    """The state as last written, None when there is none that can be read."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(SupervisorState).validate_json(layout.supervisor_state.read_text())
    except (OSError, ValidationError, UnicodeDecodeError):
        return None


def write_state(layout: Layout, state: SupervisorState) -> None:
    """Replace the state."""
    write_whole(layout.supervisor_state, (json.dumps(asdict(state)) + "\n").encode(), 0o644)
