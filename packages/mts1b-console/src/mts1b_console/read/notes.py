"""Notes on dead letters, as their stream tells: read once, then what has come since."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from mts1b_foundation.deadletters import DeadLetterNote
from mts1b_operations.deadletters.notes import STREAM, fold
from mts1b_platform.eventbus import BusError

from mts1b_console.person.person import Person
from mts1b_console.problems import problem_of
from mts1b_console.read.answer import moment_of
from mts1b_console.read.follow import Followed, kept
from mts1b_console.shapes.base import Problem
from mts1b_console.shapes.state import Note


@dataclass(slots=True)
class _Notes:
    followed: Followed = field(default_factory=lambda: Followed(STREAM))
    found: dict[str, DeadLetterNote] = field(default_factory=dict[str, DeadLetterNote])
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


async def notes(person: Person) -> tuple[Mapping[str, DeadLetterNote], Problem | None]:
    """The notes by the letter or the group that they are about; and why they are unknown, when they cannot be read."""
    held = kept(person, "notes", _Notes)
    try:
        async with held.lock:
            events, anew = await held.followed.new(person)
            if anew:
                held.found.clear()
            for seen in events:
                if isinstance(seen.payload, DeadLetterNote):
                    fold(held.found, seen.payload)
    except BusError as error:
        return {}, problem_of(error)
    return held.found, None


def shown(said: DeadLetterNote | None) -> Note | None:
    """A note as the browser gets it."""
    return said and Note(actor=said.actor, text=said.text, at=moment_of(said.noted_at))
