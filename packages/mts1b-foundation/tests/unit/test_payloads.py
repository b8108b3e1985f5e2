"""What every payload promises: frozen, strict, closed, UTC, exact."""

import json
import re
from base64 import b64encode
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mts1b_foundation.event import Event
from mts1b_foundation.marketdata import exact
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import (
    BROKER_FILL_V2,
    DEAD_LETTER,
    FILL,
    FILL_V2,
    NAV,
    ORDER,
    ORDER_V2,
    QUOTE,
    QUOTE_V2,
    SAMPLES,
)
from mts1b_foundation.subjects import SUBJECTS, SUBJECTS_V2, Subject, registry
from pydantic import ValidationError

every_payload = pytest.mark.parametrize("event", SAMPLES, ids=lambda event: type(event).__name__)


def json_of(event: Event, **changes: object) -> str:
    return json.dumps({**json.loads(event.model_dump_json()), **changes})


def instants() -> list[Any]:
    return [
        pytest.param(event, name, id=f"{type(event).__name__}.{name}")
        for event in SAMPLES
        for name, value in event
        if isinstance(value, datetime)
    ]


def decimals() -> list[Any]:
    return [
        pytest.param(event, name, id=f"{type(event).__name__}.{name}")
        for event in SAMPLES
        for name, value in event
        if isinstance(value, Decimal)
    ]


def test_there_is_a_sample_of_every_registered_payload():
    assert {subject.payload for subject in SUBJECTS} == {type(event) for event in SAMPLES}


@every_payload
def test_a_payload_survives_the_wire_unchanged(event: Event):
    assert type(event).model_validate_json(event.model_dump_json()) == event


@every_payload
def test_a_payload_is_frozen(event: Event):
    name = next(iter(type(event).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(event, name, getattr(event, name))


@every_payload
def test_a_payload_refuses_fields_that_it_does_not_know(event: Event):
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        type(event).model_validate_json(json_of(event, unheard_of=1))


@every_payload
def test_a_payload_refuses_a_number_where_text_belongs(event: Event):
    name = next(name for name, value in event if isinstance(value, str))
    with pytest.raises(ValidationError, match=name):
        type(event).model_validate_json(json_of(event, **{name: 7}))


@every_payload
def test_every_required_field_is_asked_for(event: Event):
    document = json.loads(event.model_dump_json())
    for name, field in type(event).model_fields.items():
        if field.is_required():
            with pytest.raises(ValidationError, match=name):
                type(event).model_validate_json(json.dumps({k: v for k, v in document.items() if k != name}))


@pytest.mark.parametrize(("event", "name"), instants())
def test_a_timestamp_without_a_zone_is_refused(event: Event, name: str):
    naive = getattr(event, name).replace(tzinfo=None)
    with pytest.raises(ValidationError, match="timezone"):
        type(event).model_validate({**dict(event), name: naive})
    with pytest.raises(ValidationError, match="timezone"):
        type(event).model_validate_json(json_of(event, **{name: naive.isoformat()}))


@pytest.mark.parametrize(("event", "name"), instants())
def test_a_timestamp_of_another_zone_is_refused(event: Event, name: str):
    elsewhere = getattr(event, name).astimezone(timezone(timedelta(hours=1)))
    with pytest.raises(ValidationError, match="Timezone offset of 0 required"):
        type(event).model_validate({**dict(event), name: elsewhere})
    with pytest.raises(ValidationError, match="Timezone offset of 0 required"):
        type(event).model_validate_json(json_of(event, **{name: elsewhere.isoformat()}))


@pytest.mark.parametrize("zone", ["Europe/London", "Africa/Abidjan", "Atlantic/Reykjavik"])
@pytest.mark.parametrize("month", [1, 7])
def test_a_zone_that_is_not_utc_all_year_is_refused_at_any_time_of_the_year(zone: str, month: int):
    with pytest.raises(ValidationError, match=r"is not UTC all year|Timezone offset of 0 required"):
        type(QUOTE).model_validate({**dict(QUOTE), "timestamp": datetime(2021, month, 8, tzinfo=ZoneInfo(zone))})


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(0)), ZoneInfo("UTC"), ZoneInfo("Etc/UTC")])
def test_utc_by_any_other_name_is_utc(zone: tzinfo):
    at = datetime(2021, 7, 8, tzinfo=zone)
    assert type(QUOTE).model_validate({**dict(QUOTE), "timestamp": at}).timestamp == at


@pytest.mark.parametrize(
    "written",
    [
        "2021-01-08T00:00:00Z", "2021-01-08T00:00:00.1+00:00", "2021-01-08T00:00:00.123456Z", "2021-01-08T00:00:00",
        "2021-01-08 00:00:00Z", "2021-01-08t00:00:00Z", "2021-01-08T00:00:00z", "2021-01-08T00:00Z",
        "2021-01-08T00:00:00.1234567Z", "2021-01-08T00:00:00,1Z", "2021-01-08T00:00:00-00:00", "+2021-01-08T00:00:00Z",
        "1610064000", "1610064000000", "2021-01-08_00:00:00Z", "2021-01-08", "2021-01-08T00:00:00Z ", "2021-01-08T00Z",
        "2021-01-08T00:00:00+01:00", "2021-01-08T00:00:00-00:30", "2021-01-08T00:00:00+00", "2021-01-08T00:00:00+0000",
    ],
)  # fmt: skip
def test_a_timestamp_is_taken_when_its_schema_takes_it(written: str):
    pattern: str = type(QUOTE).model_json_schema()["properties"]["timestamp"]["pattern"]
    try:
        type(QUOTE).model_validate_json(json_of(QUOTE, timestamp=written))
    except ValidationError:
        assert not re.search(pattern, written)
    else:
        assert re.search(pattern, written)


@pytest.mark.parametrize("zero", ["0E-999999999", "0E+999999999", "0E-100", "-0E+100"])
def test_a_zero_with_endless_digits_is_refused(zero: str):
    with pytest.raises(ValidationError, match="too many digits; write 0"):
        type(NAV).model_validate({**dict(NAV), "cash": Decimal(zero)})
    with pytest.raises(ValidationError, match="too many digits; write 0"):
        type(NAV).model_validate_json(json_of(NAV, cash=zero))


@pytest.mark.parametrize("zero", ["0", "-0", "0.00", "0E+2", "0E-60"])
def test_a_zero_is_kept_as_it_is_written(zero: str):
    assert str(type(NAV).model_validate_json(json_of(NAV, cash=zero)).cash) == str(Decimal(zero))


@pytest.mark.parametrize(("event", "name"), decimals())
def test_money_travels_as_a_string(event: Event, name: str):
    assert isinstance(json.loads(event.model_dump_json())[name], str)


@pytest.mark.parametrize(("event", "name"), decimals())
def test_money_as_a_number_is_refused_as_it_would_lose_digits(event: Event, name: str):
    with pytest.raises(ValidationError, match=name):
        type(event).model_validate({**dict(event), name: float(getattr(event, name))})
    document = json.loads(event.model_dump_json())
    with pytest.raises(ValidationError, match=name):
        type(event).model_validate_json(json.dumps({**document, name: 0.25}))


@pytest.mark.parametrize("written", ["NaN", "Infinity", "1_000", " 1", "+1", ".5", "1.", "0x10", "", "\u0661"])
def test_money_in_any_other_spelling_is_refused(written: str):
    with pytest.raises(ValidationError, match="quantity"):
        Order.model_validate_json(json_of(ORDER, quantity=written))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_money_is_finite(value: str):
    with pytest.raises(ValidationError, match="finite"):
        type(FILL).model_validate({**dict(FILL), "fee": Decimal(value)})


@given(st.decimals(min_value="1e-30", max_value="1e30", allow_nan=False, allow_infinity=False))
def test_every_digit_of_a_quantity_survives_the_wire(value: Decimal):
    if len(value.as_tuple().digits) > 30 or value <= 0:
        value = Decimal("1E-7")
    nav = NAV.model_copy(update={"cash": value})
    back = type(NAV).model_validate_json(nav.model_dump_json())
    assert back.cash.as_tuple() == value.as_tuple()


@given(st.floats(min_value=1e-300, allow_infinity=False, allow_nan=False))
def test_a_market_price_converts_to_the_digits_that_the_market_printed(value: float):
    assert float(exact(value)) == value
    assert exact(0.1) == Decimal("0.1")


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_a_market_price_is_positive_and_finite(value: float):
    with pytest.raises(ValidationError, match="bid"):
        type(QUOTE).model_validate({**dict(QUOTE), "bid": value})


def test_a_quote_is_numbered_from_one():
    with pytest.raises(ValidationError, match="sequence"):
        type(QUOTE).model_validate({**dict(QUOTE), "sequence": 0})
    with pytest.raises(ValidationError, match="sequence"):
        type(QUOTE).model_validate({**dict(QUOTE), "sequence": True})


@pytest.mark.parametrize("field", ["quantity", "price"])
@pytest.mark.parametrize("value", ["0", "-1"])
def test_quantities_and_prices_are_positive(field: str, value: str):
    with pytest.raises(ValidationError, match=f"{field}\\s+Input should be greater than 0"):
        type(FILL).model_validate({**dict(FILL), field: Decimal(value)})


@pytest.mark.parametrize("value", ["", "a b", "a\n", "ä", "x" * 201])
def test_an_identifier_is_safe_in_a_header(value: str):
    with pytest.raises(ValidationError, match="fund_id"):
        type(FILL).model_validate({**dict(FILL), "fund_id": value})


@pytest.mark.parametrize("value", ["", "a\n", "\x00", "x" * 65])
def test_a_symbol_is_printable_and_not_empty(value: str):
    with pytest.raises(ValidationError, match="symbol"):
        type(FILL).model_validate({**dict(FILL), "symbol": value})


@pytest.mark.parametrize("value", ["BRK.B", "BTC/USD", "*", ">", "日経 225"])
def test_a_symbol_is_spelled_as_its_market_spells_it(value: str):
    assert type(FILL).model_validate({**dict(FILL), "symbol": value}).symbol == value


@given(st.binary(max_size=400))
def test_a_dead_letter_keeps_the_bytes_of_the_message(payload: bytes):
    letter = type(DEAD_LETTER).model_validate({**dict(DEAD_LETTER), "payload": payload})
    document = letter.model_dump_json()
    assert letter.payload == payload
    assert json.loads(document)["payload"] == b64encode(payload).decode()
    assert type(DEAD_LETTER).model_validate_json(document).payload == payload


@pytest.mark.parametrize("written", ["a", "%%%%", "-_-_", "YQ"])
def test_a_dead_letter_refuses_what_is_no_base64(written: str):
    with pytest.raises(ValidationError, match="payload"):
        type(DEAD_LETTER).model_validate_json(json_of(DEAD_LETTER, payload=written))


def test_cash_and_position_follow_from_a_fill():
    assert FILL.position_change == Decimal("0.5")
    assert FILL.cash_change == Decimal("-20020.25025")


def test_the_schema_of_a_payload_is_named_by_module_class_and_version():
    assert Order.schema_id() == "mts1b_foundation.orders.Order:v1"


def test_the_present_is_utc():
    from mts1b_foundation.event import utc_now

    assert utc_now().tzinfo is UTC


@pytest.mark.parametrize("second", SUBJECTS_V2, ids=lambda subject: subject.pattern)
def test_the_second_version_reads_every_first_one_as_it_was(second: Subject[Any]):
    first = second.replaces
    assert first is not None
    sample = next(event for event in SAMPLES if type(event) is first.payload)
    found = registry().upcasters.decode(first.schema_id, sample.model_dump_json(), second.payload)
    assert json.loads(found.model_dump_json()) == json.loads(sample.model_dump_json())
    assert found.schema_id() == first.schema_id.replace(":v1", ":v2")


@pytest.mark.parametrize("price", ["-37.63", "0", "0.00"])
def test_the_second_versions_take_prices_that_are_zero_or_negative(price: str):
    for event, name in ((ORDER_V2, "reference_price"), (FILL_V2, "price"), (BROKER_FILL_V2, "last_price")):
        made = type(event).model_validate({**dict(event), name: Decimal(price)})
        assert type(made).model_validate_json(made.model_dump_json()) == made
    quote = type(QUOTE_V2).model_validate({**dict(QUOTE_V2), "bid": float(price)})
    assert type(quote).model_validate_json(quote.model_dump_json()) == quote


def test_a_rebate_adds_to_cash():
    paid = FILL_V2.model_copy(update={"fee": Decimal(0)})
    assert FILL_V2.cash_change - paid.cash_change == -FILL_V2.fee > 0
