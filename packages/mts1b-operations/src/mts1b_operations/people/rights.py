"""What the server lets a person do, as the server itself says it."""

import json
from dataclasses import dataclass
from typing import Any, Final

from mts1b_foundation.subjects import registry
from mts1b_foundation.subjects.algebra import matches
from mts1b_platform.eventbus import BusError, EventBus

from mts1b_operations.auth.admission import OWN_RIGHTS
from mts1b_operations.history.seen import Decoders

SENSITIVE: Final = "look.v1.sensitive"
"""Whoever may ask this is shown fields that are marked sensitive. Nobody answers it: it is a right, no question."""
_PATIENCE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Said:
    """What a server says of a connection."""

    user: str | None
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]

    @property
    def sees_sensitive(self) -> bool:
        """Whether it is somebody who is shown sensitive fields."""
        return any(matches(pattern, SENSITIVE) for pattern in self.publish)


async def said_by_server(bus: EventBus) -> Said | None:
    """Name and permissions of a person; None when the server does not say them."""
    try:
        told: dict[str, Any] = json.loads((await bus.request(OWN_RIGHTS, timeout=_PATIENCE)).data)["data"]
        permissions: dict[str, Any] = told["permissions"]
        publish: list[str] = permissions["publish"]["allow"] or []
        subscribe: list[str] = permissions["subscribe"]["allow"] or []
    except (BusError, ValueError, KeyError, TypeError):
        return None
    return Said(str(told.get("user") or "") or None, tuple(publish), tuple(subscribe))


async def decoders_of(bus: EventBus) -> Decoders:
    """What whoever comes on ``bus`` may see of events; a person of whom the server says nothing is shown masks.

    Services, and everybody on a bus without people, see everything.
    """
    if not bus.identity.has_token:
        return Decoders(registry(), masks=False)
    said = await said_by_server(bus)
    return Decoders(registry(), masks=said is None or not said.sees_sensitive)
