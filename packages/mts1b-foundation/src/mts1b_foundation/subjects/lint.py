"""The rules of the registry: small functions from everything that is declared to what is wrong with it.

Each rule names the line that has to change and the remedy. ``check_registry`` runs them all; the rules about
rendered views and schemas are in ``mts1b_foundation.schemas`` and ``mts1b_foundation.views``.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any, Final

from mts1b_foundation.declared import Site
from mts1b_foundation.subjects.algebra import contains, covers, is_pattern, overlaps
from mts1b_foundation.subjects.contributions import claim_pattern
from mts1b_foundation.subjects.findings import Finding
from mts1b_foundation.subjects.grants import Grant
from mts1b_foundation.subjects.lint_payloads import field_types, payloads, sensitive_names
from mts1b_foundation.subjects.lint_streams import (
    consumers,
    deadletters,
    definitions,
    filters,
    overlapping_streams,
    own_events,
    stream_patterns,
    streams,
)
from mts1b_foundation.subjects.sources import Source, Sources, claims_of, grants_of, registered
from mts1b_foundation.subjects.subject import Subject

Rule = Callable[[Sources], Iterator[Finding]]


def check_registry(sources: Sources) -> list[Finding]:
    """Every broken rule, sorted by place."""
    return sorted({finding for rule in RULES for finding in rule(sources)})


def grammar(sources: Sources) -> Iterator[Finding]:
    """A declaration that breaks the grammar, or has a payload that no reader could read."""
    for source in sources:
        for defect in source.defects:
            yield Finding(defect.site, defect.rule, defect.message, defect.remedy)


def one_line(sources: Sources) -> Iterator[Finding]:
    """A description that is missing, or longer than a line."""
    for _, subject in registered(sources):
        text = subject.description
        if not text.strip() or "\n" in text:
            yield Finding(
                subject.declared_at, "description", f"{subject.pattern} has no description of one line", "write one"
            )


def claims(sources: Sources) -> Iterator[Finding]:
    """Two producers that claim overlapping prefixes, one producer with two claims, or a claim outside ``mts``."""
    held: dict[tuple[str, str], tuple[Source, Site]] = {}
    for source in sources:
        if source.contribution is None:
            continue
        for producer, value in source.contribution.producers.items():
            claim = claim_pattern(value)
            if not is_pattern(claim) or not contains("mts.*.>", claim):
                yield Finding(
                    source.contribution.declared_at,
                    "grammar",
                    f"{producer} claims {claim!r}, which is no pattern below mts.<version>",
                    "claim one token, such as 'oms', or a pattern such as 'mts.*.oms.audit.>'",
                )
                continue
            held.setdefault((producer, claim), (source, source.contribution.declared_at))
    grants = grants_of(sources)
    for ((first, one), (here, _)), ((second, other), (there, site)) in combinations(held.items(), 2):
        if overlaps(one, other) and not _handed_on(grants, first, one, second, other):
            if first == second:
                message = f"{second} claims {other} in {there.name} and {one} in {here.name}, which overlap"
            else:
                message = f"{second} ({there.name}) claims {other}, which overlaps {one} of {first} ({here.name})"
            remedy = "choose another token, one repo owns a prefix, or have its owner grant what you claim"
            yield Finding(site, "claim-overlap", message, remedy)


def granting(sources: Sources) -> Iterator[Finding]:
    """A grant of what the granting repo does not own, or of what it has granted already."""
    owners = claims_of(sources)
    made = [each for source in sources if source.contribution for each in source.contribution.grants]
    counted = grants_of(sources)
    for grant in made:
        about = f"{grant.by} grants {grant.pattern} to {grant.to}"
        owned = [claim_pattern(claim) for claim in owners.get(grant.by, ())]
        other = next((each for each in made if each != grant and overlaps(each.pattern, grant.pattern)), None)
        if grant not in counted:
            message = f"{about}, in a contribution that does not list {grant.by} as a producer"
            yield Finding(grant.declared_at, "claim-grant", message, f"let the repo of {grant.by} grant it")
        elif not is_pattern(grant.pattern) or not covers(owned, grant.pattern):
            message = f"{about}, which is outside of what it claims ({', '.join(owned)})"
            yield Finding(grant.declared_at, "claim-grant", message, "grant a part of the claim")
        elif grant.to == grant.by:
            yield Finding(grant.declared_at, "claim-grant", f"{about}, to itself", "leave it out")
        elif other is not None and made.index(other) < made.index(grant):
            message = f"{about}, which overlaps what {other.by} grants to {other.to}, {other.pattern}"
            yield Finding(grant.declared_at, "claim-grant", message, "one repo publishes on a subject: narrow one")


def overlapping(sources: Sources) -> Iterator[Finding]:
    """Two subjects that some concrete name belongs to, of two producers or of one."""
    for (here, one), (there, other) in combinations(registered(sources), 2):
        clash = next(((a, b) for a in one.patterns for b in other.patterns if overlaps(a, b)), None)
        if clash is None or one is other:
            continue
        same = one.producer == other.producer
        yield Finding(
            other.declared_at,
            "subject-ambiguous" if same else "subject-overlap",
            f"{other.pattern} of {other.producer} ({there.name}) and {one.pattern} of {one.producer} ({here.name}) "
            f"match the same names on the wire ({clash[1]} and {clash[0]})",
            "rename one of them" if same else "rename one of them, one producer owns a subject",
        )


def prefix(sources: Sources) -> Iterator[Finding]:
    """A subject outside its producer's prefix, or of a producer that nobody declares."""
    owned = {repo: [claim_pattern(each) for each in values] for repo, values in claims_of(sources).items()}
    for _, subject in registered(sources):
        mine = owned.get(subject.producer)
        if mine is None:
            yield Finding(
                subject.declared_at,
                "producer-unknown",
                f"{subject.pattern} is published by {subject.producer}, which no contribution lists as a producer",
                f"add {subject.producer!r} and its token to producers",
            )
            continue
        handed_on = [each for each in grants_of(sources) if each.by == subject.producer]
        for form in subject.patterns:
            taken = next((each for each in handed_on if contains(each.pattern, form)), None)
            if taken is not None:
                yield Finding(
                    subject.declared_at,
                    "prefix",
                    f"{form} of {subject.producer} lies in {taken.pattern}, which it has granted to {taken.to}",
                    f"let {taken.to} publish it, or move it",
                )
                break
            if not covers(mine, form):
                yield Finding(
                    subject.declared_at,
                    "prefix",
                    f"{form} is outside the prefix of its producer {subject.producer} ({', '.join(mine)})",
                    "move the subject below the prefix, or let the owner of the prefix publish it",
                )
                break


def versions(sources: Sources) -> Iterator[Finding]:
    """Two versions of a subject that nothing joins, or a join that readers cannot follow."""
    every = [subject for _, subject in registered(sources)]
    steps = [step for source in sources if source.contribution for step in source.contribution.upcasters]
    for subject in every:
        older = subject.replaces
        if older is None:
            others = [s for s in every if s.tokens[2:] == subject.tokens[2:] and _number(s) < _number(subject)]
            if others:
                yield Finding(
                    subject.declared_at,
                    "version-apart",
                    f"{subject.pattern} is a new version of {others[-1].pattern} and does not say so",
                    f"declare replaces= the subject {others[-1].pattern}",
                )
            continue
        if older.tokens[2:] != subject.tokens[2:] or _number(older) >= _number(subject) or older.broken:
            yield Finding(
                subject.declared_at,
                "version-apart",
                f"{subject.pattern} replaces {older.pattern}, which is no earlier version of it",
                "replace a subject that differs in an earlier version only",
            )
        elif not _leads(older, subject, steps):
            yield Finding(
                subject.declared_at,
                "version-upcast",
                f"{subject.pattern} replaces {older.pattern}, but no upcaster leads from {older.schema_id} to "
                f"{subject.schema_id}, so its readers refuse the old events",
                "contribute an upcaster",
            )


def schema_ids(sources: Sources) -> Iterator[Finding]:
    """Two different models that call themselves by the same schema."""
    held: dict[str, Subject[Any]] = {}
    for _, subject in registered(sources):
        first = held.setdefault(subject.schema_id, subject)
        if first.payload is not subject.payload:
            yield Finding(
                subject.declared_at,
                "schema-twice",
                f"{subject.payload.__qualname__} of {subject.pattern} and {first.payload.__qualname__} of "
                f"{first.pattern} both say they are {subject.schema_id}",
                "raise the schema_version of the newer one, or name it differently",
            )


RULES: Final[tuple[Rule, ...]] = (
    grammar,
    one_line,
    claims,
    granting,
    overlapping,
    prefix,
    streams,
    stream_patterns,
    definitions,
    overlapping_streams,
    filters,
    consumers,
    own_events,
    deadletters,
    versions,
    schema_ids,
    payloads,
    field_types,
    sensitive_names,
)
"""The rules about subjects, owners, streams and consumers, in the order in which they are documented."""


def _handed_on(grants: Sequence[Grant], first: str, one: str, second: str, other: str) -> bool:
    """Whether of two claims the one lies in what the producer of the other has granted."""
    return any(
        (each.by, each.to) == pair and contains(each.pattern, claim)
        for each in grants
        for pair, claim in (((first, second), other), ((second, first), one))
    )


def _number(subject: Subject[Any]) -> int:
    return int(subject.version[1:])


def _leads(older: Subject[Any], newer: Subject[Any], steps: Sequence[Any]) -> bool:
    schema = older.schema_id
    for _ in range(len(steps) + 1):
        if schema == newer.schema_id:
            return True
        schema = next((step.new.schema_id() for step in steps if step.old.schema_id() == schema), "")
    return False
