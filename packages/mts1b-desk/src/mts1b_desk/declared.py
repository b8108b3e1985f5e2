"""What every service of the desk reads, and the durables that a bus with identities has for it.

Where services may create no durables there is one fixed set, made by the installation from :data:`CONSUMERS`. Each
session finds it where the one before left off (``services/beginning.py``). Elsewhere every session makes its own.

Declarations alone: every check and every tool loads them.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

from mts1b_foundation.subjects import (
    BROKERS_FILLS_RAW_V2,
    BROKERS_ORDERS_CANCELED,
    BROKERS_ORDERS_REJECTED,
    MARKETDATA_SESSIONS_CLOSED_V2,
    OMS_FILLS_CREATED_V2,
    OMS_ORDERS_ACCEPTED_V2,
    OMS_ORDERS_CANCEL_REQUESTED_V2,
    OMS_ORDERS_CANCELED_V2,
    OMS_ORDERS_CREATED_V2,
    OMS_ORDERS_FILLED_V2,
    OMS_ORDERS_PARTIALLY_FILLED_V2,
    OMS_ORDERS_REJECTED_V2,
    OPERATIONS_HALT_CLEARED,
    OPERATIONS_HALT_REQUESTED,
    RESEARCH_SIGNALS_PUBLISHED_V2,
    RISK_GATE_FAILED,
    RISK_GATE_PASSED,
    DurableSubject,
)
from mts1b_platform.eventbus.consumers import reads

ACK_WAIT: Final = 2.0
"""Seconds until the events of a crashed service are redelivered."""
TAKEOVER: Final = 2.0
"""Seconds from the last sign of life of one instance of a service until another takes over."""


@dataclass(frozen=True, slots=True)
class Input:
    """Durable subjects of one stream, read in the stream's order."""

    name: str
    subjects: tuple[DurableSubject[Any], ...]
    deliver: Literal["new", "all"] = "new"
    """``all`` for what was decided before the session and still holds: halts."""

    def durable(self, service: str, session: str | None) -> str:
        """The name on the server of the durable with which ``service`` reads it; without a session the declared one."""
        return "-".join(part for part in ("desk", session, service, self.name) if part)


_SESSIONS: Final = Input("sessions", (MARKETDATA_SESSIONS_CLOSED_V2,))

INPUTS: Final[dict[str, tuple[Input, ...]]] = {
    "research": (_SESSIONS,),
    "riskengine": (
        Input(
            "orders",
            (
                OMS_ORDERS_CREATED_V2,
                OMS_ORDERS_ACCEPTED_V2,
                OMS_ORDERS_REJECTED_V2,
                OMS_ORDERS_PARTIALLY_FILLED_V2,
                OMS_ORDERS_FILLED_V2,
                OMS_ORDERS_CANCELED_V2,
            ),
        ),
    ),
    "oms": (
        Input("halts", (OPERATIONS_HALT_REQUESTED, OPERATIONS_HALT_CLEARED), "all"),
        Input("gate", (RISK_GATE_PASSED, RISK_GATE_FAILED)),
        Input("brokers", (BROKERS_FILLS_RAW_V2, BROKERS_ORDERS_CANCELED, BROKERS_ORDERS_REJECTED)),
        Input("signals", (RESEARCH_SIGNALS_PUBLISHED_V2,)),
    ),
    "brokers": (Input("orders", (OMS_ORDERS_ACCEPTED_V2, OMS_ORDERS_CANCEL_REQUESTED_V2)), _SESSIONS),
    "treasury": (Input("fills", (OMS_FILLS_CREATED_V2,)), _SESSIONS),
    "operations": (Input("gate", (RISK_GATE_FAILED,)),),
}
"""What every service but marketdata consumes. None reads what it publishes itself: no bus with identities grants it."""

CONSUMERS: Final = tuple(
    reads(
        f"mts1b-{service}",
        wanted.durable(service, None),
        *wanted.subjects,
        ack_wait=ACK_WAIT,
        instances="standby",
        takeover=TAKEOVER,
    )
    for service, inputs in INPUTS.items()
    for wanted in inputs
)
"""The desk's durables (entry point ``mts1b.consumers``); without standbys the only instance has them."""
