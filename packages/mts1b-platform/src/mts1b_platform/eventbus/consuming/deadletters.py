"""Giving a message up without losing it: stored as a dead letter first, then taken off the consumer.

The id is made of stream, sequence and consumer, so that a crash between the two steps, or a second party that notices
the same failure, stores nothing twice. A message that would not fit is stored shortened and names the original.
"""

from mts1b_foundation.deadletters import DeadLetter, DeadLetterReason
from mts1b_foundation.subjects import deadletters_of

from mts1b_platform.eventbus.events.trace import usable_trace_id
from mts1b_platform.eventbus.protocol.envelope import TRACE_ID
from mts1b_platform.eventbus.protocol.message import WireMsg
from mts1b_platform.eventbus.protocol.position import Position
from mts1b_platform.eventbus.publishing.context import PublishContext
from mts1b_platform.eventbus.publishing.emit import emit
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.deadletters")


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
    headers = msg.headers.readable()
    trace_id = usable_trace_id(headers.get(TRACE_ID))
    letter = DeadLetter.of_stored(
        subject=msg.subject.decode(errors="replace"),
        headers=headers,
        payload=msg.payload,
        stream=position.stream,
        sequence=position.seq,
        stored_at=position.timestamp,
        consumer=position.consumer,
        deliveries=position.deliveries,
        reason=reason,
        error=error,
    )
    client = context.client
    letter = letter.fitted(client.max_payload)
    await emit(context, deadletters_of(client.service), letter, trace_id=trace_id)
    client.counters.deadletters[pattern] += 1
    log.error(
        "dead letter",
        subject=letter.subject,
        stream=position.stream,
        seq=position.seq,
        durable=position.consumer,
        reason=reason.value,
        error=letter.error,
        deliveries=position.deliveries,
        id=letter.dead_letter_id,
        trace_id=trace_id,
        original_size=letter.original_size,
    )
