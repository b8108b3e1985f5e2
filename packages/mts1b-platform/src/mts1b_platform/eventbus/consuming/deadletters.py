"""Giving a message up without losing it: stored as a dead letter first, then taken off the consumer.

The id is made of stream, sequence and consumer, so that a crash between the two steps, or a second party that notices
the same failure, stores nothing twice.
"""

import traceback

from mts1b_foundation.deadletters import DeadLetter, DeadLetterReason
from mts1b_foundation.event import utc_now
from mts1b_foundation.subjects import deadletters_of

from mts1b_platform.eventbus.protocol.envelope import TRACE_ID
from mts1b_platform.eventbus.protocol.headers import HeaderError, Headers
from mts1b_platform.eventbus.protocol.message import WireMsg
from mts1b_platform.eventbus.protocol.position import Position
from mts1b_platform.eventbus.publishing.context import PublishContext
from mts1b_platform.eventbus.publishing.emit import emit
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.deadletters")


def dead_letter_id(position: Position) -> str:
    """The one id of the failure of this message at this consumer."""
    return f"{position.stream}:{position.seq}:{position.consumer}"


async def store_dead_letter(
    context: PublishContext,
    *,
    msg: WireMsg,
    pattern: str,
    position: Position,
    reason: DeadLetterReason,
    error: BaseException | str,
) -> None:
    """Store the dead letter under this service's own prefix; returns once JetStream has it.

    Raises:
        PublishError: it could not be stored; the message must then stay with its consumer.
    """
    headers = _readable(msg.head)
    trace_id = headers.get(TRACE_ID)
    subject = msg.subject.decode(errors="replace")
    letter = DeadLetter(
        dead_letter_id=dead_letter_id(position),
        reason=reason,
        subject=subject,
        headers=headers,
        payload=msg.payload,
        stream=position.stream,
        sequence=position.seq,
        consumer=position.consumer,
        deliveries=position.deliveries,
        error=str(error) or type(error).__name__,
        traceback="".join(traceback.format_exception(error)) if isinstance(error, BaseException) else None,
        stored_at=position.timestamp,
        failed_at=utc_now(),
    )
    client = context.client
    await emit(context, deadletters_of(client.service), letter, trace_id=trace_id)
    client.counters.deadletters[pattern] += 1
    log.error(
        "dead letter",
        subject=subject,
        stream=position.stream,
        seq=position.seq,
        durable=position.consumer,
        reason=reason.value,
        error=letter.error,
        deliveries=position.deliveries,
        id=letter.dead_letter_id,
        trace_id=trace_id,
    )


def _readable(head: bytes) -> dict[str, str]:
    """The headers as far as they can be read: of a name that occurs twice all values, of a broken block its bytes."""
    headers = Headers(head)
    try:
        return {name: ", ".join(headers.get_all(name)) for name in headers}
    except HeaderError:
        return {"(unreadable)": head.decode(errors="backslashreplace")}
