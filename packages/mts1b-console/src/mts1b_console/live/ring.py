"""The newest events of a tail, numbered, bounded in number and bytes. Pure."""

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Final

from mts1b_operations.history.seen import Seen

MOST: Final = 2_000
"""Events that are kept."""
MOST_BYTES: Final = 8 * 1024 * 1024
"""Bytes of their messages that are kept; the newest event is kept whatever its size."""


class Ring:
    """The newest events; each has the number under which it came, counted from 1.

    Args:
        most: events that are kept.
        most_bytes: bytes that are kept.
    """

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._events: deque[Seen] = deque()
        self.bytes = 0
        """Bytes of the messages that are kept."""
        self.last = 0
        """The number of the newest event; 0 before the first."""

    def __len__(self) -> int:
        return len(self._events)

    @property
    def first(self) -> int:
        """The number of the oldest event that is kept; above :attr:`last` when there is none."""
        return self.last - len(self._events) + 1

    def add(self, seen: Seen) -> int:
        """Keep an event; its number."""
        self._events.append(seen)
        self.bytes += _size(seen)
        self.last += 1
        while len(self._events) > self._most or (self.bytes > self._most_bytes and len(self._events) > 1):
            self.bytes -= _size(self._events.popleft())
        return self.last

    def get(self, number: int) -> Seen | None:
        """The event with this number; None when it has fallen off, or never came."""
        return self._events[number - self.first] if self.first <= number <= self.last else None

    def after(self, number: int) -> Iterator[tuple[int, Seen]]:
        """The events behind ``number`` that are kept, oldest first, with their numbers."""
        start = max(number + 1, self.first)
        return zip(range(start, self.last + 1), islice(self._events, start - self.first, None), strict=True)


def _size(seen: Seen) -> int:
    wire = seen.recorded.wire
    return len(wire.subject) + len(wire.head) + len(wire.payload)
