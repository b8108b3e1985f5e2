"""A stream that is read once, and then only what has come since."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from mts1b_operations.history.seen import Seen
from mts1b_platform.eventbus.history.history import open_history

from mts1b_console.person.person import Person

NEWEST: Final = 20_000
"""Events that are looked at when a stream is read for the first time."""
T = TypeVar("T")


class Followed:
    """The newest events of a stream.

    Args:
        stream: its name.
        newest: how many events the first reading looks at.
    """

    def __init__(self, stream: str, *, newest: int = NEWEST) -> None:
        self._stream = stream
        self._newest = newest
        self._reached = 0
        self._begun = ""
        self.since: str | None = None
        """When the oldest event was stored that was looked at."""

    async def new(self, person: Person) -> tuple[list[Seen], bool]:
        """What has come since the last call, oldest first; and whether the stream begins anew: then all before is void.

        Raises:
            BusError: the stream cannot be read; AccessDenied when the role does not read it.
        """
        person.refuse_stream(self._stream)
        history = await open_history(person.bus, self._stream)
        first, last = await history.extent()
        anew = last < self._reached or not self._reached
        if not anew and self._begun:
            held = await history.get(self._reached)
            anew = held is not None and held.stamp != self._begun  # the stream was deleted and made again
        if not anew and last == self._reached:
            return [], False
        start = max(first, last - self._newest + 1) if anew else self._reached + 1
        events: list[Seen] = []
        async for batch in history.batches(start, last):
            events += [Seen(recorded, person.decoders) for recorded in batch]
            await asyncio.sleep(0)
        if anew:
            self.since = events[0].recorded.stamp if events else None
        if events:
            self._begun = events[-1].recorded.stamp
            self._reached = events[-1].recorded.seq
        elif last >= first:
            self._reached, self._begun = last, ""
        return events, anew


def kept(person: Person, name: str, make: Callable[[], T]) -> T:
    """What is kept for ``person`` under ``name``; made when it is asked for the first time."""
    if name not in person.kept:
        person.kept[name] = make()
    return person.kept[name]
