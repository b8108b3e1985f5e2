"""Requeue or discard dead letters. Every action is audited.

A requeued message is a new message: new id (the old one would be dropped inside the dedupe window), same payload,
schema, trace and identity (``mts-original-msg-id``), so that consumers which had handled it do not handle it twice.
``mts-requeues`` counts how often; beyond a limit requeuing is refused, because what fails a fourth time for the same
reason will fail a fifth.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final, Literal

from mts1b_foundation.errors import Mts1bError
from mts1b_foundation.subjects import registry
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.errors import NoResponders, OutboundBufferFull, RequestTimeout, ServerUnavailable
from mts1b_platform.eventbus.jetstream.api import ApiError, js_api
from mts1b_platform.eventbus.protocol.envelope import MSG_ID, ONLY_DURABLE, ORIGINAL_MSG_ID, REQUEUES, canonical
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode
from mts1b_platform.observability.audit import audit_action

from mts1b_operations.deadletters.letters import STREAM, Letter

Target = Literal["consumer", "subject"]
"""Who gets it again: the durable that gave up and nobody else, or everyone who reads the subject."""

MOST_REQUEUES: Final = 3
_ATTEMPTS: Final = 10
_TIMEOUT: Final = 2.0

_LEFT_OUT: Final = frozenset({MSG_ID.lower(), ORIGINAL_MSG_ID, REQUEUES, ONLY_DURABLE})


class DeadLetterError(Mts1bError):
    """An action on a dead letter was refused or failed."""


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

    Doing it twice (the command was killed in between) stores one: the new message id is made of the dead letter's id
    and the count.

    Args:
        bus: a connection that may publish on the subject.
        letter: the dead letter.
        to: ``consumer``: only the durable that gave up handles it (others of this project acknowledge it unseen);
            ``subject``: everyone who reads the subject.
        actor: who wants it, for the audit log.
        dry_run: only say what would be done.
        keep: leave the dead letter where it is.
        force: requeue beyond the limit, or a message that is refused again for sure.

    Raises:
        DeadLetterError: it was requeued too often, or the message could not be stored again.
        AuditError: the action cannot be recorded; it was not taken.
    """
    dead = letter.letter
    count = letter.requeues + 1
    if not force:
        _refuse_loops(letter, count)
    headers = {name: value for name, value in dead.headers.items() if name.lower() not in _LEFT_OUT}
    first = _header(dead.headers, ORIGINAL_MSG_ID) or _header(dead.headers, MSG_ID)
    headers |= {MSG_ID: f"requeue:{letter.id}:{count}", REQUEUES: str(count)}
    if first:
        headers[ORIGINAL_MSG_ID] = first
    if to == "consumer":
        headers[ONLY_DURABLE] = dead.consumer
    where = dead.consumer if to == "consumer" else "everyone"
    if dry_run:
        return Outcome(letter, "would requeue", f"{dead.subject} for {where}, requeue {count}")
    audit_action(bus, "deadletters.requeue", **_audited(letter), actor=actor, to=to, requeue=count)
    seq = await _store(bus, dead.subject, dead.payload, canonical(headers))
    if not keep:
        await _delete(bus, letter)
    return Outcome(letter, "requeued", f"{dead.subject} for {where}, requeue {count}, now {dead.stream}:{seq}")


async def discard(bus: EventBus, letter: Letter, *, actor: str, reason: str, dry_run: bool = False) -> Outcome:
    """Delete ``letter``; its message will not be handled again.

    Raises:
        DeadLetterError: it could not be deleted.
        AuditError: the action cannot be recorded; it was not taken.
    """
    if dry_run:
        return Outcome(letter, "would discard", letter.letter.subject)
    audit_action(bus, "deadletters.discard", **_audited(letter), actor=actor, why=reason)
    await _delete(bus, letter)
    return Outcome(letter, "discarded", letter.letter.subject)


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


async def _store(bus: EventBus, subject: str, payload: bytes, headers: dict[str, str]) -> int:
    problem = "no connection"
    for attempt in range(_ATTEMPTS):
        await bus.wait_connected(_TIMEOUT)
        try:
            answer = await bus.request(subject, payload, timeout=_TIMEOUT, headers=headers)
        except (NoResponders, OutboundBufferFull, RequestTimeout, ServerUnavailable) as error:
            problem = str(error)
            await asyncio.sleep(0.1 * attempt)
            continue
        document: dict[str, Any] = json.loads(answer.data)
        if (refused := document.get("error")) is None:
            return int(document["seq"])
        problem = f"{refused.get('description')} (error {refused.get('err_code')})"
        break
    raise DeadLetterError(f"{subject}: the message was not stored again ({problem}); the dead letter stays")


async def _delete(bus: EventBus, letter: Letter) -> None:
    try:
        await js_api(bus, f"STREAM.MSG.DELETE.{STREAM}", {"seq": letter.seq})
    except ApiError as error:
        if error.err_code != ErrorCode.STREAM_MSG_DELETE_FAILED and "no message found" not in error.description:
            raise DeadLetterError(f"{letter.id} cannot be removed from {STREAM}: {error}") from error


def _header(headers: dict[str, str], name: str) -> str | None:
    return next((value for key, value in headers.items() if key.lower() == name.lower()), None)


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
        "trace_id": _header(dead.headers, "mts-trace-id"),
    }
