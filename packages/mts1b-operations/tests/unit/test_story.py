"""What an order still waits for, who owes it, and why it does not come: decided from events and consumers alone."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from mts1b_foundation.deadletters import DeadLetter, DeadLetterReason
from mts1b_foundation.event import Event, utc_now
from mts1b_foundation.fills import BrokerFill
from mts1b_foundation.orders import OrderType, OrderV2, TimeInForce
from mts1b_foundation.samples import (
    BROKER_CANCEL,
    BROKER_FILL,
    BROKER_REJECTION,
    FILL,
    NAV,
    ORDER,
    ORDER_APPROVAL,
    SIGNAL,
)
from mts1b_foundation.subjects import (
    BROKERS_FILLS_RAW,
    BROKERS_ORDERS_CANCELED,
    BROKERS_ORDERS_REJECTED,
    OMS_FILLS_CREATED,
    OMS_ORDERS_ACCEPTED,
    OMS_ORDERS_ACCEPTED_V2,
    OMS_ORDERS_CREATED,
    OMS_ORDERS_CREATED_V2,
    OMS_ORDERS_FILLED,
    OMS_ORDERS_PARTIALLY_FILLED,
    OPERATIONS_DEADLETTERS_CREATED,
    RESEARCH_SIGNALS_PUBLISHED,
    RISK_GATE_PASSED,
    TREASURY_NAV,
    Subject,
    registry,
)
from mts1b_operations.commands._story import duration
from mts1b_operations.history.seen import Decoders, Seen
from mts1b_operations.lag import ConsumerLag
from mts1b_operations.story.expected import owed
from mts1b_operations.story.explain import Missing, explain
from mts1b_operations.story.names import ORDER as ORDER_ID
from mts1b_operations.story.names import Name, belongs, leads
from mts1b_operations.story.readers import Reader, State, readers_of
from mts1b_operations.story.usual import usual
from mts1b_platform.eventbus.history.recorded import Recorded, stamp_of
from mts1b_platform.eventbus.protocol.envelope import envelope
from mts1b_platform.eventbus.protocol.headers import header_block
from mts1b_platform.eventbus.protocol.message import WireMsg

_DECODERS = Decoders(registry())
_T0 = 1_800_000_000_000_000_000
_TRACE = "5f0c" * 8
_STREAMS = {"oms.orders": "OMS_ORDERS", "oms.fills": "OMS_FILLS", "risk.gate": "RISK"}
_IOC = ORDER.model_copy(update={"order_type": OrderType.MARKET, "limit_price": None, "time_in_force": TimeInForce.IOC})
_ABOUT = Name(ORDER_ID, ORDER.order_id)


def seen(subject: Subject[Any], event: Event, ms: int, *, seq: int = 1, trace: str = _TRACE) -> Seen:
    headers = envelope(
        source_repo=subject.producer, schema=subject.schema_id, actor="me", trace_id=trace, msg_id=f"{ms}"
    )
    wire = WireMsg(subject.format(event).encode(), b"", header_block(headers), event.model_dump_json().encode())
    stream = _STREAMS.get(".".join(subject.tokens[2:4]), "OTHER")
    return Seen(Recorded(stream, seq, stamp_of(_T0 + ms * 1_000_000), wire), _DECODERS)


def fill(number: int) -> BrokerFill:
    return BROKER_FILL.model_copy(update={"execution_id": f"e{number}", "client_order_id": ORDER.order_id})


SIGNALLED = seen(RESEARCH_SIGNALS_PUBLISHED, SIGNAL, 0)
CREATED = seen(OMS_ORDERS_CREATED, _IOC, 10)
PASSED = seen(RISK_GATE_PASSED, ORDER_APPROVAL.model_copy(update={"order_id": ORDER.order_id}), 20)
ACCEPTED = seen(OMS_ORDERS_ACCEPTED, _IOC.accept(_IOC.created_at), 30, seq=12_044)
RAW = seen(BROKERS_FILLS_RAW, fill(1), 40)
BOOKED = seen(OMS_FILLS_CREATED, FILL.model_copy(update={"execution_id": "e1", "order_id": ORDER.order_id}), 50)
HALF = _IOC.accept(_IOC.created_at).fill(_IOC.quantity / 2, Decimal(1), _IOC.created_at)
PARTIAL = seen(OMS_ORDERS_PARTIALLY_FILLED, HALF, 60)
FILLED = seen(OMS_ORDERS_FILLED, HALF.fill(HALF.remaining, Decimal(1), HALF.created_at), 70)
CANCELED = seen(BROKERS_ORDERS_CANCELED, BROKER_CANCEL.model_copy(update={"client_order_id": ORDER.order_id}), 41)
VALUED = seen(TREASURY_NAV, NAV, 55)


def owes(*events: Seen) -> list[tuple[str, str]]:
    return [(each.by.removeprefix("mts1b-"), each.step.words) for each in owed(events, registry().flows)]


def test_events_of_the_second_version_are_followed_like_those_of_the_first():
    order = OrderV2(**dict(_IOC))
    created, accepted = (
        seen(OMS_ORDERS_CREATED_V2, order, 10),
        seen(OMS_ORDERS_ACCEPTED_V2, order.accept(order.created_at), 30),
    )
    assert owes(created) == [("riskengine", "the gate's yes or no")]
    assert owes(created, PASSED, accepted) == [("brokers", "a fill or a cancel")]
    rejection = BROKER_REJECTION.model_copy(update={"client_order_id": ORDER.order_id})
    assert owes(created, PASSED, accepted, seen(BROKERS_ORDERS_REJECTED, rejection, 40)) == [
        ("oms", "the order's rejection")
    ]
    steps = [step for step in registry().flows if step.after == OMS_ORDERS_CREATED]
    times = [seen(OMS_ORDERS_CREATED_V2, _numbered(order, n), 100 * n) for n in range(3)]
    answers = [seen(RISK_GATE_PASSED, _numbered(ORDER_APPROVAL, n), 100 * n + 7) for n in range(3)]
    assert usual(steps[0], [*times, *answers]) == pytest.approx(0.007)


def _numbered(event: Event, number: int) -> Event:
    return event.model_copy(update={"order_id": f"o{number}"})


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ((SIGNALLED,), [("oms", "an order, unless the position is held already")]),
        ((SIGNALLED, CREATED), [("riskengine", "the gate's yes or no")]),
        ((SIGNALLED, CREATED, PASSED), [("oms", "its acceptance")]),
        ((CREATED, PASSED, ACCEPTED), [("brokers", "a fill or a cancel")]),
        ((CREATED, PASSED, ACCEPTED, RAW), [("oms", "the booking of the execution")]),
        (
            (CREATED, PASSED, ACCEPTED, RAW, BOOKED),
            [("oms", "the order's next step"), ("treasury", "the fund's net asset value")],
        ),
        (
            (CREATED, PASSED, ACCEPTED, RAW, BOOKED, VALUED, PARTIAL),
            [("brokers", "a further fill, or the cancel of the rest")],
        ),
        ((CREATED, PASSED, ACCEPTED, RAW, BOOKED, VALUED, FILLED), []),
        ((CREATED, ACCEPTED, CANCELED), [("oms", "the order's cancel")]),
        ((CREATED, FILLED), []),  # what is in between is outside of what was searched: it ended
    ],
)  # fmt: skip
def test_what_an_order_waits_for(events: Sequence[Seen], expected: list[tuple[str, str]]):
    assert owes(*events) == expected


def test_each_execution_is_owed_its_own_booking():
    second = seen(BROKERS_FILLS_RAW, fill(2), 80)
    found = owed([CREATED, PASSED, ACCEPTED, RAW, BOOKED, VALUED, PARTIAL, second], registry().flows)
    assert [(each.step.words, each.after) for each in found] == [("the booking of the execution", second)]


def test_only_the_newest_part_of_an_order_waits():
    again = seen(OMS_ORDERS_PARTIALLY_FILLED, HALF, 90)
    assert owes(PARTIAL, again) == [("brokers", "a further fill, or the cancel of the rest")]


def lag(durable: str = "broker-orders", service: str = "mts1b-brokers", **values: Any) -> ConsumerLag:
    facts: dict[str, Any] = {
        "stream": "OMS_ORDERS",
        "consumer": durable,
        "service": service,
        "seconds": 41.0,
        "messages": 12,
        "filters": ("mts.v1.oms.orders.accepted", "mts.v1.oms.orders.accepted.fund.*"),
        "durable": True,
        "paused": False,
        "reached": 12_031,
        "floor": 12_031,
        "pending": 12,
        "ack_pending": 0,
        "redelivered": 0,
        "waiting": 0,
        "oldest_seq": 12_032,
        "oldest_subject": "x",
        "created": "2020-01-01T00:00:00Z",
        "last_active": "2026-11-29T03:12:01Z",
    }
    return ConsumerLag(**(facts | values))


def why(*infos: ConsumerLag, letters: Sequence[Seen] = (), events: Sequence[Seen] = (ACCEPTED,)) -> Missing | None:
    (each,) = owed(events, registry().flows)
    readers = readers_of(each.after, infos, {})
    now = each.after.recorded.time_ns + 41_000_000_000
    return explain(each, readers=readers, letters=letters, now_ns=now, usual=0.4)


def test_a_dead_reader_is_named_with_its_position():
    found = why(lag(), lag("risk", "mts1b-riskengine"))
    assert found is not None
    assert (found.kind, found.durable, found.late) == ("nobody_reads", "broker-orders", True)
    assert found.why == "broker-orders has reached 12,031, the event is 12,044; nobody reads it since 03:12:01Z"
    assert found.do == ("start mts1b-brokers, or see why it hangs", "mts1b lag --stream OMS_ORDERS")
    assert found.to_json()["waiting_seconds"] == 41.0


@pytest.mark.parametrize(
    ("infos", "kind"),
    [
        ((), "no_reader"),
        ((lag(service=""),), "no_reader"),
        ((lag(waiting=1),), "behind"),
        ((lag(paused=True),), "paused"),
        ((lag(reached=12_050, ack_pending=3),), "under_way"),
        ((lag(reached=12_050, floor=12_044, ack_pending=3),), "nothing_came"),
        ((lag(reached=12_050),), "nothing_came"),
        ((lag(reached=12_050), lag("second")), "nobody_reads"),
    ],
)
def test_why_it_does_not_come(infos: tuple[ConsumerLag, ...], kind: str):
    found = why(*infos)
    assert found is not None
    assert found.kind == kind
    assert all(found.do)


def test_an_order_that_rests_is_owed_nothing_once_its_broker_has_it():
    rests = _IOC.model_copy(update={"time_in_force": TimeInForce.GTC}).accept(_IOC.created_at)
    events = [seen(OMS_ORDERS_ACCEPTED, rests, 30, seq=12_044)]
    assert why(lag(reached=12_050), events=events) is None
    found = why(lag(), events=events)
    assert found is not None
    assert found.kind == "nobody_reads"


def test_an_event_that_was_given_up_is_the_reason():
    letter = DeadLetter.of_stored(
        subject=ACCEPTED.subject,
        headers=ACCEPTED.headers,
        payload=ACCEPTED.recorded.wire.payload,
        stream="OMS_ORDERS",
        sequence=12_044,
        stored_at=utc_now(),
        consumer="broker-orders",
        deliveries=5,
        reason=DeadLetterReason.MAX_DELIVERIES,
        error="division by zero\nsecond line",
    )
    given_up = seen(OPERATIONS_DEADLETTERS_CREATED, letter, 35)
    assert given_up.names["order_id"] == ORDER.order_id
    found = why(lag(reached=12_050), letters=[given_up])
    assert found is not None
    assert found.kind == "gave_up"
    assert "after 5 deliveries: division by zero" in found.why
    assert found.do[0] == f"mts1b deadletters show {letter.dead_letter_id}"
    other = letter.model_copy(update={"sequence": 7})
    assert (why(lag(), letters=[seen(OPERATIONS_DEADLETTERS_CREATED, other, 35)]) or found).kind == "nobody_reads"


def test_who_has_handled_an_event():
    readers = [
        lag(),
        lag("late", created="2030-01-01T00:00:00Z", deliver="new", reached=12_050),
        lag("fills", filters=("mts.v1.oms.orders.filled",)),
        lag("all", filters=(), reached=12_044, floor=12_044, ack_pending=1),
        replace(lag("passing"), durable=False),
    ]
    found = {each.durable: each.state for each in readers_of(ACCEPTED, readers, {})}
    assert found == {"broker-orders": State.WAITING, "late": State.BEFORE, "all": State.HANDLED}


def test_a_declared_durable_needs_no_metadata():
    (found,) = readers_of(ACCEPTED, [lag("d", "")], {("OMS_ORDERS", "d"): "mts1b-brokers"})
    assert isinstance(found, Reader)
    assert found.service == "mts1b-brokers"


def test_what_is_usual_is_the_median_of_the_last_ones():
    events: list[Seen] = []
    for number, took in enumerate((10, 400, 20)):
        order = _IOC.model_copy(update={"order_id": f"o{number}"})
        events.append(seen(OMS_ORDERS_ACCEPTED, order.accept(order.created_at), number * 1_000))
        raw = fill(number).model_copy(update={"client_order_id": f"o{number}"})
        events.append(seen(BROKERS_FILLS_RAW, raw, number * 1_000 + took))
    (step,) = [each for each in registry().flows if each.after == OMS_ORDERS_ACCEPTED]
    assert usual(step, events) == pytest.approx(0.02)
    assert usual(step, events[:4]) is None


def test_a_story_holds_its_own_order_and_not_the_neighbours():
    neighbour = seen(OMS_ORDERS_CREATED, _IOC.model_copy(update={"order_id": "other", "fund_id": "beta"}), 11)
    value_of_another = seen(TREASURY_NAV, NAV.model_copy(update={"fund_id": "beta"}), 12)
    found = leads(_ABOUT, [CREATED, neighbour])
    assert found == {Name("trace_id", _TRACE), Name("signal_id", ORDER.signal_id or "")}
    story = [CREATED, SIGNALLED, VALUED, neighbour, value_of_another]
    assert [each for each in story if belongs(_ABOUT, each, ["alpha"])] == [CREATED, SIGNALLED, VALUED]
    assert leads(Name("trace_id", _TRACE), [CREATED]) == {_ABOUT}


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0044, "4 ms"), (41.2, "41.2 s"), (200, "3 min 20 s"), (7_260, "2 h 01 min"), (259_200, "3 d 0 h")],
)  # fmt: skip
def test_how_long_is_said_as_people_do(seconds: float, said: str):
    assert duration(seconds) == said
