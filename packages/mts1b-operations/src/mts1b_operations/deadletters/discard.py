"""Discard dead letters, and take that back for a week: each letter has one end, and it is audited.

What is discarded is kept in a stream of its own (``DEADLETTERS_DISCARDED``) before it is deleted. Restored, it is a
dead letter as before, which can be requeued or discarded.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from mts1b_foundation.deadletters import DeadLetter
from mts1b_foundation.subjects import OPERATIONS_DEADLETTERS_CREATED, OPERATIONS_DEADLETTERS_DISCARDED
from mts1b_platform.eventbus import BusError, EventBus, PublishUncertain
from mts1b_platform.eventbus.jetstream.stored import read_stored
from mts1b_platform.observability.audit import audit_action
from pydantic import ValidationError

from mts1b_operations.deadletters.ends import DeadLetterError, Ends
from mts1b_operations.deadletters.letters import DISCARDED, STREAM, Letter
from mts1b_operations.deadletters.steps import Outcome, audit_first, audited, begin, delete

_DISCARD: Final = "discard"
_RESTORE: Final = "restore"


async def discard(bus: EventBus, letter: Letter, *, actor: str, reason: str, dry_run: bool = False) -> Outcome:
    """Take ``letter`` away; its message will not be handled again, unless the letter is restored within a week.

    Raises:
        DeadLetterError: it could not be kept or deleted, or is being requeued.
        AuditError: the action cannot be recorded; it was not taken.
        StoreError: what is begun cannot be recorded; it was not begun.
    """
    if dry_run:
        return Outcome(letter, "would discard", letter.letter.subject)
    ends = Ends(bus)
    turn = await begin(bus, ends, letter, _DISCARD, actor)
    if turn is None:
        return Outcome(letter, "discarded before", letter.letter.subject)
    await audit_first(bus, ends, turn, "deadletters.discard", **audited(letter), actor=actor, why=reason)
    try:
        ack = await bus.emit(
            OPERATIONS_DEADLETTERS_DISCARDED, letter.letter, msg_id=f"discard:{letter.id}:{turn.record.turn}"
        )
    except PublishUncertain as error:
        raise DeadLetterError(f"{letter.id}: it is not known whether it is kept ({error}); discard it again") from error
    except BusError as error:
        if not turn.again:
            await ends.finish(turn)
        raise DeadLetterError(f"{letter.id} cannot be kept for a week, so it is not discarded: {error}") from error
    await delete(bus, letter)
    await ends.finish(turn, seq=ack.seq)
    return Outcome(letter, "discarded", letter.letter.subject)


async def restore(bus: EventBus, name: str, *, actor: str, within: Callable[[str], bool] = lambda _: True) -> Outcome:
    """Make a discarded letter a dead letter again.

    Args:
        bus: a connection of the operations.
        name: the letter's id.
        actor: who wants it, for the audit log.
        within: whether he may, for the subject of its message.

    Raises:
        DeadLetterError: it was not discarded, or more than a week ago, or is dealt with otherwise.
        AuditError: the action cannot be recorded; it was not taken.
        BusError: it could not be stored; do it again.
    """
    ends = Ends(bus)
    held = await ends.find(name)
    if held is None or held.record.what not in (_DISCARD, _RESTORE):
        said = "was not discarded within the last week" if held is None else f"is dealt with: {held.record}"
        raise DeadLetterError(f"{name}: {said}")
    if held.record.what == _DISCARD and not held.record.done:
        raise DeadLetterError(f"{name}: {held.record}, and not finished; discard it again, then restore")
    letter = await _discarded(bus, name, held.record.seq if held.record.what == _DISCARD else held.record.after)
    if not within(letter.letter.subject):
        raise DeadLetterError(f"{name}: is a letter of another fund")
    if held.record.what == _RESTORE and held.record.done:
        return Outcome(letter, "restored before", letter.letter.subject)
    turn = await ends.begin(name, _RESTORE, actor, after=letter.seq)
    await audit_first(bus, ends, turn, "deadletters.restore", **audited(letter), actor=actor)
    ack = await bus.emit(OPERATIONS_DEADLETTERS_CREATED, letter.letter, msg_id=f"restore:{name}:{turn.record.turn}")
    await ends.finish(turn)
    audit_action(bus, "deadletters.restored", **audited(letter), actor=actor, stored=f"{STREAM}:{ack.seq}")
    return Outcome(letter, "restored", f"now {STREAM}:{ack.seq}")


async def _discarded(bus: EventBus, name: str, seq: int) -> Letter:
    """The letter ``name``, if that lies at ``seq``: a stream that was made again gives its sequences out anew."""
    message = await read_stored(bus, DISCARDED, seq=seq) if seq else None
    if message is not None:
        with suppress(ValidationError):
            letter = Letter(seq, DeadLetter.model_validate_json(message.wire.payload))
            if letter.id == name:
                return letter
    raise DeadLetterError(f"{name}: is not among the letters discarded within the last week")
