"""Typed events as a stream holds them, read without a consumer."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from mts1b_foundation.event import Event
from mts1b_foundation.subjects import DurableSubject, Subject
from mts1b_foundation.subjects.algebra import covers
from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.codec.decoder import Decoder, Refused
from mts1b_platform.eventbus.history.history import open_history
from mts1b_platform.eventbus.protocol.envelope import MSG_ID
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.desk.stored")

P = TypeVar("P", bound=Event)


class Stored(NamedTuple, Generic[P]):
    """One stored event."""

    registered: Subject[Any]
    payload: P
    stored_at: datetime
    msg_id: str


async def stored_events(
    bus: EventBus, stream: str, subjects: Sequence[DurableSubject[P]], *, first: int = 1, last: int | None = None
) -> AsyncGenerator[Stored[P], None]:
    """What ``stream`` holds of ``subjects``, and of what they replace, oldest first.

    A message that is not what its subject carries is logged and left out.

    Args:
        bus: the connection.
        stream: which stores them.
        subjects: what is wanted.
        first: the first sequence that counts.
        last: the last sequence that counts; None: the newest one now.

    Raises:
        NoStream: there is no such stream.
        AccessDenied: this identity may not read it.
        JetStreamUnavailable: nobody answers.
    """
    filters = [form for subject in subjects for form in subject.filters()]
    decoder = Decoder(subjects)
    history = await open_history(bus, stream)
    end = (await history.extent()).last if last is None else last
    async with aclosing(history.batches(first, end)) as batches:
        async for batch in batches:
            for message in batch:
                if not covers(filters, message.wire.subject.decode()):
                    continue
                try:
                    registered, _, payload, _ = decoder.decode(message.wire)
                except Refused as refused:
                    log.warning("a stored message is not what its subject carries", reason=str(refused))
                    continue
                yield Stored(registered, payload, message.time, message.wire.headers.get(MSG_ID) or "")
