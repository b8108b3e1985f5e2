"""Stored messages one by one, many under way at a time: the way of a service on a secured bus."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from mts1b_platform.eventbus.connection.client import BusClient
from mts1b_platform.eventbus.errors import JetStreamUnavailable
from mts1b_platform.eventbus.history.recorded import Recorded, stamp_of
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.jetstream.stored import StoredMessage, read_stored

_WINDOW: Final = 1_024
"""Sequences that are read at a time."""
_LANES: Final = 32
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

    async def batches(self, first: int, last: int, pattern: str) -> AsyncGenerator[list[Recorded], None]:
        """The messages from one sequence to another, in order: windows, whose parts are walked side by side."""
        while (start := await self.first(seq=first, pattern=pattern)) is not None and start.seq <= last:
            end = min(last, start.seq + _WINDOW - 1)
            step = -(-(end - start.seq + 1) // _LANES)
            lanes = [(at, min(end, at + step - 1)) for at in range(start.seq, end + 1, step)]
            found = await asyncio.gather(*(self._walk(low, high, pattern) for low, high in lanes))
            yield [each for lane in found for each in lane]
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
