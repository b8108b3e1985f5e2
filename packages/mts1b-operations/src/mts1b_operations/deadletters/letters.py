"""Reading the dead letters: all of them, some of them, and in groups by consumer and error."""

import hashlib
import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from mts1b_foundation.deadletters import DeadLetter
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.history.history import open_history
from mts1b_platform.eventbus.protocol.envelope import REQUEUES
from pydantic import ValidationError

from mts1b_operations.history.seen import Decoders

STREAM: Final = "DEADLETTERS"
DISCARDED: Final = "DEADLETTERS_DISCARDED"
_VARIABLE: Final = re.compile(r"0x[0-9a-f]+|'[^']*'|\"[^\"]*\"|\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter as the stream holds it."""

    seq: int
    """Its own sequence in the stream of dead letters."""
    letter: DeadLetter

    @property
    def id(self) -> str:
        """Stream, sequence, consumer and storing time of the failure."""
        return self.letter.dead_letter_id

    @property
    def names(self) -> tuple[str, str, str]:
        """What selects it: its id, the id without the storing time, its sequence among the dead letters."""
        return self.id, self.id.rpartition(":")[0], str(self.seq)

    def without_message(self) -> "Letter":
        """This letter without what is large about it."""
        return Letter(self.seq, self.letter.model_copy(update={"payload": b"", "headers": {}, "traceback": None}))

    @property
    def requeues(self) -> int:
        """How often the message had been requeued before it failed this time."""
        for name, value in self.letter.headers.items():
            if name.lower() == REQUEUES and value.isdecimal():
                return int(value)
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which dead letters to select; what is left out matches all.

    Attributes:
        ids: dead letter ids, with or without the storing time at their end, or their sequences as digits.
        consumer: the durable that gave up.
        stream: the stream of the original.
        subject: beginning of the original's subject.
        reason: why, such as ``rejected``.
        error: text within the error.
    """

    ids: tuple[str, ...] = ()
    consumer: str | None = None
    stream: str | None = None
    subject: str | None = None
    reason: str | None = None
    error: str | None = None

    @property
    def everything(self) -> bool:
        """Whether it selects every dead letter."""
        return self == Selection()

    def matches(self, found: Letter) -> bool:
        """Whether it selects ``found``."""
        letter = found.letter
        return (
            (not self.ids or not set(self.ids).isdisjoint(found.names))
            and self.consumer in (None, letter.consumer)
            and self.stream in (None, letter.stream)
            and self.reason in (None, letter.reason.value)
            and (self.subject is None or letter.subject.startswith(self.subject))
            and (self.error is None or self.error in letter.error)
        )


@dataclass(slots=True)
class Group:
    """Dead letters of one consumer with one kind of error."""

    consumer: str
    reason: str
    error: str
    """The error with numbers and quoted text taken out, so that one bug is one group."""
    count: int = 0
    first: datetime | None = None
    last: datetime | None = None
    subjects: set[str] = field(default_factory=set[str])
    example: str = ""
    """The id of the latest."""

    @property
    def key(self) -> str:
        """Names it in notes and links: the same for letters of this cause that come later."""
        return hashlib.sha256(f"{self.consumer}\0{self.reason}\0{self.error}".encode()).hexdigest()[:12]


async def letters(
    bus: EventBus, selection: Selection | None = None, *, decoders: Decoders | None = None
) -> list[Letter]:
    """The dead letters that ``selection`` selects, oldest first, all at once; ``decoders`` as for :func:`each_letter`.

    Raises:
        NoStream: there is no stream of dead letters.
        JetStreamUnavailable: JetStream does not answer.
        ApiError: JetStream refuses to say.
    """
    return [found async for found in each_letter(bus, selection or Selection(), [], decoders=decoders)]


async def each_letter(
    bus: EventBus,
    selection: Selection,
    unreadable: list[int],
    *,
    stream: str = STREAM,
    decoders: Decoders | None = None,
) -> AsyncGenerator[Letter, None]:
    """The dead letters that ``selection`` selects, oldest first, one at a time.

    That is what the stream holds now: what is dead-lettered meanwhile is not followed.

    Args:
        bus: the connection.
        selection: which.
        unreadable: takes the sequences of messages that are no dead letters.
        stream: where: the dead letters, or those that were discarded.
        decoders: what may be seen of them; None: they are not shown, and come as they are stored.

    Raises:
        BusError: as :func:`letters`.
    """
    history = await open_history(bus, stream)
    async with aclosing(history.messages()) as stored:
        async for message in stored:
            try:
                letter = DeadLetter.model_validate_json(message.wire.payload)
            except ValidationError:
                unreadable.append(message.seq)
                continue
            found = Letter(message.seq, letter if decoders is None else decoders.shown_letter(letter))
            if selection.matches(found):
                yield found


def grouped(found: Iterable[Letter]) -> list[Group]:
    """``found`` by consumer, reason and kind of error, the largest group first."""
    groups: dict[tuple[str, str, str], Group] = {}
    for one in found:
        letter = one.letter
        first_line = letter.error.splitlines()[0] if letter.error else ""
        key = (letter.consumer, letter.reason.value, _VARIABLE.sub("…", first_line)[:120])
        group = groups.setdefault(key, Group(*key))
        group.count += 1
        group.first = min(group.first or letter.failed_at, letter.failed_at)
        if group.last is None or letter.failed_at >= group.last:
            group.last, group.example = letter.failed_at, one.id
        group.subjects.add(letter.subject)
    return sorted(groups.values(), key=lambda group: (-group.count, group.consumer, group.error))


def only(found: Sequence[Letter]) -> Letter | None:
    """The only element; None when there are none or several."""
    return found[0] if len(found) == 1 else None
