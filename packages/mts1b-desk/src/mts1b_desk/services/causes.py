"""Traces across events: the fill that a later quote causes belongs to the trace of its order.

Inside the handling of an event its trace is inherited. What a core makes later joins the trace of the order, or of the
signal, that it is about.
"""

from collections import OrderedDict
from typing import Any

from mts1b_foundation.event import Event as Payload
from mts1b_foundation.subjects import Subject


class Causes:
    """The trace of the last event about each order and signal, at most ``limit`` of them."""

    def __init__(self, limit: int = 2_000) -> None:
        self._limit = limit
        self._traces: OrderedDict[str, str | None] = OrderedDict()

    def remember(self, subject: Subject[Any], payload: Payload, trace_id: str | None) -> None:
        """An event of the trace ``trace_id`` is being handled."""
        traces = self._traces
        for name in _names(subject, payload):
            traces[name] = trace_id
            traces.move_to_end(name)
        while len(traces) > self._limit:
            traces.popitem(last=False)

    def of(self, subject: Subject[Any], payload: Payload) -> str | None:
        """The trace id of the event that led to ``payload``; None when none is known."""
        for name in _names(subject, payload):
            if name in self._traces:
                return self._traces[name]
        return None


def _names(subject: Subject[Any], payload: Payload) -> list[str]:
    """The order and the signal that an event is about, whatever its payload calls them."""
    fields, names = payload.__dict__, subject.names
    found = [fields.get(names[name]) for name in ("order_id", "signal_id") if name in names]
    return [name for name in found if name]
