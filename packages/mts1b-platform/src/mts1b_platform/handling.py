"""What a task is handling just now: log lines take its fields, events emitted meanwhile its trace."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Protocol


class Handled(Protocol):
    """Something being handled; asked only when somebody needs to know."""

    @property
    def trace_id(self) -> str | None:
        """The trace it belongs to."""
        ...

    def log_fields(self) -> Mapping[str, Any]:
        """What every log line written meanwhile carries."""
        ...


handled: ContextVar[Handled | None] = ContextVar("mts1b_handled", default=None)
"""What this task is handling, if anything."""
