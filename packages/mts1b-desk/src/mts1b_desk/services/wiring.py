"""Which service reads what, and how each is made."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from mts1b_foundation.subjects import (
    BROKERS_FILLS_RAW_V2,
    BROKERS_ORDERS_CANCELED,
    BROKERS_ORDERS_REJECTED,
    MARKETDATA_SESSIONS_CLOSED_V2,
    OMS_FILLS_CREATED_V2,
    OMS_HALT_OBEYED,
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

from mts1b_desk.cores.broker import Broker
from mts1b_desk.cores.core import Core
from mts1b_desk.cores.oms import Oms
from mts1b_desk.cores.operations import Operations
from mts1b_desk.cores.research import Research
from mts1b_desk.cores.risk import Risk
from mts1b_desk.cores.treasury import Treasury
from mts1b_desk.settings import DeskSettings

CORES: dict[str, Callable[[DeskSettings], Core]] = {
    core.service: core for core in (Research, Risk, Oms, Broker, Treasury, Operations)
}


@dataclass(frozen=True, slots=True)
class Input:
    """Durable subjects of one stream, read in the stream's order."""

    name: str
    subjects: tuple[DurableSubject[Any], ...]
    deliver: Literal["new", "all"] = "new"
    """``all`` for what was decided before the session and still holds: halts."""


_SESSIONS = Input("sessions", (MARKETDATA_SESSIONS_CLOSED_V2,))

INPUTS: dict[str, tuple[Input, ...]] = {
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
    "operations": (
        Input("halts", (OPERATIONS_HALT_REQUESTED, OPERATIONS_HALT_CLEARED, OMS_HALT_OBEYED), "all"),
        Input("gate", (RISK_GATE_FAILED,)),
    ),
}
"""What every service but marketdata consumes."""
