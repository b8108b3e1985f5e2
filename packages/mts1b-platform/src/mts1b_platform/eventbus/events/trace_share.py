"""Which share of the traces is recorded, as their ids say: the same traces in every service with the same ratio."""

from functools import partial
from typing import Final

from mts1b_platform.eventbus.core import CORE
from mts1b_platform.eventbus.core import TraceShare as CompiledShare

_LOW: Final = (1 << 64) - 1
_DIGITS: Final = 32


class TraceShare:
    """The traces whose last 64 bits are below ``ratio`` of what there is.

    Args:
        ratio: 0 for none, 1 for all.
    """

    __slots__ = ("_bound", "compiled", "has")

    def __init__(self, ratio: float) -> None:
        self._bound = round(ratio * (_LOW + 1))
        self.has = partial(_has, self._bound)
        """Whether the trace with this id is one of them; false for an id that is not of OpenTelemetry's form."""
        self.compiled: CompiledShare | None = None
        if CORE is not None:
            self.compiled = CORE.TraceShare(self._bound, self.has)
            self.has = self.compiled.has

    def has_number(self, number: int) -> bool:
        """As ``has``, of an id as :func:`trace_number` reads it."""
        return number & _LOW < self._bound


def trace_number(trace_id: str | None) -> int | None:
    """The trace id as OpenTelemetry counts; None when it is none of its form."""
    if trace_id is None or len(trace_id) != _DIGITS:
        return None
    try:
        return int(trace_id, 16) or None
    except ValueError:
        return None


def _has(bound: int, trace_id: str) -> bool:
    number = trace_number(trace_id)
    return number is not None and number & _LOW < bound
