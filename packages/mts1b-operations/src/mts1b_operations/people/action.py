"""What an action is: it says first what it would do, and can be gone on with after a kill."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from mts1b_platform.eventbus import EventBus

from mts1b_operations.people.asked import Asked

REASON: Final = 10
"""Letters that the reason of what adds risk has at least."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be done.

    Attributes:
        words: for people.
        facts: what it is about, which the digest covers: when they are others, it is another action.
    """

    words: str
    facts: Mapping[str, Any]


class Action(Protocol):
    """Something to have done."""

    adds_risk: bool
    """Whether a reason, a preview and an audit record have to come first. A halt reduces risk."""

    async def preview(self, bus: EventBus, asked: Asked) -> Preview:
        """What would be done.

        Raises:
            Declined: it cannot be, or not within the scope asked for.
        """
        ...

    async def do(
        self, bus: EventBus, asked: Asked, facts: Mapping[str, Any], *, request_id: str, again: bool
    ) -> Mapping[str, Any]:
        """Do it, or go on with it (``again``); what was done.

        Raises:
            Declined: it was not done.
            BusError: the server does not answer; it may have been done.
        """
        ...


def id_of(kind: str, by: str, request_id: str) -> str:
    """The id of what a request makes: a repeated one makes the same."""
    text = f"{by} {request_id}"
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
