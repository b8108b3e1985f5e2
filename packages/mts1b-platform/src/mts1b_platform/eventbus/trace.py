"""The trace id that travels with an event, and how an event emitted while handling another inherits it."""

import random
from contextvars import ContextVar
from typing import Protocol


class Traced(Protocol):
    """Something that belongs to a trace."""

    @property
    def trace_id(self) -> str | None:
        """The trace it belongs to."""
        ...


current_event: ContextVar[Traced | None] = ContextVar("mts1b_event", default=None)
"""The event being handled in this task, if any; asked for its trace id only when somebody needs it."""


def new_trace_id() -> str:
    """A fresh trace id in OpenTelemetry's form: 32 lower-case hexadecimal digits, never all zero."""
    return f"{random.getrandbits(128) or 1:032x}"


def trace_id_for(cause: str | None = None) -> str:
    """The trace id for an event: its cause's, else that of the event being handled, else a fresh one."""
    if cause:
        return cause
    event = current_event.get()
    return (event.trace_id if event is not None else None) or new_trace_id()
