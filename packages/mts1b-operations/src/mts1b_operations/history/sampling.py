"""Which of many events a terminal shows: an even sample, and every one that is refused. Pure."""

from collections import Counter
from collections.abc import Callable, Sequence

from mts1b_operations.history.seen import Seen


class Sampler:
    """Counts all events, and picks those that are shown.

    Args:
        room: most events that are shown of those that come at a time; None: all.
    """

    def __init__(self, room: int | None) -> None:
        self._room = room
        self.events = 0
        """Events so far."""
        self.shown = 0
        """Events that were picked."""
        self.refused = 0
        """Events that a strict consumer refuses."""
        self.subjects: Counter[str] = Counter()
        """Events by registered subject; of what nobody registered, by its own."""

    def pick(self, events: Sequence[Seen]) -> list[Seen]:
        """Of the events that came since the last call, those to show, in their order."""
        self.events += len(events)
        for each in events:
            self.subjects[each.registered.pattern if each.registered else each.subject] += 1
            self.refused += each.refused is not None
        picked = list(events) if self._room is None or len(events) <= self._room else self._sample(events, self._room)
        self.shown += len(picked)
        return picked

    def _sample(self, events: Sequence[Seen], room: int) -> list[Seen]:
        refused = [number for number, each in enumerate(events) if each.refused is not None][:room]
        left = room - len(refused)
        rest = [number for number, each in enumerate(events) if each.refused is None]
        even = [rest[number * len(rest) // left] for number in range(left)] if left and rest else []
        return [events[number] for number in sorted({*refused, *even})]


class Rate:
    """How many events come and are shown, said once a second while not all are.

    Args:
        clock: seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = clock()
        self._events = self._shown = 0

    def said(self, sampler: Sampler) -> str:
        """The words, when a second has passed and not all was shown in it; else none."""
        passed = self._clock() - self._last
        if passed < 1:
            return ""
        events, shown = sampler.events - self._events, sampler.shown - self._shown
        self._last += passed
        self._events, self._shown = sampler.events, sampler.shown
        if shown == events:
            return ""
        return f"{events / passed:,.0f}/s, {shown / passed:,.0f}/s are shown, {sampler.refused:,} refused so far"
