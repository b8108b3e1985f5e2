"""Which subject does this concrete name belong to? A lookup whose cost does not grow with the registry."""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from mts1b_foundation.errors import InvalidSubject, UnknownSubject
from mts1b_foundation.subjects.declarations import SUBJECTS
from mts1b_foundation.subjects.subject import Subject

_END = "."  # no token is a dot, so the leaf cannot collide with one


class Registry:
    """A set of subjects, found by pattern or by a concrete name.

    Raises:
        InvalidSubject: when two declarations share a wire form.
    """

    def __init__(self, subjects: Iterable[Subject[Any]]) -> None:
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

    def _add(self, subject: Subject[Any]) -> None:
        for pattern in subject.patterns:
            node = self._tree
            for token in pattern.split("."):
                node = node.setdefault(token, {})
            if _END in node:
                raise InvalidSubject(f"{subject.pattern} and {node[_END].pattern} are the same on the wire")
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
    """The registry of this process: the declarations of the foundation."""
    return Registry(SUBJECTS)
