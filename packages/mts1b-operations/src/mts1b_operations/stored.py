"""Reading a whole stream, by whoever is asked: services message by message, people by their history in batches.

On a secured bus nobody but the administration may create a consumer.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.errors import JetStreamUnavailable
from mts1b_platform.eventbus.jetstream.stored import StoredMessage, read_stored

from mts1b_operations.auth.history import each_in_history

_ATTEMPTS: Final = 4


def each_stored(
    bus: EventBus, stream: str, subject: str = "mts.>", *, after: int = 0
) -> AsyncGenerator[StoredMessage, None]:
    """What ``stream`` holds of ``subject`` behind the sequence ``after``, oldest first, until its end.

    Raises:
        AccessDenied: the identity may not read the stream.
        HistoryUnavailable: a person asks, and nobody answers.
        ApiError: a service asks, and the stream does not exist.
        JetStreamUnavailable: a service asks, and nobody answers.
    """
    if bus.identity.has_token:
        return each_in_history(bus, stream, subject, after=after)
    return _one_by_one(bus, stream, subject, after)


async def _one_by_one(bus: EventBus, stream: str, subject: str, after: int) -> AsyncGenerator[StoredMessage, None]:
    seq = after + 1
    while (message := await _next(bus, stream, subject, seq)) is not None:
        yield message
        seq = message.seq + 1


async def _next(bus: EventBus, stream: str, subject: str, seq: int) -> StoredMessage | None:
    """The first message from ``seq`` on; a server that is away for a moment is asked again."""
    for attempt in range(_ATTEMPTS):
        try:
            return await read_stored(bus, stream, seq=seq, next_by=subject)
        except JetStreamUnavailable:
            if attempt == _ATTEMPTS - 1:
                raise
            await bus.wait_connected(1.0)
            await asyncio.sleep(0.2)
    return None
