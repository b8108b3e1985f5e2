"""Which service reads what, and how each is made."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from mts1b_foundation.subjects import (
    BROKERS_FILLS_RAW,
    BROKERS_ORDERS_CANCELED,
    MARKETDATA_SESSIONS_CLOSED,
    OMS_FILLS_CREATED,
    OMS_HALT_OBEYED,
    OMS_ORDERS_ACCEPTED,
    OMS_ORDERS_CANCEL_REQUESTED,
    OMS_ORDERS_CANCELED,
    OMS_ORDERS_CREATED,
    OMS_ORDERS_FILLED,
    OMS_ORDERS_PARTIALLY_FILLED,
    OMS_ORDERS_REJECTED,
    OPERATIONS_HALT_CLEARED,
    OPERATIONS_HALT_REQUESTED,
    RESEARCH_SIGNALS_PUBLISHED,
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


_SESSIONS = Input("sessions", (MARKETDATA_SESSIONS_CLOSED,))

INPUTS: dict[str, tuple[Input, ...]] = {
    "research": (_SESSIONS,),
    "riskengine": (
        Input(
            "orders",
            (
                OMS_ORDERS_CREATED,
                OMS_ORDERS_ACCEPTED,
                OMS_ORDERS_REJECTED,
                OMS_ORDERS_PARTIALLY_FILLED,
                OMS_ORDERS_FILLED,
                OMS_ORDERS_CANCELED,
            ),
        ),
    ),
    "oms": (
        Input("halts", (OPERATIONS_HALT_REQUESTED, OPERATIONS_HALT_CLEARED), "all"),
        Input("gate", (RISK_GATE_PASSED, RISK_GATE_FAILED)),
        Input("brokers", (BROKERS_FILLS_RAW, BROKERS_ORDERS_CANCELED)),
        Input("signals", (RESEARCH_SIGNALS_PUBLISHED,)),
    ),
    "brokers": (Input("orders", (OMS_ORDERS_ACCEPTED, OMS_ORDERS_CANCEL_REQUESTED)), _SESSIONS),
    "treasury": (Input("fills", (OMS_FILLS_CREATED,)), _SESSIONS),
    "operations": (
        Input("halts", (OPERATIONS_HALT_REQUESTED, OPERATIONS_HALT_CLEARED, OMS_HALT_OBEYED), "all"),
        Input("gate", (RISK_GATE_FAILED,)),
    ),
}
"""What every service but marketdata consumes."""
