"""What waits for a reader that is slower than the market: bounded, with a stated policy about what gives way.

Sans-io; a listener feeds it with what each read brought, and takes one message at a time, oldest first.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Protocol

from mts1b_platform.eventbus.protocol.message import RawMsg


class Backlog(Protocol):
    """At most so many messages."""

    def __len__(self) -> int: ...

    def put(self, batch: Sequence[RawMsg]) -> int:
        """Add messages in order of arrival; says how many gave way."""
        ...

    def take(self) -> RawMsg:
        """Remove the oldest.

        Raises:
            LookupError: nothing waits.
        """
        ...


class DropOldest:
    """The oldest gives way to the newest."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.queue: deque[RawMsg] = deque(maxlen=limit)
        """What waits."""
        self.take = self.queue.popleft

    def __len__(self) -> int:
        return len(self.queue)

    def put(self, batch: Sequence[RawMsg]) -> int:
        """See :class:`Backlog`."""
        over = len(self.queue) + len(batch) - self._limit
        self.queue.extend(batch)
        return max(0, over)


class Conflate:
    """Only the latest of each concrete subject waits; over the limit the subject that was silent longest gives way."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._latest: OrderedDict[bytes, RawMsg] = OrderedDict()

    def __len__(self) -> int:
        return len(self._latest)

    def put(self, batch: Sequence[RawMsg]) -> int:
        """See :class:`Backlog`."""
        latest, dropped = self._latest, 0
        for msg in batch:
            if latest.pop(msg[0], None) is not None:
                dropped += 1
            elif len(latest) >= self._limit:
                latest.popitem(last=False)
                dropped += 1
            latest[msg[0]] = msg
        return dropped

    def take(self) -> RawMsg:
        """See :class:`Backlog`."""
        return self._latest.popitem(last=False)[1]
