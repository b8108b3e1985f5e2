"""The recent quotes of a symbol, for orders that arrive later than the quotes that they trade with."""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from operator import attrgetter

from mts1b_foundation.marketdata import QuoteV2

_time_of = attrgetter("timestamp")


class Tape:
    """The last ``size`` quotes of one symbol.

    Args:
        size: how many are kept.
        whole: whether it begins with the first quote of the session.
    """

    __slots__ = ("quotes", "whole")

    def __init__(self, size: int, *, whole: bool) -> None:
        self.quotes: deque[QuoteV2] = deque(maxlen=size)
        self.whole = whole

    def add(self, quote: QuoteV2) -> None:
        """The next quote of the symbol."""
        if len(self.quotes) == self.quotes.maxlen:
            self.whole = False
        self.quotes.append(quote)

    def covers(self, since: datetime) -> bool:
        """Whether no quote at or after ``since`` was forgotten."""
        return self.whole or (bool(self.quotes) and self.quotes[0].timestamp < since)

    def since(self, due: datetime, after: int) -> Iterator[QuoteV2]:
        """Quotes at or after ``due`` and behind ``after`` in the feed, oldest first; read before the next is added."""
        first = bisect_left(self.quotes, due, key=_time_of)
        first = max(first, bisect_right(self.quotes, after, key=feed_position))
        return map(self.quotes.__getitem__, range(first, len(self.quotes)))


def feed_position(item: QuoteV2) -> int:
    """Where ``item`` stands among the quotes of all symbols."""
    return item.feed_sequence or item.sequence
