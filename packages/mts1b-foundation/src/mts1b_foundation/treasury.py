"""Treasury: what a fund owns and what it is worth."""

from typing import Annotated, ClassVar

from pydantic import Field

from mts1b_foundation.event import Event, Identifier, Money, NonNegative, Price, SignedPrice, Symbol, UtcDatetime


class Position(Event):
    """One holding: signed quantity in units, mark price per unit and value in the fund's currency."""

    symbol: Symbol
    quantity: Money
    """Signed units of the instrument."""
    mark: Price
    value: Money
    """``quantity * mark``, exact."""


class NavSnapshot(Event):
    """Net asset value of one fund: ``nav == cash + sum of position values``, exact, in its currency."""

    fund_id: Identifier
    sequence: Annotated[int, Field(ge=1)]
    """Counts one up per fund."""
    cash: Money
    positions: tuple[Position, ...]
    """Sorted by symbol; holdings of zero are left out."""
    nav: Money
    realised_pnl: Money
    unrealised_pnl: Money
    fees: NonNegative
    """Sum of all fees paid, already inside cash."""
    fills: Annotated[int, Field(ge=0)]
    """Number of fills booked so far."""
    final: bool = False
    """True for the snapshot at the closing marks of a session, after its last fill."""
    as_of: UtcDatetime


class PositionV2(Position):
    """One holding at a mark that may be zero or negative."""

    mark: SignedPrice


class NavSnapshotV2(NavSnapshot):
    """Net asset value of one fund, at marks that may be zero or negative."""

    schema_version: ClassVar[int] = 2

    positions: tuple[PositionV2, ...]  # pyright: ignore[reportIncompatibleVariableOverride] - events are frozen
    """Sorted by symbol; holdings of zero are left out."""
    fees: Money
    """Sum of all fees paid less rebates, already inside cash."""

    @classmethod
    def schema_name(cls) -> str:
        """That of the first version."""
        return NavSnapshot.schema_name()
