"""Operations: stopping a fund or the whole desk and letting it go on; alerts; probes of the bus."""

from enum import StrEnum
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


class AlertSeverity(StrEnum):
    """How soon somebody has to look."""

    WARNING = "warning"
    CRITICAL = "critical"


class Alert(Event):
    """Something that the monitor watches is beyond its threshold, or is back within it (``cleared_at`` is set).

    ``alert_id`` stays the same from the first raise to the clear; a change of severity is raised again.
    """

    alert_id: Identifier
    name: Identifier
    """What kind of trouble: ``slow_consumer``, ``dead_letters``, ``stream_missing`` …"""
    target: Text
    """What it is about: a consumer, a stream, a file."""
    severity: AlertSeverity
    value: float
    """What was measured, in ``unit``."""
    threshold: float
    """What it is compared with, in ``unit``."""
    unit: Annotated[str, Field(max_length=40)]
    summary: Text
    raised_at: UtcDatetime
    cleared_at: UtcDatetime | None = None


class AlertAcknowledgement(Event):
    """Somebody looks after the alert ``alert_id``: it need not be told again.

    It holds until the alert is over, or raised again with another severity.
    """

    acknowledgement_id: Identifier
    alert_id: Identifier
    actor: Identifier
    note: Annotated[str, Field(max_length=2000)] = ""
    """What is known or being done."""
    acknowledged_at: UtcDatetime


class Probe(Event):
    """A message that the monitor has stored to see that storing works, end to end."""

    probe_id: Identifier
    sent_at: UtcDatetime
