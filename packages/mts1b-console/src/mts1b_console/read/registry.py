"""The registry: subjects, schemas, and where the palette leads."""

from collections.abc import Iterator
from typing import Any, Final

from mts1b_foundation.event import Event
from mts1b_foundation.schemas import diff, schema_document
from mts1b_foundation.subjects import Subject, registry
from mts1b_foundation.subjects.algebra import is_pattern, overlaps
from mts1b_foundation.views.words import fields_in_words
from mts1b_operations.history.matching import whole_pattern
from mts1b_platform.eventbus.declared import declared

from mts1b_console.person.person import Person
from mts1b_console.problems import Refused
from mts1b_console.read.answer import now
from mts1b_console.shapes.registry import (
    SchemaChange,
    SchemaFound,
    SchemaRow,
    Schemas,
    SubjectReader,
    SubjectRow,
    Subjects,
)

_LONGEST: Final = 400


def subjects(person: Person, matching: str | None = None) -> Subjects:
    """The registered subjects, or those that a pattern matches.

    Raises:
        Refused: it is no pattern.
    """
    if not matching:
        return Subjects(read_at=now(), subjects=[_subject(person, each) for each in registry()])
    if matching in {each.pattern for each in registry()}:
        return Subjects(read_at=now(), subjects=[_subject(person, registry()[matching])])
    pattern = whole_pattern(matching)
    if len(matching) > _LONGEST or not is_pattern(pattern):
        raise Refused(400, "bad-request", f"{matching!r} is no subject or pattern", "tokens with dots, * and >")
    return Subjects(read_at=now(), subjects=[_subject(person, each) for each in registry().matching(pattern)])


def _subject(person: Person, subject: Subject[Any]) -> SubjectRow:
    known = declared(person.bus.settings.checkouts)

    def touches(patterns: tuple[str, ...]) -> bool:
        return any(overlaps(pattern, form) for pattern in patterns for form in subject.patterns)

    return SubjectRow(
        pattern=subject.pattern,
        description=subject.description,
        producer=subject.producer,
        payload=subject.schema_id,
        tier=subject.tier.value,
        message_id=subject.dedupe_key,
        forms=list(subject.patterns),
        streams=[each.name for each in known.streams if touches(each.subjects)] if subject.tier.durable else [],
        replaces=subject.replaces.pattern if subject.replaces else None,
        readers=[
            SubjectReader(stream=each.stream, durable=each.durable, service=each.service)
            for each in known.consumers
            if touches(each.filters)
        ],
    )


def _payloads() -> dict[str, type[Event]]:
    return {subject.schema_id: subject.payload for subject in registry()}


def schemas() -> Schemas:
    """Every schema that a subject carries."""
    counts: dict[str, int] = {}
    for subject in registry():
        counts[subject.schema_id] = counts.get(subject.schema_id, 0) + 1
    rows = [
        SchemaRow(schema_id=name, description=_summary(payload), subjects=counts[name])
        for name, payload in sorted(_payloads().items())
    ]
    return Schemas(read_at=now(), schemas=rows)


def schema(name: str) -> SchemaFound:
    """One schema, compared with the version before.

    Raises:
        Refused: no subject carries it.
    """
    payloads = _payloads()
    payload = payloads.get(name)
    if payload is None:
        raise Refused(404, "not-found", f"no registered subject carries the schema {name!r}", "see /api/schemas")
    versions = {each.schema_version: each for each in payloads.values() if each.schema_name() == payload.schema_name()}
    older = max((each for each in versions if each < payload.schema_version), default=None)
    document = schema_document(payload)
    changes = [] if older is None else diff(schema_document(versions[older]), document)
    return SchemaFound(
        read_at=now(),
        schema_id=name,
        description=_summary(payload),
        document=document,
        fields=fields_in_words(payload),
        versions=[versions[each].schema_id() for each in sorted(versions)],
        subjects=[subject.pattern for subject in registry() if subject.schema_id == name],
        against=None if older is None else versions[older].schema_id(),
        changes=[
            SchemaChange(path=each.path, compatibility=each.compatibility.value, words=each.what) for each in changes
        ],
    )


def _summary(payload: type[Event]) -> str:
    return next(iter(_lines(payload)), "")


def _lines(payload: type[Event]) -> Iterator[str]:
    yield from (line for line in (payload.__doc__ or "").splitlines() if line.strip())
