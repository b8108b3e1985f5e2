"""One item of a key under way at a time, the others of the key wait behind it in order: a pure data structure."""

from collections import deque
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class KeyQueues(Generic[Item]):
    """Which items may go now, and which wait for an earlier one of their key.

    Cost and memory grow with the keys under way and the items that wait, not with the keys ever seen.
    """

    def __init__(self) -> None:
        self._queues: dict[Hashable, deque[Item]] = {}
        self._waiting = 0

    def __len__(self) -> int:
        """How many items wait."""
        return self._waiting

    def __iter__(self) -> Iterator[Item]:
        """The items that wait, key by key."""
        for queue in self._queues.values():
            yield from queue

    def enter(self, key: Hashable, item: Item) -> bool:
        """Whether ``item`` may go now; otherwise it waits, and :meth:`leave` hands it out when its turn has come."""
        queue = self._queues.get(key)
        if queue is None:
            self._queues[key] = deque()
            return True
        queue.append(item)
        self._waiting += 1
        return False

    def leave(self, key: Hashable) -> Item | None:
        """The item under way is done: the next of its key, which is under way from now on; None when none waits."""
        queue = self._queues[key]
        if queue:
            self._waiting -= 1
            return queue.popleft()
        del self._queues[key]
        return None

    def behind(self, key: Hashable) -> Iterator[Item]:
        """The items that wait for the one under way of ``key``, oldest first."""
        return iter(self._queues.get(key, ()))

    def drop(self) -> list[Item]:
        """Forget what waits, and return it; what is under way stays."""
        waiting = list(self)
        for queue in self._queues.values():
            queue.clear()
        self._waiting = 0
        return waiting

    def clear(self) -> list[Item]:
        """Forget everything; returns what waited."""
        waiting = list(self)
        self._queues.clear()
        self._waiting = 0
        return waiting
