"""The codec means what pydantic means: same bytes, same values, same refusals."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import cached_property
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mts1b_foundation.event import Event, Money, Quantity, UtcDatetime
from mts1b_foundation.samples import ORDER, QUOTE, SAMPLES
from mts1b_platform.eventbus.codec.payload import decoder, encoder
from pydantic import ValidationError, computed_field, field_serializer

EVENTS = list(SAMPLES)
DIGITS = st.text("0123456789", min_size=1, max_size=45)
NUMBERS = st.one_of(
    DIGITS,
    st.builds("{}.{}".format, DIGITS, DIGITS),
    st.builds("{}{}".format, st.sampled_from(["-", "+", "-0", "0", "", " "]), DIGITS),
    st.builds("{}{}{}".format, DIGITS, st.sampled_from(["e", "E", "E+", "E-"]), st.integers(0, 120)),
    st.decimals(allow_nan=True, allow_infinity=True).map(str),
    st.sampled_from(["0", "-0", "0.0", "00", ".5", "5.", "1_000", "٣", "NaN", "", " 1", "1 "]),
)
INSTANTS = st.one_of(
    st.datetimes(timezones=st.just(UTC)).map(lambda at: at.isoformat()),
    st.datetimes(timezones=st.just(UTC)).map(lambda at: at.isoformat().replace("+00:00", "Z")),
    st.datetimes().map(lambda at: at.isoformat()),
    st.datetimes(timezones=st.just(timezone(timedelta(hours=1)))).map(lambda at: at.isoformat()),
)
VALUES = st.one_of(
    NUMBERS,
    INSTANTS,
    st.text(max_size=80),
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.sampled_from(["buy", "sell", "market", "limit", "created", "filled", "rejected"]),
)


def outcome(read: Any, data: bytes) -> Any:
    """The event, or the errors that were raised."""
    try:
        return read(data)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)
        return [{**each, "input": repr(each["input"])} for each in errors]  # not a number equals nothing


def agree(model: type[Event], data: bytes) -> None:
    """Reading ``data``, and writing what was read, both ways."""
    expected = outcome(model.__pydantic_validator__.validate_json, data)
    got = outcome(decoder(model), data)
    assert got == expected
    if isinstance(got, Event):
        assert repr(got) == repr(expected)  # 1.0 and 1.00 are equal, and not the same
        assert encoder(model)(got) == got.__pydantic_serializer__.to_json(got)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_sample_is_written_and_read_as_pydantic_does(event: Event):
    data = encoder(type(event))(event)
    assert data == event.model_dump_json().encode()
    assert decoder(type(event))(data) == event


@given(st.sampled_from(EVENTS), st.data())
def test_whatever_stands_in_a_field_is_read_as_pydantic_reads_it(event: Event, data: st.DataObject):
    fields = json.loads(event.model_dump_json())
    for name in data.draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=3)):
        fields[name] = data.draw(VALUES)
    agree(type(event), json.dumps(fields).encode())


@given(quantity=NUMBERS, filled=NUMBERS, notional=NUMBERS, price=st.one_of(st.none(), NUMBERS))
@example(quantity="1" * 36, filled="0", notional="0", price="0." + "1" * 18)
@example(quantity="1" * 39, filled="0", notional="0", price="1")
@example(quantity="1E+30", filled="0", notional="-0", price="1E-30")
def test_decimals_are_read_to_the_digit(quantity: str, filled: str, notional: str, price: str | None):
    fields = json.loads(ORDER.model_dump_json())
    changed = {"quantity": quantity, "filled_quantity": filled, "filled_notional": notional, "reference_price": price}
    agree(type(ORDER), json.dumps({**fields, **changed}).encode())


@given(st.floats(min_value=5e-324), st.floats(min_value=0), st.datetimes(timezones=st.just(UTC)), st.integers(1))
def test_numbers_and_instants_are_written_as_pydantic_writes_them(bid: float, size: float, at: datetime, number: int):
    quote = QUOTE.model_copy(update={"bid": bid, "bid_size": size, "timestamp": at, "sequence": number})
    assert encoder(type(QUOTE))(quote) == quote.__pydantic_serializer__.to_json(quote)


@given(st.text(max_size=40))
def test_text_is_written_as_pydantic_writes_it(text: str):
    quote = QUOTE.model_copy(update={"symbol": text})
    assert encoder(type(QUOTE))(quote) == quote.__pydantic_serializer__.to_json(quote)


def test_what_orjson_refuses_is_written_by_pydantic():
    large = QUOTE.model_copy(update={"sequence": 10**30})
    with pytest.raises(orjson.JSONEncodeError):
        orjson.dumps(large.__dict__, default=str, option=orjson.OPT_UTC_Z)
    assert encoder(type(QUOTE))(large) == large.__pydantic_serializer__.to_json(large)


def test_a_payload_with_a_way_of_its_own_is_written_in_that_way():
    class Loud(Event):
        name: str

        @field_serializer("name")
        def _loudly(self, value: str) -> str:
            return value.upper()

    class Counted(Event):
        name: str

        @computed_field
        @property
        def size(self) -> int:
            return len(self.name)

    class Remembering(Event):
        name: str

        @cached_property
        def size(self) -> int:
            return len(self.name)

    assert encoder(Loud)(Loud(name="a")) == b'{"name":"A"}'
    assert encoder(Counted)(Counted(name="a")) == b'{"name":"a","size":1}'
    remembering = Remembering(name="a")
    assert remembering.size == 1
    assert encoder(Remembering)(remembering) == b'{"name":"a"}'


def test_refusals_name_the_field_as_pydantic_does():
    class Trade(Event):
        quantity: Quantity
        cash: Money
        at: UtcDatetime

    with pytest.raises(ValidationError) as refused:
        decoder(Trade)(b'{"quantity":"-1","cash":"1e5","at":"2021-01-08T00:00:00Z"}')
    assert [(error["loc"], error["type"]) for error in refused.value.errors()] == [(("quantity",), "greater_than")]
    assert decoder(Trade)(b'{"quantity":"1e-3","cash":"1e5","at":"2021-01-08T00:00:00Z"}').cash == Decimal("1e5")
