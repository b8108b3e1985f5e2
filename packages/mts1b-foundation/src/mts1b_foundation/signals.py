"""Signals: what research wants held, before anybody has checked whether the fund may."""

from enum import StrEnum
from typing import ClassVar

from mts1b_foundation.event import Event, Identifier, Price, SignedPrice, Symbol, UtcDatetime


class Direction(StrEnum):
    """The position that a strategy wants from now on."""

    LONG = "long"
    FLAT = "flat"
    SHORT = "short"

    @property
    def sign(self) -> int:
        """+1 long, 0 flat, -1 short."""
        return {Direction.LONG: 1, Direction.FLAT: 0, Direction.SHORT: -1}[self]


class Signal(Event):
    """A strategy's wish for one instrument, from ``as_of`` on, until its next one.

    ``fund_id`` addresses one fund; None addresses every fund that follows the strategy.
    """

    signal_id: Identifier
    strategy: Identifier
    fund_id: Identifier | None = None
    symbol: Symbol
    direction: Direction
    reference_price: Price
    """Price at which the strategy decided, in the quote currency per unit."""
    as_of: UtcDatetime
    """End of the data that the decision rests on."""


class SignalV2(Signal):
    """A wish at a price that may be zero or negative."""

    schema_version: ClassVar[int] = 2

    reference_price: SignedPrice
    """Price at which the strategy decided, in the quote currency per unit."""

    @classmethod
    def schema_name(cls) -> str:
        """That of the first version."""
        return Signal.schema_name()
