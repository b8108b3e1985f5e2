"""Which form of the hot path is at work: said, switched off, required; and what has no plan."""

import sys
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Self

import pytest
from mts1b_foundation.event import Event, Identifier, Quantity, UtcDatetime
from mts1b_foundation.passes import PRESENT, passes_when
from mts1b_foundation.samples import ORDER, QUOTE, SAMPLES
from mts1b_platform.config import ConfigError
from mts1b_platform.eventbus import core
from mts1b_platform.eventbus.codec import plan as plans
from mts1b_platform.eventbus.codec.payload import decoder, encoder, plan_of, pure_decoder, pure_encoder
from mts1b_platform.eventbus.codec.plan import NoPlan, planned
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    create_model,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import SchemaSerializer, SchemaValidator, core_schema

compiled = pytest.mark.skipif(core.CORE is None, reason="of the compiled core")


def loaded(monkeypatch: pytest.MonkeyPatch, module: ModuleType | None, **environment: str) -> tuple[Any, str]:
    """What is decided where ``module`` is, or is not, installed."""
    for name in ("MTS1B_PURE", "MTS1B_CORE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "mts1b_wire", module)  # None: importing it says that there is none
    return core._load()


def made(interface: Any) -> ModuleType:
    module = ModuleType("mts1b_wire")
    vars(module).update(INTERFACE=interface, __version__="1.2.3")
    return module


def test_pure_python_is_at_work_where_the_core_is_not_installed(monkeypatch: pytest.MonkeyPatch):
    assert loaded(monkeypatch, None) == (None, "mts1b-wire is not installed")


def test_the_core_is_at_work_where_it_is_installed_and_can_be_switched_off(monkeypatch: pytest.MonkeyPatch):
    module = made(core.INTERFACE)
    assert loaded(monkeypatch, module) == (module, "")
    assert loaded(monkeypatch, module, MTS1B_PURE="0") == (module, "")
    assert loaded(monkeypatch, module, MTS1B_PURE="1") == (None, "switched off by MTS1B_PURE")


def test_a_core_of_another_release_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    assert loaded(monkeypatch, made(core.INTERFACE + 1))[0] is None
    assert "another release" in loaded(monkeypatch, made(None))[1]


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("INTERFACE = 1", "is of another release (interface 1"),
        ("", "is of another release (interface None"),
        ("from mts1b_wire.mts1b_wire import *", "No module named 'mts1b_wire.mts1b_wire'"),  # built for another Python
        ("raise SystemError('initialization failed')", "cannot be loaded"),
        ("nonsense", "cannot be loaded"),
    ],
)
def test_a_core_that_is_installed_and_of_no_use_leaves_pure_python_and_says_once_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, source: str, what: str
):
    (tmp_path / "mts1b_wire").mkdir()
    (tmp_path / "mts1b_wire" / "__init__.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("mts1b_wire", "mts1b_wire.mts1b_wire"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delenv("MTS1B_PURE", raising=False)
    monkeypatch.delenv("MTS1B_CORE", raising=False)
    found, why = core._load()
    sys.modules.pop("mts1b_wire", None)
    assert found is None
    assert what in why
    assert "`make setup`" in why
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "`make setup`" in record.getMessage()


def test_a_core_that_is_required_and_not_at_work_is_an_error(monkeypatch: pytest.MonkeyPatch):
    assert loaded(monkeypatch, made(core.INTERFACE), MTS1B_CORE="required")[0] is not None
    with pytest.raises(ConfigError, match="mts1b-wire is not installed"):
        loaded(monkeypatch, None, MTS1B_CORE="required")
    with pytest.raises(ConfigError, match="switched off"):
        loaded(monkeypatch, made(core.INTERFACE), MTS1B_CORE="required", MTS1B_PURE="1")
    with pytest.raises(ConfigError, match="'required', or not set"):
        loaded(monkeypatch, None, MTS1B_CORE="please")


def test_which_one_it_is_is_said():
    assert core.at_work().startswith("pure Python (" if core.CORE is None else "compiled core ")


class Level(IntEnum):
    LOW = 1


class Loud(StrEnum):
    """Members that are written as something else than they are."""

    A = "a"

    def __new__(cls, value: str) -> Self:
        made = str.__new__(cls, value.upper())
        made._value_ = value
        return made


class Lax(Event):
    model_config = ConfigDict(strict=False)
    name: str


class Open(Event):
    model_config = ConfigDict(extra="allow")
    name: str


class Stripped(Event):
    model_config = ConfigDict(str_strip_whitespace=True)
    name: str


class Infinite(Event):
    model_config = ConfigDict(allow_inf_nan=True)
    size: float


class Aliased(Event):
    name: str = Field(alias="another")


class Patterned(Event):
    name: str = Field(pattern="^a+$")


class Checked(Event):
    name: str

    @field_validator("name")
    @classmethod
    def _check(cls, name: str) -> str:
        return name


class Written(Event):
    name: str

    @model_serializer
    def _write(self) -> dict[str, str]:
        return {"name": "x"}


class Private(Event):
    name: str
    _seen: int = PrivateAttr(3)


class PostInit(Event):
    name: str

    def model_post_init(self, _: Any, /) -> None:
        vars(self)["seen"] = 1


class Constructed(Event):
    name: str

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)


class Allocated(Event):
    name: str

    def __new__(cls, *_: Any, **__: Any) -> Self:
        return super().__new__(cls)


class Naive(Event):
    at: datetime


class Below(Event):
    size: float = Field(lt=1)


class Steps(Event):
    size: int = Field(multiple_of=2)


class Short(Event):
    amount: Annotated[Quantity, Field(max_digits=10)]


class Bare(Event):
    amount: Decimal


class Numbered(Event):
    level: Level


class Shouted(Event):
    level: Loud


class Nested(Event):
    inner: Lax


class Made(Event):
    names: list[str] = Field(default_factory=list)


class Counted(Event):
    sizes: dict[int, str]


class Pair(Event):
    both: tuple[str, str]


class Inner(Event):
    size: Annotated[float, Field(lt=1)]


class Outer(Event):
    inners: tuple[Inner, ...]


class Preset(Event):
    sizes: dict[str, str] = Field(default={"a": "b"})


@pytest.mark.parametrize(
    "model",
    [
        *(
            Lax,
            Open,
            Stripped,
            Infinite,
            Aliased,
            Patterned,
            Checked,
            Written,
            Private,
            PostInit,
            Constructed,
            Allocated,
        ),
        *(Naive, Below, Steps, Short, Bare, Numbered, Shouted, Nested, Made, Counted, Pair, Outer, Preset),
    ],
)
def test_a_model_with_something_unknown_has_no_plan(model: type[Event]):
    with pytest.raises(NoPlan):
        planned(model)
    assert plan_of(model) is None


class Quoted(StrEnum):
    A = 'a"b'


@dataclass
class Plain:
    name: str


def made_of(**kinds: Any) -> type[Event]:
    fields: Any = {name: (kind, ...) for name, kind in kinds.items()}
    return create_model("Made", __base__=Event, **fields)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        pytest.param(
            made_of(**dict.fromkeys((f"f{at}" for at in range(65)), int)),
            "{" + ",".join(f'"f{at}":{at}' for at in range(65)) + "}",
            id="65 fields",
        ),
        pytest.param(made_of(größe=int), '{"größe":1}', id="an umlaut"),
        pytest.param(made_of(x=Quoted), r'{"x":"a\"b"}', id="an escape in a member"),
        pytest.param(
            made_of(x=Annotated[Plain, AfterValidator(lambda x: x)]), '{"x":{"name":"a"}}', id="a checked dataclass"
        ),
    ],
)
def test_what_the_compiled_core_cannot_plan_is_read_and_written_by_the_pure_codec(model: type[Event], text: str):
    assert plan_of(model) is None
    assert encoder(model)(decoder(model)(text.encode())) == text.encode()


def test_another_pydantic_than_the_plans_know_leaves_the_pure_codec_and_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    class First(Event):
        name: Identifier

    class Second(Event):
        size: Quantity

    monkeypatch.setattr(plans, "VERSION", "2.99.0")
    plans._say_unknown_pydantic.cache_clear()
    with pytest.raises(NoPlan, match=r"2\.99\.0"):
        planned(type(ORDER))
    for model, text in ((First, b'{"name":"abc"}'), (Second, b'{"size":"1.50"}')):
        assert plan_of(model) is None
        assert encoder(model)(decoder(model)(text)) == text
        with pytest.raises(ValueError, match="extra"):
            decoder(model)(b'{"other":1}')
    assert [record.levelname for record in caplog.records if "2.99.0" in record.getMessage()] == ["WARNING"]


class Cached(Event):
    name: Identifier

    @cached_property
    def size(self) -> int:
        return len(self.name)


@compiled
def test_a_cached_property_beside_the_fields_is_not_written():
    assert plan_of(Cached) is not None
    event = decoder(Cached)(b'{"name":"abc"}')
    assert event.size == 3
    assert encoder(Cached)(event) == b'{"name":"abc"}'


_AS_ONE = core_schema.plain_serializer_function_ser_schema(lambda _: 1)


class Rebuilt(Event):
    name: Identifier
    at: UtcDatetime | None = None


@compiled
def test_a_model_that_is_changed_while_it_is_in_use_is_served_by_pydantic_and_said_once(
    caplog: pytest.LogCaptureFixture,
):
    read, plan = decoder(Rebuilt), plan_of(Rebuilt)
    assert plan is not None
    assert read(b'{"name":"abc"}').name == "abc"

    class Other(Event):
        name: int

    Rebuilt.__pydantic_validator__ = SchemaValidator(Other.__pydantic_core_schema__)
    assert read(b'{"name":3}').name == 3
    assert read(b'{"name":4}').name == 4
    assert plan.counts == (1, 2)
    event = Rebuilt.model_construct(name="abc", at=None)
    Rebuilt.__pydantic_serializer__ = SchemaSerializer(core_schema.any_schema(serialization=_AS_ONE))
    assert encoder(Rebuilt)(event) == b"1"
    assert sum("has changed while in use" in record.getMessage() for record in caplog.records) == 1


def test_the_pure_codec_leaves_a_changed_model_to_pydantic_too(caplog: pytest.LogCaptureFixture):
    class Changed(Event):
        name: Identifier
        size: Quantity | None = None

    class Other(Event):
        name: int

    read, write = pure_decoder(Changed), pure_encoder(Changed)
    assert write(read(b'{"name":"abc"}')) == b'{"name":"abc","size":null}'
    Changed.__pydantic_validator__ = SchemaValidator(Other.__pydantic_core_schema__)
    Changed.__pydantic_serializer__ = SchemaSerializer(core_schema.any_schema(serialization=_AS_ONE))
    assert read(b'{"name":3}').name == 3
    assert write(Changed.model_construct(name="abc", size=None)) == b"1"
    assert sum("has changed while in use" in record.getMessage() for record in caplog.records) == 1


@compiled
def test_a_model_whose_serializer_alone_was_changed_is_written_by_pydantic():
    class Changed(Event):
        name: Identifier

    event = decoder(Changed)(b'{"name":"abc"}')
    assert encoder(Changed)(event) == b'{"name":"abc"}'
    Changed.__pydantic_serializer__ = SchemaSerializer(core_schema.any_schema(serialization=_AS_ONE))
    assert encoder(Changed)(event) == b"1"


@compiled
@pytest.mark.parametrize("update", [{"bid": 100}, {"sequence": True}, {"bid": True}, {"ask": 10**30}, {"symbol": 1}])
def test_a_value_of_another_type_is_written_as_pydantic_does(update: dict[str, Any]):
    event = QUOTE.model_copy(update=update)
    written = type(event).__pydantic_serializer__.to_json(event, warnings=False)
    assert encoder(type(event))(event) == written


class Leg(Event):
    name: Identifier
    size: Quantity | None = None


class Basket(Event):
    legs: tuple[Leg, ...]
    notes: dict[str, str] = Field(default_factory=dict)


@compiled
def test_what_a_model_holds_is_its_own_and_left_out_dicts_are_not_shared():
    read, plan = decoder(Basket), plan_of(Basket)
    assert plan is not None
    first, second = read(b'{"legs":[{"name":"a"},{"name":"b","size":"2"}]}'), read(b'{"legs":[]}')
    assert (first.legs[1].model_fields_set, first.model_fields_set) == ({"name", "size"}, {"legs"})
    assert first.notes == second.notes == {}
    assert first.notes is not second.notes
    noted = read(b'{"legs":[],"notes":{"why":"a \\"quote\\"\\n"}}')
    assert noted.notes == {"why": 'a "quote"\n'}
    assert plan.counts == (3, 0)
    assert [encoder(Basket)(event) for event in (first, noted)] == [
        event.model_dump_json().encode() for event in (first, noted)
    ]
    with pytest.raises(ValueError, match=r"legs\.1\.name"):
        read(b'{"legs":[{"name":"a"},{"name":""}]}')


@compiled
@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: type(event).__name__)
def test_every_registered_payload_has_a_plan(event: Event):
    assert plan_of(type(event)) is not None


@compiled
@pytest.mark.parametrize("event", [ORDER, QUOTE], ids=lambda event: type(event).__name__)
def test_events_of_the_compiled_core_are_like_all_others(event: Event):
    read = decoder(type(event))(encoder(type(event))(event))
    assert read == event
    assert read.model_copy(update={"symbol": "X"}).symbol == "X"  # pyright: ignore[reportAttributeAccessIssue]
    assert read.__reduce_ex__(4)[0] is event.__reduce_ex__(4)[0]
    assert read.model_dump() == event.model_dump()
    with pytest.raises(ValueError, match="frozen"):
        read.symbol = "X"
    del read


class Told(Event):
    """Its validator says when it passes."""

    kind: str = "plain"
    amount: Quantity | None = None

    @model_validator(mode="after")
    @passes_when({"kind": ("plain",), "amount": (None,)}, {"amount": PRESENT})
    def _check(self) -> Self:
        RUN.append(self)
        return self


RUN: list[Event] = []


@compiled
@pytest.mark.parametrize(
    ("data", "runs"),
    [(b"{}", 0), (b'{"amount":null}', 0), (b'{"amount":"1","kind":"odd"}', 0), (b'{"kind":"odd"}', 1)],
)
def test_a_validator_runs_where_it_is_not_known_to_pass(data: bytes, runs: int):
    decode = decoder(Told)
    RUN.clear()
    read = decode(data)
    assert len(RUN) == runs
    assert read == Told.__pydantic_validator__.validate_json(data)


def test_a_case_of_a_field_that_there_is_not_has_no_plan():
    class Misspelt(Event):
        name: str

        @model_validator(mode="after")
        @passes_when({"nmae": ("a",)})
        def _check(self) -> Self:
            return self

    with pytest.raises(NoPlan, match="nmae"):
        planned(Misspelt)


@compiled
def test_a_validator_that_is_interrupted_interrupts():
    class Stopped(Event):
        name: Identifier

    made = plan_of(Stopped)
    assert made is not None

    def stop(_: Any) -> Any:
        raise KeyboardInterrupt

    fields, _ = planned(Stopped)
    assert core.CORE is not None
    plan = core.CORE.Plan(
        Stopped,
        fields,
        slots=[vars(Event.__mro__[1])[name] for name in plans._SLOTS],
        after=(stop, []),
        utc=None,
        decode=Stopped.__pydantic_validator__.validate_json,
        encode=encoder(Stopped),
        changed=print,
    )
    with pytest.raises(KeyboardInterrupt):
        plan.decode(b'{"name":"a"}')
