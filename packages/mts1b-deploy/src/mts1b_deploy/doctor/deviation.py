"""A deviation of an installation from its profile."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["problem", "accepted"]
"""``accepted``: the profile says so on purpose, as ``minimal`` does of many things."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """What is wrong, where, and what to do.

    Attributes:
        code: a stable name, such as ``lazy-fsync``.
        what: what is wrong, on which thing, and what it costs.
        remedy: what to do.
        severity: whether it is to be repaired.
    """

    code: str
    what: str
    remedy: str
    severity: Severity = "problem"
