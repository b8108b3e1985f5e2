"""The trace id that travels with an event, and how an event emitted while handling another inherits it."""

import os
from contextvars import ContextVar
from typing import Final

from mts1b_platform.handling import handled

current_traceparent: ContextVar[str | None] = ContextVar("mts1b_traceparent", default=None)
"""W3C ``traceparent`` of the recorded span in which this task handles an event, if any; set by the tracing hook."""


_ID_BYTES: Final = 16
_DRAWN_AT_ONCE: Final = 256
_drawn: list[str] = []
"""Ids in store: asking the operating system for each one alone would cost more than the rest of a publish."""


def new_trace_id() -> str:
    """A fresh trace id in OpenTelemetry's form: 32 lower-case hexadecimal digits, random, never all zero."""
    try:
        return _drawn.pop()
    except IndexError:
        digits = os.urandom(_ID_BYTES * _DRAWN_AT_ONCE).hex()
        size = 2 * _ID_BYTES
        _drawn.extend(digits[at : at + size] for at in range(size, len(digits), size))
        return digits[:size]


def new_trace_ids(count: int) -> list[str]:
    """So many fresh trace ids."""
    taken = _drawn[: -count - 1 : -1]
    del _drawn[len(_drawn) - len(taken) :]
    return taken + [new_trace_id() for _ in range(count - len(taken))]


def forget_drawn_ids() -> None:
    """Ask the operating system again: a child that was forked must not draw its parent's ids."""
    _drawn.clear()


os.register_at_fork(after_in_child=forget_drawn_ids)


def usable_trace_id(received: str | None) -> str | None:
    """``received`` when it can be sent on as it is; None for what a header cannot hold."""
    return received if received and received.isprintable() and received == received.strip() else None


def trace_id_for(cause: str | None = None) -> str:
    """The trace id for an event: its cause's, else that of the event being handled, else a fresh one."""
    return cause or handled_trace_id() or new_trace_id()


def handled_trace_id() -> str | None:
    """The trace id of the event being handled, if any."""
    event = handled.get()
    return event.trace_id if event is not None else None


def traceparent_for(trace_id: str) -> str | None:
    """The present span, when it is of the trace ``trace_id``: for events that are published later by somebody else."""
    present = current_traceparent.get()
    return present if present is not None and present[3:35] == trace_id else None
