"""The steps that every end of a dead letter takes: begun, written down, and the letter removed."""

from dataclasses import dataclass
from typing import Any

from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.jetstream.api import ApiError, js_api
from mts1b_platform.eventbus.jetstream.stored import read_stored
from mts1b_platform.eventbus.protocol.envelope import TRACE_ID
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode
from mts1b_platform.observability.audit import AuditError, audit_action
from mts1b_platform.service.requeue import header

from mts1b_operations.deadletters.ends import DeadLetterError, Ends, Turn
from mts1b_operations.deadletters.letters import STREAM, Letter
from mts1b_operations.deadletters.republish import last_of


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done about one dead letter, or would be."""

    letter: Letter
    action: str
    detail: str = ""
    stored: str = ""
    """Where its message is stored again, ``STREAM:sequence``; empty when it is not, or it is not known."""


async def begin(bus: EventBus, ends: Ends, letter: Letter, what: str, actor: str) -> Turn | None:
    """The turn to do ``what``; None when it was done before, and the letter is gone.

    Raises:
        DeadLetterError: something else was begun or done.
    """
    held = await ends.find(letter.id)
    if held is not None and not await exists(bus, letter):
        if held.record.what != what:
            raise DeadLetterError(f"{letter.id}: is dealt with: {held.record}")
        return None
    turn = await ends.begin(letter.id, what, actor, after=await last_of(bus, letter.letter.stream))
    if turn.before is not None and not await exists(bus, letter):
        await ends.finish(turn)  # between the two looks somebody did it all and removed the letter
        if turn.before.what != what:
            raise DeadLetterError(f"{letter.id}: is dealt with: {turn.before}")
        return None
    return turn


async def audit_first(bus: EventBus, ends: Ends, turn: Turn, action: str, **details: Any) -> None:
    """Record what is about to be done; what cannot be recorded is not begun."""
    try:
        audit_action(bus, action, **details)
    except AuditError:
        if not turn.again:
            await ends.finish(turn)
        raise


async def exists(bus: EventBus, letter: Letter) -> bool:
    """Whether it is among the dead letters."""
    message = await read_stored(bus, STREAM, seq=letter.seq)
    return message is not None


async def delete(bus: EventBus, letter: Letter, stream: str = STREAM) -> None:
    """Remove it from ``stream``; that somebody else has done so already is no error.

    Raises:
        DeadLetterError: the server refuses.
    """
    try:
        await js_api(bus, f"STREAM.MSG.DELETE.{stream}", {"seq": letter.seq})
    except ApiError as error:
        if error.err_code != ErrorCode.STREAM_MSG_DELETE_FAILED and "no message found" not in error.description:
            raise DeadLetterError(f"{letter.id} cannot be removed from {stream}: {error}") from error


def audited(letter: Letter) -> dict[str, Any]:
    """What the audit log says of every action on it."""
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
