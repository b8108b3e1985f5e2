"""What people may look up: each kind is a subject of its own, so that a role can have it or not.

Answers are facts about the bus and pointers, never payloads: those a person reads over the own connection, as far as
the role goes. Every answer says when it was looked up (``read_at``). What the server was asked is kept for a second, so
that twenty people cost one look.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

from mts1b_foundation.subjects import registry
from mts1b_platform.eventbus import EventBus
from mts1b_platform.observability.audit import search
from mts1b_platform.threads import in_thread

from mts1b_operations.deadletters.letters import Selection, each_letter
from mts1b_operations.deadletters.notes import note_on, notes
from mts1b_operations.groups import offices
from mts1b_operations.halt import halts_in_force
from mts1b_operations.history.seen import Decoders
from mts1b_operations.index.keys import key_of
from mts1b_operations.index.store import IndexFileError, IndexStore, Mark
from mts1b_operations.monitor.standing import alerts_in_force
from mts1b_operations.monitor.survey import survey
from mts1b_operations.people.asked import Asked, Declined
from mts1b_operations.people.runs import Runs
from mts1b_operations.processes import processes, server_certificate_ends

KEPT: Final = 1.0
"""Seconds for which an answer of the server is given to others too."""
MOST_ROWS: Final = 1_000
MOST_PLACES: Final = 5_000
LONGEST: Final = 3.0
"""Seconds that a search goes on; what was found until then is the answer, and says so."""
_AUDITED: Final = frozenset({"order_id", "fund_id", "halt_id", "actor", "action", "kind", "request_id", "trace_id"})

Look = Callable[[EventBus, Asked], Awaitable[Mapping[str, Any]]]


class Looks:
    """Answers looks from ``bus``, which reads and does nothing else."""

    def __init__(self, bus: EventBus, looks: Mapping[str, Look] | None = None) -> None:
        self._bus = bus
        self._looks = LOOKS if looks is None else looks
        self._held: dict[str, tuple[float, asyncio.Future[Mapping[str, Any]]]] = {}

    async def answer(self, asked: Asked) -> Mapping[str, Any]:
        """The answer to one look.

        Raises:
            Declined: there is no such look, or it is asked in a way that it has no answer to.
            BusError: the server does not answer.
        """
        look = self._looks.get(asked.what)
        if look is None:
            raise Declined("unknown", f"there is nothing to look up as {asked.what!r}", f"one of {', '.join(LOOKS)}")
        if asked.body:
            return await self._now(look, asked)
        key, now = f"{asked.what}.{asked.scope}", time.monotonic()
        held = self._held.get(key)
        if held is None or now - held[0] > KEPT or held[1].cancelled() or (held[1].done() and held[1].exception()):
            self._held = {key: each for key, each in self._held.items() if now - each[0] <= KEPT}
            held = now, asyncio.ensure_future(self._now(look, asked))
            self._held[key] = held
        return await asyncio.shield(held[1])  # whoever gives up waiting takes it from nobody else

    async def _now(self, look: Look, asked: Asked) -> Mapping[str, Any]:
        read_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        return {"read_at": read_at, **await look(self._bus, asked)}


async def _survey(bus: EventBus, asked: Asked) -> Mapping[str, Any]:
    """Every stream as the server describes it, and every consumer with its lag."""
    _everything(asked)
    seen = await survey(bus)
    streams = {name: {"config": info["config"], "state": info["state"]} for name, info in seen.streams.items()}
    return {"streams": streams, "consumers": [asdict(lag) for lag in seen.lags]}


async def _consumers(bus: EventBus, asked: Asked) -> Mapping[str, Any]:
    """Every consumer with its lag."""
    _everything(asked)
    return {"consumers": [asdict(lag) for lag in (await survey(bus)).lags]}


async def _halts(bus: EventBus, asked: Asked) -> Mapping[str, Any]:
    """The halts in force, with who obeyed and when: those of the fund, and those of every fund."""
    fund = asked.scope.fund
    rows = [
        {
            "request": halt.request.model_dump(mode="json"),
            "stored_at": halt.stored_at.isoformat(),
            "on_host": halt.on_host,
            "obeyed": [
                {"obedience": said.model_dump(mode="json"), "stored_at": at.isoformat()}
                for said, at in halt.obeyed.values()
            ],
        }
        for halt in await halts_in_force(bus)
        if fund is None or halt.request.fund_id in (None, fund)
    ]
    return {"halts": rows}


async def _deadletters(bus: EventBus, asked: Asked) -> Mapping[str, Any]:
    """Dead letters without their messages, oldest first: at most a thousand, and what three seconds of reading find.

    The errors of messages with sensitive fields are masked for everybody: a responder is not told who may see them.
    """
    by = {name: asked.text(name) or None for name in ("consumer", "stream", "subject", "reason", "error")}
    selection = Selection(ids=asked.texts("ids", most=100), **by)
    unreadable: list[int] = []
    rows: list[dict[str, Any]] = []
    end = time.monotonic() + LONGEST
    complete = True
    known = await notes(bus)
    async with aclosing(each_letter(bus, selection, unreadable, decoders=Decoders(registry()))) as found:
        async for letter in found:
            if asked.scope.covers(letter.letter.subject):
                document = letter.without_message().letter.model_dump(mode="json", exclude={"payload", "headers"})
                said = note_on(letter, known)
                noted = said and said.model_dump(mode="json")
                rows.append({"number": letter.seq, **document, "requeues": letter.requeues, "note": noted})
            if len(rows) >= MOST_ROWS or time.monotonic() > end:
                complete = False
                break
    return {"deadletters": rows, "unreadable": len(unreadable), "complete": complete}


async def _runs(bus: EventBus, asked: Asked) -> Mapping[str, Any]:
    """What was begun with many dead letters within a day, and how far it is, the newest first."""
    return {"runs": await Runs(bus).told(asked.scope)}


async def _groups(bus: EventBus, asked: Asked) -> Mapping[str, Any]:
    """Every durable that several instances read, and which of them is handed its messages."""
    _everything(asked)
    return {"groups": [asdict(each) for each in await offices(bus)]}


async def _services(bus: EventBus, asked: Asked) -> Mapping[str, Any]:
    """Every process on the bus, as it says of itself, and when the certificate ends that the server shows."""
    _everything(asked)
    found, ends = await asyncio.gather(processes(bus), server_certificate_ends(bus))
    return {
        "processes": [each.to_json() for each in found.processes],
        "unreadable": found.unreadable,
        "server_certificate_ends": None if ends is None else ends.isoformat(),
    }


async def _alerts(bus: EventBus, asked: Asked) -> Mapping[str, Any]:
    """The alerts in force, each with who looks after it (``acknowledged``: null when nobody does)."""
    _everything(asked)
    return {"alerts": [each.to_json() for each in await alerts_in_force(bus)]}


async def _audit(bus: EventBus, asked: Asked) -> Mapping[str, Any]:
    """Records of the audit logs that lie on this host."""
    _everything(asked)
    directory = bus.settings.audit_dir
    if directory is None:
        raise Declined("unavailable", "no audit log lies where the looks are answered", "set MTS1B_AUDIT_DIR there")
    wanted = {name: str(value) for name, value in asked.body.items() if name in _AUDITED}
    if not wanted or len(wanted) < len(asked.body):
        raise Declined("bad-request", f"an audit search goes by one or more of {', '.join(sorted(_AUDITED))}")
    found = await in_thread(partial(_first, directory, wanted))
    return {"records": found[:MOST_ROWS], "complete": len(found) <= MOST_ROWS}


async def _find(bus: EventBus, asked: Asked) -> Mapping[str, Any]:
    """Where events about a name lie, by the index of this host: pointers, never payloads."""
    _everything(asked)
    file = bus.settings.index_file
    if file is None or not file.exists():
        raise Declined("unavailable", "no index is kept where the looks are answered", "run `mts1b index run` there")
    names = [key_of(asked.text("kind", least=1, most=40), value) for value in asked.texts("values", most=100)]
    try:
        places, marks = await in_thread(partial(_pointers, file, names))
    except IndexFileError as error:
        raise Declined("unavailable", str(error)) from None
    return {
        "places": sorted(places)[:MOST_PLACES],
        "marks": {name: {"position": mark.position, "stamp": mark.stamp} for name, mark in marks.items()},
        "complete": len(places) <= MOST_PLACES,
    }


def _pointers(file: Path, keys: list[int]) -> tuple[set[tuple[str, int]], dict[str, Mark]]:
    with IndexStore(file) as store:
        return {place for key in keys for place in store.find(key)}, store.marks()


def _first(directory: Any, wanted: Mapping[str, str]) -> list[dict[str, Any]]:
    return list(islice(search(directory, **wanted), MOST_ROWS + 1))


def _everything(asked: Asked) -> None:
    """Raise when a fund is named where there is nothing of a fund."""
    if asked.scope.fund is not None:
        raise Declined("bad-request", f"{asked.what} is about the whole bus, not of one fund", f"ask {asked.what}.all")


LOOKS: Final[Mapping[str, Look]] = {
    "alerts": _alerts,
    "audit": _audit,
    "consumers": _consumers,
    "consumers.groups": _groups,
    "deadletters": _deadletters,
    "deadletters.runs": _runs,
    "find": _find,
    "halts": _halts,
    "services": _services,
    "survey": _survey,
}
"""By name."""
