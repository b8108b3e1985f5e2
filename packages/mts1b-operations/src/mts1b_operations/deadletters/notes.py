"""Notes on dead letters: what somebody knows about one, or about a group of one cause, for everybody who sees them.

A note is an event of a stream of its own. The newest about a letter or a group is the note; what it replaced stays in
the stream, for as long as dead letters do.
"""

import secrets
from collections.abc import Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Final

from mts1b_foundation.deadletters import DeadLetterNote
from mts1b_foundation.event import utc_now
from mts1b_foundation.subjects import OPERATIONS_DEADLETTERS_NOTED, registry
from mts1b_platform.eventbus import AccessDenied, EventBus, NoStream
from mts1b_platform.eventbus.codec.decoder import Decoder, Refused
from mts1b_platform.eventbus.history.history import open_history
from mts1b_platform.logs import get_logger
from mts1b_platform.observability.audit import audit_action
from mts1b_platform.threads import in_thread

from mts1b_operations.deadletters.ends import DeadLetterError
from mts1b_operations.deadletters.letters import Letter, Selection, each_letter, grouped
from mts1b_operations.history.seen import Decoders

log = get_logger("mts1b.deadletters")

STREAM: Final = "DEADLETTERS_NOTES"
_DECODER: Final = Decoder((OPERATIONS_DEADLETTERS_NOTED,))


async def notes(bus: EventBus) -> dict[str, DeadLetterNote]:
    """The notes, by the letter or the group that they are about; none, and a warning, where there is no stream of them.

    Raises:
        BusError: they cannot be read.
    """
    found: dict[str, DeadLetterNote] = {}
    try:
        history = await open_history(bus, STREAM)
    except (NoStream, AccessDenied) as error:
        log.warning(
            "dead letters are shown without their notes; `mts1b streams apply` makes the stream", error=str(error)
        )
        return found
    async with aclosing(history.messages()) as stored:
        async for message in stored:
            try:
                _, _, said, _ = _DECODER.decode(message.wire)
            except Refused as refused:
                log.warning("a message among the notes on dead letters is none", reason=str(refused))
                continue
            if isinstance(said, DeadLetterNote):
                fold(found, said)
    return found


def fold(found: dict[str, DeadLetterNote], said: DeadLetterNote) -> None:
    """Have ``said`` take the place of the note before it, or take that away."""
    if said.text:
        found[said.about] = said
    else:
        found.pop(said.about, None)


def note_on(letter: Letter, found: Mapping[str, DeadLetterNote]) -> DeadLetterNote | None:
    """The note on a letter: its own, else that of its group."""
    (group,) = grouped([letter])
    return found.get(letter.id) or found.get(group.key)


async def letters_about(bus: EventBus, about: str) -> list[Letter]:
    """The letter with the id or the number ``about``, or the letters of the group with that key.

    Where errors are masked a group has another key for whoever may not see them; both are its names.

    Raises:
        DeadLetterError: there are none.
        BusError: they cannot be read.
    """
    wanted = Selection(ids=(about,))
    members: list[Letter] = []
    decoders = Decoders(registry())
    async with aclosing(each_letter(bus, Selection(), [])) as stored:
        async for whole in stored:
            letter = whole.without_message()
            if wanted.matches(letter):
                return [letter]
            shown = Letter(whole.seq, decoders.shown_letter(whole.letter))
            if about in {grouped([each])[0].key for each in (letter, shown)}:
                members.append(letter)
    if not members:
        raise DeadLetterError(
            f"there is no dead letter and no group {about!r}: see `mts1b deadletters ls` and `mts1b deadletters stats`"
        )
    return members


def name_of(found: list[Letter], about: str) -> str:
    """What a note on ``found`` is about: the id of the letter, or ``about`` when that is a group's key."""
    return found[0].id if about in found[0].names else about


async def note(
    bus: EventBus, about: str, *, text: str, actor: str, note_id: str | None = None, **noted: Any
) -> DeadLetterNote:
    """Write down what is known about dead letters. It is audited, and stored when this returns.

    Args:
        bus: speaks as mts1b-operations.
        about: a letter's id or number, or a group's key.
        text: what is known; empty takes the note away.
        actor: who says so.
        note_id: the same one twice is one note. Made up when left out.
        noted: what else the audit log shall say of it.

    Raises:
        DeadLetterError: there is no such letter or group.
        AuditError: it cannot be written down, so it is not done.
        BusError: it could not be stored.
    """
    found = await letters_about(bus, about)
    said = DeadLetterNote(
        note_id=note_id or f"note-{secrets.token_hex(6)}",
        about=name_of(found, about),
        consumer=found[0].letter.consumer,
        text=text,
        actor=actor,
        noted_at=utc_now(),
    )
    record = partial(
        audit_action, bus, "deadletters.note", actor=actor, about=said.about, consumer=said.consumer, note=text, **noted
    )
    await in_thread(record)
    await bus.emit(OPERATIONS_DEADLETTERS_NOTED, said)
    return said
