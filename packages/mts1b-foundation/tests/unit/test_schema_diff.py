"""Every kind of schema change: classified, and the class confirmed by really validating both ways."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mts1b_foundation.event import Event, Money, Price, UtcDatetime
from mts1b_foundation.schemas import Compatibility, diff, overall, schema_document
from mts1b_foundation.subjects import SUBJECTS
from pydantic import Field, StringConstraints, ValidationError, create_model

FULL, BACKWARD, FORWARD, BREAKING = Compatibility


def model(**fields: Any) -> type[Event]:
    """A payload with one fixed field and these; a field is a type, or (type, default)."""
    given: dict[str, Any] = {}
    for name, value in fields.items():
        given[name] = value if isinstance(value, tuple) else (value, ...)
    return create_model("Thing", __base__=Event, id=(str, ...), **given)


class Red(StrEnum):
    RED = "red"
    DARK = "dark"


class Warm(StrEnum):
    RED = "red"
    DARK = "dark"
    ORANGE = "orange"


class Leg(Event):
    size: int


class Leg2(Event):
    size: int
    venue: str | None = None


class Tree(Event):
    name: str
    child: "Tree | None" = None


class Tree2(Event):
    name: Annotated[str, StringConstraints(max_length=3)]
    child: "Tree2 | None" = None


@dataclass
class Case:
    """One change, documents that old and new producers write, and what is claimed about them."""

    name: str
    old: type[Event]
    new: type[Event]
    expected: Compatibility
    old_events: list[dict[str, Any]]
    new_events: list[dict[str, Any]]
    said: str = ""


def one(name: str, old: Any, new: Any, expected: Compatibility, olds: list[Any], news: list[Any], said: str) -> Case:
    """A change of the field ``x``."""
    return Case(
        name,
        model(x=old),
        model(x=new),
        expected,
        [{"id": "a", "x": value} for value in olds],
        [{"id": "a", "x": value} for value in news],
        said,
    )


Short = Annotated[str, StringConstraints(max_length=3)]
Long = Annotated[str, StringConstraints(max_length=5)]
Lower = Annotated[str, StringConstraints(pattern="^[a-z]+$")]
Upper = Annotated[str, StringConstraints(pattern="^[A-Z]+$")]
Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]
SmallTuple = Annotated[tuple[int, ...], Field(max_length=1)]

Account = Annotated[str, Field(json_schema_extra={"sensitive": True})]

CASES = [
    one("mark for masking", str, Account, FULL, ["a"], ["b"], "x: marked sensitive (full)"),
    one("mark what a field may hold", str | None, Account | None, FULL, ["a"], [None], "x: marked sensitive (full)"),
    one("mark no more", list[Account], list[str], FULL, [["a"]], [[]], "x: no longer marked sensitive (full)"),
    Case("nothing", model(x=int), model(x=int), FULL, [{"id": "a", "x": 1}], [{"id": "a", "x": 2}]),
    Case(
        "add optional",
        model(),
        model(x=(int | None, None)),
        BACKWARD,
        [{"id": "a"}],
        [{"id": "a", "x": 1}, {"id": "a", "x": None}],
        "optional field added",
    ),
    Case("add required", model(), model(x=int), BREAKING, [{"id": "a"}], [{"id": "a", "x": 1}], "required field added"),
    Case(
        "remove optional",
        model(x=(int | None, None)),
        model(),
        FORWARD,
        [{"id": "a", "x": 1}],
        [{"id": "a"}],
        "optional field removed",
    ),
    Case(
        "remove required",
        model(x=int),
        model(),
        BREAKING,
        [{"id": "a", "x": 1}],
        [{"id": "a"}],
        "required field removed",
    ),
    Case(
        "rename",
        model(x=int),
        model(y=int),
        BREAKING,
        [{"id": "a", "x": 1}],
        [{"id": "a", "y": 1}],
        "renamed to y",
    ),
    Case(
        "rename optional",
        model(x=(int, 1)),
        model(y=(int, 1)),
        BREAKING,
        [{"id": "a", "x": 1}],
        [{"id": "a", "y": 1}],
        "renamed to y",
    ),
    Case(
        "become required",
        model(x=(int, 1)),
        model(x=int),
        FORWARD,
        [{"id": "a"}, {"id": "a", "x": 1}],
        [{"id": "a", "x": 1}],
        "became required",
    ),
    Case(
        "become optional",
        model(x=int),
        model(x=(int, 1)),
        BACKWARD,
        [{"id": "a", "x": 1}],
        [{"id": "a"}, {"id": "a", "x": 1}],
        "became optional",
    ),
    one("narrow: no longer null", int | None, int, FORWARD, [1, None], [1], "may no longer be null"),
    one("widen: also null", int, int | None, BACKWARD, [1], [1, None], "may also be null"),
    one("narrow: whole numbers", float, int, FORWARD, [1, 1.5], [1], "number became whole numbers only"),
    one("widen: any number", int, float, BACKWARD, [1], [1, 1.5], "integer became any number"),
    one("any number, never null", int | None, float, BREAKING, [None], [1.5], "may no longer be null"),
    one("widen: union", int, int | str, BACKWARD, [1], [1, "a"], "may also be string"),
    one("narrow: union", int | str, int, FORWARD, [1, "a"], [1], "may no longer be string"),
    one("widen: anything", int, Any, BACKWARD, [1], [1, {"a": []}], "type changed from integer to any"),
    one("narrow: from anything", Any, int, FORWARD, [1, {"a": []}], [1], "type changed from any to integer"),
    one("enum grow", Red, Warm, BACKWARD, ["red"], ["red", "orange"], "may also be 'orange'"),
    one("enum shrink", Warm, Red, FORWARD, ["red", "orange"], ["red"], "no longer 'orange'"),
    one("enum swap", Literal["a", "b"], Literal["b", "c"], BREAKING, ["a"], ["c"], "may also be 'c'"),
    one("literal to enum", Literal["a"], Literal["a", "b"], BACKWARD, ["a"], ["a", "b"], "may also be 'b'"),
    one("text to enum", str, Red, FORWARD, ["red", "x"], ["red"], "now one of"),
    one("enum to text", Red, str, BACKWARD, ["red"], ["red", "x"], "no longer one of a list"),
    one("type change", int, str, BREAKING, [1], ["a"], "type changed from integer to string"),
    one("type change: money to float", Money, float, BREAKING, ["1.5"], [1.5], "type changed from string (decimal)"),
    one("type change: text to money", str, Money, FORWARD, ["1", "x"], ["1"], "pattern"),
    one("type change: money to text", Money, str, BACKWARD, ["1"], ["1", "x"], "pattern"),
    one("type change: text to time", str, UtcDatetime, FORWARD, ["x"], ["2021-01-08T00:00:00Z"], "format date-time"),
    one("constraint: shorter", Long, Short, FORWARD, ["abc", "abcde"], ["abc"], "maximal length changed from 5 to 3"),
    one("constraint: longer", Short, Long, BACKWARD, ["abc"], ["abc", "abcde"], "maximal length changed from 3 to 5"),
    one(
        "constraint: none any more", Short, str, BACKWARD, ["a"], ["a", "abcd"], "maximal length changed from 3 to none"
    ),
    one("constraint: pattern added", str, Lower, FORWARD, ["a", "A"], ["a"], "pattern"),
    one("constraint: pattern dropped", Lower, str, BACKWARD, ["a"], ["a", "A"], "no longer asked for"),
    one("constraint: pattern changed", Lower, Upper, BREAKING, ["a"], ["A"], "pattern changed"),
    one(
        "constraint: minimum raised", NotNegative, Positive, FORWARD, [0, 1], [1], "minimum changed from 0 to beyond 0"
    ),
    one(
        "constraint: minimum lowered",
        Positive,
        NotNegative,
        BACKWARD,
        [1],
        [0, 1],
        "minimum changed from beyond 0 to 0",
    ),
    one(
        "constraint: money positive", Money, Price, FORWARD, ["-1", "1"], ["1"], "minimum changed from none to beyond 0"
    ),
    one(
        "constraint: money signed", Price, Money, BACKWARD, ["1"], ["-1", "1"], "minimum changed from beyond 0 to none"
    ),
    one(
        "constraint: fewer items", tuple[int, ...], SmallTuple, FORWARD, [[], [1, 2]], [[1]], "maximal number of items"
    ),
    one("items narrow", tuple[float, ...], tuple[int, ...], FORWARD, [[1.5]], [[1]], "whole numbers"),
    one("items of a fixed tuple", tuple[int, str], tuple[int, int], BREAKING, [[1, "a"]], [[1, 1]], "type changed"),
    one("a fixed tuple grows", tuple[int], tuple[int, int], BREAKING, [[1]], [[1, 1]], "fixed items"),
    one(
        "entries widen", dict[str, int], dict[str, int | None], BACKWARD, [{"a": 1}], [{"a": None}], "may also be null"
    ),
    one("keys narrow", dict[Lower, int], dict[Upper, int], BREAKING, [{"a": 1}], [{"A": 1}], "pattern of the keys"),
    one(
        "nested: add optional", Leg, Leg2, BACKWARD, [{"size": 1}], [{"size": 1, "venue": "x"}], "optional field added"
    ),
    one(
        "nested in a list: add optional",
        tuple[Leg, ...],
        tuple[Leg2, ...],
        BACKWARD,
        [[{"size": 1}]],
        [[{"size": 1, "venue": "x"}]],
        "optional field added",
    ),
    one(
        "a model that holds itself",
        Tree,
        Tree2,
        FORWARD,
        [{"name": "a", "child": {"name": "long"}}],
        [{"name": "a", "child": {"name": "b"}}],
        "maximal length",
    ),
    one("one more kind of model", Leg | Tree, Leg, FORWARD, [{"size": 1}, {"name": "a"}], [{"size": 1}], "no longer"),
    one("one more kind of list", list[int] | list[str], list[int], FORWARD, [[1], ["a"]], [[1]], "no longer"),
    one(
        "two changes against each other",
        Annotated[int, Field(ge=0, le=5)],
        Annotated[int, Field(ge=1, le=9)],
        BREAKING,
        [0],
        [9],
        "",
    ),
]

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def reads(reader: type[Event], event: dict[str, Any]) -> bool:
    try:
        reader.model_validate_json(json.dumps(event))
    except ValidationError:
        return False
    return True


@every_case
def test_a_change_is_classified(case: Case):
    changes = diff(schema_document(case.old), schema_document(case.new))
    assert overall(changes) is case.expected
    assert case.said in "\n".join(map(str, changes))
    assert (not changes) == (case.name == "nothing")


@every_case
def test_the_class_is_what_validation_says(case: Case):
    assert all(reads(case.old, event) for event in case.old_events), "an old event that is none"
    assert all(reads(case.new, event) for event in case.new_events), "a new event that is none"
    observed = Compatibility.of(
        backward=all(reads(case.new, event) for event in case.old_events),
        forward=all(reads(case.old, event) for event in case.new_events),
    )
    assert observed is case.expected


@every_case
def test_the_way_back_is_the_mirror_image(case: Case):
    mirrored = {FULL: FULL, BACKWARD: FORWARD, FORWARD: BACKWARD, BREAKING: BREAKING}
    assert overall(diff(schema_document(case.new), schema_document(case.old))) is mirrored[case.expected]


def test_a_changed_default_is_breaking_as_the_readers_disagree_on_what_is_meant():
    old, new = model(x=(int, 1)), model(x=(int, 2))
    (change,) = diff(schema_document(old), schema_document(new))
    assert change.compatibility is BREAKING
    assert "default changed from 1 to 2" in change.what
    assert old.model_validate_json('{"id": "a"}') != new.model_validate_json('{"id": "a"}').model_dump()


def test_words_order_and_names_of_nested_models_do_not_matter():
    class Inner(Event):
        """Words."""

        b: str
        a: int

    class Outer(Event):
        """Other words."""

        legs: tuple[Inner, ...]

    def renamed() -> type[Event]:
        class Innermost(Event):
            a: int
            b: str

        class Outer(Event):
            legs: tuple[Innermost, ...]

        return Outer

    assert diff(schema_document(Outer), schema_document(renamed())) == []


def test_an_unknown_keyword_that_changed_is_taken_as_breaking():
    old = {"type": "object", "properties": {"x": {"type": "integer", "multipleOf": 2}}}
    new = {"type": "object", "properties": {"x": {"type": "integer", "multipleOf": 3}}}
    (change,) = diff(old, new)
    assert change.compatibility is BREAKING
    assert change.path == "x"


def test_unknown_fields_refused_from_now_on():
    closed: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
    opened: dict[str, Any] = {"type": "object", "properties": {}}
    assert overall(diff(opened, closed)) is FORWARD
    assert overall(diff(closed, opened)) is BACKWARD


def test_every_payload_is_compatible_with_itself_and_with_no_other():
    documents = {subject.payload: schema_document(subject.payload) for subject in SUBJECTS}
    for model_, document in documents.items():
        for other, theirs in documents.items():
            assert (diff(document, theirs) == []) == (model_ is other)


def test_the_path_leads_into_lists_and_models():
    old, new = model(legs=tuple[Leg, ...]), model(legs=tuple[Leg2, ...])
    assert [change.path for change in diff(schema_document(old), schema_document(new))] == ["legs[].venue"]


@st.composite
def types(draw: st.DrawFn) -> Any:
    """A field type out of everything that payloads are made of."""
    low, high = sorted((draw(st.integers(-2, 2)), draw(st.integers(-2, 2))))
    simple: list[Any] = [
        str,
        bool,
        int,
        float,
        Money,
        Price,
        Literal["a", "b"],
        Literal["b", "c"],
        Lower,
        Annotated[str, StringConstraints(min_length=low + 2, max_length=high + 2)],
        Annotated[int, Field(ge=low, le=high)],
        Annotated[int, Field(gt=low)],
        Annotated[float, Field(lt=high)],
    ]
    chosen: Any = draw(st.sampled_from(simple))
    wrap: Callable[[Any], Any] = draw(
        st.sampled_from([lambda t: t, lambda t: t | None, lambda t: tuple[t, ...], lambda t: dict[str, t]])
    )
    return wrap(chosen)


VALUES: list[Any] = [
    *(None, True, -3, -2, -1, 0, 1, 2, 3, -2.5, -0.5, 0.5, 1.5, "", "a", "b", "c", "A", "aa", "aaaa", "aaaaa"),
    *("1", "-1", "0", "1.5", [], {}),
]
EVENTS: list[dict[str, Any]] = [
    {"id": "a", **extra}
    for extra in [
        {},
        *({"x": value} for value in VALUES),
        *({"x": [value]} for value in VALUES),
        *({"x": {"k": value}} for value in VALUES),
    ]
]


@settings(max_examples=400, deadline=None)
@given(types(), types(), st.booleans(), st.booleans())
def test_what_is_called_compatible_is_never_refused(one_type: Any, other_type: Any, needed: bool, needed_now: bool):
    old = model(x=one_type if needed else (one_type | None, None))
    new = model(x=other_type if needed_now else (other_type | None, None))
    changes = diff(schema_document(old), schema_document(new))
    claimed = overall(changes)
    before = [event for event in EVENTS if reads(old, event)]
    after = [event for event in EVENTS if reads(new, event)]
    if claimed in (FULL, BACKWARD):
        assert all(event in after for event in before)
    if claimed in (FULL, FORWARD):
        assert all(event in before for event in after)
