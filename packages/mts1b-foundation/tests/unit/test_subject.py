"""Subjects: declared by the grammar, formatted from their payload, parsed back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mts1b_foundation.errors import InvalidSubject, InvalidToken, SubjectError, UnknownParameter, UnknownSubject
from mts1b_foundation.event import Event
from mts1b_foundation.fills import BrokerFill
from mts1b_foundation.marketdata import Quote
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import BAR, BROKER_FILL, FILL, HALT_REQUEST, NAV, ORDER, QUOTE, SAMPLES
from mts1b_foundation.subjects import (
    BROKERS_FILLS_RAW,
    MARKETDATA_BARS,
    MARKETDATA_QUOTES,
    OMS_FILLS_CREATED,
    OMS_ORDERS_CREATED,
    OMS_ORDERS_FILLED,
    OPERATIONS_HALT_REQUESTED,
    SUBJECTS,
    TREASURY_NAV,
    DurableSubject,
    Registry,
    Subject,
    Tier,
    registry,
)

STABLE = {
    "mts.v1.oms.orders.created": "mts1b-oms",
    "mts.v1.oms.orders.accepted": "mts1b-oms",
    "mts.v1.oms.orders.rejected": "mts1b-oms",
    "mts.v1.oms.orders.canceled": "mts1b-oms",
    "mts.v1.oms.orders.filled": "mts1b-oms",
    "mts.v1.oms.fills.created": "mts1b-oms",
    "mts.v1.brokers.{broker}.fills.raw": "mts1b-brokers",
    "mts.v1.marketdata.quotes.{symbol}": "mts1b-marketdata",
    "mts.v1.marketdata.bars.{symbol}.{interval}": "mts1b-marketdata",
    "mts.v1.research.signals.published": "mts1b-research",
    "mts.v1.risk.envelope.updated": "mts1b-riskengine",
    "mts.v1.risk.gate.failed": "mts1b-riskengine",
    "mts.v1.treasury.nav.{fund_id}": "mts1b-treasury",
    "mts.v1.operations.halt.requested": "mts1b-operations",
}


def declare(
    pattern: str,
    *,
    payload: type[Event] = Order,
    tier: Tier = Tier.AT_LEAST_ONCE,
    description: str = "An order.",
    dedupe_key: str | None = "{order_id}",
) -> Subject[Any]:
    return Subject(
        pattern,
        producer="mts1b-oms",
        payload=payload,
        tier=tier,
        description=description,
        dedupe_key=dedupe_key,
    )


def test_the_stable_subjects_are_registered_with_their_producers():
    assert {pattern: registry()[pattern].producer for pattern in STABLE} == STABLE


@pytest.mark.parametrize(
    ("subject", "event", "concrete"),
    [
        (OMS_ORDERS_CREATED, ORDER, "mts.v1.oms.orders.created.fund.alpha"),
        (OMS_FILLS_CREATED, FILL, "mts.v1.oms.fills.created.fund.alpha"),
        (MARKETDATA_QUOTES, QUOTE, "mts.v1.marketdata.quotes.BTC=2FUSDT"),
        (MARKETDATA_BARS, BAR, "mts.v1.marketdata.bars.BTC=2FUSDT.1m"),
        (BROKERS_FILLS_RAW, BROKER_FILL, "mts.v1.brokers.paper.fills.raw"),
        (TREASURY_NAV, NAV, "mts.v1.treasury.nav.alpha"),
        (OPERATIONS_HALT_REQUESTED, HALT_REQUEST, "mts.v1.operations.halt.requested.fund.alpha"),
        (
            OPERATIONS_HALT_REQUESTED,
            HALT_REQUEST.model_copy(update={"fund_id": None}),
            "mts.v1.operations.halt.requested",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_subject_is_formatted_from_the_fields_of_its_payload(subject: Subject[Any], event: Event, concrete: str):
    assert subject.format(event) == concrete


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.pattern)
def test_what_a_subject_formats_it_parses_and_the_registry_finds(subject: Subject[Any]):
    event = next(event for event in SAMPLES if type(event) is subject.payload)
    concrete = subject.format(event)
    found = subject.parse(concrete)
    assert found is not None
    assert all(getattr(event, name) == value for name, value in found.items())
    assert registry().find(concrete) is subject


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20))
def test_any_symbol_travels_in_the_subject_and_back(symbol: str):
    quote = Quote.model_validate({**dict(QUOTE), "symbol": symbol})
    concrete = MARKETDATA_QUOTES.format(quote)
    assert concrete.count(".") == 4
    assert MARKETDATA_QUOTES.parse(concrete) == {"symbol": symbol}


@pytest.mark.parametrize("symbol", ["BRK.B", "BTC/USD", "*", ">"])
def test_a_symbol_never_becomes_a_wildcard_or_a_second_token(symbol: str):
    (one,) = (
        MARKETDATA_QUOTES.filters(symbol=symbol) if symbol not in "*>" else (MARKETDATA_QUOTES.format(quote(symbol)),)
    )
    assert not set("*>") & set(one)
    assert len(one.split(".")) == 5


def quote(symbol: str) -> Quote:
    return Quote.model_validate({**dict(QUOTE), "symbol": symbol})


def test_an_empty_symbol_is_refused():
    with pytest.raises(InvalidToken, match="empty"):
        MARKETDATA_QUOTES.format(QUOTE.model_copy(update={"symbol": ""}))
    with pytest.raises(InvalidToken, match="empty"):
        MARKETDATA_QUOTES.filters(symbol="")


def test_another_payload_is_refused_and_both_are_named():
    with pytest.raises(SubjectError, match=r"mts\.v1\.oms\.orders\.created carries Order, not Fill"):
        OMS_ORDERS_CREATED.format(FILL)  # pyright: ignore[reportArgumentType]


def test_a_subclass_of_the_payload_is_another_payload():
    class Special(Order):
        note: str = ""

    with pytest.raises(SubjectError, match="carries Order, not Special"):
        OMS_ORDERS_CREATED.format(Special(**dict(ORDER)))


def test_asking_for_all_means_both_forms_of_a_verb_subject():
    assert OMS_ORDERS_FILLED.filters() == ("mts.v1.oms.orders.filled", "mts.v1.oms.orders.filled.fund.*")
    assert OMS_ORDERS_FILLED.filters(fund_id="a.b") == ("mts.v1.oms.orders.filled.fund.a=2Eb",)
    assert MARKETDATA_BARS.filters(interval="1m") == ("mts.v1.marketdata.bars.*.1m",)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [({"symbol": "*"}, "leave symbol out"), ({"symbol": ">"}, "leave symbol out"), ({"fund": "a"}, "it has symbol")],
)
def test_a_filter_that_is_no_value_is_refused(parameters: dict[str, str], said: str):
    with pytest.raises(UnknownParameter, match=said):
        MARKETDATA_QUOTES.filters(**parameters)


@pytest.mark.parametrize(
    "concrete",
    [
        "mts.v1.oms.orders",
        "mts.v1.oms.orders.created.fund",
        "mts.v1.oms.orders.created.fund.a.b",
        "mts.v1.oms.orders.created.team.a",
        "mts.v3.oms.orders.created",
        "",
    ],
)
def test_a_name_of_no_subject_is_none(concrete: str):
    assert OMS_ORDERS_CREATED.parse(concrete) is None
    assert registry().find(concrete) is None


def test_a_key_that_is_no_token_is_refused_in_parsing():
    with pytest.raises(InvalidToken):
        MARKETDATA_QUOTES.parse("mts.v1.marketdata.quotes.=zz")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("mts.v1.oms.orders", "too short"),
        ("nats.v1.oms.orders.created", "starts with mts"),
        ("mts.1.oms.orders.created", "place of the version"),
        ("mts.v0.oms.orders.created", "place of the version"),
        ("mts.v1.oms.orders.Created", "neither lower-case text nor"),
        ("mts.v1.oms.orders.*", "neither lower-case text nor"),
        ("mts.v1.oms.orders.>", "neither lower-case text nor"),
        ("mts.v1.oms..created", "neither lower-case text nor"),
        ("mts.v1.oms.orders.created.late", "five tokens"),
        ("mts.v1.oms.orders.{no_such_field}", "has no field 'no_such_field'"),
        ("mts.v1.oms.{order_id}.{order_id}", "a parameter stands twice"),
    ],
)
def test_a_declaration_outside_the_grammar_is_refused(pattern: str, said: str):
    with pytest.raises(InvalidSubject, match=said):
        declare(pattern)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dedupe_key": None}, "needs a dedupe key"),
        ({"dedupe_key": "{nobody}"}, "no field of Order"),
        ({"payload": BrokerFill, "tier": Tier.DEDUPE, "dedupe_key": "{execution_id}"}, "BrokerFill has none"),
    ],
)
def test_a_declaration_that_cannot_keep_its_promise_is_refused(changes: dict[str, Any], said: str):
    with pytest.raises(InvalidSubject, match=said):
        declare("mts.v1.oms.orders.seen", **changes)


def test_a_best_effort_subject_cannot_be_declared_durable():
    with pytest.raises(InvalidSubject, match="is not stored"):
        DurableSubject(
            "mts.v1.oms.orders.seen", producer="mts1b-oms", payload=Order, tier=Tier.BEST_EFFORT, description="Seen."
        )


def test_the_message_id_is_written_from_the_dedupe_key():
    assert OMS_ORDERS_CREATED.message_id(ORDER) == ORDER.idempotency_key
    assert MARKETDATA_QUOTES.message_id(QUOTE) is None
    for subject in SUBJECTS:
        event = next(event for event in SAMPLES if type(event) is subject.payload)
        key = subject.dedupe_key
        assert subject.message_id(event) == (key and key.format_map(event.__dict__))


def test_two_subjects_of_one_wire_form_cannot_be_registered():
    with pytest.raises(InvalidSubject, match="are the same on the wire"):
        Registry([declare("mts.v1.oms.orders.{order_id}"), declare("mts.v1.oms.orders.{fund_id}")])


def test_an_unknown_pattern_is_refused_with_the_remedy():
    with pytest.raises(UnknownSubject, match="mts1b subjects ls"):
        registry()["mts.v1.oms.orders.lost"]


def test_subjects_compare_by_pattern():
    assert declare("mts.v1.oms.orders.seen") == declare("mts.v1.oms.orders.seen", description="Twice.")
    assert len({declare("mts.v1.oms.orders.seen"), declare("mts.v1.oms.orders.seen")}) == 1


def test_an_event_is_about_one_order_whatever_its_payload_calls_it():
    assert BROKERS_FILLS_RAW.names_of(BROKER_FILL.__dict__) == {
        "order_id": BROKER_FILL.client_order_id,
        "execution_id": BROKER_FILL.execution_id,
    }
    assert OMS_ORDERS_CREATED.names_of(ORDER.__dict__)["order_id"] == ORDER.order_id
    assert OMS_ORDERS_CREATED.names_of({"order_id": 7, "signal_id": None, "idempotency_key": ""}) == {}
    assert MARKETDATA_QUOTES.names_of(QUOTE.__dict__) == {}


@pytest.mark.parametrize(
    ("correlates", "said"),
    [
        ({"order_id": "client_id"}, "correlates 'order_id' by 'client_id', no field of Order"),
        ({"Order Id": "order_id"}, "correlates 'Order Id', which is no name"),
    ],
)
def test_a_name_that_no_field_holds_is_refused(correlates: dict[str, str], said: str):
    with pytest.raises(InvalidSubject, match=said):
        DurableSubject(
            "mts.v1.oms.orders.created",
            producer="mts1b-oms",
            payload=Order,
            tier=Tier.AT_LEAST_ONCE,
            description="x",
            dedupe_key="{order_id}",
            correlates=correlates,
        )
