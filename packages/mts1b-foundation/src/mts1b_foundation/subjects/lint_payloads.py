"""The rules about payloads of registered subjects: what readers get back, and of what type moments and money are."""

import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError

from mts1b_foundation.declared import site_of
from mts1b_foundation.event import Event
from mts1b_foundation.roundtrip import unread, unreadable
from mts1b_foundation.sensitive import sensitive_fields
from mts1b_foundation.subjects.findings import Finding
from mts1b_foundation.subjects.sources import Sources, registered
from mts1b_foundation.subjects.subject import FUND, Subject

_MONEY: Final = frozenset({
    "amount", "balance", "cash", "commission", "cost", "equity", "fee", "fees", "margin", "money", "nav", "notional",
    "pnl", "premium", "price", "proceeds", "qty", "quantity",
})  # fmt: skip
"""Words in the name of a field that holds money, or what money is made of."""
_KEYS: Final = re.compile(r"\{([a-z_]+)\}")
_MOMENT: Final = (
    "is a plain datetime, which may have no zone or any",
    "declare it as UtcDatetime (mts1b_foundation.event)",
)
_EXACT: Final = "declare it as Money, Price, Quantity, NonNegative, Notional or Fraction (mts1b_foundation.event)"
_DIGITS: Final = ("is a plain Decimal, which also reads JSON numbers, and these have passed through a double", _EXACT)
_DOUBLE: Final = ("is a float, which cannot hold a sum of money exactly", _EXACT)


def payloads(sources: Sources) -> Iterator[Finding]:
    """A payload of which a value, made for its fields or given as its sample, is not read as it was written."""
    from mts1b_foundation.samples import SAMPLES  # only tools need it, services never

    for model in dict.fromkeys(subject.payload for _, subject in registered(sources)):
        samples = [event for event in SAMPLES if type(event) is model] or list(_examples(model))
        unlike = [problem for event in samples for problem in unread(event)]
        for problem in dict.fromkeys([*unreadable(model), *unlike]):
            site = site_of(model, problem.field)
            yield Finding(site, "payload-unreadable", f"{model.__name__}.{problem.about}", problem.remedy)


def field_types(sources: Sources) -> Iterator[Finding]:
    """A moment or an amount of a durable event whose type lets in what a book cannot hold."""
    for model in dict.fromkeys(subject.payload for _, subject in registered(sources) if subject.tier.durable):
        for owner, name, (what, remedy) in _loose(model, set()):
            yield Finding(site_of(owner, name), "payload-type", f"{owner.__name__}.{name} {what}", remedy)


def sensitive_names(sources: Sources) -> Iterator[Finding]:
    """A field marked sensitive that stands where nothing is masked: in the subject, the message id, among the names."""
    for _, subject in registered(sources):
        fields = sensitive_fields(subject.payload)
        for name, where in _in_the_open(subject):
            if name in fields:
                yield Finding(
                    site_of(subject.payload, name),
                    "payload-sensitive",
                    f"{subject.payload.__name__}.{name} is marked sensitive and is {where} of {subject.pattern}, "
                    "which everybody is shown",
                    "take another field there, or take the mark away",
                )


def _in_the_open(subject: Subject[Any]) -> Iterator[tuple[str, str]]:
    """The fields whose values stand outside the payload too, and where."""
    yield from ((name, "a parameter") for name in subject.parameters)
    if subject.fund_scoped:
        yield FUND, "the fund in the subject"
    yield from ((name, "in the dedupe key") for name in _KEYS.findall(subject.dedupe_key or ""))
    yield from ((field, f"the name {name}") for name, field in subject.names.items())


def _loose(model: type[BaseModel], seen: set[type]) -> Iterator[tuple[type[BaseModel], str, tuple[str, str]]]:
    if model in seen:
        return
    seen.add(model)
    for name, info in model.model_fields.items():
        for kind, metadata in _leaves(info.annotation, info.metadata):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _loose(kind, seen)
            elif any(hasattr(each, "__get_pydantic_core_schema__") for each in metadata):
                continue  # a type that says itself what it takes
            elif kind is datetime:
                yield model, name, _MOMENT
            elif kind is Decimal:
                yield model, name, _DIGITS
            elif kind is float and _MONEY & set(name.lower().split("_")):
                yield model, name, _DOUBLE


def _leaves(annotation: Any, metadata: Sequence[Any]) -> Iterator[tuple[Any, Sequence[Any]]]:
    """The types of the values that a field may hold, each with what is annotated to it."""
    annotation = getattr(annotation, "__value__", annotation)  # of a `type` statement
    if get_origin(annotation) is Annotated:
        held, *further = get_args(annotation)
        yield from _leaves(held, [*metadata, *further])
    elif held := get_args(annotation):
        for each in held:
            yield from _leaves(each, ())
    else:
        yield annotation, metadata


def _examples(model: type[Event]) -> Iterator[Event]:
    """The model's own examples; whether they are valid is a rule of the schemas."""
    extra = model.model_config.get("json_schema_extra")
    known = cast("dict[str, Any]", extra) if isinstance(extra, dict) else {}
    for example in known.get("examples", ()):
        try:
            yield model.model_validate_json(json.dumps(example))
        except ValidationError:
            continue
