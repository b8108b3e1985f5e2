"""The newest events of a tail, numbered, bounded in number and bytes. Pure."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from mts1b_operations.history.seen import Seen
from mts1b_platform.eventbus.protocol.message import RawMsg

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
        self._sizes: deque[int] = deque()
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

    def extend(self, events: Sequence[Seen]) -> range:
        """Keep some events; their numbers."""
        sizes = [len(subject) + len(head) + len(payload) for subject, _, head, payload in _messages(events)]
        self._events.extend(events)
        self._sizes.extend(sizes)
        self.bytes += sum(sizes)
        self.last += len(events)
        while len(self._events) > self._most or (self.bytes > self._most_bytes and len(self._events) > 1):
            self._events.popleft()
            self.bytes -= self._sizes.popleft()
        return range(self.last - len(events) + 1, self.last + 1)

    def get(self, number: int) -> Seen | None:
        """The event with this number; None when it has fallen off, or never came."""
        return self._events[number - self.first] if self.first <= number <= self.last else None

    def after(self, number: int) -> range:
        """The numbers of the events behind ``number`` that are kept, oldest first."""
        return range(max(number + 1, self.first), self.last + 1)


def _messages(events: Sequence[Seen]) -> Iterator[RawMsg]:
    return (seen.message for seen in events)
