"""The sessions of people, seen and ended by the server's own administration (the account ``SYS``)."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final

from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.errors import RequestTimeout

SYSTEM: Final = "mts1b-system"
"""Whose certificate opens the system account."""
_ACCOUNT: Final = "HUMANS"
_PATIENCE: Final = 1.0
"""Seconds for which the servers of a cluster may answer after the last one did."""
_ANSWER: Final = 5.0
_PAGE: Final = 1000
_ROUNDS: Final = 5
_PAUSE: Final = 0.3


@dataclass(frozen=True, slots=True)
class Session:
    """One connection of a person."""

    person: str
    address: str
    since: str
    server: str
    """The server's name."""
    server_id: str
    cid: int


async def sessions(bus: EventBus, person: str | None = None) -> list[Session]:
    """Everybody who is connected, or the sessions of one person; ``bus`` speaks as ``mts1b-system``.

    Raises:
        AccessDenied: it does not.
    """
    found: list[Session] = []
    offset = 0
    while True:
        asked: dict[str, Any] = {"acc": _ACCOUNT, "auth": True, "limit": _PAGE, "offset": offset}
        answers = await _ask_all(bus, asked | ({"user": person} if person else {}))
        for answer in answers:
            server, data = answer.get("server", {}), answer.get("data", {})
            found += [
                Session(
                    person=str(each.get("authorized_user", "")),
                    address=str(each.get("ip", "")),
                    since=str(each.get("start", ""))[:19],
                    server=str(server.get("name", "")),
                    server_id=str(server.get("id", "")),
                    cid=int(each["cid"]),
                )
                for each in data.get("connections") or ()
            ]
        offset += _PAGE
        if all(answer.get("data", {}).get("total", 0) <= offset for answer in answers):
            return [each for each in found if person in (None, each.person)]


async def throw_out(bus: EventBus, person: str) -> list[Session]:
    """End every session of ``person``; who was let in just before the list was read is met a moment later.

    Raises:
        AccessDenied: the bus does not speak as ``mts1b-system``.
        BusError: a server does not answer; some sessions may go on.
    """
    ended: dict[tuple[str, int], Session] = {}
    quiet = 0
    for _ in range(_ROUNDS):
        open_now = await sessions(bus, person)
        quiet = 0 if open_now else quiet + 1
        if quiet > 1:
            break
        for each in open_now:
            subject = f"$SYS.REQ.SERVER.{each.server_id}.KICK"
            await bus.request(subject, json.dumps({"cid": each.cid}).encode(), timeout=_ANSWER)
            ended[each.server_id, each.cid] = each
        await asyncio.sleep(_PAUSE)
    return list(ended.values())


async def _ask_all(bus: EventBus, asked: dict[str, Any]) -> list[dict[str, Any]]:
    inbox = bus.new_inbox()
    answers = await bus.subscribe(inbox)
    found: list[dict[str, Any]] = []
    try:
        await bus.publish("$SYS.REQ.SERVER.PING.CONNZ", json.dumps(asked).encode(), reply=inbox)
        await bus.flush()
        while True:
            try:
                found.append(json.loads((await answers.next_msg(_PATIENCE if not found else _PATIENCE / 4)).data))
            except RequestTimeout:
                return found
    finally:
        await answers.unsubscribe()
