"""After a crash: what was under way then comes again first, in order, before anything newer is handed out.

The server redelivers each message when its own ack wait is over, and hands out newer ones meanwhile. Where order
matters everything is therefore held back here until all that was under way has come again, then released by sequence.
Sans-io; a consumer feeds it.
"""

from typing import Generic, TypeVar

Item = TypeVar("Item")


class Barrier(Generic[Item]):
    """Holds items back until ``behind`` of those up to sequence ``up_to`` have come.

    Args:
        behind: how many messages were delivered and not acknowledged when the consumer started.
        up_to: sequence of the last message that had been delivered by then.
    """

    def __init__(self, behind: int, up_to: int) -> None:
        self._missing = behind
        self._up_to = up_to
        self._seen: set[int] = set()
        self._held: dict[int, Item] = {}

    @property
    def missing(self) -> int:
        """How many of those that were under way have not come yet."""
        return max(0, self._missing - len(self._seen))

    def came(self, seq: int) -> None:
        """The message ``seq`` has come, whatever becomes of it."""
        if seq <= self._up_to:
            self._seen.add(seq)

    def hold(self, seq: int, item: Item) -> None:
        """Keep ``item`` until the release; a later delivery of the same message replaces it."""
        self._held[seq] = item

    def release(self) -> list[Item]:
        """Everything held, in order of sequence; nothing is held afterwards."""
        items = [self._held[seq] for seq in sorted(self._held)]
        self._held.clear()
        return items
