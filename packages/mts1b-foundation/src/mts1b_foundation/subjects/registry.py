"""Which subject does this concrete name belong to? A lookup whose cost does not grow with the registry."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from mts1b_foundation.deadletters import DeadLetter
from mts1b_foundation.errors import InvalidSubject, UnknownSubject
from mts1b_foundation.subjects.algebra import overlaps
from mts1b_foundation.subjects.contributions import FOUNDATION, SUBJECTS_GROUP, Contribution, claims_in, installed
from mts1b_foundation.subjects.deadletters import deadletter_subject
from mts1b_foundation.subjects.flows import Step
from mts1b_foundation.subjects.grants import Grant, granted, grants_in, producer_of
from mts1b_foundation.subjects.subject import DurableSubject, Subject
from mts1b_foundation.upcasting import Upcaster, Upcasters

_END = "."  # no token is a dot, so the leaf cannot collide with one


class Registry:
    """A set of subjects, found by pattern or by a concrete name.

    Raises:
        InvalidSubject: when two declarations share a wire form.
    """

    def __init__(
        self,
        subjects: Iterable[Subject[Any]],
        upcasters: Iterable[Upcaster[Any, Any]] = (),
        flows: Iterable[Step] = (),
        claims: Mapping[str, tuple[str, ...]] | None = None,
        grants: Iterable[Grant] = (),
    ) -> None:
        self.upcasters = Upcasters(upcasters)
        self.flows = tuple(flows)
        """What should come after what."""
        self.claims = claims or {}
        """By repo, what it claims, as declared: tokens and patterns."""
        self.grants = tuple(grants)
        """What producers have handed on to other repos."""
        self._by_pattern: dict[str, Subject[Any]] = {}
        self._tree: dict[str, Any] = {}
        for subject in subjects:
            self._add(subject)

    def __iter__(self) -> Iterator[Subject[Any]]:
        return iter(self._by_pattern.values())

    def __len__(self) -> int:
        return len(self._by_pattern)

    def __getitem__(self, pattern: str) -> Subject[Any]:
        try:
            return self._by_pattern[pattern]
        except KeyError:
            raise UnknownSubject(
                f"no subject is registered as {pattern!r}: `mts1b subjects ls` lists those that are"
            ) from None

    def find(self, concrete: str) -> Subject[Any] | None:
        """The subject that ``concrete`` belongs to, with or without fund suffix; None when there is none."""
        return _walk(self._tree, concrete.split("."), 0)

    def producer_of(self, subject: Subject[Any], concrete: str) -> str:
        """The one repo that publishes on ``concrete``, a name that belongs to ``subject``."""
        return producer_of(self.grants, subject, concrete)

    def publishes(self, repo: str, subject: Subject[Any]) -> bool:
        """Whether ``repo`` publishes on some form of ``subject``: as its producer, or because that was handed on."""
        return repo == subject.producer or granted(self.grants, subject, repo)

    def matching(self, pattern: str) -> list[Subject[Any]]:
        """The subjects of which some concrete form is matched by ``pattern``: a name, or a pattern with wildcards."""
        return [subject for subject in self if any(overlaps(pattern, form) for form in subject.patterns)]

    def _add(self, subject: Subject[Any]) -> None:
        for pattern in subject.patterns:
            node = self._tree
            for token in pattern.split("."):
                node = node.setdefault(token, {})
            if node.get(_END, subject) is not subject:
                first: Subject[Any] = node[_END]
                raise InvalidSubject(
                    f"{subject.pattern} of {subject.producer} ({subject.declared_at}) and {first.pattern} of "
                    f"{first.producer} ({first.declared_at}) are the same on the wire: rename or drop one of them"
                )
            node[_END] = subject
        self._by_pattern[subject.pattern] = subject


def _walk(node: dict[str, Any], tokens: list[str], depth: int) -> Subject[Any] | None:
    if depth == len(tokens):
        return node.get(_END)
    for key in (tokens[depth], "*"):
        if (child := node.get(key)) is not None and (found := _walk(child, tokens, depth + 1)) is not None:
            return found
    return None


@cache
def registry() -> Registry:
    """The registry of this process: the declarations of the foundation and of every installed contribution.

    The dead-letter subjects of contributing repos are among them, declared or not.

    Raises:
        ContributionError: an installed contribution does not load.
        InvalidSubject: two contributions share a wire form.
    """
    others: list[Contribution] = [each for _, each in installed(SUBJECTS_GROUP)]
    found = [FOUNDATION, *(each for each in others if each is not FOUNDATION)]
    claims = claims_in(found)
    subjects = [subject for each in found for subject in each.subjects]
    declared = {subject.pattern for subject in subjects}
    letters = [deadletter_subject(repo, own) for repo, own in claims.items()]
    return Registry(
        [*subjects, *(each for each in letters if each.pattern not in declared)],
        [step for each in found for step in each.upcasters],
        [step for each in found for step in each.flows],
        claims,
        grants_in(found),
    )


def deadletters_of(repo: str) -> DurableSubject[DeadLetter]:
    """The dead-letter subject of ``repo``, a service of the foundation, of an installed contribution, or a reader.

    Raises:
        ContributionError: an installed contribution does not load.
    """
    return deadletter_subject(repo, registry().claims.get(repo, ()))
