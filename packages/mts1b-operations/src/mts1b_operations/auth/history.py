"""Reading what was stored, as a person: message by message, without a consumer and its rights."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mts1b_platform.eventbus import BusError, EventBus
from mts1b_platform.eventbus.errors import NoResponders, RequestTimeout

_NOT_FOUND = 404


class HistoryUnavailable(BusError):
    """No server answers for the history of this stream."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One stored message."""

    stream: str
    sequence: int
    subject: str
    stored_at: datetime
    headers: dict[str, str]
    payload: bytes


async def read_history(
    bus: EventBus, stream: str, subject: str = "mts.>", *, after: int = 0, since: datetime | None = None
) -> AsyncIterator[Stored]:
    """What ``stream`` holds of ``subject``, oldest first, until the end that it has now.

    Args:
        bus: a person's connection.
        stream: the stream; the role must be allowed to read all of it.
        subject: a pattern.
        after: begin behind this sequence.
        since: begin at this time, in place of a sequence.

    Raises:
        AccessDenied: the role does not read this stream.
        HistoryUnavailable: there is no such stream, or nobody answers.
    """
    asked: dict[str, Any] = {"next_by_subj": subject}
    asked |= {"start_time": since.isoformat()} if since else {"seq": after + 1}
    while True:
        try:
            answer = await bus.request(f"history.{stream}", json.dumps(asked).encode(), timeout=5)
        except (NoResponders, RequestTimeout):
            raise HistoryUnavailable(
                f"nobody answers for the history of {stream}: check the name, and that the server runs"
            ) from None
        headers = {name: ", ".join(answer.headers.get_all(name)) for name in answer.headers}
        if answer.headers.status == _NOT_FOUND or (not answer.data and "Nats-Sequence" not in headers):
            return
        sequence = int(headers.pop("Nats-Sequence"))
        yield Stored(
            stream=headers.pop("Nats-Stream"),
            sequence=sequence,
            subject=headers.pop("Nats-Subject"),
            stored_at=datetime.fromisoformat(headers.pop("Nats-Time-Stamp")),
            headers=headers,
            payload=answer.data,
        )
        asked = {"next_by_subj": subject, "seq": sequence + 1}
