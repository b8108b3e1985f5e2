"""Names that tie events together, and which further ones an event brings into a story. Pure."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from mts1b_foundation.subjects.flows import TRACE

from mts1b_operations.history.query import And, Compare, Or, Query
from mts1b_operations.history.seen import Seen


class Name(NamedTuple):
    """Something that events are about."""

    kind: str
    """``order_id``, ``signal_id``, …, ``trace_id``."""
    value: str


ORDER: Final = "order_id"
SIGNAL: Final = "signal_id"
_FIELDS: Final = {TRACE: "trace", "message_id": "id"}
"""What a query calls a kind, where it is not the kind itself."""


def names_of(seen: Seen) -> list[Name]:
    """Everything that an event is about, its trace included."""
    found = [Name(kind, value) for kind, value in seen.names.items()]
    return [*found, Name(TRACE, seen.trace_id)] if seen.trace_id else found


def leads(start: Name, events: Iterable[Seen]) -> set[Name]:
    """What else to look for, once ``events`` are found.

    An order brings its traces and its signal. A trace brings the orders in it, as a broker's events may be outside.
    """
    found: set[Name] = set()
    for seen in events:
        for name in names_of(seen):
            if start.kind == TRACE:
                found |= {name} if name.kind == ORDER else set()
            elif seen.names.get(start.kind) == start.value:
                found |= {name} if name.kind in (TRACE, SIGNAL) else set()
    return found - {start}


def belongs(start: Name, seen: Seen, funds: Iterable[str]) -> bool:
    """Whether an event that was found by one of the :func:`leads` belongs to the story of ``start``.

    What is in an order's trace and about another order, or another fund, does not.
    """
    if start in names_of(seen) or start.kind == TRACE:
        return True
    if start.kind != ORDER:
        return True
    return ORDER not in seen.names and (seen.fund is None or seen.fund in funds)


def query_of(names: Iterable[Name]) -> Query:
    """The query for what is about any of ``names``."""
    parts = tuple(Compare(_FIELDS.get(name.kind, name.kind), ":", name.value) for name in sorted(names))
    return parts[0] if len(parts) == 1 else Or(parts) if parts else And((Compare("seq", "<", "0"),))
