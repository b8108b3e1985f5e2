"""Several messages stored in one stream all together or not at all, in order (JetStream's atomic batch)."""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import nats.errors

from mts1b_platform.eventbus.errors import BusClosed

if TYPE_CHECKING:
    from mts1b_platform.eventbus.bus import EventBus

Message = tuple[str, Mapping[str, str], bytes]
"""Subject, headers, payload."""


@dataclass(frozen=True, slots=True)
class BatchAck:
    """The stream's word that a batch is stored: its sequences begin at ``first`` and have no gaps."""

    stream: str
    first: int


_ID, _SEQUENCE, _COMMIT = "Nats-Batch-Id", "Nats-Batch-Sequence", "Nats-Batch-Commit"
_TIMEOUT = 5.0


async def publish_atomically(bus: "EventBus", messages: Sequence[Message]) -> BatchAck | None:
    """Store ``messages`` (two to a thousand of one stream) as one batch; the stream's word that it has them.

    None says nothing: the batch was refused (one id that the stream knows refuses all), or the ack was lost and all
    are stored. Publishing them one by one with the same ids then finds out and completes what is missing, in order.

    Raises:
        BusClosed: the bus was closed.
    """
    batch = secrets.token_hex(12)
    last = len(messages)
    try:
        if not bus.is_connected:
            return None
        for number, (subject, headers, payload) in enumerate(messages, 1):
            marked = {**headers, _ID: batch, _SEQUENCE: str(number)}
            if number == last:
                answer = await bus.request(subject, payload, timeout=_TIMEOUT, headers={**marked, _COMMIT: "1"})
                document = json.loads(answer.data)
                if "error" in document or document.get("count") != last:
                    return None
                return BatchAck(document["stream"], document["seq"] - last + 1)
            if number > 1:
                await bus.publish(subject, payload, headers=marked)
            elif (await bus.request(subject, payload, timeout=_TIMEOUT, headers=marked)).data:
                return None  # a batch that may begin is answered with nothing
    except (nats.errors.ConnectionClosedError, nats.errors.ConnectionDrainingError):
        raise BusClosed("the bus is closed; what was not published waits in the outbox") from None
    except nats.errors.Error:
        return None
    return None
