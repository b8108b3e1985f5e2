"""What changes for an instance among several: it is handed events from now on, or no more."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from weakref import WeakSet


@dataclass(frozen=True, slots=True)
class Active:
    """This instance is handed events."""

    term: int = 0
    """The number of its time in office, greater than any before; 0 for a reader that has no others beside it."""


@dataclass(frozen=True, slots=True)
class Standby:
    """Another instance is handed events, or none is needed yet; this one takes over when that ends."""

    why: str
    """What ended its own time, or that it has just begun."""


@dataclass(frozen=True, slots=True)
class Taken:
    """This instance reads these keys as well; it is handed the events of each as soon as nobody else is at it."""

    keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class Given:
    """This instance reads these keys no more."""

    keys: frozenset[str]


Change = Active | Standby | Taken | Given


class Changes:
    """Tells whoever asks of the present state and of each change."""

    def __init__(self, now: Change | None = None) -> None:
        self.now: Change = now or Standby("it has just begun")
        self._told: WeakSet[asyncio.Queue[Change | None]] = WeakSet()
        self._ended = False

    def announce(self, change: Change, *, now: Change | None = None) -> None:
        """It is so from now on; ``now`` is the whole state where ``change`` is a part of it."""
        self.now = now or change
        for queue in self._told:
            queue.put_nowait(change)

    def end(self) -> None:
        """Nothing changes any more."""
        self._ended = True
        for queue in self._told:
            queue.put_nowait(None)

    async def follow(self) -> AsyncIterator[Change]:
        """The present state, then every change, none left out, until :meth:`end`."""
        queue: asyncio.Queue[Change | None] = asyncio.Queue()
        queue.put_nowait(self.now)
        if self._ended:
            queue.put_nowait(None)
        self._told.add(queue)
        while (change := await queue.get()) is not None:
            yield change
