"""Finding events by name through the index; what it has not reached yet is searched in the streams."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from mts1b_foundation.subjects.flows import TRACE
from mts1b_platform.eventbus.history.history import History

from mts1b_operations.history.matching import NAMED, matches
from mts1b_operations.history.query import And, Compare, Query
from mts1b_operations.history.search import Search, Searched
from mts1b_operations.history.seen import Decoders, Seen
from mts1b_operations.index.feed import valid_marks
from mts1b_operations.index.keys import MESSAGE, key_of
from mts1b_operations.index.store import IndexStore
from mts1b_operations.story.gather import MOST_EVENTS, Found
from mts1b_operations.story.names import Name, query_of

_AT_ONCE: Final = 64
"""Events that are fetched at a time."""


class Pointers(NamedTuple):
    """Where events with some names may lie, and how far the index has come."""

    places: set[tuple[str, int]]
    """Stream and sequence; some may be gone, or about something else."""
    positions: dict[str, int]
    """Up to which sequence each stream is indexed; what is missing is not indexed at all."""


PointTo = Callable[[Collection[Name], Mapping[str, History]], Awaitable[Pointers]]
"""Where events with some names lie, in some streams."""


def pointing(store: IndexStore) -> PointTo:
    """The pointers of an index that lies here."""

    async def point(names: Collection[Name], histories: Mapping[str, History]) -> Pointers:
        positions = await valid_marks(histories, store)
        return Pointers({place for name in names for place in store.find(key_of(name.kind, name.value))}, positions)

    return point


class ByIndex:
    """Finds by the index, and by a search of what came after it. It never says less than a search of everything would.

    Args:
        point: what knows where events with some names lie.
        histories: the streams that this identity reads, by name.
        decoders: what strict consumers make of a message.
        most: messages that are searched beyond the index.
        within: seconds that this takes at most.
        hidden: streams that cannot be read, and why.
        progress: is told how far the search is.
    """

    def __init__(
        self,
        point: PointTo,
        histories: Mapping[str, History],
        decoders: Decoders,
        *,
        most: int,
        within: float,
        hidden: dict[str, str] | None = None,
        progress: Callable[[Searched], object] = lambda _: None,
    ) -> None:
        self._point = point
        self._histories = histories
        self._decoders = decoders
        self._most, self._within = most, within
        self._hidden = hidden or {}
        self._progress = progress

    async def find(self, names: Iterable[Name], *, around: Sequence[Seen] = ()) -> Found:
        """The events that are about any of ``names``; ``around`` is not needed."""
        del around
        wanted = set(names)
        query = query_of(wanted)
        pointers, indexed = await self._point(wanted, self._histories)
        positions = {name: indexed.get(name, 0) for name in self._histories}
        hidden = dict(self._hidden)
        for stream in {stream for stream, _ in pointers} - self._histories.keys():
            count = sum(1 for place in pointers if place[0] == stream)
            hidden[stream] = f"{count} events may be there: {hidden.get(stream, 'not for this identity')}"
        readable = [(stream, seq) for stream, seq in pointers if stream in self._histories and seq <= positions[stream]]
        gate = asyncio.Semaphore(_AT_ONCE)

        async def fetch(stream: str, seq: int) -> Seen | None:
            async with gate:
                found = await self._histories[stream].get(seq)
            return None if found is None else Seen(found, self._decoders)

        fetched = await asyncio.gather(*(fetch(*place) for place in sorted(readable)[:MOST_EVENTS]))
        events = [seen for seen in fetched if seen is not None and matches(query, seen)]
        search = Search(
            list(self._histories.values()),
            query,
            self._decoders,
            most=self._most,
            within=self._within,
            behind=positions,
            progress=self._progress,
        )
        events += [seen async for seen in search.run()]
        complete = search.searched.complete and len(readable) <= MOST_EVENTS
        return Found(events, "index", complete, None, hidden)


def name_in(query: Query) -> Name | None:
    """A name that everything which ``query`` means is about, so that the index knows the places; None without one."""
    for part in query.parts if isinstance(query, And) else (query,):
        if isinstance(part, Compare) and part.operator == ":" and part.value and "*" not in part.value:
            kind = {"trace": TRACE, "id": MESSAGE, **NAMED}.get(part.field)
            if kind is None and part.field in NAMED.values():
                kind = part.field
            if kind is not None:
                return Name(kind, part.value)
    return None
