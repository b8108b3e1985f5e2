"""Runs: one action on many dead letters, which the responders carry through whoever looks on.

Each run is kept by compare-and-set in the dedupe bucket, for 8 days as the requests are: what was asked for, which
never changes, and beside it how far it is, which the responder that works on it writes after every letter::

    running ──(the first ones are done)──► waiting ──go on──► running ──► finished
       └──── stop, or what keeps it from going on ──► stopped ──go on──┘

A run that nobody writes any more was left by a responder that is gone; another takes it up (``runner.py``).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeVar

from mts1b_foundation.subjects import encode_token
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.dedupe.cells import Cells, Conflict
from mts1b_platform.eventbus.dedupe.kv import BUCKET
from pydantic import TypeAdapter

from mts1b_operations.declared import DURABLE
from mts1b_operations.people.asked import Scope

MOST_LETTERS: Final = 1_000
"""Dead letters of one run."""
LISTED: Final = 50
"""Runs that are listed, the newest."""
LISTED_FOR: Final = timedelta(days=1)
MOST_REFUSED: Final = 50
"""Refusals that are kept with their reason; the others are counted."""
MOST_STORED: Final = 200
"""Places of requeued messages that are kept, the newest."""

State = Literal["running", "waiting", "stopped", "finished"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What was asked for.

    Attributes:
        run_id: its id.
        by: who asked.
        address: where from.
        what: ``deadletters.requeue``, ``deadletters.discard`` or ``deadletters.restore``.
        scope: for which fund, as in subjects.
        reason: why.
        facts: what the action is about, ``ids`` among it, frozen.
        first: so many letters are done first, then it waits for a word; 0: it goes through.
        begun: when, UTC.
    """

    run_id: str
    by: str
    address: str
    what: str
    scope: str
    reason: str
    facts: Mapping[str, Any]
    first: int
    begun: str

    def within(self, scope: Scope) -> bool:
        """Whether ``scope`` covers it."""
        return str(scope) in ("all", self.scope)

    @property
    def ids(self) -> tuple[str, ...]:
        """The letters, in the order in which they are done."""
        return tuple(map(str, self.facts["ids"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        state: what it does now.
        at: the first so many letters are dealt with.
        until: it stops before this one, and waits for a word.
        done: letters that were done.
        failed: letters that were refused.
        refused: the newest of these, ``id`` and ``why``.
        stored: where the newest requeued messages are stored, as ``STREAM:sequence``.
        trouble: what keeps it from going on.
        holder: the responder that works on it; empty when none does.
        ordered_by: who said last that it goes on, stops or ends.
        changed: when this was written, UTC.
    """

    state: State
    until: int
    at: int = 0
    done: int = 0
    failed: int = 0
    refused: tuple[dict[str, str], ...] = ()
    stored: tuple[str, ...] = ()
    trouble: str = ""
    holder: str = ""
    ordered_by: str = ""
    changed: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A run as it is stored."""

    run: Run
    progress: Progress
    revision: int = field(compare=False)


_RUN: Final = TypeAdapter(Run)
_PROGRESS: Final = TypeAdapter(Progress)
_INDEX: Final[TypeAdapter[dict[str, str]]] = TypeAdapter(dict[str, str])


class Runs:
    """The runs of ``bus``'s server. Its calls raise StoreError when the bucket cannot be used."""

    def __init__(self, bus: EventBus) -> None:
        self._cells = Cells(bus, BUCKET)

    async def begin(self, run: Run) -> Held:
        """Begin ``run``; one of this id that was begun before stays as it is."""
        await self._make(_key(run.run_id), _RUN, run)
        progress = Progress(state="running", until=run.first or len(run.ids), changed=now())
        await self._make(f"{_key(run.run_id)}.at", _PROGRESS, progress)
        await self._list(run)
        held = await self.find(run.run_id)
        assert held is not None  # noqa: S101 - made above
        return held

    async def find(self, run_id: str) -> Held | None:
        """The run with this id."""
        run = await self._cells.read(_key(run_id))
        progress = await self._cells.read(f"{_key(run_id)}.at")
        if run is None or progress is None:
            return None
        return Held(_RUN.validate_json(run.value), _PROGRESS.validate_json(progress.value), progress.revision)

    async def again(self, held: Held) -> Held:
        """How far a run that was read before is now."""
        progress = await self._cells.read(f"{_key(held.run.run_id)}.at")
        if progress is None:
            return held
        return Held(held.run, _PROGRESS.validate_json(progress.value), progress.revision)

    async def ids(self) -> list[str]:
        """The runs of the last day, the newest first."""
        cell = await self._cells.read(_INDEX_KEY)
        begun: dict[str, str] = {} if cell is None else _INDEX.validate_json(cell.value)
        oldest = (datetime.now(UTC) - LISTED_FOR).isoformat()
        return [run_id for run_id, since in sorted(begun.items(), key=lambda each: each[1])[::-1] if since > oldest]

    async def told(self, scope: Scope) -> list[dict[str, Any]]:
        """The runs of the last day that ``scope`` covers, the newest first, as JSON: what each is, and how far."""
        found = [await self.find(run_id) for run_id in await self.ids()]
        return [_told(each) for each in found if each and each.run.within(scope)]

    async def write(self, held: Held, progress: Progress) -> Held | None:
        """Replace how far it is; None when somebody else has changed it."""
        value = json.dumps(asdict(progress)).encode()
        try:
            revision = await self._cells.write(f"{_key(held.run.run_id)}.at", value, held.revision)
        except Conflict:
            return None
        return Held(held.run, progress, revision)

    async def _make(self, key: str, kind: TypeAdapter[T], value: T) -> None:
        try:
            await self._cells.write(key, kind.dump_json(value), 0)
        except Conflict:
            return

    async def _list(self, run: Run) -> None:
        while True:
            cell = await self._cells.read(_INDEX_KEY)
            begun: dict[str, str] = {} if cell is None else _INDEX.validate_json(cell.value)
            if run.run_id in begun:
                return
            newest = sorted([*begun.items(), (run.run_id, run.begun)], key=lambda each: each[1])[-LISTED:]
            try:
                await self._cells.write(_INDEX_KEY, _INDEX.dump_json(dict(newest)), cell.revision if cell else 0)
            except Conflict:
                continue
            return


def _told(held: Held) -> dict[str, Any]:
    document = asdict(held.run) | asdict(held.progress)
    facts = document.pop("facts")
    ids = held.run.ids
    consumers = sorted({name.split(":")[2] for name in ids if name.count(":") >= 2})
    return {**document, "to": facts.get("to"), "of": len(ids), "consumers": consumers}


def now() -> str:
    """The present moment, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _key(run_id: str) -> str:
    return f"{encode_token(DURABLE)}.run.{encode_token(run_id)}"


_INDEX_KEY: Final = f"{encode_token(DURABLE)}.runs"
