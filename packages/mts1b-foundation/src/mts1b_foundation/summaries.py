"""An event in one line, for lists: what a person looks for first, without names of fields."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from mts1b_foundation.deadletters import DeadLetter, DeadLetterNote
from mts1b_foundation.event import Event
from mts1b_foundation.fills import BrokerCancel, BrokerFill, BrokerRejection, Fill
from mts1b_foundation.marketdata import Bar, Quote, SessionClosed, SessionPrices
from mts1b_foundation.operations import Alert, AlertAcknowledgement, HaltClearance, HaltObedience, HaltRequest, Probe
from mts1b_foundation.orders import Order
from mts1b_foundation.risk import OrderApproval, OrderRejection, RiskEnvelope
from mts1b_foundation.signals import Signal
from mts1b_foundation.treasury import NavSnapshot

_FIELDS: Final = 5
"""Fields of a payload without a summary of its own."""


def summary(event: Event) -> str:
    """``event`` in one line of words; never longer than its own texts make it."""
    made = next((_SUMMARIES[kind] for kind in type(event).__mro__ if kind in _SUMMARIES), _any)
    return made(event)


def _order(order: Order) -> str:
    price = f" @ {order.limit_price}" if order.limit_price is not None else ""
    filled = f", {order.filled_quantity} filled" if order.filled_quantity else ""
    why = order.rejected_reason or order.canceled_reason
    said = f": {why}" if why else ""
    return (
        f"{order.side.value} {order.quantity} {order.symbol}{price} {order.fund_id} {order.status.value}{filled}{said}"
    )


def _fill(fill: Fill) -> str:
    return f"{fill.side.value} {fill.quantity} {fill.symbol} @ {fill.price} {fill.fund_id}, fee {fill.fee}"


def _broker_fill(fill: BrokerFill) -> str:
    return f"{fill.side.value} {fill.last_quantity} {fill.symbol} @ {fill.last_price} by {fill.broker}"


def _broker_cancel(cancel: BrokerCancel) -> str:
    return f"{cancel.symbol} canceled by {cancel.broker} with {cancel.filled_quantity} filled: {cancel.reason}"


def _broker_rejection(rejection: BrokerRejection) -> str:
    return f"{rejection.symbol} rejected by {rejection.broker}: {rejection.reason}"


def _signal(signal: Signal) -> str:
    fund = signal.fund_id or "every fund"
    return f"{signal.direction.value} {signal.symbol} @ {signal.reference_price} {signal.strategy}, {fund}"


def _approval(approval: OrderApproval) -> str:
    return f"passed, {approval.fund_id}, envelope {approval.envelope_version}"


def _rejection(rejection: OrderRejection) -> str:
    return f"{rejection.symbol} {rejection.fund_id} breaks {rejection.rule.value}: {rejection.reason}"


def _envelope(envelope: RiskEnvelope) -> str:
    return f"{envelope.fund_id} version {envelope.version}: at most {envelope.max_order_notional} an order"


def _nav(nav: NavSnapshot) -> str:
    return f"{nav.fund_id} {nav.nav}, cash {nav.cash}, {nav.fills} fills{', final' if nav.final else ''}"


def _quote(quote: Quote) -> str:
    return f"{quote.symbol} {quote.bid} / {quote.ask}"


def _bar(bar: Bar) -> str:
    return f"{bar.symbol} {bar.interval} {bar.open} {bar.high} {bar.low} {bar.close}"


def _session_prices(sampled: SessionPrices) -> str:
    return f"{len(sampled.prices)} prices of {sampled.symbol} in {sampled.session}, {sampled.source}"


def _session(closed: SessionClosed) -> str:
    return f"session {closed.session} of {closed.source} closed, {len(closed.marks)} symbols"


def _halt(halt: HaltRequest) -> str:
    return f"HALT {halt.fund_id or 'every fund'} by {halt.actor} ({halt.halt_id}): {halt.reason}"


def _clearance(clearance: HaltClearance) -> str:
    return f"{clearance.halt_id} cleared by {clearance.actor}: {clearance.reason}"


def _obedience(obedience: HaltObedience) -> str:
    return f"{obedience.service} obeys {obedience.halt_id}, {obedience.canceled_orders} orders withdrawn"


def _alert(alert: Alert) -> str:
    return f"{alert.severity.value} {alert.name} {alert.target}: {alert.summary}{' (over)' if alert.cleared_at else ''}"


def _acknowledgement(acknowledgement: AlertAcknowledgement) -> str:
    note = f": {acknowledgement.note}" if acknowledgement.note else ""
    return f"{acknowledgement.actor} acknowledged alert {acknowledgement.alert_id}{note}"


def _probe(probe: Probe) -> str:
    return f"probe {probe.probe_id}"


def _dead_letter(letter: DeadLetter) -> str:
    first = letter.error.splitlines()[0] if letter.error else ""
    return f"{letter.consumer} gave up {letter.stream}:{letter.sequence} ({letter.reason.value}): {first}"


def _dead_letter_note(note: DeadLetterNote) -> str:
    if not note.text:
        return f"{note.actor} took the note on {note.about} away"
    return f"{note.actor} on {note.about} of {note.consumer}: {note.text}"


def _any(event: Event) -> str:
    shown = (f"{name}={_text(value)}" for name, value in event.__dict__.items() if _short(value))
    return " ".join(part for _, part in zip(range(_FIELDS), shown, strict=False))


def _short(value: object) -> bool:
    return isinstance(value, (str, int, float, Decimal, datetime)) and value not in ("", None)


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


_SUMMARIES: Final[dict[type, Callable[[Any], str]]] = {
    Order: _order,
    Fill: _fill,
    BrokerFill: _broker_fill,
    BrokerCancel: _broker_cancel,
    BrokerRejection: _broker_rejection,
    Signal: _signal,
    OrderApproval: _approval,
    OrderRejection: _rejection,
    RiskEnvelope: _envelope,
    NavSnapshot: _nav,
    Quote: _quote,
    Bar: _bar,
    SessionClosed: _session,
    SessionPrices: _session_prices,
    HaltRequest: _halt,
    HaltClearance: _clearance,
    HaltObedience: _obedience,
    Alert: _alert,
    AlertAcknowledgement: _acknowledgement,
    Probe: _probe,
    DeadLetter: _dead_letter,
    DeadLetterNote: _dead_letter_note,
}
