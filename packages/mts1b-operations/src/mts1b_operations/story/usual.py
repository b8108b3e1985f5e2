"""How long a step usually takes: the median of the last ones that were stored."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Final

from mts1b_foundation.subjects.algebra import covers
from mts1b_foundation.subjects.flows import Step
from mts1b_platform.eventbus.history.history import History

from mts1b_operations.history.seen import Decoders, Seen
from mts1b_operations.story.expected import tie_of

LAST: Final = 500
"""Events of each stream that are looked at."""
_LEAST: Final = 3
"""Steps below which nothing is called usual."""


def usual(step: Step, events: Iterable[Seen]) -> float | None:
    """Seconds between an event and what follows it, the median over ``events``; None when there are too few."""
    began: dict[str, int] = {}
    took: list[int] = []
    for seen in sorted(events, key=lambda each: each.recorded.time_ns):
        tie = tie_of(seen, step)
        if tie is None or seen.registered is None:
            continue
        if step.begins(seen.registered):
            began[tie] = seen.recorded.time_ns
        elif tie in began and step.ends(seen.registered):
            took.append(seen.recorded.time_ns - began.pop(tie))
    return median(took) / 1e9 if len(took) >= _LEAST else None


async def newest(histories: Iterable[History], decoders: Decoders, *, count: int = LAST) -> list[Seen]:
    """The newest events of some streams.

    Raises:
        BusError: one cannot be read.
    """
    found: list[Seen] = []
    for history in histories:
        first, last = await history.extent()
        async for batch in history.batches(max(first, last - count + 1), last):
            found += [Seen(recorded, decoders) for recorded in batch]
    return found


def streams_of(step: Step, streams: Mapping[str, Sequence[str]]) -> set[str]:
    """The streams that hold what a step begins and ends with."""
    return {
        name
        for name, subjects in streams.items()
        for subject in (step.after, *step.expects)
        if all(covers(subjects, form) for form in subject.patterns)
    }
