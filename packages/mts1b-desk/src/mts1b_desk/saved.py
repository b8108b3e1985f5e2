"""Books that were saved while the desk went on, compared as if everything that was on its way had arrived.

The state of each service is as of another moment, so the books themselves differ. What lies between them is known: what
the brokers' outbox and their streams hold, and the order management has not handled, and so on to the treasury. It is
handled here by the cores alone: nothing is published, no broker is asked, no file is changed.

It takes states that were saved in the order treasury, order management, brokers, as a backup saves them: whatever one
of them knows, the next one knows as well.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote

from mts1b_foundation.event import Event
from mts1b_foundation.fills import FillV2
from mts1b_foundation.subjects import Subject
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.jetstream.durables import stream_of
from mts1b_platform.eventbus.protocol.envelope import MSG_ID

from mts1b_desk.cores.broker import Broker
from mts1b_desk.cores.core import Core, Emit
from mts1b_desk.cores.oms import Oms
from mts1b_desk.cores.treasury import Treasury
from mts1b_desk.declared import INPUTS, Input
from mts1b_desk.errors import DeskError
from mts1b_desk.ledger import ledger_document
from mts1b_desk.reconcile import reconcile
from mts1b_desk.settings import DeskSettings
from mts1b_desk.stored import stored_events

_OWN = "service"
"""The table of what is not the core's."""


C = TypeVar("C", bound=Core)


class _OnItsWay(NamedTuple):
    registered: Subject[Any]
    payload: Event
    at: datetime
    identity: str


class Saved(Generic[C]):
    """The state of one service in a SQLite file that nobody writes any more.

    Raises:
        DeskError: there is no such file below ``directory``, or it holds no state of the session.
    """

    def __init__(self, directory: Path, core: C, session: str) -> None:
        self.core = core
        self._session = session
        found = sorted(directory.rglob(f"{core.service}.db"))
        if not found:
            raise DeskError(f"there is no {core.service}.db below {directory}: name the directory that holds the state")
        self.path = found[0]
        with closing(self._open()) as database:
            rows: dict[str, list[tuple[str, bytes]]] = {}
            try:
                statement = "SELECT name, key, data FROM desk_rows WHERE session = ? ORDER BY number"
                for name, key, data in database.execute(statement, (session,)):
                    rows.setdefault(name, []).append((key, data))
                self._marks = {tuple(row) for row in database.execute("SELECT consumer, key FROM mts1b_dedupe")}
                self._waiting = list(
                    database.execute("SELECT subject, headers, payload, added_at FROM mts1b_outbox ORDER BY number")
                )
            except sqlite3.Error as error:
                raise DeskError(f"{self.path} holds no state of a desk: {error}") from None
        if not rows:
            raise DeskError(f"{self.path} holds nothing of session {session}: is it the settings' session?")
        own = dict(rows.pop(_OWN, ()))
        self._begins = {
            key.removeprefix("begins/"): int(last) for key, last in own.items() if key.startswith("begins/")
        }
        core.restore(rows)

    def durables(self, wanted: Input) -> tuple[str, str]:
        """What its durable may be called: the session's own, or the one that an installation made."""
        return wanted.durable(self.core.service, self._session), wanted.durable(self.core.service, None)

    def unhandled(self, wanted: Input, found: Iterable[_OnItsWay]) -> Iterator[_OnItsWay]:
        """Those of ``found`` that the state does not have, each once."""
        seen: set[str] = set()
        for each in found:
            marks = {(durable, each.identity) for durable in self.durables(wanted)}
            if each.identity not in seen and not marks & self._marks:
                seen.add(each.identity)
                yield each

    def begins(self, stream: str) -> int:
        """The last sequence that is not the session's."""
        return self._begins.get(stream, 0)

    def waiting(self, subjects: Sequence[Subject[Any]]) -> Iterator[_OnItsWay]:
        """What its outbox holds of ``subjects``."""
        for subject, headers, payload, added_at in self._waiting:
            registered = next((each for each in subjects if each.parse(subject) is not None), None)
            if registered is not None:
                event = registered.payload.model_validate_json(payload)
                msg_id = json.loads(headers).get(MSG_ID)
                at = datetime.fromtimestamp(added_at, UTC)
                yield _OnItsWay(registered, event, at, f"{registered.pattern}|{msg_id}")

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{quote(str(self.path))}?mode=ro", uri=True)


async def reconcile_saved(bus: EventBus, directory: Path, settings: DeskSettings) -> dict[str, Any]:
    """The ledger of a saved desk, with what was on its way booked, and every difference between its books.

    Raises:
        DeskError: a state is missing below ``directory``, or is another session's.
        BusError: a stream or a durable of the desk cannot be read.
    """
    treasury = Saved(directory, Treasury(settings), settings.session)
    oms = Saved(directory, Oms(settings), settings.session)
    brokers = Saved(directory, Broker(settings), settings.session)
    reports, fills = _input("oms", "brokers"), _input("treasury", "fills")
    made: list[_OnItsWay] = []
    told = [*await _unread(bus, oms, reports), *brokers.waiting(reports.subjects)]
    for each in oms.unhandled(reports, told):
        made += [
            _OnItsWay(effect.subject, effect.payload, each.at, f"{effect.subject.pattern}|{effect.payload.fill_id}")
            for effect in oms.core.handle(each.registered, each.payload, each.at)
            if isinstance(effect, Emit) and isinstance(effect.payload, FillV2)
        ]
    booked = 0
    told = [*await _unread(bus, treasury, fills), *oms.waiting(fills.subjects), *made]
    for each in treasury.unhandled(fills, told):
        booked += 1
        treasury.core.handle(each.registered, each.payload, each.at)
    books = oms.core.book(), brokers.core.book(), treasury.core.book()
    document = ledger_document(*books, reconcile(*books), session=settings.session)
    document["on their way"] = {"reports": len(made), "fills": booked}
    return document


def _input(service: str, name: str) -> Input:
    return next(each for each in INPUTS[service] if each.name == name)


async def _unread(bus: EventBus, saved: Saved[Any], wanted: Input) -> list[_OnItsWay]:
    """What the stream holds behind the position of the service's durable; all of the session when that is gone."""
    stream = await stream_of(bus, wanted.subjects)
    names: list[str] = (await js_api(bus, f"CONSUMER.NAMES.{stream}"))["consumers"] or []
    floor = 0
    if (durable := next((each for each in saved.durables(wanted) if each in names), None)) is not None:
        floor = (await js_api(bus, f"CONSUMER.INFO.{stream}.{durable}"))["ack_floor"]["stream_seq"]
    first = max(floor, saved.begins(stream)) + 1
    return [
        _OnItsWay(each.registered, each.payload, each.stored_at, f"{each.registered.pattern}|{each.msg_id}")
        async for each in stored_events(bus, stream, wanted.subjects, first=first)
    ]
