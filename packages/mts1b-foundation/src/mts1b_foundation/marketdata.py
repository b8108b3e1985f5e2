"""Market data: quotes and bars.

Prices and sizes are float64 here and nowhere else: quotes are the hot path, and a double holds every price
that a market quotes to more digits than it prints. Whoever books money from a quote converts with
:func:`exact`, which gives back the digits the market printed.
"""

from decimal import Decimal
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from mts1b_foundation.event import Event, Identifier, Symbol, UtcDatetime

Interval = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*(ms|s|m|h|d)$")]
"""Length of a bar as people write it: ``500ms``, ``1s``, ``5m``, ``1h``, ``1d``."""

MarketFloat = Annotated[float, Field(gt=0)]
"""A positive finite price."""

SizeFloat = Annotated[float, Field(ge=0)]
"""A finite size, zero or more."""


class Quote(Event):
    """Best bid and offer of one instrument at one moment.

    Best effort: a reader that was away misses quotes. ``sequence`` counts one up per symbol and session, so that
    a reader notices what it missed.
    """

    symbol: Symbol
    bid: MarketFloat
    """In the quote currency per unit."""
    ask: MarketFloat
    """In the quote currency per unit; may equal the bid, and crosses it on some feeds."""
    bid_size: SizeFloat | None = None
    """Units offered to buy at the bid; None when the source does not say."""
    ask_size: SizeFloat | None = None
    """Units offered to sell at the ask; None when the source does not say."""
    timestamp: UtcDatetime
    """When the market showed it."""
    sequence: Annotated[int, Field(ge=1)]
    session: Identifier
    """The run of the source that ``sequence`` counts in."""
    source: Identifier
    """Where it comes from: a venue, ``replay:<file>`` or ``simulated``."""
    feed_sequence: Annotated[int, Field(ge=1)] | None = None
    """Counts one up over the quotes of all symbols of the session, for readers of the whole feed."""


class Bar(Event):
    """Open, high, low and close of the mid price over one interval, half open: ``start <= t < end``.

    Best effort, with a ``sequence`` like :class:`Quote`. Intervals without a quote have no bar.
    """

    symbol: Symbol
    interval: Interval
    start: UtcDatetime
    end: UtcDatetime
    open: MarketFloat
    high: MarketFloat
    low: MarketFloat
    close: MarketFloat
    volume: SizeFloat | None = None
    """Units traded; None when the source has no trades."""
    quotes: Annotated[int, Field(ge=1)]
    """How many quotes or trades the bar was made of."""
    sequence: Annotated[int, Field(ge=1)]
    session: Identifier
    source: Identifier
    feed_sequence: Annotated[int, Field(ge=1)] | None = None
    """Counts one up over the bars of all symbols of this interval in the session."""


class ClosingMark(Event):
    """The last quote of one instrument in a session, and how much was published of it."""

    symbol: Symbol
    bid: MarketFloat
    ask: MarketFloat
    timestamp: UtcDatetime
    quotes: Annotated[int, Field(ge=1)]
    """Number of quotes published for the symbol: the last ``Quote.sequence``."""
    bars: dict[Interval, Annotated[int, Field(ge=0)]] = Field(default_factory=dict[str, int])
    """Number of bars published for the symbol, by interval."""


class SessionClosed(Event):
    """The source has no more data. Durable, so that everybody learns of it and can tell what was missed."""

    session: Identifier
    source: Identifier
    marks: tuple[ClosingMark, ...]
    closed_at: UtcDatetime
    """Time of the last quote of the session."""


class SessionPrices(Event):
    """The prices of one instrument over a session that is over, sampled evenly: what its positions were worth when.

    Quotes are not stored. From these and the fills follows what a fund was worth at any time of the session.
    """

    session: Identifier
    source: Identifier
    symbol: Symbol
    start: UtcDatetime
    """Time of the first sample."""
    after_ms: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    """Milliseconds from ``start`` to each sample, ascending."""
    prices: Annotated[tuple[float, ...], Field(min_length=1)]
    """Middle of bid and ask at each, in the quote currency per unit; may be zero or negative."""


class QuoteV2(Quote):
    """Best bid and offer, which may be zero or negative."""

    schema_version: ClassVar[int] = 2

    bid: float
    """In the quote currency per unit; finite."""
    ask: float
    """In the quote currency per unit; may equal the bid, and crosses it on some feeds."""

    @classmethod
    def schema_name(cls) -> str:
        """That of the first version."""
        return Quote.schema_name()


class BarV2(Bar):
    """Open, high, low and close, which may be zero or negative."""

    schema_version: ClassVar[int] = 2

    open: float
    high: float
    low: float
    close: float

    @classmethod
    def schema_name(cls) -> str:
        """That of the first version."""
        return Bar.schema_name()


class ClosingMarkV2(ClosingMark):
    """The last quote of one instrument, which may be zero or negative."""

    bid: float
    ask: float


class SessionClosedV2(SessionClosed):
    """The source has no more data; closing marks may be zero or negative."""

    schema_version: ClassVar[int] = 2

    marks: tuple[ClosingMarkV2, ...]  # pyright: ignore[reportIncompatibleVariableOverride] - events are frozen

    @classmethod
    def schema_name(cls) -> str:
        """That of the first version."""
        return SessionClosed.schema_name()


def exact(value: float) -> Decimal:
    """The decimal number that the market printed: the shortest one that reads back as this double."""
    return Decimal(repr(value))
