"""The whole story: the events, who has handled each, what is missing and why. Usable without a terminal."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from time import time_ns
from typing import Any

from mts1b_foundation.deadletters import DeadLetter
from mts1b_platform.eventbus import AccessDenied, EventBus
from mts1b_platform.eventbus.history.history import History

from mts1b_operations.history.seen import Decoders, Seen
from mts1b_operations.history.streams import known_streams
from mts1b_operations.lag import ConsumerLag, lags_of
from mts1b_operations.story.expected import Owed, owed
from mts1b_operations.story.explain import Missing, explain
from mts1b_operations.story.gather import AROUND, Finder, Found, gather
from mts1b_operations.story.names import Name
from mts1b_operations.story.readers import Reader, readers_of, services_of_durables
from mts1b_operations.story.usual import newest, streams_of, usual


@dataclass(slots=True)
class Story:
    """What happened to one order, in one trace, to one halt."""

    about: Name
    found: Found
    now_ns: int
    readers: dict[str, list[Reader]] | None = None
    """The durables that read each event, by its place; None when this identity may not ask for them."""
    missing: list[Missing] = field(default_factory=list[Missing])

    @property
    def events(self) -> list[Seen]:
        """The events, in the order of time."""
        return self.found.events

    def to_json(self) -> dict[str, Any]:
        """It as a JSON document."""
        return {
            self.about.kind: self.about.value,
            "events": [
                {
                    **seen.to_json(),
                    "readers": None
                    if self.readers is None
                    else [each.to_json() for each in self.readers.get(seen.place, ())],
                }
                for seen in self.events
            ],
            "missing": [each.to_json() for each in self.missing],
            "hidden": self.found.hidden,
            "searched": {
                "how": self.found.how,
                "complete": self.found.complete,
                "back_to": self.found.back_to,
                "related_within_seconds": AROUND if self.found.how == "search" else None,
            },
        }


Consumers = Callable[[EventBus, set[str]], Awaitable[list[ConsumerLag] | None]]
"""The consumers of some streams, with their lag; None when this identity may not ask."""


async def own_consumers(bus: EventBus, streams: set[str]) -> list[ConsumerLag] | None:
    """The consumers of some streams, asked from the server; None when this identity may not."""
    try:
        return None if bus.identity.has_token else await lags_of(bus, sorted(streams))
    except AccessDenied:
        return None


async def tell(
    bus: EventBus,
    about: Name,
    finder: Finder,
    decoders: Decoders,
    histories: Mapping[str, History],
    *,
    consumers: Consumers = own_consumers,
) -> Story:
    """The story of ``about``.

    Args:
        bus: the connection.
        about: the order, trace or halt.
        finder: what finds its events.
        decoders: what strict consumers make of a message.
        histories: the streams that this identity reads, by name.
        consumers: who reads some streams.

    Raises:
        BusError: the server does not answer.
    """
    found = await gather(about, finder)
    story = Story(about, found, time_ns())
    letters = [seen for seen in found.events if isinstance(seen.payload, DeadLetter)]
    lags = await consumers(bus, {seen.recorded.stream for seen in found.events})
    if lags is not None:
        services = services_of_durables()
        by_stream = {seen.recorded.stream: list[ConsumerLag]() for seen in found.events}
        for lag in lags:
            by_stream.setdefault(lag.stream, []).append(lag)
        dead = [seen.payload for seen in letters if isinstance(seen.payload, DeadLetter)]
        story.readers = {
            seen.place: readers_of(seen, by_stream[seen.recorded.stream], services, dead) for seen in found.events
        }
    measured = _Measured(bus, decoders, histories)
    for each in owed(found.events, decoders.registry.flows):
        readers = None if story.readers is None else story.readers[each.after.place]
        usually = await measured.usual(each)
        missing = explain(each, readers=readers, letters=letters, now_ns=story.now_ns, usual=usually)
        story.missing += [] if missing is None else [missing]
    return story


class _Measured:
    """What is measured once for all steps that are missing."""

    def __init__(self, bus: EventBus, decoders: Decoders, histories: Mapping[str, History]) -> None:
        self._bus = bus
        self._decoders = decoders
        self._histories = histories
        self._newest: dict[str, list[Seen]] = {}

    async def usual(self, each: Owed) -> float | None:
        events: list[Seen] = []
        for name in sorted(streams_of(each.step, await known_streams(self._bus)) & self._histories.keys()):
            if name not in self._newest:
                self._newest[name] = await newest([self._histories[name]], self._decoders)
            events += self._newest[name]
        return usual(each.step, events)
