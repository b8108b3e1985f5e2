"""What an event is about, found by the one declaration that the audit log and the desk's traces share."""

from pathlib import Path

import pytest
from mts1b_desk.services.causes import Causes
from mts1b_foundation.event import Event as Payload
from mts1b_foundation.fills import BrokerCancel, BrokerFill
from mts1b_foundation.samples import BROKER_CANCEL, BROKER_FILL, FILL, ORDER, SAMPLES
from mts1b_foundation.subjects import (
    BROKERS_FILLS_RAW,
    BROKERS_ORDERS_CANCELED,
    OMS_ORDERS_ACCEPTED,
    DurableSubject,
    registry,
)
from mts1b_foundation.summaries import summary
from mts1b_platform.eventbus import Ack, Event
from mts1b_platform.eventbus.events.outgoing import Outgoing
from mts1b_platform.observability.audit import AuditLog, search
from mts1b_platform.observability.audit.hook import AuditHook


class _Handled:
    """What the desk's traces look at of an event that is being handled."""

    registered = OMS_ORDERS_ACCEPTED
    payload = ORDER
    trace_id = "5f0c" * 8


@pytest.mark.parametrize(
    ("subject", "event"), [(BROKERS_FILLS_RAW, BROKER_FILL), (BROKERS_ORDERS_CANCELED, BROKER_CANCEL)]
)
@pytest.mark.parametrize("raw", [False, True])
def test_the_audit_log_finds_what_a_broker_said_of_an_order(
    tmp_path: Path, subject: DurableSubject[Payload], event: BrokerFill | BrokerCancel, *, raw: bool
):
    with AuditLog(tmp_path, "mts1b-brokers") as audit:
        hook = AuditHook(audit)
        out = Outgoing(subject.format(event), subject.pattern, event.model_dump_json().encode(), {})
        hook.published(
            hook.publishing(subject, None if raw else event, out, None), out, Ack("S", 1, False, "", ""), None
        )
    (record,) = search(tmp_path, order_id=event.client_order_id)
    assert record["subject"] == subject.format(event)


def test_what_a_broker_says_joins_the_trace_of_its_order():
    causes = Causes()
    handled: Event[Payload] = _Handled()  # pyright: ignore[reportAssignmentType] - what is looked at of one
    causes.remember(handled.registered, handled.payload, handled.trace_id)
    assert causes.of(BROKERS_FILLS_RAW, BROKER_FILL) == _Handled.trace_id
    other = BROKER_FILL.model_copy(update={"client_order_id": "another"})
    assert causes.of(BROKERS_FILLS_RAW, other) is None


def test_every_payload_has_a_line_for_people():
    for event in SAMPLES:
        assert summary(event)
        assert "\n" not in summary(event)
    assert summary(FILL).startswith("buy 0.5 BTC/USDT @ ")
    assert {subject.payload for subject in registry()} <= {type(event) for event in SAMPLES}
