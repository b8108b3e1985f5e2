"""What the server lets a connection do, as the server itself says it."""

import json
from typing import Any, Final

from mts1b_operations.auth.admission import OWN_RIGHTS
from mts1b_platform.eventbus import BusError, EventBus

from mts1b_console.shapes.person import Rights

_LOOK: Final = "look.v1."
_ACT: Final = "act.v1."
_HISTORY: Final = "history."
_EVERYTHING: Final = Rights(subjects=["mts.>"], streams=["*"], looks=[">"], acts=[">"])


async def said_by_server(bus: EventBus) -> tuple[str | None, Rights | None]:
    """The name and the rights of whoever comes on ``bus``; None for what the server does not say."""
    if not bus.identity.has_token:
        return None, _EVERYTHING
    try:
        told: dict[str, Any] = json.loads((await bus.request(OWN_RIGHTS, timeout=2.0)).data)["data"]
        permissions: dict[str, Any] = told["permissions"]
        publish: list[str] = permissions["publish"]["allow"] or []
        subscribe: list[str] = permissions["subscribe"]["allow"] or []
    except (BusError, ValueError, KeyError, TypeError):
        return None, None
    rights = Rights(
        subjects=[each for each in subscribe if each.startswith("mts.")],
        streams=_below(_HISTORY, publish),
        looks=_below(_LOOK, publish),
        acts=_below(_ACT, publish),
    )
    return str(told.get("user") or "") or None, rights


def _below(prefix: str, patterns: list[str]) -> list[str]:
    return [each.removeprefix(prefix) for each in patterns if each.startswith(prefix)]
