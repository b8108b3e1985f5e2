"""What a workload is: processes, and what there is to know of their work beside what they tell."""

from collections.abc import Callable, Coroutine
from typing import Any

from simulation.plan import Plan
from simulation.record import Record
from simulation.workloads.stage import Stage

Main = Callable[[Stage], Coroutine[Any, Any, None]]


class Workload:
    """The processes that one plan has, by role; a new process takes over from one that ended.

    Args:
        plan: what they do.
        record: what they tell.
    """

    def __init__(self, plan: Plan, record: Record) -> None:
        self.plan, self.record = plan, record
        self.roles: dict[str, Main] = {}
        self.bystanders: tuple[str, ...] = ()
        """Further streams that the server has."""

    drain_budget = 10.0
    """Seconds that its processes have to end."""

    def waiting(self) -> int:
        """Events that are committed and not published."""
        return 0

    def gather(self) -> None:
        """Add to the record what is only known in the end."""

    def close(self) -> None:
        """Remove what was made outside of the world."""
