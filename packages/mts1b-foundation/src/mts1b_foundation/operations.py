"""Operations: stopping a fund or the whole desk, and letting it go on."""

from typing import Annotated

from pydantic import Field

from mts1b_foundation.event import Event, Identifier, Text, UtcDatetime


class HaltRequest(Event):
    """Stop trading: no new order is accepted and working orders are canceled, until it is cleared.

    ``fund_id`` None halts every fund.
    """

    halt_id: Identifier
    fund_id: Identifier | None = None
    reason: Text
    actor: Identifier
    requested_at: UtcDatetime


class HaltClearance(Event):
    """Trading may go on: the end of the halt ``halt_id``."""

    halt_id: Identifier
    fund_id: Identifier | None = None
    reason: Text
    actor: Identifier
    cleared_at: UtcDatetime


class HaltObedience(Event):
    """A service has stopped because of the halt ``halt_id``: how many orders it withdrew, and when."""

    halt_id: Identifier
    service: Identifier
    canceled_orders: Annotated[int, Field(ge=0)] = 0
    obeyed_at: UtcDatetime
