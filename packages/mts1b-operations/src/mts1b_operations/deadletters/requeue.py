"""Requeue or discard dead letters: each letter has one end, and it is audited.

A requeued message is a new message: new id (the old one would be dropped inside the dedupe window), same payload,
schema, trace and identity (``mts-original-msg-id``), so that consumers which had handled it do not handle it twice.
``mts-requeues`` counts how often; beyond a limit requeuing is refused, because what fails a fourth time for the same
reason will fail a fifth.

What is begun is recorded first (``ends.py``). Requeuing again after a kill goes on where it was: when the message is
stored already, however long ago, it is not stored again. Of two operators who want different ends the first decides.
"""

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from mts1b_foundation.deadletters import DeadLetter
from mts1b_foundation.subjects import registry
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.jetstream.api import ApiError, js_api
from mts1b_platform.eventbus.jetstream.stored import read_stored
from mts1b_platform.eventbus.protocol.envelope import TRACE_ID
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode
from mts1b_platform.observability.audit import AuditError, audit_action
from mts1b_platform.service.requeue import header

from mts1b_operations.deadletters.ends import DeadLetterError, Ends, NotRequeued, Turn
from mts1b_operations.deadletters.letters import STREAM, Letter
from mts1b_operations.deadletters.republish import last_of, message_of, publish_again

__all__ = ["DeadLetterError", "Outcome", "Target", "discard", "requeue"]

Target = Literal["consumer", "subject"]
"""Who gets it again: the durable that gave up and nobody else, or everyone who reads the subject."""

MOST_REQUEUES: Final = 3
_DISCARD: Final = "discard"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done about one dead letter, or would be."""

    letter: Letter
    action: str
    detail: str = ""


async def requeue(
    bus: EventBus,
    letter: Letter,
    *,
    to: Target,
    actor: str,
    dry_run: bool = False,
    keep: bool = False,
    force: bool = False,
) -> Outcome:
    """Publish the message of ``letter`` again and, when it is stored, remove the dead letter.

    Of a message that several durables gave up, ``to="subject"`` publishes one for all of their letters.

    Args:
        bus: a connection of the operations. Where there are identities the service whose event it is publishes it.
        letter: the dead letter.
        to: ``consumer``: only the durable that gave up handles it (others of this project acknowledge it unseen);
            ``subject``: everyone who reads the subject.
        actor: who wants it, for the audit log.
        dry_run: only say what would be done.
        keep: leave the dead letter where it is.
        force: requeue beyond the limit, or a message that is refused again for sure.

    Raises:
        DeadLetterError: it was requeued too often, another end was begun, or the message could not be stored again.
        OwnerAway: the service whose event it is has not answered for five seconds; nothing was done.
        AuditError: the action cannot be recorded; it was not taken.
        StoreError: what is begun cannot be recorded; it was not begun.
    """
    dead = letter.letter
    count = letter.requeues + 1
    if not force:
        _refuse_loops(letter, count)
    where = dead.consumer if to == "consumer" else "everyone"
    if dry_run:
        await message_of(bus, dead)
        return Outcome(letter, "would requeue", f"{dead.subject} for {where}, requeue {count}")
    ends = Ends(bus)
    turn = await _begin(bus, ends, letter, f"requeue for {where}", actor)
    if turn is None:
        return Outcome(letter, "requeued before", f"{dead.subject} for {where}")
    await _audit_first(bus, ends, turn, "deadletters.requeue", **_audited(letter), actor=actor, to=to, requeue=count)
    try:
        if to == "consumer":
            msg_id = f"requeue:{letter.id}:{turn.record.turn}"
            seq = await _publish(bus, dead, turn, msg_id, count, only=dead.consumer)
        else:
            seq = await _for_everyone(bus, ends, letter, turn, count)
    except NotRequeued:
        await ends.finish(turn)
        raise
    if not keep:
        await _delete(bus, letter)
    await ends.finish(turn, seq=seq)
    audit_action(bus, "deadletters.requeued", **_audited(letter), actor=actor, to=to, stored=f"{dead.stream}:{seq}")
    return Outcome(letter, "requeued", f"{dead.subject} for {where}, requeue {count}, now {dead.stream}:{seq}")


async def discard(bus: EventBus, letter: Letter, *, actor: str, reason: str, dry_run: bool = False) -> Outcome:
    """Delete ``letter``; its message will not be handled again.

    Raises:
        DeadLetterError: it could not be deleted, or is being requeued.
        AuditError: the action cannot be recorded; it was not taken.
        StoreError: what is begun cannot be recorded; it was not begun.
    """
    if dry_run:
        return Outcome(letter, "would discard", letter.letter.subject)
    ends = Ends(bus)
    turn = await _begin(bus, ends, letter, _DISCARD, actor)
    if turn is None:
        return Outcome(letter, "discarded before", letter.letter.subject)
    await _audit_first(bus, ends, turn, "deadletters.discard", **_audited(letter), actor=actor, why=reason)
    await _delete(bus, letter)
    await ends.finish(turn)
    return Outcome(letter, "discarded", letter.letter.subject)


async def _begin(bus: EventBus, ends: Ends, letter: Letter, what: str, actor: str) -> Turn | None:
    """The turn to do ``what``; None when it was done before, and the letter is gone.

    Raises:
        DeadLetterError: something else was begun or done.
    """
    held = await ends.find(letter.id)
    if held is not None and not await _exists(bus, letter):
        if held.record.what != what:
            raise DeadLetterError(f"{letter.id}: is dealt with: {held.record}")
        return None
    turn = await ends.begin(letter.id, what, actor, after=await last_of(bus, letter.letter.stream))
    if not turn.again and turn.record.turn > 1 and not await _exists(bus, letter):
        await ends.finish(turn)  # between the two looks somebody did it all and removed the letter
        raise DeadLetterError(f"{letter.id}: is dealt with by another operator")
    return turn


async def _audit_first(bus: EventBus, ends: Ends, turn: Turn, action: str, **details: Any) -> None:
    """Record what is about to be done; what cannot be recorded is not begun."""
    try:
        audit_action(bus, action, **details)
    except AuditError:
        if not turn.again:
            await ends.finish(turn)
        raise


async def _publish(
    bus: EventBus, dead: DeadLetter, turn: Turn, msg_id: str, requeues: int, *, only: str | None = None
) -> int:
    """Store the message of ``turn`` once; its sequence."""
    after = turn.record.after if turn.again else None
    return await publish_again(bus, dead, msg_id=msg_id, requeues=requeues, only=only, after=after)


async def _for_everyone(bus: EventBus, ends: Ends, letter: Letter, own: Turn, requeues: int) -> int:
    """Store the message once for all the letters about it; its sequence.

    A letter that is requeued a second time, having been kept, has it stored a second time.
    """
    dead = letter.letter
    name = f"everyone:{DeadLetter.id_for(dead.stream, dead.sequence, dead.stored_at, '*')}"
    while True:
        held = await ends.find(name)
        served = dict(held.record.letters or {}) if held is not None else {}
        turns = served.setdefault(letter.id, own.record.turn)
        if held is not None and held.record.done and held.record.seq and turns == own.record.turn:
            if await ends.write(held, replace(held.record, letters=served)) is not None:
                return held.record.seq
            continue
        turn = await ends.begin(name, own.record.what, own.record.actor, after=own.record.after)
        try:
            seq = await _publish(bus, dead, turn, f"requeue:{name}:{turn.record.turn}", requeues)
        except NotRequeued:
            await ends.finish(turn)
            raise
        done = replace(turn.record, done=True, seq=seq, letters={letter.id: own.record.turn})
        if await ends.write(turn, done) is not None:
            return seq


def _refuse_loops(letter: Letter, count: int) -> None:
    dead = letter.letter
    if count > MOST_REQUEUES:
        raise DeadLetterError(
            f"{letter.id} was requeued {letter.requeues} times and failed each time: {dead.error}. Correct the "
            "consumer or discard the dead letter; --force requeues it all the same"
        )
    if registry().find(dead.subject) is None:
        raise DeadLetterError(
            f"{letter.id}: {dead.subject} is no registered subject, so it would be refused again; --force requeues it "
            "all the same"
        )


async def _exists(bus: EventBus, letter: Letter) -> bool:
    message = await read_stored(bus, STREAM, seq=letter.seq)
    return message is not None


async def _delete(bus: EventBus, letter: Letter) -> None:
    try:
        await js_api(bus, f"STREAM.MSG.DELETE.{STREAM}", {"seq": letter.seq})
    except ApiError as error:
        if error.err_code != ErrorCode.STREAM_MSG_DELETE_FAILED and "no message found" not in error.description:
            raise DeadLetterError(f"{letter.id} cannot be removed from {STREAM}: {error}") from error


def _audited(letter: Letter) -> dict[str, Any]:
    dead = letter.letter
    return {
        "dead_letter_id": letter.id,
        "subject": dead.subject,
        "stream": dead.stream,
        "seq": dead.sequence,
        "consumer": dead.consumer,
        "reason": dead.reason.value,
        "error": dead.error,
        "trace_id": header(dead.headers, TRACE_ID),
    }
