"""From what passes to what a browser is shown: at most ten small frames a second, whatever passes. Pure.

Counts are exact, rows are chosen: in mode ``latest`` the newest event of each subject, in mode ``sample`` an even
sample and every event that a strict consumer refuses, in mode ``all`` every one. What a browser could not be shown yet
waits in the ring; what falls off it is counted.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from mts1b_operations.history.lines import cut, short
from mts1b_operations.history.seen import Seen
from mts1b_platform.eventbus.history.recorded import nanoseconds_of

from mts1b_console.live.ring import Ring
from mts1b_console.shapes.live import Frame, Mode, Row

MOST_ROWS: Final[dict[Mode, int]] = {"latest": 200, "sample": 50, "all": 200}
"""Rows of one frame."""
MOST_TEXT: Final = 64 * 1024
"""Characters of one frame's rows."""
MOST_SUBJECTS: Final = 2_000
"""Subjects that mode ``latest`` keeps apart; what comes on others counts, and is not shown."""
BUSIEST: Final = 8
SUMMARY: Final = 200
REFUSED: Final = 1
"""Flag of a row that a strict consumer refuses."""
_RATES_OVER: Final = 1.0


class View:
    """What one browser sees of one tail.

    Args:
        number: the browser's number of the tail.
        mode: which rows are shown.
        clock: seconds that only go forward.
        ring: where the events are kept.
    """

    def __init__(self, number: int, mode: Mode, clock: Callable[[], float], ring: Ring | None = None) -> None:
        self._number = number
        self._mode: Mode = mode
        self._clock = clock
        self.ring = Ring() if ring is None else ring
        self.paused = False
        self.heard = 0
        """Events on the tail's subject, whatever its query means."""
        self.dropped = 0
        """Events that were lost before they could be looked at."""
        self._refused = 0
        self._refused_waiting: list[int] = []
        """In mode ``sample``: the numbers of those that are refused, were not shown yet, and are still kept."""
        self._shown = 0
        self._fell = 0
        self._sent = 0  # the number of the last event that was shown, or decided not to be
        self._latest: dict[bytes, int] = {}
        self._subjects: set[bytes] = set()
        self._rates = _Rates(clock)
        self._one_in = 1

    @property
    def waits(self) -> bool:
        """Whether there is something to show that came before."""
        return not self.paused and (bool(self._latest) if self._mode == "latest" else self._sent < self.ring.last)

    def feed(self, events: Sequence[Seen]) -> None:
        """Take what has come."""
        numbers = self.ring.extend(events)
        refused = [number for number, seen in zip(numbers, events, strict=True) if seen.judge()]
        self._refused += len(refused)
        if self._mode == "sample":
            self._refused_waiting = [each for each in (*self._refused_waiting, *refused) if each >= self.ring.first]
        subjects = [seen.message[0] for seen in events]
        if self._mode == "latest":
            self._take_latest(dict(zip(subjects, numbers, strict=True)))
        one = dict(zip(subjects, events, strict=True))
        by: Counter[str] = Counter()
        for subject, count in Counter(subjects).items():
            registered = one[subject].registered
            by[registered.pattern if registered else one[subject].subject] += count
        self._rates.add(len(events), by)
        lost = max(0, self.ring.first - 1 - self._sent)
        if lost and (self.paused or self._mode == "all"):
            self._fell += lost
            self._sent += lost
            self.paused = True  # in mode all nothing is left out silently: it stops, and says so

    def frame(self) -> Frame:
        """What to show now."""
        chosen = [] if self.paused else self._choose()
        self._shown += len(chosen)
        per_s, by = self._rates.read()
        return Frame(
            id=self._number,
            n=self.ring.last,
            heard=max(self.heard, self.ring.last),
            per_s=round(per_s, 1),
            shown=self._shown,
            one_in=self._one_in,
            refused=self._refused,
            dropped=self.dropped,
            fell=self._fell,
            by=[(short(pattern), round(rate, 1)) for pattern, rate in by[:BUSIEST]],
            rows=chosen,
            behind=self.ring.last - self._sent if self.paused or self._mode == "all" else 0,
            paused=self.paused,
        )

    def _choose(self) -> list[Row]:
        most = MOST_ROWS[self._mode]
        if self._mode == "latest":
            numbers = list(self._latest.values())[:most]
            rows = self._rows(numbers)
            for name in list(self._latest)[: len(rows)]:
                del self._latest[name]
            self._sent = self.ring.last
            return sorted(rows)
        waiting = self.ring.after(self._sent)
        if self._mode == "all":
            rows = self._rows(waiting[:most])
            self._sent = rows[-1][0] if rows else self._sent
            self._one_in = 1
            return rows
        before, self._sent = self._sent, self.ring.last
        refused, self._refused_waiting = self._refused_waiting, []
        rows = self._rows(_sample(waiting, refused, most))
        self._one_in = max(1, round((self.ring.last - before) / len(rows))) if rows else 1
        return rows

    def _rows(self, numbers: Sequence[int]) -> list[Row]:
        """The rows of some events, as many as a frame holds."""
        rows: list[Row] = []
        room = MOST_TEXT
        for number in numbers:
            if (seen := self.ring.get(number)) is None:
                continue
            row = _row(number, seen)
            room -= len(row[2]) + len(row[3]) + 40
            if room < 0 and rows:
                break
            rows.append(row)
        return rows

    def _take_latest(self, newest: Mapping[bytes, int]) -> None:
        for subject, number in newest.items():
            if subject not in self._subjects:
                if len(self._subjects) >= MOST_SUBJECTS:
                    continue
                self._subjects.add(subject)
            self._latest[subject] = number


class _Rates:
    """Events a second over the last second or so, in all and by subject, however unevenly they are looked at."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counts: deque[tuple[float, int, Counter[str]]] = deque()
        self._since = clock()
        """When the events before those that are counted had come."""

    def add(self, count: int, by: Counter[str]) -> None:
        self._counts.append((self._clock(), count, by))

    def read(self) -> tuple[float, list[tuple[str, float]]]:
        now = self._clock()
        while self._counts and now - self._counts[0][0] >= _RATES_OVER:
            self._since = self._counts.popleft()[0]
        over = max(now - self._since, 0.1)
        by: Counter[str] = Counter()
        for _, _, counts in self._counts:
            by.update(counts)
        busiest = [(name, count / over) for name, count in by.most_common(BUSIEST)]
        return sum(count for _, count, _ in self._counts) / over, busiest


def _sample(waiting: range, refused: Sequence[int], most: int) -> Sequence[int]:
    """The numbers of an even sample, and of every refused event as far as there is room."""
    if len(waiting) <= most:
        return waiting
    left_out = set(refused)
    rest = [number for number in waiting if number not in left_out] if refused else waiting
    shown = refused[:most]
    room = most - len(shown)
    even = [rest[each * len(rest) // room] for each in range(min(room, len(rest)))] if room else []
    return sorted({*shown, *even})


def _row(number: int, seen: Seen) -> Row:
    flags = REFUSED if seen.refused is not None else 0
    return (
        number,
        nanoseconds_of(seen.recorded.stamp) // 1_000_000,
        short(seen.subject),
        cut(seen.summary, SUMMARY),
        flags,
    )
