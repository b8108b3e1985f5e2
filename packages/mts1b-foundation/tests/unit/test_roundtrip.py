"""What is written of a payload is read as it was, or the subject that carries it cannot be declared."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import pytest
from mts1b_foundation.errors import InvalidSubject
from mts1b_foundation.event import Bytes, Event, Identifier, Money, Quantity, UtcDatetime
from mts1b_foundation.roundtrip import plain, unreadable
from mts1b_foundation.subjects import DurableSubject, Subject, Tier, registry
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    Secret,
    SecretStr,
    StringConstraints,
    WrapSerializer,
    computed_field,
    create_model,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)
from typing_extensions import TypedDict  # pydantic wants this one on Python 3.11

make_field: Callable[..., Any] = Field
make_model: Callable[..., type[Event]] = create_model


def of(kind: Any, config: ConfigDict | None = None, **options: Any) -> type[Event]:
    """A payload with one field ``value`` beside its name."""
    base = type("Configured", (Event,), {"model_config": config or {}, "__module__": __name__})
    return make_model("Made", __base__=base, name=(str, ...), value=(kind, make_field(**options)))


class Size(Enum):
    SMALL = b"S"
    LARGE = b"L"


class Pair(Enum):
    ONE = (1, 2)


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Leg(BaseModel):
    symbol: str
    price: Money


class LegWithAlias(BaseModel):
    symbol: str = Field(alias="sym")


class LegWithComputed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    symbol: str

    @computed_field
    @property
    def upper(self) -> str:
        return self.symbol.upper()


class Node(Event):
    name: str
    children: "tuple[Node, ...]" = ()


class Odd(Event):
    name: str
    children: "tuple[Odd, ...]" = ()
    value: Any = None


class Point(NamedTuple):
    x: int
    y: int


class Place(TypedDict):
    x: int
    label: str


@dataclass
class Spot:
    x: int
    price: Decimal


def from_hex(value: Any) -> Any:
    return int(value, 16) if isinstance(value, str) else value


NAIVE = datetime(2021, 1, 8)  # noqa: DTZ001 - what it is about

READABLE: dict[str, type[Event]] = {
    "text": of(str),
    "pattern": of(Annotated[str, StringConstraints(pattern=r"^Q{3}-[0-9]{4}$")]),
    "integer": of(int, gt=10_000),
    "number": of(float),
    "decimal": of(Decimal),
    "money": of(Money | None, default=None),
    "instant": of(UtcDatetime),
    "dates": of(tuple[date, time, timedelta, datetime]),
    "uuid": of(UUID),
    "path": of(Path),
    "address": of(IPv4Address),
    "bytes": of(Bytes),
    "bytes, both settings": of(bytes, ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")),
    "enums": of(dict[Colour, Level]),
    "literal": of(Literal["a", "b"]),
    "list of models": of(list[Leg]),
    "set": of(frozenset[int]),
    "keys of numbers": of(dict[int, Money]),
    "typed dict": of(Place),
    "named tuple": of(Point),
    "dataclass": of(Spot),
    "tagged": of(Annotated[int | str, Field()]),
    "number or text": of(int | str | None),
    "recursive": Node,
    "custom on both sides": of(Annotated[int, BeforeValidator(from_hex), PlainSerializer(hex)]),
    "excluded": of(str, default="", exclude=True),
    "excluded sometimes": of(str, default="", exclude_if=bool),
    "alias": of(str, ConfigDict(serialize_by_alias=True), alias="valueOf"),
    "alias on reading too": of(str, ConfigDict(populate_by_name=True), alias="valueOf"),
    "further fields": of(str, ConfigDict(extra="allow")),
    "infinity as text": of(float, ConfigDict(allow_inf_nan=True, strict=False, ser_json_inf_nan="strings")),
    "infinity": of(float, ConfigDict(allow_inf_nan=True, ser_json_inf_nan="constants")),
    "seconds": of(datetime, ConfigDict(strict=False, ser_json_temporal="seconds")),
}

UNREADABLE: dict[str, type[Event]] = {
    "enum of bytes": of(Size),
    "enum of tuples": of(Pair),
    "bytes": of(bytes),
    "bytes, one setting": of(bytes, ConfigDict(ser_json_bytes="base64")),
    "anything": of(Any),
    "dict of anything": of(dict[str, Any]),
    "object": of(object),
    "list without a type": of(list),
    "secret": of(SecretStr),
    "secret number": of(Secret[int]),
    "text or money": of(str | Money),
    "money or text": of(Money | str | None, default=None),
    "text or instant": of(UtcDatetime | str),
    "enum or text": of(Colour | str),
    "keys of tuples": of(dict[tuple[int, int], str]),
    "function": of(Callable[[], None]),
    "type": of(type[int]),
    "another shape": of(Annotated[int, WrapSerializer(lambda value, _: {"m": value}, when_used="json")]),
    "another type": of(Annotated[Money, PlainSerializer(float)]),
    "another value": of(Annotated[str, PlainSerializer(lambda text: text + "!")]),
    "serializer that raises": of(Annotated[int, PlainSerializer(lambda _: 1 / 0)]),
    "infinity as null": of(float, ConfigDict(allow_inf_nan=True)),
    "alias": of(str, alias="valueOf"),
    "alias on writing": of(str, ConfigDict(serialize_by_alias=True), serialization_alias="valueOf"),
    "alias on reading": of(str, validation_alias=AliasChoices("valueOf", "value_of")),
    "required and excluded": of(str, exclude=True),
    "default of another type": of(Money, default=0),
    "model with an alias": of(LegWithAlias),
    "models with a computed field": of(tuple[LegWithComputed, ...]),
    "recursive": Odd,
    "naive, as seconds": of(datetime, ConfigDict(strict=False, ser_json_temporal="seconds"), default=NAIVE),
}


@pytest.mark.parametrize("model", READABLE.values(), ids=READABLE.keys())
def test_what_is_read_as_it_was_written_may_be_declared(model: type[Event]):
    assert unreadable(model) == ()


@pytest.mark.parametrize("model", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_is_not_read_as_it_was_written_is_refused_and_the_field_is_named(model: type[Event]):
    (problem,) = unreadable(model)
    assert problem.field == "value"
    assert problem.reason
    assert problem.remedy
    assert not plain(model) or model is UNREADABLE["default of another type"]


def declare(model: type[Event], kind: type[Subject[Any]] = Subject, tier: Tier = Tier.BEST_EFFORT) -> Subject[Any]:
    return kind(
        "mts.v1.oms.rings.rung", producer="mts1b-oms", payload=model, tier=tier, description="A.", dedupe_key="{name}"
    )


@pytest.mark.parametrize(("kind", "tier"), [(Subject, Tier.BEST_EFFORT), (DurableSubject, Tier.AT_LEAST_ONCE)])
def test_the_refusal_names_subject_field_reason_and_remedy(kind: type[Subject[Any]], tier: Tier):
    with pytest.raises(InvalidSubject) as refused:
        declare(of(bytes), kind, tier)
    said = str(refused.value)
    assert said.startswith("mts.v1.oms.rings.rung: no reader gets Made as it was written:\n  Made.value: b'")
    assert "cannot be written" in said
    assert "Bytes" in said


def test_a_computed_field_is_told_to_be_a_property():
    class Loud(Event):
        name: str

        @computed_field
        @property
        def loud(self) -> bool:
            return True

    with pytest.raises(InvalidSubject, match=r"Loud\.loud: 'loud' is written, .*; make it a plain property"):
        declare(Loud)


def test_a_computed_field_that_readers_ignore_is_none_of_their_business():
    class Loud(Event):
        model_config = ConfigDict(extra="ignore")

        name: str

        @computed_field
        @property
        def loud(self) -> bool:
            return True

    declare(Loud)


def test_serializers_of_the_model_are_tried_with_the_whole_model():
    class Halved(Event):
        name: str
        value: int

        @field_serializer("value")
        def _half(self, value: int) -> int:
            return value * len(self.name)

    class Flat(Event):
        name: str

        @model_serializer
        def _flat(self) -> str:
            return self.name

    class FlatOnBothSides(Event):
        name: str

        @model_serializer
        def _flat(self) -> str:
            return self.name

        @model_validator(mode="before")
        @classmethod
        def _unflat(cls, data: Any) -> Any:
            return {"name": data} if isinstance(data, str) else data

    assert [problem.field for problem in unreadable(Halved)] == ["value"]
    assert len(unreadable(Flat)) == 1
    assert unreadable(FlatOnBothSides) == ()


def test_a_model_that_refuses_every_combination_is_judged_field_by_field():
    class Strict(Event):
        name: str
        value: str | Money
        other: str = Field(alias="otherOne")
        fine: Quantity

        @model_validator(mode="after")
        def _never(self) -> "Strict":
            raise ValueError("only on Sundays")

    assert sorted(problem.field for problem in unreadable(Strict)) == ["other", "value"]


def test_validators_that_raise_something_else_end_nothing():
    class Broken(Event):
        name: str
        value: Identifier

        @field_validator("value")
        @classmethod
        def _index(cls, value: str) -> str:
            return dict[str, str]()[value]

    assert unreadable(Broken) == ()


def test_private_attributes_and_what_hooks_put_there_are_no_fields():
    class Hooked(Event):
        name: str
        _seen: list[int] = PrivateAttr(default_factory=list[int])

        def model_post_init(self, _: Any, /) -> None:
            self._seen.append(1)
            vars(self)["cached"] = 1

    assert unreadable(Hooked) == ()


def test_the_payloads_of_the_project_are_readable_and_all_but_those_with_bytes_are_known_to_be():
    payloads = {subject.payload for subject in registry()}
    assert not {model for model in payloads if unreadable(model)}
    assert {model.__name__ for model in payloads if not plain(model)} == {"DeadLetter"}
