"""Faults that are known and not mended yet: they are counted, not failed. A mended one leaves this table."""

from typing import Final, NamedTuple

from simulation.oracles import Violation
from simulation.plan import Plan


class Known(NamedTuple):
    """One known fault."""

    name: str
    oracle: str
    """The promise that it breaks."""
    kinds: frozenset[str]
    """The faults one of which brings it about."""
    profile: str
    """Where it shows itself within 60 seeds; if it does not, it is mended."""


_AWAY: Final = frozenset({"half", "lag", "narrow", "freeze_server", "leader", "kill_server", "cut", "err", "freeze"})
"""What keeps the server's answer away for a while."""

KNOWN: Final[tuple[Known, ...]] = (
    Known("lost request ends the start", "process ended: JetStreamUnavailable", _AWAY, "starts"),
    Known("stopped while it starts", "process ended: BusClosed", frozenset({"graceful"}), "starts"),
    Known("stopped while it starts", "process ended: BusDraining", frozenset({"graceful"}), "starts"),
    Known("lease ahead of the clock", "committed, never published", frozenset({"wall"}), "leases"),
    # what was stored when the relay died is published again behind the window of the stream's memory of ids
    Known("lease ahead of the clock", "stored twice", frozenset({"wall"}), "leases"),
)


def known(plan: Plan, violation: Violation) -> str | None:
    """The name of the known fault that ``violation`` is."""
    for each in KNOWN:
        if each.oracle == violation.oracle and each.kinds & plan.kinds:
            return each.name
    return None
