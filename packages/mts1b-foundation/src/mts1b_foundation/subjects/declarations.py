"""The declarations: every subject of MTS1B, its owner, payload, guarantee and message id.

Adding one is a pull request against this file; ``subjects.md`` is rendered from it.

Events of one stream share one space of message ids, so the keys differ by event: the creation of an order is
named by its idempotency key alone, as producers outside this project do it, its later steps by key and step.
"""

from typing import Any

from mts1b_foundation.deadletters import DeadLetter, DeadLetterNote
from mts1b_foundation.fills import BrokerCancel, BrokerFill, BrokerRejection, Fill
from mts1b_foundation.marketdata import Bar, Quote, SessionClosed, SessionPrices
from mts1b_foundation.operations import (
    Alert,
    AlertAcknowledgement,
    HaltClearance,
    HaltObedience,
    HaltRequest,
    Probe,
)
from mts1b_foundation.orders import Order
from mts1b_foundation.risk import OrderApproval, OrderRejection, RiskEnvelope
from mts1b_foundation.signals import Signal
from mts1b_foundation.subjects.deadletters import deadletter_subject
from mts1b_foundation.subjects.grants import Grant
from mts1b_foundation.subjects.subject import DurableSubject, Subject, Tier
from mts1b_foundation.treasury import NavSnapshot

PRODUCERS = {
    "mts1b-brokers": "brokers",
    "mts1b-marketdata": "marketdata",
    "mts1b-oms": "oms",
    "mts1b-operations": "operations",
    "mts1b-research": "research",
    "mts1b-riskengine": "risk",
    "mts1b-treasury": "treasury",
}
"""The repos that publish, and the subject token that each of them owns."""

GRANTS = [Grant(by="mts1b-brokers", to="mts1b-broker-ib", pattern="mts.*.brokers.ib.>")]
"""What they hand on: the adapter of Interactive Brokers is a repo of its own."""

OMS_ORDERS_CREATED = DurableSubject(
    "mts.v1.oms.orders.created",
    producer="mts1b-oms",
    payload=Order,
    tier=Tier.DEDUPE,
    description="An order intent was recorded; risk decides next.",
    dedupe_key="{idempotency_key}",
)
OMS_ORDERS_ACCEPTED = DurableSubject(
    "mts.v1.oms.orders.accepted",
    producer="mts1b-oms",
    payload=Order,
    tier=Tier.DEDUPE,
    description="Risk let the order through; its broker works it.",
    dedupe_key="{idempotency_key}:accepted",
)
OMS_ORDERS_REJECTED = DurableSubject(
    "mts.v1.oms.orders.rejected",
    producer="mts1b-oms",
    payload=Order,
    tier=Tier.AT_LEAST_ONCE,
    description="The order was refused; rejected_reason says why.",
    dedupe_key="{idempotency_key}:rejected",
)
OMS_ORDERS_PARTIALLY_FILLED = DurableSubject(
    "mts.v1.oms.orders.partially_filled",
    producer="mts1b-oms",
    payload=Order,
    tier=Tier.AT_LEAST_ONCE,
    description="A part of the order was filled; the rest works on.",
    dedupe_key="{idempotency_key}:filled:{filled_quantity}",
)
OMS_ORDERS_FILLED = DurableSubject(
    "mts.v1.oms.orders.filled",
    producer="mts1b-oms",
    payload=Order,
    tier=Tier.AT_LEAST_ONCE,
    description="The whole quantity was filled.",
    dedupe_key="{idempotency_key}:filled",
)
OMS_ORDERS_CANCELED = DurableSubject(
    "mts.v1.oms.orders.canceled",
    producer="mts1b-oms",
    payload=Order,
    tier=Tier.AT_LEAST_ONCE,
    description="The remaining quantity was withdrawn; canceled_reason says why.",
    dedupe_key="{idempotency_key}:canceled",
)
OMS_ORDERS_CANCEL_REQUESTED = DurableSubject(
    "mts.v1.oms.orders.cancel_requested",
    producer="mts1b-oms",
    payload=Order,
    tier=Tier.AT_LEAST_ONCE,
    description="A working order shall be withdrawn; its broker answers with a cancel, or with a fill that was faster.",
    dedupe_key="{idempotency_key}:cancel_requested",
)
OMS_FILLS_CREATED = DurableSubject(
    "mts.v1.oms.fills.created",
    producer="mts1b-oms",
    payload=Fill,
    tier=Tier.AT_LEAST_ONCE,
    description="An execution was booked; positions and cash follow from these alone.",
    dedupe_key="{fill_id}",
)
BROKERS_FILLS_RAW = DurableSubject(
    "mts.v1.brokers.{broker}.fills.raw",
    producer="mts1b-brokers",
    payload=BrokerFill,
    tier=Tier.AT_LEAST_ONCE,
    description="An execution as the broker reported it.",
    dedupe_key="{broker}:{execution_id}",
    correlates={"order_id": "client_order_id"},
)
BROKERS_ORDERS_CANCELED = DurableSubject(
    "mts.v1.brokers.{broker}.orders.canceled",
    producer="mts1b-brokers",
    payload=BrokerCancel,
    tier=Tier.AT_LEAST_ONCE,
    description="The broker withdrew what was left of an order.",
    dedupe_key="{broker}:{broker_order_id}:canceled",
    correlates={"order_id": "client_order_id"},
)
BROKERS_ORDERS_REJECTED = DurableSubject(
    "mts.v1.brokers.{broker}.orders.rejected",
    producer="mts1b-brokers",
    payload=BrokerRejection,
    tier=Tier.AT_LEAST_ONCE,
    description="The broker refused an order that risk had let through; nothing of it was executed.",
    dedupe_key="{broker}:{client_order_id}:rejected",
    correlates={"order_id": "client_order_id"},
)
MARKETDATA_QUOTES = Subject(
    "mts.v1.marketdata.quotes.{symbol}",
    producer="mts1b-marketdata",
    payload=Quote,
    tier=Tier.BEST_EFFORT,
    description="Best bid and offer.",
)
MARKETDATA_BARS = Subject(
    "mts.v1.marketdata.bars.{symbol}.{interval}",
    producer="mts1b-marketdata",
    payload=Bar,
    tier=Tier.BEST_EFFORT,
    description="Open, high, low, close over one interval.",
)
MARKETDATA_SESSIONS_CLOSED = DurableSubject(
    "mts.v1.marketdata.sessions.closed",
    producer="mts1b-marketdata",
    payload=SessionClosed,
    tier=Tier.AT_LEAST_ONCE,
    description="The source has no more data; closing marks and how much was published.",
    dedupe_key="{session}:closed",
)
MARKETDATA_SESSIONS_SAMPLED = DurableSubject(
    "mts.v1.marketdata.sessions.sampled",
    producer="mts1b-marketdata",
    payload=SessionPrices,
    tier=Tier.AT_LEAST_ONCE,
    description="The prices of one symbol over a session, sampled, when the source has no more data.",
    dedupe_key="{session}:sampled:{symbol}",
)
RESEARCH_SIGNALS_PUBLISHED = DurableSubject(
    "mts.v1.research.signals.published",
    producer="mts1b-research",
    payload=Signal,
    tier=Tier.AT_LEAST_ONCE,
    description="A strategy's wish for one instrument.",
    dedupe_key="{signal_id}",
)
RISK_ENVELOPE_UPDATED = DurableSubject(
    "mts.v1.risk.envelope.updated",
    producer="mts1b-riskengine",
    payload=RiskEnvelope,
    tier=Tier.AT_LEAST_ONCE,
    description="The limits in force for a fund.",
    dedupe_key="{fund_id}:{version}:{effective_at}",
)
RISK_GATE_PASSED = DurableSubject(
    "mts.v1.risk.gate.passed",
    producer="mts1b-riskengine",
    payload=OrderApproval,
    tier=Tier.AT_LEAST_ONCE,
    description="The gate let an order through.",
    dedupe_key="{order_id}:gate",
)
RISK_GATE_FAILED = DurableSubject(
    "mts.v1.risk.gate.failed",
    producer="mts1b-riskengine",
    payload=OrderRejection,
    tier=Tier.AT_LEAST_ONCE,
    description="The gate refused an order: rule, limit and observed value.",
    dedupe_key="{order_id}:gate",
)
TREASURY_NAV = DurableSubject(
    "mts.v1.treasury.nav.{fund_id}",
    producer="mts1b-treasury",
    payload=NavSnapshot,
    tier=Tier.AT_LEAST_ONCE,
    description="Net asset value of a fund.",
    dedupe_key="{fund_id}:{sequence}:{as_of}:{final}",
)
OPERATIONS_HALT_REQUESTED = DurableSubject(
    "mts.v1.operations.halt.requested",
    producer="mts1b-operations",
    payload=HaltRequest,
    tier=Tier.AT_LEAST_ONCE,
    description="Stop trading, one fund or all.",
    dedupe_key="{halt_id}",
)
OPERATIONS_HALT_CLEARED = DurableSubject(
    "mts.v1.operations.halt.cleared",
    producer="mts1b-operations",
    payload=HaltClearance,
    tier=Tier.AT_LEAST_ONCE,
    description="Trading may go on.",
    dedupe_key="{halt_id}:cleared",
)
OPERATIONS_ALERTS_RAISED = DurableSubject(
    "mts.v1.operations.alerts.raised",
    producer="mts1b-operations",
    payload=Alert,
    tier=Tier.AT_LEAST_ONCE,
    description="Something watched is beyond its threshold, or worse than before.",
    dedupe_key="{alert_id}:{severity}",
)
OPERATIONS_ALERTS_CLEARED = DurableSubject(
    "mts.v1.operations.alerts.cleared",
    producer="mts1b-operations",
    payload=Alert,
    tier=Tier.AT_LEAST_ONCE,
    description="What an alert was raised for is over.",
    dedupe_key="{alert_id}:cleared",
)
OPERATIONS_ALERTS_ACKNOWLEDGED = DurableSubject(
    "mts.v1.operations.alerts.acknowledged",
    producer="mts1b-operations",
    payload=AlertAcknowledgement,
    tier=Tier.AT_LEAST_ONCE,
    description="Somebody knows of an alert: it is not repeated any more.",
    dedupe_key="{acknowledgement_id}",
)
OPERATIONS_PROBES_SENT = DurableSubject(
    "mts.v1.operations.probes.sent",
    producer="mts1b-operations",
    payload=Probe,
    tier=Tier.AT_LEAST_ONCE,
    description="The monitor stored a message to see that storing works.",
    dedupe_key="{probe_id}",
)
BROKERS_HALT_STOPPED = DurableSubject(
    "mts.v1.brokers.halt.stopped",
    producer="mts1b-brokers",
    payload=HaltRequest,
    tier=Tier.AT_LEAST_ONCE,
    description="An adapter was stopped on its host, without the bus: it withdrew its orders and takes none.",
    dedupe_key="{halt_id}:stopped",
)
BROKERS_HALT_RESUMED = DurableSubject(
    "mts.v1.brokers.halt.resumed",
    producer="mts1b-brokers",
    payload=HaltClearance,
    tier=Tier.AT_LEAST_ONCE,
    description="An adapter that was stopped on its host takes orders again.",
    dedupe_key="{halt_id}:resumed",
)
OMS_HALT_OBEYED = DurableSubject(
    "mts.v1.oms.halt.obeyed",
    producer="mts1b-oms",
    payload=HaltObedience,
    tier=Tier.AT_LEAST_ONCE,
    description="The order management has stopped because of a halt.",
    dedupe_key="{halt_id}:{service}",
)


def _deadletters(repo: str) -> DurableSubject[DeadLetter]:
    return deadletter_subject(repo, [PRODUCERS[repo]])


BROKERS_DEADLETTERS_CREATED = _deadletters("mts1b-brokers")
MARKETDATA_DEADLETTERS_CREATED = _deadletters("mts1b-marketdata")
OMS_DEADLETTERS_CREATED = _deadletters("mts1b-oms")
OPERATIONS_DEADLETTERS_CREATED = _deadletters("mts1b-operations")
RESEARCH_DEADLETTERS_CREATED = _deadletters("mts1b-research")
RISK_DEADLETTERS_CREATED = _deadletters("mts1b-riskengine")
TREASURY_DEADLETTERS_CREATED = _deadletters("mts1b-treasury")
OPERATIONS_DEADLETTERS_DISCARDED = DurableSubject(
    "mts.v1.operations.deadletters.discarded",
    producer="mts1b-operations",
    payload=DeadLetter,
    tier=Tier.AT_LEAST_ONCE,
    description="A dead letter was discarded; it is kept for a week, in which it can be restored.",
    dedupe_key="{dead_letter_id}",
)
OPERATIONS_DEADLETTERS_NOTED = DurableSubject(
    "mts.v1.operations.deadletters.noted",
    producer="mts1b-operations",
    payload=DeadLetterNote,
    tier=Tier.AT_LEAST_ONCE,
    description="Somebody wrote down what is known about a dead letter or a group of them.",
    dedupe_key="{note_id}",
)

SUBJECTS: tuple[Subject[Any], ...] = (
    OMS_ORDERS_CREATED,
    OMS_ORDERS_ACCEPTED,
    OMS_ORDERS_REJECTED,
    OMS_ORDERS_PARTIALLY_FILLED,
    OMS_ORDERS_FILLED,
    OMS_ORDERS_CANCELED,
    OMS_ORDERS_CANCEL_REQUESTED,
    OMS_FILLS_CREATED,
    BROKERS_FILLS_RAW,
    BROKERS_ORDERS_CANCELED,
    BROKERS_ORDERS_REJECTED,
    MARKETDATA_QUOTES,
    MARKETDATA_BARS,
    MARKETDATA_SESSIONS_CLOSED,
    MARKETDATA_SESSIONS_SAMPLED,
    RESEARCH_SIGNALS_PUBLISHED,
    RISK_ENVELOPE_UPDATED,
    RISK_GATE_PASSED,
    RISK_GATE_FAILED,
    TREASURY_NAV,
    OPERATIONS_HALT_REQUESTED,
    OPERATIONS_HALT_CLEARED,
    OPERATIONS_ALERTS_RAISED,
    OPERATIONS_ALERTS_CLEARED,
    OPERATIONS_ALERTS_ACKNOWLEDGED,
    OPERATIONS_PROBES_SENT,
    BROKERS_HALT_STOPPED,
    BROKERS_HALT_RESUMED,
    OMS_HALT_OBEYED,
    BROKERS_DEADLETTERS_CREATED,
    MARKETDATA_DEADLETTERS_CREATED,
    OMS_DEADLETTERS_CREATED,
    OPERATIONS_DEADLETTERS_CREATED,
    OPERATIONS_DEADLETTERS_DISCARDED,
    OPERATIONS_DEADLETTERS_NOTED,
    RESEARCH_DEADLETTERS_CREATED,
    RISK_DEADLETTERS_CREATED,
    TREASURY_DEADLETTERS_CREATED,
)
"""All of the above, in the order of their declaration; ``declarations_v2.py`` has the second versions."""
