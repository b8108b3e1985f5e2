"""What the order management keeps: orders that are not final, queues and results of funds, halts in force."""

from decimal import Decimal
from typing import Literal

from mts1b_foundation.fills import BrokerCancel
from mts1b_foundation.operations import HaltRequest
from mts1b_foundation.orders import OrderV2
from mts1b_foundation.signals import SignalV2
from pydantic import BaseModel, ConfigDict

_ZERO = Decimal(0)


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True)


class OpenOrder(_Row):
    """An order that is not final, and what has arrived for it."""

    order: OrderV2
    executions: tuple[str, ...] = ()
    """Execution ids that are booked."""
    withdrawn: BrokerCancel | None = None
    """The broker's cancel, while fills that it counts are still on their way."""
    halt_id: str | None = None
    """The halt that asked for the order to be withdrawn."""
    reversal: SignalV2 | None = None
    """The signal of the order, when it turns the position."""


class Part(_Row):
    """A part of a reversal that was refused as a whole."""

    signal: SignalV2
    name: Literal["flat", "rest"]
    """``flat`` closes the position; ``rest`` follows when it is closed."""


class FundState(_Row):
    """One fund's queue and results."""

    queue: tuple[SignalV2, ...] = ()
    parts: tuple[Part, ...] = ()
    """What goes out before the queue."""
    working: str | None = None
    """The one order that is not final."""
    finished: dict[str, int] = {}
    """Final orders by status."""
    rejections: dict[str, int] = {}
    """Rejected orders by the rule that they broke."""
    passed_over: dict[str, int] = {}
    """Signals that no order could be made of, by why."""
    fills: int = 0
    cash_change: Decimal = _ZERO
    """Sum over all fills, fees included, in the fund's currency."""
    positions: dict[str, Decimal] = {}


class ActiveHalt(_Row):
    """A halt in force, and what it still waits for."""

    request: HaltRequest
    withdrawing: frozenset[str] = frozenset()
    canceled: int = 0
