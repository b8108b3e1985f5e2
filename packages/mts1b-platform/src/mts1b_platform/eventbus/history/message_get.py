"""Stored messages one by one, many under way at a time: the way of a service on a secured bus."""

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

from pydantic_core import from_json

from mts1b_platform.eventbus.connection.client import BusClient
from mts1b_platform.eventbus.errors import BusError, JetStreamUnavailable
from mts1b_platform.eventbus.history.recorded import Recorded, Worth, stamp_of
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.jetstream.stored import StoredMessage, read_stored
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode
from mts1b_platform.eventbus.protocol.frames import checked_subject, pub_frame
from mts1b_platform.eventbus.protocol.message import RawMsg, WireMsg

_WINDOW: Final = 2_048
"""Sequences that are read at a time."""
_LANES: Final = 64
"""Requests under way at a time."""
_ATTEMPTS: Final = 4
_PATIENCE: Final = 5.0
"""Seconds to wait for a connection before a question that nobody answered is asked again."""


class MessageGet:
    """One stream's ``STREAM.MSG.GET``.

    Args:
        client: the connection.
        stream: its name.
    """

    def __init__(self, client: BusClient, stream: str) -> None:
        self._client = client
        self._stream = stream

    async def first(self, *, seq: int = 1, since_ns: int | None = None, pattern: str = ">") -> Recorded | None:
        """The first message from ``seq``, or from a moment, on; None when there is none."""
        at, start = (max(1, seq), None) if since_ns is None else (None, stamp_of(since_ns))
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                found = await read_stored(self._client, self._stream, seq=at, start=start, next_by=pattern)
            except JetStreamUnavailable:
                if attempt == _ATTEMPTS:
                    raise
                await self._client.wait_connected(_PATIENCE)
            else:
                return None if found is None else self._recorded(found)
        return None

    async def last(self) -> Recorded | None:
        """The newest message; None in an empty stream."""
        state = (await js_api(self._client, f"STREAM.INFO.{self._stream}"))["state"]
        if not state["messages"]:
            return None
        found = await read_stored(self._client, self._stream, seq=int(state["last_seq"]))
        if found is None:  # the newest was deleted
            found = await read_stored(self._client, self._stream, last_by="*.>")
        return None if found is None else self._recorded(found)

    async def batches(
        self, first: int, last: int, pattern: str, worth: Worth | None = None
    ) -> AsyncGenerator[list[Recorded], None]:
        """The messages from one sequence to another, in order: windows, whose parts are walked side by side."""
        while (start := await self.first(seq=first, pattern=pattern)) is not None and start.seq <= last:
            end = min(last, start.seq + _WINDOW - 1)
            step = -(-(end - start.seq + 1) // _LANES)
            lanes = [(at, min(end, at + step - 1)) for at in range(start.seq, end + 1, step)]
            asked = [_Lane(low, high) for low, high in lanes]
            await _Walk(self._client, self._stream, pattern, asked).run()
            for lane in asked:
                if not lane.done:  # the connection broke, or somebody was silent: patiently, one after the other
                    lane.found += await self._walk(lane.low, lane.high, pattern)
            found = [each for lane in asked for each in lane.found]
            if worth is not None:
                found = [each for each in found if worth(each.wire.head + each.wire.subject, each.wire.payload)]
            if found:
                yield found
            if (first := end + 1) > last:
                return

    async def _walk(self, low: int, high: int, pattern: str) -> list[Recorded]:
        found: list[Recorded] = []
        while low <= high and (one := await self.first(seq=low, pattern=pattern)) is not None and one.seq <= high:
            found.append(one)
            low = one.seq + 1
        return found

    def _recorded(self, found: StoredMessage) -> Recorded:
        return Recorded(self._stream, found.seq, found.stamp, found.wire)


class _Lane:
    """A part of a window, walked by itself."""

    __slots__ = ("done", "found", "high", "low")

    def __init__(self, low: int, high: int) -> None:
        self.low = low
        """Where it goes on."""
        self.high = high
        self.done = False
        self.found: list[Recorded] = []

    def take(self, stream: str, document: dict[str, Any]) -> bool:
        """Take an answer; whether there is more to ask."""
        message: dict[str, Any] | None = document.get("message")
        if message is None:
            error: dict[str, Any] = document.get("error") or {}
            self.done = error.get("err_code") == ErrorCode.NO_MESSAGE_FOUND
            return False
        seq = int(message["seq"])
        if seq <= self.high:
            head, payload = b64decode(message.get("hdrs", "")), b64decode(message.get("data", ""))
            wire = WireMsg(message["subject"].encode(), b"", head, payload)
            self.found.append(Recorded(stream, seq, message["time"], wire))
        self.low = seq + 1
        self.done = self.low > self.high
        return not self.done


class _Walk:
    """Walks the lanes of a window side by side: each answer brings the next question of its lane.

    A lane whose question was answered by an error, or not at all, is left undone.
    """

    def __init__(self, client: BusClient, stream: str, pattern: str, lanes: Sequence[_Lane]) -> None:
        self._connection = client.connection
        self._stream = stream
        self._pattern = pattern
        self._subject = checked_subject(f"$JS.API.STREAM.MSG.GET.{stream}")
        self._lanes = lanes
        self._inbox = f"{client.new_inbox()}."
        self._open = len(lanes)
        self._moved = asyncio.Event()
        self._broke = False

    async def run(self) -> None:
        """Return when every lane is done, or nothing came for some seconds."""
        subscription = self._connection.subscribe(f"{self._inbox}*", self._take)
        subscription.on_end = self._break
        unhook = self._connection.on_break(self._break)
        try:
            for number, lane in enumerate(self._lanes):
                self._ask(number, lane)
            while self._open and not self._broke:
                self._moved.clear()
                async with asyncio.timeout(_PATIENCE):
                    await self._moved.wait()
        except (TimeoutError, BusError):
            return  # what is undone is asked for again, by calls that say what is wrong
        finally:
            unhook()
            subscription.unsubscribe()

    def _take(self, batch: list[RawMsg]) -> None:
        start = len(self._inbox)
        for msg in batch:
            number = int(msg[0][start:])
            lane = self._lanes[number]
            try:
                more = lane.take(self._stream, from_json(msg[3]))
            except (ValueError, KeyError, TypeError, AttributeError):
                more = False  # no answer of a stream
            if more:
                self._ask(number, lane)
            else:
                self._open -= 1
        self._moved.set()

    def _ask(self, number: int, lane: _Lane) -> None:
        body = json.dumps({"seq": lane.low, "next_by_subj": self._pattern}).encode()
        self._connection.send(pub_frame(self._subject, body, f"{self._inbox}{number}".encode()))

    def _break(self) -> None:
        self._broke = True
        self._moved.set()
