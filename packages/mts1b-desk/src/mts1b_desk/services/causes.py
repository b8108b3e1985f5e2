"""Traces across events: the fill that a later quote causes belongs to the trace of its order.

Inside the handling of an event its trace is inherited. What a core makes later joins the trace of the order, or of the
signal, that it is about.
"""

from collections import OrderedDict
from typing import Any

from mts1b_foundation.event import Event as Payload
from mts1b_foundation.subjects import Subject
from mts1b_platform.eventbus import Event


class Causes:
    """The trace of the last event about each order and signal, at most ``limit`` of them."""

    def __init__(self, limit: int = 2_000) -> None:
        self._limit = limit
        self._traces: OrderedDict[str, str | None] = OrderedDict()

    def remember(self, event: Event[Any]) -> None:
        """``event`` is being handled."""
        trace_id, traces = event.trace_id, self._traces
        for name in _names(event.registered, event.payload):
            traces[name] = trace_id
            traces.move_to_end(name)
        while len(traces) > self._limit:
            traces.popitem(last=False)

    def of(self, subject: Subject[Any], payload: Payload) -> str | None:
        """The trace id of the event that led to ``payload``; None when none is known."""
        return next((self._traces[name] for name in _names(subject, payload) if name in self._traces), None)


def _names(subject: Subject[Any], payload: Payload) -> list[str]:
    """The order and the signal that an event is about, whatever its payload calls them."""
    names = subject.names_of(payload.__dict__)
    return [names[name] for name in ("order_id", "signal_id") if name in names]
