"""Reading what was stored, as a person: in batches, without a consumer and its rights."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from mts1b_platform.eventbus import BusError, EventBus
from mts1b_platform.eventbus.jetstream.stored import StoredMessage
from mts1b_platform.eventbus.protocol.message import RawMsg, WireMsg

BATCH: Final = 1000
_MOST_BYTES: Final = 4_000_000
"""Bytes of one batch, so that a few large messages wait in nobody's memory."""
_SILENCE: Final = 5.0
"""Seconds without any message of a batch after which nobody answers."""
_ATTEMPTS: Final = 2
"""Batches in a row that end without a message and without a word, as when the connection breaks."""
_STATUS: Final = b"NATS/1.0 "
_NOT_FOUND: Final = b"404"
_PENDING: Final = b"\nNats-Num-Pending: "
_NONE: Final = b"\nNats-Num-Pending: 0\r\n"
_ADDED: Final = re.compile(
    rb"^Nats-(Stream|Sequence|Time-Stamp|Subject|Num-Pending|Last-Sequence|UpTo-Sequence): ?([^\r\n]*)\r\n",
    re.MULTILINE,
)
"""Header lines that the server adds behind a message's own; of two alike the publisher made the first one up."""
_EMPTY: Final = len(b"NATS/1.0\r\n\r\n")


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
    bus: EventBus,
    stream: str,
    subject: str = "mts.>",
    *,
    after: int = 0,
    since: datetime | None = None,
    batch: int = BATCH,
) -> AsyncIterator[Stored]:
    """What ``stream`` holds of ``subject``, oldest first, until the end that it has now.

    Args:
        bus: a person's connection.
        stream: the stream; the role must be allowed to read all of it.
        subject: a pattern.
        after: begin behind this sequence.
        since: begin at this time, in place of a sequence.
        batch: most messages that are asked for at a time.

    Raises:
        AccessDenied: the role does not read this stream.
        HistoryUnavailable: there is no such stream, or nobody answers.
    """
    async for each in each_in_history(bus, stream, subject, after=after, since=since, batch=batch):
        wire = each.wire
        yield Stored(stream, each.seq, wire.subject.decode(), each.time, wire.headers.readable(), wire.payload)


async def each_in_history(
    bus: EventBus,
    stream: str,
    subject: str = "mts.>",
    *,
    after: int = 0,
    since: datetime | None = None,
    batch: int = BATCH,
) -> AsyncGenerator[StoredMessage, None]:
    """As :func:`read_history`, with each message as it was published."""
    asked: dict[str, Any] = {"next_by_subj": subject, "batch": batch, "max_bytes": _MOST_BYTES}
    start: dict[str, Any] = {"start_time": since.isoformat()} if since else {"seq": after + 1}
    questions = _Questions(bus, f"history.{stream}")
    attempts = 0
    try:
        while attempts < _ATTEMPTS:
            answer = await questions.ask(asked | start)
            last = None
            for raw in answer.messages:
                last = _stored(raw)
                yield last
            if answer.complete:
                return
            attempts = 0 if last is not None else attempts + 1
            start = {"seq": last.seq + 1} if last is not None else start
    finally:
        questions.close()
    raise HistoryUnavailable(f"nobody answers for the history of {stream}: check the name, and that the server runs")


class _Answer:
    """One batch as it arrives."""

    def __init__(self, reply: bytes) -> None:
        self.reply = reply
        self.messages: list[RawMsg] = []
        self.ended = asyncio.Event()
        """Set when the server has said that the batch ends."""
        self._nothing = False

    @property
    def complete(self) -> bool:
        """Whether the stream holds nothing further."""
        return self._nothing or (bool(self.messages) and _is_last(self.messages[-1][2]))

    def take(self, raw: RawMsg) -> None:
        status = raw[2][len(_STATUS) : len(_STATUS) + 3] if raw[2].startswith(_STATUS) else b""
        self._nothing = status == _NOT_FOUND
        if not status:
            self.messages.append(raw)
        if status or _is_last(raw[2]):
            self.ended.set()


class _Questions:
    """The batches that one reader asks for, one after the other, over one subscription."""

    def __init__(self, bus: EventBus, subject: str) -> None:
        self._bus = bus
        self._subject = subject
        self._inbox = bus.new_inbox()
        self._number = 0
        self._answer = _Answer(b"")
        self._subscription = bus.connection.subscribe(f"{self._inbox}.*", self._take)

    def close(self) -> None:
        self._subscription.unsubscribe()

    async def ask(self, body: dict[str, Any]) -> _Answer:
        """One batch, or what came of it until nothing came for :data:`_SILENCE` seconds."""
        self._number += 1
        reply = f"{self._inbox}.{self._number}"
        answer = self._answer = _Answer(reply.encode())
        with self._bus.denials.watch(self._subject):
            await self._bus.publish(self._subject, json.dumps(body).encode(), reply=reply)
            came = -1
            while not answer.ended.is_set() and len(answer.messages) > came:
                came = len(answer.messages)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_SILENCE):
                        await answer.ended.wait()
        return answer

    def _take(self, batch: list[RawMsg]) -> None:
        for raw in batch:
            if raw[0] == self._answer.reply:  # of this batch, not of one that was given up
                self._answer.take(raw)


def _is_last(head: bytes) -> bool:
    """Whether the server says that nothing comes behind this message."""
    return head.startswith(_NONE, head.rfind(_PENDING))


def _stored(raw: RawMsg) -> StoredMessage:
    """The message as it was published."""
    added = {name.lower(): value for name, value in _ADDED.findall(raw[2])}
    head = _ADDED.sub(b"", raw[2])
    wire = WireMsg(added[b"subject"], b"", head if len(head) > _EMPTY else b"", raw[3])
    return StoredMessage(int(added[b"sequence"]), datetime.fromisoformat(added[b"time-stamp"].decode()), wire)
