"""What a package adds to the registry, and how it is found.

A package declares itself in its ``pyproject.toml``::

    [project.entry-points."mts1b.subjects"]
    alerts = "mts1b_alerts.subjects:CONTRIBUTION"

and nothing else: every process in whose environment it is installed knows its subjects.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Protocol

from mts1b_foundation.declared import Site, declaration_site
from mts1b_foundation.errors import ContributionError
from mts1b_foundation.second_versions import SECOND_VERSIONS
from mts1b_foundation.subjects.algebra import covers
from mts1b_foundation.subjects.declarations import GRANTS, PRODUCERS
from mts1b_foundation.subjects.declarations_v2 import SUBJECTS
from mts1b_foundation.subjects.flows import FLOWS, Step
from mts1b_foundation.subjects.grants import Grant, grants_in
from mts1b_foundation.subjects.subject import Subject
from mts1b_foundation.upcasting import Upcaster

SUBJECTS_GROUP: Final = "mts1b.subjects"
"""Entry points that name a :class:`Contribution`."""
STREAMS_GROUP: Final = "mts1b.streams"
"""Entry points that name an iterable of stream definitions; only checks and tools load it."""
CONSUMERS_GROUP: Final = "mts1b.consumers"
"""Entry points that name an iterable of :class:`ConsumerDeclaration`; only checks and tools load it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """Subjects of one package, and what belongs to them.

    Attributes:
        producers: repos that publish them, with the subject token that each owns (``"oms"`` claims ``mts.*.oms.>``);
            a value with a dot in it is a claim of its own, such as ``"mts.*.oms.audit.>"``.
        grants: what these producers hand on to other repos.
        subjects: the subjects.
        upcasters: how events of older versions of their payloads are read.
        flows: what should come after what.
    """

    producers: Mapping[str, str] = field(default_factory=dict[str, str])
    grants: Sequence[Grant] = ()
    subjects: Sequence[Subject[Any]] = ()
    upcasters: Sequence[Upcaster[Any, Any]] = ()
    flows: Sequence[Step] = ()
    declared_at: Site = field(default_factory=declaration_site, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerDeclaration:
    """One durable consumer that a service keeps.

    Attributes:
        durable: its name on the server, unique within the stream.
        service: the repo that reads with it.
        stream: the stream that it reads.
        filters: the patterns that it asks for.
    """

    durable: str
    service: str
    stream: str
    filters: tuple[str, ...]
    declared_at: Site = field(default_factory=declaration_site, compare=False)


class Stream(Protocol):
    """What a check needs to know of a stream definition."""

    @property
    def name(self) -> str:
        """The stream's name on the server."""
        ...

    @property
    def subjects(self) -> Sequence[str]:
        """The patterns that it stores."""
        ...


FOUNDATION: Final = Contribution(
    producers=PRODUCERS, grants=GRANTS, subjects=SUBJECTS, upcasters=SECOND_VERSIONS, flows=FLOWS
)
"""What MTS1B itself declares."""


def claim_pattern(claim: str) -> str:
    """The pattern that a producer claims by its token; a claim with a dot is a pattern as it stands."""
    return claim if "." in claim else f"mts.*.{claim}.>"


def claims_in(contributions: Iterable[Contribution]) -> dict[str, tuple[str, ...]]:
    """By repo, what it claims, as declared: tokens and patterns; what was handed on to it is a claim too."""
    found = list(contributions)
    claims: dict[str, tuple[str, ...]] = {}
    for each in found:
        for repo, claim in each.producers.items():
            claims[repo] = (*claims.get(repo, ()), claim)
    for grant in grants_in(found):
        held = claims.get(grant.to, ())
        if not covers([claim_pattern(claim) for claim in held], grant.pattern):
            claims[grant.to] = (*held, grant.pattern)
    return claims


def installed(group: str) -> Iterator[tuple[EntryPoint, Any]]:
    """What installed packages contribute under ``group``, with the entry point that names it.

    Raises:
        ContributionError: a contribution does not load, or is of the wrong kind.
    """
    for entry in sorted(entry_points(group=group), key=lambda entry: entry.value):
        yield entry, load(entry)


def load(entry: EntryPoint) -> Any:
    """The object that ``entry`` names.

    Raises:
        ContributionError: it does not load, or is of the wrong kind.
    """
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise ContributionError(
            f"{_owner(entry)} contributes {entry.value!r} to {entry.group}, which does not load: {error}; "
            "correct the entry point in its pyproject.toml and install it again, or uninstall it"
        ) from error
    if entry.group == SUBJECTS_GROUP and not isinstance(found, Contribution):
        raise ContributionError(
            f"{_owner(entry)} contributes {entry.value!r} to {entry.group}, which is a {type(found).__name__}: "
            "name a Contribution"
        )
    return found


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.module
