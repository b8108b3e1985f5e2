"""Requeue dead letters: each letter has one end, and it is audited.

A requeued message is a new message: new id (the old one would be dropped inside the dedupe window), same payload,
schema, trace and identity (``mts-original-msg-id``), so that consumers which had handled it do not handle it twice.
``mts-requeues`` counts how often; beyond a limit requeuing is refused, because what fails a fourth time for the same
reason will fail a fifth.

What is begun is recorded first (``ends.py``). Requeuing again after a kill goes on where it was: when the message is
stored already, however long ago, it is not stored again. Of two operators who want different ends the first decides.
"""

from dataclasses import replace
from typing import Final, Literal

from mts1b_foundation.deadletters import DeadLetter
from mts1b_foundation.subjects import registry
from mts1b_platform.eventbus import EventBus
from mts1b_platform.observability.audit import audit_action

from mts1b_operations.deadletters.ends import DeadLetterError, Ends, NotRequeued, Turn
from mts1b_operations.deadletters.letters import Letter
from mts1b_operations.deadletters.republish import message_of, publish_again
from mts1b_operations.deadletters.steps import Outcome, audit_first, audited, begin, delete
from mts1b_operations.history.seen import Decoders

Target = Literal["consumer", "subject"]
"""Who gets it again: the durable that gave up and nobody else, or everyone who reads the subject."""

MOST_REQUEUES: Final = 3


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
    turn = await begin(bus, ends, letter, f"requeue for {where}", actor)
    if turn is None:
        return Outcome(letter, "requeued before", f"{dead.subject} for {where}")
    await audit_first(bus, ends, turn, "deadletters.requeue", **audited(letter), actor=actor, to=to, requeue=count)
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
        await delete(bus, letter)
    await ends.finish(turn, seq=seq)
    stored = f"{dead.stream}:{seq}"
    audit_action(bus, "deadletters.requeued", **audited(letter), actor=actor, to=to, stored=stored)
    detail = f"{dead.subject} for {where}, requeue {count}, now {stored}"
    return Outcome(letter, "requeued", detail, stored=stored)


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
    shown = Decoders(registry()).shown_letter(dead)  # whoever is told this may not see everything
    if count > MOST_REQUEUES:
        raise DeadLetterError(
            f"{letter.id} was requeued {letter.requeues} times and failed each time: {shown.error}. Correct the "
            "consumer or discard the dead letter; --force requeues it all the same"
        )
    if registry().find(dead.subject) is None:
        raise DeadLetterError(
            f"{letter.id}: {dead.subject} is no registered subject, so it would be refused again; --force requeues it "
            "all the same"
        )
