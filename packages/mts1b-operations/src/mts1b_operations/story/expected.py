"""What should have come and did not. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mts1b_foundation.subjects.flows import TRACE, Step

from mts1b_operations.history.seen import Seen


@dataclass(frozen=True, slots=True)
class Owed:
    """A step that did not follow an event."""

    step: Step
    after: Seen

    @property
    def by(self) -> str:
        """The repo that owes it."""
        return self.step.by

    def waiting(self, now_ns: int) -> float:
        """Seconds since the event that it should follow."""
        return max(0.0, (now_ns - self.after.recorded.time_ns) / 1e9)


def owed(events: Sequence[Seen], flows: Iterable[Step]) -> list[Owed]:
    """The steps that did not follow the events of a story, in the order of the events.

    Of several events of one subject that have the same tie, the newest counts: an order that was filled in part twice
    waits for one thing. What may rightly not follow is here too: see :attr:`Step.certain`.

    Args:
        events: the story, in the order of time.
        flows: what should come after what.
    """
    found: list[tuple[int, Owed]] = []
    for step in flows:
        newest: dict[str, tuple[int, Seen]] = {}
        for at, seen in enumerate(events):
            if seen.registered and seen.registered.is_a(step.after) and (tie := tie_of(seen, step)) is not None:
                newest[tie] = at, seen
        for tie, (at, seen) in newest.items():
            if not any(_settles(step, tie, seen, other) for other in events):
                found.append((at, Owed(step, seen)))
    return [each for _, each in sorted(found, key=lambda pair: pair[0])]


def tie_of(seen: Seen, step: Step) -> str | None:
    """What ties an event to the one that should follow it."""
    return (seen.trace_id or None) if step.tie == TRACE else seen.names.get(step.tie)


def _settles(step: Step, tie: str, after: Seen, other: Seen) -> bool:
    return (
        other.registered is not None
        and other.registered.is_a(*step.expects)
        and tie_of(other, step) == tie
        # what the same event led to is told by two streams, whose clocks are one server's: equal times count
        and other.recorded.time_ns >= after.recorded.time_ns
    )
