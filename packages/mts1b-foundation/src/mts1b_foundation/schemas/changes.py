"""How two versions of a schema get along, said change by change."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Compatibility(StrEnum):
    """Who can still read whom. Only ``full`` is allowed within a version."""

    FULL = "full"
    """New readers read old events and old readers read new ones."""
    BACKWARD = "backward"
    """New readers read old events; old readers refuse some new ones."""
    FORWARD = "forward"
    """Old readers read new events; new readers refuse some old ones."""
    BREAKING = "breaking"
    """Neither."""

    @classmethod
    def of(cls, *, backward: bool, forward: bool) -> "Compatibility":
        """The class of a change that keeps ``backward`` and ``forward`` reading."""
        if backward:
            return cls.FULL if forward else cls.BACKWARD
        return cls.FORWARD if forward else cls.BREAKING


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between an old and a new schema.

    Attributes:
        path: the field, such as ``positions[].mark``; empty for the payload itself.
        what: the difference in words.
        backward: whether every old event is still valid, as far as this difference goes.
        forward: whether every new event was valid before, as far as this difference goes.
    """

    path: str
    what: str
    backward: bool
    forward: bool

    @property
    def compatibility(self) -> Compatibility:
        """The class of this change alone."""
        return Compatibility.of(backward=self.backward, forward=self.forward)

    def __str__(self) -> str:
        return f"{self.path or 'payload'}: {self.what} ({self.compatibility})"


def overall(changes: Iterable[Change]) -> Compatibility:
    """The class of all of ``changes`` together; full when there are none."""
    listed = list(changes)
    return Compatibility.of(
        backward=all(change.backward for change in listed), forward=all(change.forward for change in listed)
    )
