"""Having the message of a dead letter published again: by us where we may, else by the service whose event it is."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

from mts1b_foundation.deadletters import DeadLetter
from mts1b_foundation.subjects import registry
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.errors import NoResponders, RequestTimeout, ServerUnavailable
from mts1b_platform.eventbus.jetstream.api import ApiError, js_api
from mts1b_platform.eventbus.protocol.envelope import MSG_ID, ONLY_DURABLE, REQUEUES, canonical
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode
from mts1b_platform.service.requeue import MaybeStored, NotStored, carried, requeue_subject, store, stored_after

from mts1b_operations.deadletters.advisories import read_original
from mts1b_operations.deadletters.ends import DeadLetterError, NotRequeued

OWNER_WITHIN: Final = 5.0
"""Seconds for which the service whose event it is may be away."""
_AGAIN: Final = 0.25
_ANSWER: Final = 30.0
"""Seconds that it may take to have the event stored."""


class OwnerAway(NotRequeued):
    """The service that may publish the message again does not answer."""

    def __init__(self, words: str, owner: str) -> None:
        super().__init__(words)
        self.owner = owner


async def message_of(bus: EventBus, dead: DeadLetter) -> tuple[Mapping[str, str], bytes]:
    """Headers and payload of the message that ``dead`` is about; from its stream when the letter holds a part only.

    Raises:
        NotRequeued: the stream does not hold it any more.
    """
    if dead.original_size is None:
        return dead.headers, dead.payload
    original = await read_original(bus, dead.stream, dead.sequence)
    if original is None or original.stored_at != dead.stored_at:
        raise NotRequeued(
            f"{dead.dead_letter_id}: the letter holds {len(dead.payload)} of the message's {dead.original_size} bytes, "
            f"and {dead.stream} does not hold the original under {dead.sequence} any more: it cannot be requeued; "
            "discard the letter"
        )
    return original.headers, original.payload


async def last_of(bus: EventBus, stream: str) -> int:
    """The last sequence of ``stream``; 0 when there is no such stream."""
    try:
        return int((await js_api(bus, f"STREAM.INFO.{stream}"))["state"]["last_seq"])
    except ApiError as error:
        if error.err_code == ErrorCode.STREAM_NOT_FOUND:
            return 0
        raise


async def publish_again(
    bus: EventBus, dead: DeadLetter, *, msg_id: str, requeues: int, only: str | None, after: int | None
) -> int:
    """Store the message of ``dead`` once more, under ``msg_id``; its sequence.

    Args:
        bus: the connection.
        dead: the dead letter.
        msg_id: the id of the new message.
        requeues: how often the message was requeued, this time included.
        only: the durable that shall handle it; None for everyone.
        after: when it may be stored already: the last sequence before that.

    Raises:
        NotRequeued: no stream took it, or the service whose event it is refuses.
        OwnerAway: that service does not answer.
        DeadLetterError: the stream did not answer: it may have it or not.
    """
    try:
        if (owner := _owner(bus, dead.subject)) is not None:
            return await _ask(bus, owner, dead, msg_id=msg_id, requeues=requeues, only=only, after=after)
        if after is not None:
            found = await stored_after(bus, dead.stream, dead.subject, after, msg_id)
            if found is not None:
                return found
        own, payload = await message_of(bus, dead)
        to = {ONLY_DURABLE: only} if only else {}
        headers = canonical(carried(own) | {REQUEUES: str(requeues), MSG_ID: msg_id} | to)
        return await store(bus, dead.subject, payload, headers)
    except NotStored as error:
        raise NotRequeued(
            f"{dead.subject}: the message was not stored again ({error}); the dead letter stays"
        ) from error
    except MaybeStored as error:
        raise DeadLetterError(
            f"{dead.subject}: it is not known whether the message was stored again ({error}); the dead letter stays, "
            "and requeuing it once more finds out"
        ) from error


def _owner(bus: EventBus, subject: str) -> str | None:
    """The service that must be asked; None where there are no identities, or the event is our own."""
    if bus.identity.certificate is None:
        return None
    declared = registry().find(subject)
    owner = registry().producer_of(declared, subject) if declared else bus.service
    return None if owner == bus.service else owner


async def _ask(
    bus: EventBus, owner: str, dead: DeadLetter, *, msg_id: str, requeues: int, only: str | None, after: int | None
) -> int:
    body = json.dumps(
        {
            "stream": dead.stream,
            "sequence": dead.sequence,
            "stored_at": dead.stored_at.isoformat(),
            "subject": dead.subject,
            "msg_id": msg_id,
            "requeues": requeues,
            "only": only,
            "after": after,
        }
    ).encode()
    loop = asyncio.get_running_loop()
    end = loop.time() + OWNER_WITHIN
    while True:
        try:
            answer = await bus.request(requeue_subject(owner), body, timeout=_ANSWER)
            break
        except NoResponders:
            if loop.time() > end:
                raise OwnerAway(
                    f"{dead.subject}: {owner}, which alone may publish it again, has not answered for "
                    f"{OWNER_WITHIN:g} s; nothing was published and the dead letter stays. Start {owner} and requeue "
                    "it again",
                    owner,
                ) from None
            await asyncio.sleep(_AGAIN)
        except (RequestTimeout, ServerUnavailable) as error:
            raise MaybeStored(str(error)) from error
    try:
        said: dict[str, Any] = json.loads(answer.data)
        if "seq" in said:
            return int(said["seq"])
    except (ValueError, TypeError) as error:
        raise MaybeStored(f"{owner} answered something else than whether it did") from error
    if "refused" in said:
        raise NotStored(str(said["refused"]))
    raise MaybeStored(str(said.get("unknown", "no reason was given")))
