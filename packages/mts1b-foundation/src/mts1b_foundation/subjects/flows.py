"""What should come after what, by whom, and how soon: the flows of events, declared beside the subjects.

A flow is steps, each of which says what an event of one subject, in whatever version, leads to. Tools that show what
happened to an order read here what did not happen yet, and who owes it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from mts1b_foundation.event import Event
from mts1b_foundation.orders import Order, TimeInForce
from mts1b_foundation.subjects.declarations import (
    BROKERS_FILLS_RAW,
    BROKERS_ORDERS_CANCELED,
    BROKERS_ORDERS_REJECTED,
    OMS_FILLS_CREATED,
    OMS_HALT_OBEYED,
    OMS_ORDERS_ACCEPTED,
    OMS_ORDERS_CANCEL_REQUESTED,
    OMS_ORDERS_CANCELED,
    OMS_ORDERS_CREATED,
    OMS_ORDERS_FILLED,
    OMS_ORDERS_PARTIALLY_FILLED,
    OMS_ORDERS_REJECTED,
    OPERATIONS_HALT_REQUESTED,
    RESEARCH_SIGNALS_PUBLISHED,
    RISK_GATE_FAILED,
    RISK_GATE_PASSED,
    TREASURY_NAV,
)
from mts1b_foundation.subjects.subject import DurableSubject, Subject

TRACE: Final = "trace_id"
"""As a tie: the two events belong to one trace."""


def always(_event: Event) -> bool:
    """The step must follow whatever the event says."""
    return True


def never(_event: Event) -> bool:
    """The step may follow, and may rightly not."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What an event leads to.

    Attributes:
        after: the event.
        expects: what comes after it; one of these settles the step.
        by: the repo that owes it.
        words: what is waited for, for people: "a fill or a cancel".
        tie: the name that both have in common, of :attr:`Subject.names`, or :data:`TRACE`.
        within: seconds after which somebody should look, unless it is known how long it usually takes.
        certain: whether it must follow this very event. Where it may rightly not (a signal that changes no position, an
            order that rests in the book), it is owed only until the one who owes it has handled the event.
    """

    after: DurableSubject[Any]
    expects: tuple[DurableSubject[Any], ...]
    by: str
    words: str
    tie: str = "order_id"
    within: float = 1.0
    certain: Callable[[Any], bool] = always

    def begins(self, subject: Subject[Any] | None) -> bool:
        """Whether an event of ``subject`` is what it begins with, whatever the version of its payload."""
        return subject is not None and subject.is_a(self.after)

    def ends(self, subject: Subject[Any] | None) -> bool:
        """Whether an event of ``subject`` settles it, whatever the version of its payload."""
        return subject is not None and subject.is_a(*self.expects)


_ENDS: Final = (OMS_ORDERS_REJECTED, OMS_ORDERS_FILLED, OMS_ORDERS_CANCELED)
"""What ends an order, and with it every wait for anything else about it."""


def _rests_not(order: Order) -> bool:
    return order.time_in_force is TimeInForce.IOC


FLOWS: Final[tuple[Step, ...]] = (
    Step(
        after=RESEARCH_SIGNALS_PUBLISHED,
        expects=(OMS_ORDERS_CREATED,),
        by="mts1b-oms",
        words="an order, unless the position is held already",
        tie="signal_id",
        certain=never,
    ),
    Step(
        after=OMS_ORDERS_CREATED,
        expects=(RISK_GATE_PASSED, RISK_GATE_FAILED, OMS_ORDERS_ACCEPTED, *_ENDS),
        by="mts1b-riskengine",
        words="the gate's yes or no",
    ),
    Step(
        after=RISK_GATE_PASSED,
        expects=(OMS_ORDERS_ACCEPTED, *_ENDS),
        by="mts1b-oms",
        words="its acceptance",
    ),
    Step(after=RISK_GATE_FAILED, expects=_ENDS, by="mts1b-oms", words="its rejection"),
    Step(
        after=OMS_ORDERS_ACCEPTED,
        expects=(BROKERS_FILLS_RAW, BROKERS_ORDERS_CANCELED, BROKERS_ORDERS_REJECTED, *_ENDS),
        by="mts1b-brokers",
        words="a fill or a cancel",
        within=5.0,
        certain=_rests_not,
    ),
    Step(
        after=OMS_ORDERS_PARTIALLY_FILLED,
        expects=(BROKERS_FILLS_RAW, BROKERS_ORDERS_CANCELED, *_ENDS),
        by="mts1b-brokers",
        words="a further fill, or the cancel of the rest",
        within=5.0,
        certain=_rests_not,
    ),
    Step(
        after=OMS_ORDERS_CANCEL_REQUESTED,
        expects=(BROKERS_ORDERS_CANCELED, *_ENDS),
        by="mts1b-brokers",
        words="a cancel, or a fill that was faster",
        within=5.0,
    ),
    Step(
        after=BROKERS_FILLS_RAW,
        expects=(OMS_FILLS_CREATED,),
        by="mts1b-oms",
        words="the booking of the execution",
        tie="execution_id",
    ),
    Step(
        after=OMS_FILLS_CREATED,
        expects=(OMS_ORDERS_PARTIALLY_FILLED, *_ENDS),
        by="mts1b-oms",
        words="the order's next step",
    ),
    Step(
        after=OMS_FILLS_CREATED,
        expects=(TREASURY_NAV,),
        by="mts1b-treasury",
        words="the fund's net asset value",
        tie=TRACE,
        certain=never,
    ),
    Step(
        after=BROKERS_ORDERS_CANCELED,
        expects=_ENDS,
        by="mts1b-oms",
        words="the order's cancel",
    ),
    Step(
        after=BROKERS_ORDERS_REJECTED,
        expects=_ENDS,
        by="mts1b-oms",
        words="the order's rejection",
    ),
    Step(
        after=OPERATIONS_HALT_REQUESTED,
        expects=(OMS_HALT_OBEYED,),
        by="mts1b-oms",
        words="that the order management obeys",
        tie="halt_id",
        within=2.0,
    ),
)
"""The flows of MTS1B itself."""
