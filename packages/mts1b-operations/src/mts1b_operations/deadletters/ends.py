"""What becomes of each dead letter, decided once: who requeues or discards one says so here before he does it.

The records are keys of the dedupe bucket, written by compare-and-set, so that of several operators one decides, and the
others learn what was decided. A record outlives its letter: whoever was killed in the middle and begins again finds how
far he was.

::

    (none) ──begin──► begun (what, by whom) ──finish──► done
                        │                                  │ the letter was kept, and something is done about it again
                        └── begun again: goes on where it was left    ▼
                                                         begun, with the next turn

Records are kept for 8 days, as all keys of the bucket.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from mts1b_foundation.errors import Mts1bError
from mts1b_foundation.subjects import encode_token
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.dedupe.cells import Cells, Conflict
from mts1b_platform.eventbus.dedupe.kv import BUCKET, KvDedupe
from pydantic import TypeAdapter, ValidationError

from mts1b_operations.declared import DURABLE


class DeadLetterError(Mts1bError):
    """An action on a dead letter was refused or failed."""


class NotRequeued(DeadLetterError):
    """The message was not stored again, for certain: another end may be begun."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is being done, or was done.

    Attributes:
        what: ``discard``, or ``requeue`` and for whom.
        actor: who does it.
        since: when he began, UTC.
        turn: counts from 1; a letter that was kept may be requeued again.
        after: last sequence of the original's stream when this turn began; of a restore, where the letter is kept.
        done: whether it is finished.
        seq: where the requeued message is stored, or the discarded letter; 0 when it is not.
        letters: of a message requeued for everyone: the letters that this turn is for, and each one's own turn.
    """

    what: str
    actor: str
    since: str
    turn: int = 1
    after: int = 0
    done: bool = False
    seq: int = 0
    letters: Mapping[str, int] | None = None

    def __str__(self) -> str:
        return f"{self.what} by {self.actor}, {'done' if self.done else 'begun'} {self.since}"


_RECORD: Final = TypeAdapter(Record)


@dataclass(frozen=True, slots=True)
class Turn:
    """A record as it is stored, and whether it was begun before, by somebody who may have been killed.

    Attributes:
        key: its key.
        revision: its revision.
        record: what it says.
        again: whether it was begun before.
        before: what was done in the turn before this one.
    """

    key: str
    revision: int
    record: Record
    again: bool
    before: Record | None = None


class Ends:
    """The records of ``bus``'s server."""

    def __init__(self, bus: EventBus) -> None:
        self._bucket = KvDedupe(bus)
        self._cells = Cells(bus, BUCKET)

    async def find(self, name: str) -> Turn | None:
        """The record of ``name``: a letter's id, or a message.

        Raises:
            DeadLetterError: something else is stored under its key.
            StoreError: the bucket cannot be read.
        """
        key, revision, record = await self._read(name)
        return Turn(key, revision, record, again=True) if record is not None else None

    async def begin(self, name: str, what: str, actor: str, *, after: int) -> Turn:
        """Begin to do ``what``, or go on with it where it was begun before.

        Raises:
            DeadLetterError: something else was begun, and must be finished first.
            StoreError: the bucket cannot be used.
        """
        while True:
            key, revision, held = await self._read(name)
            if held is not None and not held.done:
                if held.what != what:
                    raise DeadLetterError(f"{name}: {held}, and not finished; do that again to finish it, then {what}")
                return Turn(key, revision, held, again=True)
            record = Record(what, actor, datetime.now(UTC).isoformat(timespec="seconds"), after=after)
            if held is not None:
                record = replace(record, turn=held.turn + 1)
            turn = Turn(key, revision, record, again=False, before=held)
            if (begun := await self.write(turn, record)) is not None:
                return begun

    async def write(self, turn: Turn, record: Record) -> Turn | None:
        """Replace the record of ``turn``; None when somebody else has changed it."""
        value = json.dumps(asdict(record)).encode()
        try:
            revision = await self._cells.write(turn.key, value, turn.revision)
        except Conflict:
            return None
        return replace(turn, revision=revision, record=record)

    async def finish(self, turn: Turn, **changes: Any) -> None:
        """Mark ``turn`` as done; who went on with the same one may have done so already."""
        await self.write(turn, replace(turn.record, done=True, **changes))

    async def _read(self, name: str) -> tuple[str, int, Record | None]:
        """The key of ``name``, its revision and record; a key that was deleted has a revision and no record."""
        await self._bucket.open()
        key = f"{encode_token(DURABLE)}.{encode_token(name)}"
        cell = await self._cells.read(key)
        if cell is None or not cell.value:
            return key, cell.revision if cell else 0, None
        try:
            return key, cell.revision, _RECORD.validate_json(cell.value)
        except ValidationError as error:
            raise DeadLetterError(
                f"{name}: bucket {BUCKET} holds something else than a record under {key}, so nobody knows what was "
                f"begun with this letter: look whether its stream holds it again, then delete the key "
                f"({error.errors()[0]['msg']})"
            ) from None
