"""Finding the events of a story: by an index, or by searching back in the streams."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus.history.history import History
from mts1b_platform.eventbus.history.recorded import stamp_of

from mts1b_operations.history.search import Search, Searched
from mts1b_operations.history.seen import Decoders, Seen
from mts1b_operations.story.names import ORDER, Name, belongs, leads, query_of

MOST_EVENTS: Final = 2_000
"""Events of one story; of a larger one the oldest are kept, as they say how it began."""
AROUND: Final = 600.0
"""Seconds before and behind what was found in which the rest of a story is looked for."""


@dataclass(slots=True)
class Found:
    """The events that are about some names, and where they were looked for."""

    events: list[Seen]
    how: str
    """``index`` or ``search``."""
    complete: bool
    """Whether everything was looked through."""
    back_to: str | None = None
    """Otherwise: down to which moment."""
    hidden: dict[str, str] = field(default_factory=dict[str, str])
    """Streams that were left out, and why."""


class Finder(Protocol):
    """What finds events by name."""

    async def find(self, names: Iterable[Name], *, around: Sequence[Seen] = ()) -> Found:
        """The events that are about any of ``names``; of those that are far from ``around`` some may be left out."""
        ...


class BySearch:
    """Finds by searching the streams, the newest first.

    Args:
        histories: the streams.
        decoders: what strict consumers make of a message.
        most: messages that one search looks at.
        within: seconds that one search takes.
        since_ns: nothing before this moment.
        until_ns: nothing after this moment.
        heard: is told of each event as it is found.
    """

    def __init__(
        self,
        histories: Sequence[History],
        decoders: Decoders,
        *,
        most: int,
        within: float,
        since_ns: int | None = None,
        until_ns: int | None = None,
        hidden: dict[str, str] | None = None,
        heard: Callable[[Seen], object] = lambda _: None,
    ) -> None:
        self._histories = histories
        self._decoders = decoders
        self._most, self._within = most, within
        self._since, self._until = since_ns, until_ns
        self._hidden = hidden or {}
        self._heard = heard

    async def find(self, names: Iterable[Name], *, around: Sequence[Seen] = ()) -> Found:
        """Search; an order's own events end with the one that created it."""
        wanted = set(names)
        since, until = self._since, self._until
        if around:
            times = [seen.recorded.time_ns for seen in around]
            since = max(since or 0, min(times) - int(AROUND * 1e9))
            until = min(until or 1 << 62, max(times) + int(AROUND * 1e9))
        search = Search(
            self._histories,
            query_of(wanted),
            self._decoders,
            most=self._most,
            within=self._within,
            since_ns=since,
            until_ns=until,
        )
        events: list[Seen] = []
        begun = False
        async for seen in search.run():
            events.append(seen)
            self._heard(seen)
            if (
                {name.kind for name in wanted} == {ORDER}
                and seen.registered
                and seen.registered.is_a(OMS_ORDERS_CREATED)
            ):
                begun = len(wanted) == 1
            if begun or len(events) >= MOST_EVENTS:
                break
        return self._found(events, search.searched, begun=begun)

    def _found(self, events: list[Seen], searched: Searched, *, begun: bool) -> Found:
        complete = searched.complete or begun
        back = searched.back_to_ns
        return Found(
            events, "search", complete, None if complete or back is None else stamp_of(back), dict(self._hidden)
        )


async def gather(start: Name, finder: Finder) -> Found:
    """All events of the story of ``start``, in the order of time.

    First what is about it, then what shares its traces and its signal, or the orders in a trace.
    """
    first = await finder.find([start])
    further = leads(start, first.events)
    rest = Found([], first.how, complete=True)
    if further:
        rest = await finder.find(further, around=first.events)
    funds = {seen.fund for seen in first.events if seen.fund is not None}
    events = {seen.place: seen for seen in first.events}
    events |= {seen.place: seen for seen in rest.events if belongs(start, seen, funds)}
    ordered = sorted(events.values(), key=lambda seen: (seen.recorded.time_ns, seen.place))
    return Found(
        ordered[:MOST_EVENTS],
        first.how,
        first.complete and rest.complete,
        max(filter(None, (first.back_to, rest.back_to)), default=None),
        first.hidden | rest.hidden,
    )
