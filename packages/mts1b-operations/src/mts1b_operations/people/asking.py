"""Asking the responders over a person's own connection."""

import asyncio
import json
import secrets
from collections.abc import Mapping
from typing import Any, Final

from mts1b_platform.eventbus import BusError, EventBus
from mts1b_platform.eventbus.errors import NoResponders, RequestTimeout, ServerUnavailable

from mts1b_operations.people.asked import AT_WORK, Declined, Scope

ALL: Final = Scope()
_LOOKED: Final = 8.0
_ACTED: Final = 60.0
"""Seconds for which the answer to what was sent is waited for."""
_ATTEMPT: Final = 10.0
"""Seconds after which it is asked again, under the same request id."""
_AGAIN: Final = 5.0
"""Seconds for which a responder that is not there is waited for."""
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


async def order(bus: EventBus, what: str, scope: Scope = ALL, *, run_id: str | None, order: str) -> Mapping[str, Any]:
    """Have a run of ``what`` go on (``go-on``), ``stop`` or ``end``.

    Raises:
        AccessDenied, Declined, Unanswered: as :func:`act`.
    """
    return await _act(bus, f"act.v1.{what}.{scope}", {"run_id": run_id or "", "order": order})


async def _act(bus: EventBus, subject: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Ask until there is an answer: a responder that was killed leaves none, and the next one goes on with it."""
    loop = asyncio.get_running_loop()
    began, sent, problem = loop.time(), False, ""
    while True:
        try:
            return _read((await bus.request(subject, _body(asked), timeout=_ATTEMPT)).data)
        except (NoResponders, RequestTimeout, ServerUnavailable) as error:
            sent = sent or not isinstance(error, NoResponders)
            problem = "nobody answers"
        except Declined as declined:
            if declined.code != AT_WORK:
                raise
            sent, problem = True, "it is still at work"
        if loop.time() - began > (_ACTED if sent else _AGAIN):
            what = "it may have been done: look" if sent else "nothing was done"
            raise Unanswered(
                f"{subject}: {problem}, so {what}. Is `mts1b act serve` running? Whoever may use the certificate of "
                "the operations sets MTS1B_SERVICE=mts1b-operations"
            )
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
