"""Stored messages by direct get: a batch of them for one request, closed by a word of its own (204)."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any, Final

from mts1b_platform.eventbus.connection.client import BusClient
from mts1b_platform.eventbus.errors import BusClosed, BusError, JetStreamUnavailable, ServerUnavailable
from mts1b_platform.eventbus.history.recorded import Recorded, Worth, read_answer, stamp_of
from mts1b_platform.eventbus.jetstream.api import where
from mts1b_platform.eventbus.protocol.headers import Headers
from mts1b_platform.eventbus.protocol.message import RawMsg
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.history")

BATCH: Final = 1_000
_MOST_BYTES: Final = 4_000_000
_SILENCE: Final = 5.0
"""Seconds without a message after which the rest of a batch is asked for again."""
_ATTEMPTS: Final = 4
_STATUS: Final = b"NATS/1.0 "
_NOT_FOUND: Final = 404
_END: Final = 204


class DirectGet:
    """One stream's direct get.

    Args:
        client: the connection.
        stream: its name, for messages.
        subject: where it is asked.
    """

    def __init__(self, client: BusClient, stream: str, subject: str) -> None:
        self._client = client
        self._stream = stream
        self._subject = subject
        self._one_by_one = False

    async def first(self, *, seq: int = 1, since_ns: int | None = None, pattern: str = ">") -> Recorded | None:
        """The first message from ``seq``, or from a moment, on; None when there is none."""
        start: dict[str, Any] = {"seq": max(1, seq)} if since_ns is None else {"start_time": stamp_of(since_ns)}
        return await self._one(start | {"next_by_subj": pattern})

    async def last(self) -> Recorded | None:
        """The newest message; None in an empty stream."""
        # asked for ">" the server looks at the last sequence only, and finds nothing when its message was deleted
        return await self._one({"last_by_subj": ">"}) or await self._one({"last_by_subj": "*.>"})

    async def batches(
        self, first: int, last: int, pattern: str, worth: Worth | None = None
    ) -> AsyncGenerator[list[Recorded], None]:
        """The messages from one sequence to another, in order; the next batch is on its way while one is looked at."""
        if first > last:
            return
        inbox = _Inbox(self._client)
        try:
            seq: int | None = first
            await self._ask(inbox, seq, last, pattern)
            while seq is not None:
                got, seq = await self._batch(inbox, seq, last, pattern)
                if seq is not None:
                    await self._ask(inbox, seq, last, pattern)
                    await asyncio.sleep(0)  # what is asked is sent in the next turn of the loop
                found = [read_answer(msg) for msg in got if worth is None or worth(msg[2], msg[3])]
                while found and found[-1].seq > last:
                    found.pop()
                if found:
                    yield found
        finally:
            inbox.close()

    async def _batch(self, inbox: "_Inbox", seq: int, last: int, pattern: str) -> tuple[list[RawMsg], int | None]:
        """What was asked for from ``seq`` on, as far as it came, and where to go on; None at the end."""
        found: list[RawMsg] = []
        silent = 0
        while True:
            status = await inbox.wait(_SILENCE)
            got = inbox.take()
            found += got
            if got:
                silent = 0
                seq = read_answer(got[-1]).seq + 1
            if status is not None:
                whole = status.status == _END and int(status.get("Nats-Num-Pending") or 0) > 0
                self._refuse(status)
                return found, seq if whole and seq <= last else None
            silent += 1
            if silent == _ATTEMPTS:
                raise JetStreamUnavailable(
                    f"stream {self._stream} did not answer from sequence {seq} on at {where(self._client)}: the server "
                    "may be restarting, or may have lost its quorum"
                )
            await self._look(seq, pattern, got)
            await self._ask(inbox, seq, last, pattern)

    async def _look(self, seq: int, pattern: str, got: list[RawMsg]) -> None:
        """Nothing more came: wait for a connection, and hear whether this identity may still ask."""
        await self._client.wait_connected(_SILENCE)
        if self._client.is_connected:
            try:
                await self.first(seq=seq, pattern=pattern)
            except (TimeoutError, ServerUnavailable):
                return
            if len(got) == 1 and not self._one_by_one:
                self._one_by_one = True
                log.warning(
                    "the server answers for this stream with one message at a time: `mts1b-deploy install` again with "
                    "its profile makes it answer in batches",
                    stream=self._stream,
                )

    async def _ask(self, inbox: "_Inbox", seq: int, last: int, pattern: str) -> None:
        wanted = 1 if self._one_by_one else min(BATCH, last - seq + 1)
        body = {"seq": seq, "next_by_subj": pattern, "batch": wanted, "max_bytes": _MOST_BYTES}
        await self._client.publish(self._subject, json.dumps(body).encode(), reply=inbox.renew())

    async def _one(self, body: dict[str, Any]) -> Recorded | None:
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = await self._client.request(self._subject, json.dumps(body).encode(), timeout=_SILENCE)
                break
            except ServerUnavailable:
                if attempt == _ATTEMPTS:
                    raise
                await self._client.wait_connected(_SILENCE)
        if answer.headers.status is not None:
            self._refuse(answer.headers)
            return None
        return read_answer((b"", b"", answer.head, answer.data))

    def _refuse(self, status: Headers) -> None:
        """Raise unless the stream says that there is no message, or that the batch is complete."""
        if status.status not in (_NOT_FOUND, _END):
            raise BusError(f"stream {self._stream} cannot be read: {status.status} {status.description}")


class _Inbox:
    """Where the answers to one batch at a time arrive."""

    def __init__(self, client: BusClient) -> None:
        self._base = client.new_inbox()
        self._number = 0
        self._reply = b""
        self._messages: list[RawMsg] = []
        self._status: Headers | None = None
        self._arrived = asyncio.Event()
        self._subscription = client.connection.subscribe(f"{self._base}.*", self._take)
        self._subscription.on_end = self._arrived.set
        self._unhook = client.connection.on_break(self._break)
        self._broke = False
        self._client = client

    def renew(self) -> str:
        """A reply subject for the next batch: what is still on its way for the one before is not taken for it."""
        self._number += 1
        reply = f"{self._base}.{self._number}"
        self._reply = reply.encode()
        self._messages, self._status, self._broke = [], None, False
        return reply

    def take(self) -> list[RawMsg]:
        """What has arrived of the batch and was not taken yet."""
        taken, self._messages = self._messages, []
        return taken

    async def wait(self, silence: float) -> Headers | None:
        """Wait for the end of the batch, and return what the stream says there.

        None when the connection broke, or nothing came for so long.
        """
        while self._status is None and not self._broke:
            self._arrived.clear()
            try:
                async with asyncio.timeout(silence):
                    await self._arrived.wait()
            except TimeoutError:
                return self._status
            if self._client.is_closed:
                raise BusClosed("the bus was closed while a stream was read")
        return self._status

    def close(self) -> None:
        """Give up interest."""
        self._unhook()
        self._subscription.unsubscribe()

    def _break(self) -> None:
        self._broke = True
        self._arrived.set()

    def _take(self, batch: list[RawMsg]) -> None:
        for msg in batch:
            if msg[0] != self._reply:
                continue
            if msg[2].startswith(_STATUS):
                self._status = Headers(msg[2])
            else:
                self._messages.append(msg)
        self._arrived.set()
