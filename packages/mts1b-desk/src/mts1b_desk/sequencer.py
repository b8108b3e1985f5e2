"""Puts a best-effort feed in order: its output is in sequence and complete, whatever the input misses."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Sequencer(Generic[T]):
    """Returns items in the order of their positions 1, 2, 3, …, and knows which are missing.

    Items that come early are held, at most ``limit`` of them: further ones are dropped, as they can be fetched later.
    Items that come again are ignored and counted.

    Args:
        position: where an item stands in its feed.
        taken: position of the last item that was handed on before.
        limit: most items held.
    """

    def __init__(self, position: Callable[[T], int], *, taken: int = 0, limit: int = 20_000) -> None:
        self.taken = taken
        """Position of the last item that was handed on."""
        self.repeated = 0
        """Items that came again."""
        self._position = position
        self._limit = limit
        self._held: dict[int, T] = {}
        self._lowest: int | None = None  # of the held ones: looking for it at every item would be slow
        self._total: int | None = None

    def offer(self, item: T) -> Sequence[T]:
        """The items that are next now that ``item`` is here; none when it is early or was here before."""
        at = self._position(item)
        if at != self.taken + 1:
            if at <= self.taken:
                self.repeated += 1
            elif len(self._held) < self._limit:
                self._held[at] = item
                self._lowest = at if self._lowest is None else min(self._lowest, at)
            return ()
        self.taken = at
        if not self._held:
            return (item,)
        ready = [item]
        while (following := self._held.pop(self.taken + 1, None)) is not None:
            self.taken += 1
            ready.append(following)
        if len(ready) > 1:
            self._lowest = min(self._held, default=None)
        return ready

    def expect(self, total: int) -> None:
        """The feed has ended: ``total`` is the position of its last item."""
        self._total = total

    @property
    def complete(self) -> bool:
        """Whether the feed has ended and everything was handed on."""
        return self._total is not None and self.taken >= self._total

    @property
    def missing(self) -> tuple[int, int] | None:
        """First and last position of the first gap; None while nothing is known to be missing."""
        if self._lowest is not None:
            return self.taken + 1, self._lowest - 1
        if self._total is not None and self.taken < self._total:
            return self.taken + 1, self._total
        return None
