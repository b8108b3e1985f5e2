"""The trace id that travels with an event, and how an event emitted while handling another inherits it."""

import random
from contextvars import ContextVar

current_trace: ContextVar[str | None] = ContextVar("mts1b_trace_id", default=None)
"""Trace id of the event being handled in this task, if any."""


def new_trace_id() -> str:
    """A fresh trace id in OpenTelemetry's form: 32 lower-case hexadecimal digits, never all zero."""
    return f"{random.getrandbits(128) or 1:032x}"


def trace_id_for(cause: str | None = None) -> str:
    """The trace id for an event: its cause's, else that of the event being handled, else a fresh one."""
    return cause or current_trace.get() or new_trace_id()
