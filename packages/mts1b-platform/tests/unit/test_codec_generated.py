"""The codec means what pydantic means for whatever a model may be: fields, options and settings are drawn."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from mts1b_foundation.event import Bytes, Event, Identifier, Money, Quantity, UtcDatetime
from mts1b_foundation.samples import FILL, ORDER, QUOTE
from mts1b_platform.eventbus.codec.payload import decoder, encoder
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    ValidationError,
    WrapValidator,
    create_model,
    model_validator,
)
from pydantic_core import SchemaError


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Odd(Enum):
    OF_BYTES = b"L"
    OF_TUPLE = (1, 2)
    OF_DECIMAL = Decimal("1.5")
    OF_DATE = date(2021, 1, 8)
    OF_FLOAT = float("inf")


def or_zero(value: Any, handler: Callable[[Any], Any]) -> Any:
    """Turns what the handler refuses into something else, which must not depend on how the handler is made."""
    try:
        return handler(value)
    except ValidationError:
        return Decimal(0)


AT = st.datetimes(timezones=st.sampled_from([UTC, ZoneInfo("UTC"), timezone(timedelta(0), "X")]))
AMOUNT = st.decimals(min_value=Decimal("0.0001"), max_value=Decimal(10**20), places=4)
TYPES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, st.text(max_size=9)),
    (Identifier, st.text("abcxyz:-0123", min_size=1, max_size=9)),
    (int, st.integers(-(2**70), 2**70)),
    (bool, st.booleans()),
    (float, st.floats(allow_nan=False)),
    (Money, AMOUNT),
    (Quantity, AMOUNT),
    (Decimal, AMOUNT),
    (UtcDatetime, AT),
    (datetime, st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]))),
    (date, st.dates()),
    (timedelta, st.timedeltas(timedelta(days=-9), timedelta(days=9))),
    (Bytes, st.binary(max_size=9)),
    (bytes, st.binary(max_size=9).map(lambda data: data.hex().encode())),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Odd, st.sampled_from(Odd)),
    (Literal["a", "b"], st.sampled_from(["a", "b"])),
    (Literal[1, "1", True], st.sampled_from([1, "1", True])),
    (tuple[Money, ...], st.lists(AMOUNT, max_size=3).map(tuple)),
    (list[Decimal], st.lists(AMOUNT, max_size=3)),
    (dict[str, Money], st.dictionaries(st.text(max_size=3), AMOUNT, max_size=3)),
    (str | Money, st.one_of(st.text(max_size=3), AMOUNT)),
    (Any, st.one_of(st.text(max_size=3), AMOUNT, st.binary(max_size=3).map(lambda data: data.hex().encode()))),
    (Annotated[str, PlainSerializer(str.upper)], st.text("abc", max_size=3)),
    (Annotated[str, AfterValidator(lambda text: {text})], st.text("abc", max_size=3)),
    (Annotated[Money, WrapValidator(or_zero)], AMOUNT),
]
CONFIGS: list[ConfigDict] = [
    ConfigDict(extra="allow"),
    ConfigDict(extra="ignore"),
    ConfigDict(ser_json_temporal="seconds"),
    ConfigDict(ser_json_temporal="milliseconds"),
    ConfigDict(ser_json_timedelta="float"),
    ConfigDict(ser_json_bytes="base64", val_json_bytes="base64"),
    ConfigDict(ser_json_inf_nan="strings", allow_inf_nan=True),
    ConfigDict(ser_json_inf_nan="constants", allow_inf_nan=True),
    ConfigDict(allow_inf_nan=True),
    ConfigDict(serialize_by_alias=True, populate_by_name=True),
    ConfigDict(use_enum_values=True),
    ConfigDict(strict=False),
    ConfigDict(title="Another"),
]


class WithPostInit(Event):
    def model_post_init(self, _: Any, /) -> None:
        vars(self)["seen"] = "no field"


class WithCache(Event):
    @cached_property
    def size(self) -> int:
        return 3


class WithPrivate(Event):
    _seen: int = PrivateAttr(3)


class WithHiddenValue(Event):
    @model_validator(mode="after")
    def _remember(self) -> "WithHiddenValue":
        object.__setattr__(self, "seen", 3)
        return self


make_field: Callable[..., Any] = Field
"""Without the overloads, which know no options that are drawn."""

make_class: Callable[..., type[Event]] = type(Event)

OPTIONS: list[dict[str, Any]] = [
    *[{}] * 8,
    {"exclude": True},
    {"exclude_if": bool},
    {"alias": "another"},
    {"serialization_alias": "written"},
    {"validation_alias": "read"},
    {"frozen": True},
    {"repr": False},
    {"description": "Words."},
]
BASES = [*[Event] * 5, WithPostInit, WithCache, WithPrivate, WithHiddenValue]


@st.composite
def instances(draw: st.DrawFn) -> Event:
    """A model of a few fields, and an instance of it."""
    fields: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for number in range(draw(st.integers(1, 4))):
        kind, strategy = draw(st.sampled_from(TYPES))
        options = draw(st.sampled_from(OPTIONS))
        if number == 0 or "alias" not in "".join(
            options
        ):  # an alias of the first field only, so that none stands twice
            if draw(st.booleans()):
                kind, strategy, options = kind | None, st.one_of(st.none(), strategy), {**options, "default": None}
            fields[f"field_{number}"] = (kind, make_field(**options))
            values[f"field_{number}"] = draw(strategy)
    base = draw(st.sampled_from(BASES))
    config = {**Event.model_config, **draw(st.one_of(st.just(ConfigDict()), st.sampled_from(CONFIGS)))}
    holder = make_class("Configured", (base,), {"model_config": config, "__module__": __name__})
    try:
        model: type[Event] = create_model("Drawn", __base__=holder, **fields)
    except SchemaError:  # a combination that pydantic has not got, such as a limit of digits and infinity
        reject()
    try:
        event = model.model_validate(values, by_name=True, by_alias=False, strict=False)
    except ValidationError:  # infinity where the settings do not allow it
        reject()
    if isinstance(event, WithCache):
        assert event.size == 3
    return event.model_copy(update=draw(st.sampled_from([{}, {}, {"unknown": 1}, {"field_0": b"no"}])))


def written(write: Callable[[], bytes]) -> bytes | str:
    try:
        return write()
    except Exception as error:  # noqa: BLE001 - what pydantic raises, the codec raises too
        return f"{type(error).__name__}: {error}"


def read(validate: Callable[[bytes], Any], data: bytes) -> str:
    """What was read, to the last type and zero; or the errors."""
    try:
        return repr(validate(data))
    except ValidationError as error:
        return repr(error.errors(include_url=False))


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@given(instances(), st.data())
def test_whatever_a_model_is_it_is_written_and_read_as_pydantic_does(event: Event, data: st.DataObject):
    model = type(event)
    expected = written(lambda: event.model_dump_json().encode())
    assert written(lambda: encoder(model)(event)) == expected
    if isinstance(expected, bytes):
        assert read(decoder(model), expected) == read(model.model_validate_json, expected)
        try:
            document = json.loads(expected)
        except ValueError:
            return
        for name in document:
            document[name] = data.draw(st.sampled_from(["1e5", "-1", "x", 1, None, [], ["1e5"], {"a": "1E-9"}]))
            changed = json.dumps(document).encode()
            assert read(decoder(model), changed) == read(model.model_validate_json, changed)


@pytest.mark.parametrize("event", [ORDER, QUOTE, FILL], ids=lambda event: type(event).__name__)
def test_the_events_that_there_are_most_of_are_not_written_by_pydantic(event: Event):
    assert encoder(type(event)) != event.__pydantic_serializer__.to_json


def test_what_was_put_on_an_event_beside_its_fields_is_not_sent():
    event = FILL.model_copy()
    vars(event)["api_key"] = "secret"
    assert encoder(type(event))(event) == FILL.model_dump_json().encode()


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize(
    "value", [b"bytes", {"a"}, (1, 2), Decimal("1.5"), object()], ids=lambda value: type(value).__name__
)
def test_a_value_that_no_validator_has_seen_is_written_or_refused_as_by_pydantic(value: Any):
    event = FILL.model_copy(update={"fund_id": value})
    expected = written(lambda: event.model_dump_json().encode())
    assert written(lambda: encoder(type(event))(event)) == expected
