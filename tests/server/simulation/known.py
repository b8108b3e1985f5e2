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
    profile: str = ""
    """Where it shows itself within 60 seeds; if it does not, it is mended. Empty: it is too rare to be missed."""
    workload: str = ""
    """The only one that has it, if so."""


KNOWN: Final[tuple[Known, ...]] = ()


def known(plan: Plan, violation: Violation) -> str | None:
    """The name of the known fault that ``violation`` is."""
    for each in KNOWN:
        if each.oracle == violation.oracle and each.kinds & plan.kinds and each.workload in {"", plan.workload}:
            return each.name
    return None
