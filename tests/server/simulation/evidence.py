"""What the oracles look at: the same of a simulation and of a run beside a real server."""

import base64
import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from simulation.plan import Plan
from simulation.record import Record

STRANGER: Final = 1000
"""Orders from this number on come from somebody else than the producer."""


class DeadLetter(NamedTuple):
    """What was stored of an event that was given up."""

    reason: str
    deliveries: int
    error: str


class Evidence(NamedTuple):
    """The facts of one run."""

    plan: Plan
    record: Record
    quiet: bool
    """Whether everything was handled in time."""
    stored: dict[int, int]
    """By order its sequence on the stream; of one stored twice the last."""
    messages: int
    """How many the stream holds."""
    letters: dict[str, dict[int, DeadLetter]]
    """By durable and order."""
    unsettled: dict[str, str]
    """Durables that are not through, with where they stand."""
    unretrieved: list[str]
    """Exceptions that nobody waited for."""
    busy: list[str]
    """Processes that turned their loop for nothing."""
    left: list[str]
    """Tasks of readers that nobody refers to any more."""
    budget: float
    """Seconds that a process has to end."""


def order_of(payload: bytes) -> int:
    """The number of a stored order."""
    return int(json.loads(payload)["order_id"][1:])


def dead_letters(durables: Iterable[str], payloads: Iterable[bytes]) -> dict[str, dict[int, DeadLetter]]:
    """What the dead letters of some durables say, by durable and order."""
    found: dict[str, dict[int, DeadLetter]] = {durable: {} for durable in durables}
    for payload in payloads:
        letter: dict[str, Any] = json.loads(payload)
        order = order_of(base64.b64decode(letter["payload"]))
        found[letter["consumer"]][order] = DeadLetter(letter["reason"], letter["deliveries"], letter["error"][:100])
    return found
