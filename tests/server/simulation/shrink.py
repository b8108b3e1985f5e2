"""Making a failing plan smaller: fewer faults, fewer events, simpler values, while it breaks the same promise."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from simulation.plan import Plan
from simulation.run import Result, simulate

_SIMPLER: Final[tuple[tuple[str, Any], ...]] = (
    ("fail", 0.0),
    ("block", 0.0),
    ("abort", 0.0),
    ("work", 0.0),
    ("pace", 0.0),
    ("concurrency", 1),
    ("keys", 1),
)
_MOST: Final = 150
"""Runs that shrinking may take."""


def shrink(failing: Result, oracle: str) -> Result:
    """A smaller plan that still breaks the promise ``oracle``."""
    smallest, runs = failing, 0
    while True:
        for plan in _smaller(smallest.plan):
            runs += 1
            result = simulate(plan)
            if any(violation.oracle == oracle for violation in result.violations):
                smallest = result
                break
            if runs >= _MOST:
                return smallest
        else:
            return smallest


def _smaller(plan: Plan) -> Iterator[Plan]:
    for at in range(len(plan.faults)):
        yield replace(plan, faults=plan.faults[:at] + plan.faults[at + 1 :])
    for events in (plan.events // 4, plan.events // 2, plan.events * 3 // 4):
        if events >= 1:
            yield replace(plan, events=events)
    for name, value in _SIMPLER:
        if getattr(plan, name) != value:
            changes: dict[str, Any] = {name: value}
            yield replace(plan, **changes)
