"""A part of a producer's claim that it hands on to another repo.

One repo cannot hold every broker's adapter: each has credentials, releases and crashes of its own. So ``mts1b-brokers``
hands ``mts.*.brokers.ib.>`` on to ``mts1b-broker-ib``, which then is the one producer there, of the subjects that
``mts1b-brokers`` has declared: it has a certificate and durables of its own, and the right to publish for that broker
alone. The owner publishes there no more; what it stored before is still read.

Only the contribution that lists the owner among its producers can hand on what the owner claims.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mts1b_foundation.declared import Site, declaration_site
from mts1b_foundation.subjects.algebra import matches, overlaps
from mts1b_foundation.subjects.subject import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one producer hands on to another repo.

    Attributes:
        by: the producer that claims the pattern.
        to: the repo that publishes there from now on.
        pattern: what is handed on, such as ``mts.*.brokers.ib.>``; inside the claim of ``by``.
    """

    by: str
    to: str
    pattern: str
    declared_at: Site = field(default_factory=declaration_site, compare=False)


class Granting(Protocol):
    """What a contribution says about producers."""

    @property
    def producers(self) -> Mapping[str, str]:
        """Repos that publish, with what each claims."""
        ...

    @property
    def grants(self) -> Iterable[Grant]:
        """What they hand on."""
        ...


def grants_in(contributions: Iterable[Granting]) -> tuple[Grant, ...]:
    """Every grant that counts: those made where the owner is declared."""
    return tuple(dict.fromkeys(each for one in contributions for each in one.grants if each.by in one.producers))


def granted(grants: Iterable[Grant], subject: Subject[Any], repo: str) -> bool:
    """Whether some form of ``subject`` is handed on to ``repo``."""
    return any(
        each.to == repo
        and each.by == subject.producer
        and any(overlaps(each.pattern, form) for form in subject.patterns)
        for each in grants
    )


def producer_of(grants: Iterable[Grant], subject: Subject[Any], concrete: str) -> str:
    """The one repo that publishes on ``concrete``, a name that belongs to ``subject``."""
    for each in grants:
        if each.by == subject.producer and matches(each.pattern, concrete):
            return each.to
    return subject.producer
