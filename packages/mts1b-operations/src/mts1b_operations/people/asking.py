"""Asking the responders over a person's own connection."""

import asyncio
import json
import secrets
from collections.abc import Mapping
from typing import Any, Final

from mts1b_platform.eventbus import BusError, EventBus
from mts1b_platform.eventbus.errors import NoResponders, RequestTimeout, ServerUnavailable

from mts1b_operations.people.asked import Declined, Scope

ALL: Final = Scope()
_LOOKED: Final = 8.0
_ACTED: Final = 60.0
_AGAIN: Final = 5.0
"""Seconds for which a responder that is not there, or went away in the middle, is asked again."""
_PAUSE: Final = 0.2


class Unanswered(BusError):
    """No responder answers."""


async def look(bus: EventBus, what: str, scope: Scope = ALL, **asked: Any) -> Mapping[str, Any]:
    """Look something up.

    Raises:
        AccessDenied: the role may not.
        Declined: it is not answered, and why.
        Unanswered: nobody answers looks.
    """
    subject = f"look.v1.{what}.{scope}"
    try:
        answer = await bus.request(subject, _body(asked), timeout=_LOOKED)
    except (NoResponders, RequestTimeout, ServerUnavailable):
        raise Unanswered(
            f"nobody answers {subject}: is `mts1b look serve` running? Live events and history need it not"
        ) from None
    return _read(answer.data)


async def preview(bus: EventBus, what: str, scope: Scope = ALL, **asked: Any) -> Mapping[str, Any]:
    """What an action would do: ``preview`` in words, and the ``digest`` that :func:`act` takes.

    Raises:
        AccessDenied, Declined, Unanswered: as :func:`look`.
    """
    return await _act(bus, f"act.v1.{what}.{scope}", {"preview": True, **asked})


async def act(
    bus: EventBus, what: str, scope: Scope = ALL, *, request_id: str | None = None, **asked: Any
) -> Mapping[str, Any]:
    """Have something done, once, however often it has to be asked for.

    Args:
        bus: a person's connection.
        what: noun and verb, such as ``halt.request``.
        scope: for which fund.
        request_id: one that was used before, to find out what became of it; a new one when left out.
        asked: the rest: ``reason``, ``digest``, and what the action needs.

    Raises:
        AccessDenied: the role may not.
        Declined: it was not done, and why.
        Unanswered: nobody answers; it may have been done, and the same request id finds out.
    """
    return await _act(bus, f"act.v1.{what}.{scope}", {"request_id": request_id or secrets.token_hex(16), **asked})


async def _act(bus: EventBus, subject: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
    loop = asyncio.get_running_loop()
    end = loop.time() + _AGAIN
    sent = False
    while True:
        try:
            return _read((await bus.request(subject, _body(asked), timeout=_ACTED)).data)
        except (NoResponders, RequestTimeout, ServerUnavailable) as error:
            sent = sent or not isinstance(error, NoResponders)
            if loop.time() > end:
                request_id = asked.get("request_id")
                what = "it may have been done" if sent else "nothing was done"
                raise Unanswered(
                    f"nobody answers {subject}, so {what}: is `mts1b act serve` running?"
                    + (f" The same --request-id {request_id} goes on with it" if request_id else "")
                ) from None
            await asyncio.sleep(_PAUSE)


def _body(asked: Mapping[str, Any]) -> bytes:
    given = {name: value for name, value in asked.items() if value is not None}
    return json.dumps(given).encode() if given else b""


def _read(data: bytes) -> Mapping[str, Any]:
    try:
        document: dict[str, Any] = json.loads(data)
    except ValueError:
        raise Declined("failed", "the responder's answer is no JSON") from None
    if (error := document.get("error")) is not None:
        raise Declined(str(error.get("code")), str(error.get("message")), str(error.get("what_to_do") or ""))
    return document
