"""The state of every stream and consumer, looked at once a second at most, with rates and the trend of each lag."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from mts1b_operations.monitor.survey import Survey
from mts1b_operations.people.views import whole

from mts1b_console.person.person import Person
from mts1b_console.read.answer import now
from mts1b_console.read.follow import kept

KEPT: Final = 1.0
"""Seconds for which a look is given to others."""
_RATE_OVER: Final = 10.0
"""Seconds over which rates are measured."""
_POINT_EVERY: Final = 5.0
_POINTS: Final = 720
"""An hour of points."""


@dataclass(slots=True)
class Looked:
    """The last look."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    survey: Survey | None = None
    read_at: str = ""
    taken: float = -1e9
    lasts: deque[tuple[float, dict[str, int]]] = field(default_factory=deque[tuple[float, dict[str, int]]])
    trends: dict[tuple[str, str], deque[float]] = field(default_factory=dict[tuple[str, str], deque[float]])
    pointed: float = -1e9

    def take(self, survey: Survey, clock: float) -> None:
        """Take a new look into account."""
        self.survey, self.taken = survey, clock
        self.lasts.append((clock, {name: int(info["state"]["last_seq"]) for name, info in survey.streams.items()}))
        while len(self.lasts) > 2 and clock - self.lasts[0][0] > _RATE_OVER:
            self.lasts.popleft()
        if clock - self.pointed >= _POINT_EVERY:
            self.pointed = clock
            there = {(lag.stream, lag.consumer): lag.seconds for lag in survey.lags}
            for gone in self.trends.keys() - there.keys():
                del self.trends[gone]
            for key, seconds in there.items():
                self.trends.setdefault(key, deque(maxlen=_POINTS)).append(round(seconds, 3))

    def per_second(self, stream: str) -> float | None:
        """Events stored a second lately; None after the first look, and when the stream was made anew."""
        (begun, first), (ended, last) = self.lasts[0], self.lasts[-1]
        if ended - begun < KEPT / 2 or stream not in first or stream not in last or last[stream] < first[stream]:
            return None
        return round((last[stream] - first[stream]) / (ended - begun), 2)


async def looked(person: Person) -> tuple[Survey, Looked]:
    """The state of the bus, not older than a second.

    Raises:
        AccessDenied: the role may not look.
        Declined, Unanswered, BusError: nobody answers.
    """
    person.refuse_look("survey")
    held = kept(person, "survey", Looked)
    async with held.lock:
        if held.survey is None or time.monotonic() - held.taken > KEPT:
            begun = now()
            survey = await whole(person.bus)
            held.read_at = begun
            held.take(survey, time.monotonic())
    assert held.survey is not None  # noqa: S101 - taken above
    return held.survey, held
