"""Searching what is stored, newest first, over several streams, in windows; it says how far it came.

Each stream is read backwards in windows that grow. The stream that was searched least far back is next, and an event is
handed out when all streams were searched down to it: what comes out is in the order of time, the newest first, and is
complete down to where the search stops.
"""

import asyncio
import heapq
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Final

from mts1b_foundation.subjects.algebra import contains
from mts1b_platform.eventbus.history.history import History

from mts1b_operations.history.matching import holds, matches, needles, patterns_of
from mts1b_operations.history.query import Query
from mts1b_operations.history.seen import Decoders, Seen

MOST: Final = 200_000
"""Messages that one search looks at, unless it is told otherwise."""
WITHIN: Final = 5.0
"""Seconds that one search takes, unless it is told otherwise."""
_FIRST_WINDOW: Final = 256
_LARGEST_WINDOW: Final = 8_192


@dataclass(slots=True)
class Searched:
    """How far a search has come."""

    of: int = 0
    """Sequences between the two moments that were asked for."""
    looked_at: int = 0
    """Sequences that were searched."""
    complete: bool = False
    """Whether everything was searched that was asked for."""
    back_to_ns: int | None = None
    """What was stored up to this moment is still to be searched; None when nothing is."""
    streams: tuple[str, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict[str, str])
    """Streams that could not be read, and why."""
    how: str = "search"
    """``search``, or ``index``: then only what the index knows of was looked at."""


@dataclass(slots=True)
class _Backwards:
    """One stream, read backwards."""

    history: History
    low: int
    high: int
    """The newest sequence that was not searched yet."""
    newest_ns: int
    """No message below the searched ones is newer than this, as far as is known."""
    window: int = _FIRST_WINDOW
    found: list[Seen] = field(default_factory=list[Seen])

    @property
    def done(self) -> bool:
        return self.high < self.low


class Search:
    """One search, newest first. Iterate :meth:`run`; :attr:`searched` says how far it came.

    Args:
        histories: the streams.
        query: which events.
        decoders: what strict consumers make of a message.
        since_ns: nothing before this moment.
        until_ns: nothing after this moment.
        most: messages that are looked at.
        within: seconds that it takes.
        limit: events that are found; a few more when the last of them were stored in the same nanosecond.
        behind: sequences, by stream: only what lies behind them is searched.
        progress: is told how far the search is, before each window.
    """

    def __init__(
        self,
        histories: Sequence[History],
        query: Query,
        decoders: Decoders,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        most: int = MOST,
        within: float = WITHIN,
        limit: int | None = None,
        behind: Mapping[str, int] | None = None,
        progress: Callable[[Searched], object] = lambda _: None,
    ) -> None:
        self._histories = histories
        self._query = query
        wanted = needles(query)
        self._worth = partial(holds, wanted) if wanted else None
        self._pattern = narrowest(patterns_of(query))
        self._decoders = decoders
        self._since, self._until = since_ns, until_ns
        self._most, self._within, self._limit = most, within, limit
        self._behind = behind or {}
        self._progress = progress
        self.searched = Searched(streams=tuple(each.stream for each in histories))

    async def run(self) -> AsyncGenerator[Seen, None]:
        """The events that are meant, newest first.

        Raises:
            BusError: a stream cannot be read.
        """
        end = monotonic() + self._within
        opened = await asyncio.gather(*map(self._open, self._histories))
        streams = [found for found in opened if found is not None]
        self.searched.of = sum(each.high - each.low + 1 for each in streams)
        waiting: list[tuple[int, int, Seen]] = []  # by time, the newest first
        number = handed = 0
        while True:
            open_ones = [each for each in streams if not each.done]
            frontier = max((each.newest_ns for each in open_ones), default=None)
            while waiting and (frontier is None or -waiting[0][0] > frontier):
                time_ns = -waiting[0][0]
                yield heapq.heappop(waiting)[2]
                handed += 1
                if handed == self._limit:
                    while waiting and -waiting[0][0] == time_ns:
                        yield heapq.heappop(waiting)[2]
                    self.searched.back_to_ns = time_ns - 1
                    self.searched.complete = not waiting and frontier is None
                    return
            if frontier is None:
                self.searched.complete = True
                return
            self.searched.back_to_ns = frontier
            self._progress(self.searched)
            if self.searched.looked_at >= self._most or (monotonic() > end and self.searched.looked_at):
                return
            behind = max(open_ones, key=lambda each: each.newest_ns)
            for seen in await self._look(behind):
                number += 1
                heapq.heappush(waiting, (-seen.recorded.time_ns, number, seen))

    async def _open(self, history: History) -> _Backwards | None:
        """Where the search begins and ends in a stream; None when nothing lies in between."""
        after = self._behind.get(history.stream, 0)
        low, high = await history.between(self._since, self._until, after=after)
        if high < low:
            return None
        newest = await history.get(high)
        until = self._until if self._until is not None else 1 << 63
        return _Backwards(history, low, high, min(until, newest.time_ns) if newest else until)

    async def _look(self, stream: _Backwards) -> list[Seen]:
        """Search the next window of a stream."""
        start = max(stream.low, stream.high - stream.window + 1)
        found: list[Seen] = []
        async for batch in stream.history.batches(start, stream.high, self._pattern, self._worth):
            for recorded in batch:
                seen = Seen(recorded, self._decoders)
                if matches(self._query, seen):
                    found.append(seen)
        self.searched.looked_at += stream.high - start + 1
        stream.high = start - 1
        stream.window = min(_LARGEST_WINDOW, stream.window * 2)
        if not stream.done and (oldest := await stream.history.get(start)) is not None:
            stream.newest_ns = min(stream.newest_ns, oldest.time_ns)
        return found


def narrowest(patterns: Sequence[str]) -> str:
    """The pattern to ask the server for, of several that all must match."""
    if not patterns:
        return ">"
    best = patterns[0]
    for pattern in patterns[1:]:
        if contains(best, pattern):
            best = pattern
    return best
