"""The live connection ``/live`` (WebSocket, JSON text): what the browser asks for, and the frames that it gets.

The first word of the browser is ``hello`` with the CSRF token; within five seconds, or it is closed. At most four tails
are open at a time. Each gets at most ten frames a second; a hidden page gets one of counts a second.
"""

from typing import Annotated, Literal

from pydantic import Field

from mts1b_console.shapes.base import Instant, Problem, Shape
from mts1b_console.shapes.events import EventOpened

Mode = Literal["latest", "sample", "all"]
"""``latest``: the newest event of each subject. ``sample``: an even sample and every refused event. ``all``: every one;
it pauses by itself when 2,000 wait."""


class Hello(Shape):
    """The first word."""

    op: Literal["hello"]
    csrf: str


class Watch(Shape):
    """Open a tail, or change the one with this number."""

    op: Literal["watch"]
    id: Annotated[int, Field(ge=0, le=1_000_000)]
    subject: Annotated[str, Field(min_length=1, max_length=2_000)] = "mts.v1.>"
    """One pattern, or several with a space between. What several of them match comes once."""
    mode: Mode = "sample"
    q: Annotated[str, Field(max_length=2_000)] = ""


class Pause(Shape):
    """Hold a tail; what comes meanwhile is kept, the newest 2,000."""

    op: Literal["pause"]
    id: int


class Resume(Shape):
    """Let a tail go on."""

    op: Literal["resume"]
    id: int


class Close(Shape):
    """End a tail."""

    op: Literal["close"]
    id: int


class Open(Shape):
    """Open a row; answered by ``opened``, or by a problem when it has fallen off the ring."""

    op: Literal["open"]
    id: int
    row: int


class Hidden(Shape):
    """Whether the page is hidden: it is told nothing until it is seen again."""

    op: Literal["hidden"]
    hidden: bool


FromBrowser = Annotated[Hello | Watch | Pause | Resume | Close | Open | Hidden, Field(discriminator="op")]

Row = tuple[int, int, str, str, int]
"""Row number, when it was heard (milliseconds since 1970), subject without ``mts.v1.``, summary, flags (1: refused)."""


class Welcome(Shape):
    """The answer to ``hello``."""

    type: Literal["welcome"] = "welcome"
    at: Instant


class Frame(Shape):
    """What came on one tail since the last frame. Counts are exact, whatever is shown."""

    type: Literal["frame"] = "frame"
    id: int
    n: int
    """Events so far that the tail means."""
    heard: int
    """Events so far on its subject, whatever the query says."""
    per_s: float
    shown: int
    """Rows so far that were sent."""
    one_in: int
    """Of how many events one is shown; 1: all of them."""
    refused: int
    dropped: int
    """Events lost here, because more came than could be looked at."""
    fell: int
    """Events that fell off the ring while the tail was paused: not shown, and not to be opened any more."""
    by: list[tuple[str, float]]
    """The busiest subjects with their events a second."""
    rows: list[Row]
    """Oldest first. In mode ``latest`` a row replaces the one of the same subject."""
    behind: int
    """Events that wait while it is paused."""
    paused: bool


class Opened(Shape):
    """A row that was opened."""

    type: Literal["opened"] = "opened"
    id: int
    row: int
    event: EventOpened


class Trouble(Shape):
    """Something was not done; ``id`` is the tail that it is about."""

    type: Literal["trouble"] = "trouble"
    id: int | None
    problem: Problem


class Ended(Shape):
    """The session is over: the browser signs in anew. Nothing comes after it."""

    type: Literal["ended"] = "ended"
    problem: Problem


ToBrowser = Welcome | Frame | Opened | Trouble | Ended
