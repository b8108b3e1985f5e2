"""Dead letters: in groups by their error, one opened, and whether they would pass now."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mts1b_foundation.deadletters import DeadLetter, DeadLetterNote
from mts1b_operations.deadletters.letters import DISCARDED, STREAM, Group, Letter, grouped
from mts1b_operations.history.seen import Decoders, Seen, original_of
from mts1b_platform.eventbus import BusError
from mts1b_platform.eventbus.history.history import open_history
from pydantic import ValidationError

from mts1b_console.person.person import Person
from mts1b_console.problems import Refused
from mts1b_console.read.answer import answered, moment_of, now, reachable
from mts1b_console.read.follow import kept
from mts1b_console.read.notes import notes, shown
from mts1b_console.read.rows import refusal_of, row_of, text_of
from mts1b_console.shapes.state import DeadLetters, Discarded, LetterGroup, LetterOpened, LetterRow, Verdict

MOST_LOOKED: Final = 20_000
"""Letters that are looked at, the newest."""
MOST_ROWS: Final = 1_000
MOST_IDS: Final = 5_000
"""Ids of one group that are sent."""
KEPT: Final = 2.0
"""Seconds for which a reading is given to others, at least."""
SHARE: Final = 10.0
"""A reading is given to others for so many times as long as it took, so that many letters do not keep it busy."""
SPANS: Final = 24
_LONGEST_ERROR: Final = 2_000


@dataclass(frozen=True, slots=True)
class Light(Letter):
    """A letter without its message."""

    keys: dict[str, str]
    """What the message is about."""


@dataclass(slots=True)
class _Box:
    """The last reading."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    good_until: float = -1e9
    read_at: str = ""
    letters: list[Light] = field(default_factory=list[Light])
    groups: list[LetterGroup] = field(default_factory=list[LetterGroup])
    unreadable: int = 0
    complete: bool = True


async def deadletters(person: Person, *, rows: bool = True, group: str | None = None) -> DeadLetters:
    """The dead letters in groups; with ``rows`` the letters too, those of one ``group`` when it is given."""

    async def work() -> dict[str, Any]:
        box = await _read(person)
        known, notes_unknown = await notes(person)
        chosen = box.letters
        if group is not None:
            ids = {name for each in box.groups if each.key == group for name in each.ids}
            chosen = [letter for letter in box.letters if letter.id in ids]
        return {
            "read_at": box.read_at,
            "groups": [each.model_copy(update={"note": shown(known.get(each.key))}) for each in box.groups],
            "letters": [_row(each, each.keys, known) for each in reversed(chosen[-MOST_ROWS:])] if rows else [],
            "notes_unknown": notes_unknown,
            "unreadable": box.unreadable,
            "complete": box.complete and len(chosen) <= MOST_ROWS,
        }

    return await answered(person, DeadLetters, work)


async def lights(person: Person) -> Sequence[Light]:
    """The letters, without their messages.

    Raises:
        BusError: they cannot be read.
    """
    return (await _read(person)).letters


async def letters_about(person: Person, stream: str, seq: int) -> list[DeadLetter]:
    """The dead letters of one event; none when this person reads none."""
    try:
        letters = (await _read(person)).letters
    except BusError:
        return []
    return [each.letter for each in letters if (each.letter.stream, each.letter.sequence) == (stream, seq)]


def forget(person: Person) -> None:
    """Have the next reading look anew: something was done about the letters."""
    box = person.kept.get("deadletters")
    if isinstance(box, _Box):
        box.good_until = -1e9


async def _read(person: Person) -> _Box:
    box = kept(person, "deadletters", _Box)
    async with box.lock:
        begun = time.monotonic()
        if begun <= box.good_until:
            return box
        box.read_at = now()
        box.letters, box.unreadable, box.complete = await _letters(person, STREAM, MOST_LOOKED)
        box.groups = _groups(box.letters)
        ended = time.monotonic()
        box.good_until = ended + max(KEPT, SHARE * (ended - begun))
    return box


async def _letters(person: Person, stream: str, most: int) -> tuple[list[Light], int, bool]:
    """The newest letters of a stream, how many messages are none, and whether these are all.

    Raises:
        BusError: it cannot be read.
    """
    person.refuse_stream(stream)
    history = await open_history(person.bus, stream)
    first, last = await history.extent()
    start = max(first, last - most + 1)
    letters: list[Light] = []
    unreadable = 0
    async for batch in history.batches(start, last):
        for recorded in batch:
            try:
                # the message is fetched again when somebody opens the letter
                letter, keys = _without_message(recorded.wire.payload, person.decoders)
                letters.append(Light(recorded.seq, letter, keys))
            except ValidationError:
                unreadable += 1
        await asyncio.sleep(0)
    return letters, unreadable, start == first


def _without_message(payload: bytes, decoders: Decoders) -> tuple[DeadLetter, dict[str, str]]:
    """A letter without what is large about it, and what its message is about."""
    stored = DeadLetter.model_validate_json(payload)
    keys = Seen(original_of(stored), decoders).names
    letter = decoders.shown_letter(stored)
    small = {"payload": b"", "traceback": None, "error": letter.error[:_LONGEST_ERROR]}
    return letter.model_copy(update=small), keys


def _groups(letters: Sequence[Letter]) -> list[LetterGroup]:
    members: dict[str, list[Letter]] = {}
    for letter in letters:
        members.setdefault(grouped([letter])[0].key, []).append(letter)
    times = [letter.letter.failed_at.timestamp() for letter in letters]
    span = (min(times), max(times)) if times else (0.0, 0.0)
    return [_group(each, members[each.key], span) for each in grouped(letters)]


def _group(group: Group, mine: Sequence[Letter], span: tuple[float, float]) -> LetterGroup:
    return LetterGroup(
        key=group.key,
        consumer=group.consumer,
        reason=group.reason,
        error=group.error,
        count=group.count,
        first=moment_of(min(letter.letter.failed_at for letter in mine)),
        last=moment_of(max(letter.letter.failed_at for letter in mine)),
        subjects=sorted(group.subjects),
        example=group.example,
        ids=[letter.id for letter in mine[:MOST_IDS]],
        trend=_trend([letter.letter.failed_at.timestamp() for letter in mine], span),
        note=None,  # put in when somebody asks: notes come at once, letters are read every few seconds
    )


def _trend(times: Sequence[float], span: tuple[float, float]) -> list[int]:
    """How many of ``times`` are in each of 24 equal parts of the time over which letters came."""
    begun, ended = span
    counts = [0] * SPANS
    for each in times:
        counts[min(SPANS - 1, int((each - begun) / (ended - begun) * SPANS)) if ended > begun else SPANS - 1] += 1
    return counts


def _row(letter: Letter, keys: dict[str, str], known: Mapping[str, DeadLetterNote]) -> LetterRow:
    held = letter.letter
    return LetterRow(
        number=letter.seq,
        id=letter.id,
        reason=held.reason.value,
        subject=held.subject,
        stream=held.stream,
        sequence=held.sequence,
        consumer=held.consumer,
        deliveries=held.deliveries,
        error=held.error[:_LONGEST_ERROR],
        stored_at=moment_of(held.stored_at),
        failed_at=moment_of(held.failed_at),
        requeues=letter.requeues,
        keys=keys,
        note=shown(known.get(letter.id)),
    )


async def discarded(person: Person) -> Discarded:
    """What was discarded within the last week and can be restored."""

    async def work() -> dict[str, Any]:
        there = {letter.id for letter in (await _read(person)).letters}
        letters, _, complete = await _letters(person, DISCARDED, MOST_ROWS)
        newest = {letter.id: letter for letter in letters}  # one that was discarded again has its last place
        known, _ = await notes(person)
        rows = [_row(each, each.keys, known) for name, each in newest.items() if name not in there]
        return {"letters": sorted(rows, key=lambda row: -row.number), "complete": complete}

    return await answered(person, Discarded, work)


async def opened(person: Person, name: str) -> LetterOpened:
    """One dead letter, whole.

    Raises:
        Refused: there is none of this id.
        BusError: it cannot be read.
    """
    reachable(person)
    letter = await _whole(person, name)
    seen = Seen(original_of(letter.letter), person.decoders)
    held = person.decoders.shown_letter(letter.letter)
    text, truncated = text_of(held.payload)
    known, _ = await notes(person)
    return LetterOpened(
        read_at=now(),
        letter=_row(Letter(letter.seq, held), seen.names, known),
        event=row_of(seen),
        payload_text=text,
        truncated=truncated or held.original_size is not None,
        headers=held.headers,
        traceback=held.traceback,
        passes=seen.registered is not None and seen.refused is None,
        refused=refusal_of(seen, seen.refused),
    )


async def verdict(person: Person, ids: Sequence[str]) -> Verdict:
    """Whether the models that are installed here take the messages of these letters now."""

    async def work() -> dict[str, Any]:
        passes, refused = 0, None
        for name in ids:
            seen = Seen(original_of((await _whole(person, name)).letter), person.decoders)
            if seen.registered is not None and seen.refused is None:
                passes += 1
            else:
                refused = refused or refusal_of(seen, seen.refused)
        return {"passes": passes, "of": len(ids), "refused": refused}

    return await answered(person, Verdict, work)


async def _whole(person: Person, name: str) -> Letter:
    """A letter as it is stored, nothing masked."""
    box = await _read(person)
    found = next((letter for letter in box.letters if name in letter.names), None)
    if found is None:
        raise Refused(404, "not-found", f"there is no dead letter {name}", "it was requeued or discarded meanwhile")
    recorded = await (await open_history(person.bus, STREAM)).get(found.seq)
    if recorded is None:
        forget(person)
        raise Refused(404, "not-found", f"dead letter {name} is gone", "it was requeued or discarded meanwhile")
    return Letter(found.seq, DeadLetter.model_validate_json(recorded.wire.payload))
