"""The history of one stream: its extent, where a moment lies in it, and its messages in order, in batches.

Three ways lead to what a stream holds, and :func:`open_history` takes the one that the identity has:

=========================  ==========================================================================================
direct get                 any replica answers with a whole batch for one request: the fast way
``history.<STREAM>``       the same for people, by their account's import; only streams that their role may read
``STREAM.MSG.GET``         services of a secured bus, one message an answer, many under way: an answer to direct get
                           may be sent to any subject and looks like an event there; the JSON of this one does not
=========================  ==========================================================================================
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from mts1b_platform.eventbus.connection.client import BusClient
from mts1b_platform.eventbus.errors import JetStreamUnavailable, NoResponders, NoStream, RequestTimeout
from mts1b_platform.eventbus.history.direct_get import DirectGet
from mts1b_platform.eventbus.history.message_get import MessageGet
from mts1b_platform.eventbus.history.recorded import Recorded, Worth, nanoseconds
from mts1b_platform.eventbus.jetstream.api import ApiError, no_jetstream
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode

_ADMINISTRATION: Final = "mts1b-deploy"


class Way(Protocol):
    """How stored messages are asked for."""

    async def first(self, *, seq: int = 1, since_ns: int | None = None, pattern: str = ">") -> Recorded | None:
        """The first message from ``seq``, or from a moment, on; None when there is none."""
        ...

    async def last(self) -> Recorded | None:
        """The newest message; None in an empty stream."""
        ...

    def batches(
        self, first: int, last: int, pattern: str, worth: Worth | None = None
    ) -> AsyncGenerator[list[Recorded], None]:
        """The messages from one sequence to another, both included, in order; only those that are ``worth`` it."""
        ...


class Extent(NamedTuple):
    """Which sequences a stream holds; ``first`` is above ``last`` when it holds none."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """How many sequences that are, including those whose messages were deleted in between."""
        return max(0, self.last - self.first + 1)


class History:
    """What one stream holds, to be read without a consumer. Made by :func:`open_history`.

    Every method raises :class:`AccessDenied` when the identity may not read the stream, :class:`JetStreamUnavailable`
    when nobody answers, and :class:`BusClosed` when the bus was closed. A connection that breaks is waited for.
    """

    def __init__(self, stream: str, way: Way) -> None:
        self.stream = stream
        self._way = way

    async def extent(self) -> Extent:
        """The sequences that the stream holds now."""
        newest = await self._way.last()
        oldest = await self._way.first() if newest is not None else None
        if newest is None or oldest is None:
            return Extent(1, 0)
        return Extent(oldest.seq, newest.seq)

    async def get(self, seq: int) -> Recorded | None:
        """The message at ``seq``; None when the stream does not hold it."""
        found = await self._way.first(seq=seq)
        return found if found is not None and found.seq == seq else None

    async def first_since(self, time_ns: int) -> int | None:
        """The sequence of the first message stored at or after a moment; None when there is none."""
        found = await self._way.first(since_ns=time_ns)
        return None if found is None else found.seq

    async def between(self, since_ns: int | None, until_ns: int | None, *, after: int = 0) -> Extent:
        """The sequences behind ``after`` of what was stored from one moment to another, both included.

        Without a moment it goes as far as the stream does.
        """
        first, last = await self.extent()
        first = max(first, after + 1)
        if first > last:
            return Extent(first, last)
        if since_ns is not None:
            found = await self.first_since(since_ns)
            first = last + 1 if found is None else max(first, found)
        if until_ns is not None and (beyond := await self.first_since(until_ns + 1)) is not None:
            last = min(last, beyond - 1)
        return Extent(first, last)

    def batches(
        self, first: int, last: int, pattern: str = ">", worth: Worth | None = None
    ) -> AsyncGenerator[list[Recorded], None]:
        """The messages from ``first`` to ``last``, both included, whose subject ``pattern`` matches, in order.

        At most two batches (of 1000 messages, or 4 MB) are in memory. What is not ``worth`` it is left out before it
        is taken apart, which is most of the cost of a message.
        """
        return self._way.batches(first, last, pattern, worth)

    async def messages(
        self, pattern: str = ">", *, after: int = 0, since: datetime | None = None
    ) -> AsyncGenerator[Recorded, None]:
        """What the stream holds now of what ``pattern`` matches, oldest first.

        Args:
            pattern: a subject or pattern.
            after: begin behind this sequence.
            since: begin at this moment, in place of a sequence.
        """
        newest = await self._way.last()
        first = after + 1 if since is None else await self.first_since(nanoseconds(since))
        if newest is None or first is None:
            return
        async with aclosing(self.batches(first, newest.seq, pattern)) as batches:
            async for batch in batches:
                for message in batch:
                    yield message


async def open_history(client: BusClient, stream: str) -> History:
    """The history of ``stream``, by the way that this identity has.

    Raises:
        NoStream: there is no such stream.
        AccessDenied: this identity may not read it.
        JetStreamUnavailable: nobody answers.
    """
    if client.identity.has_token:
        way: Way = DirectGet(client, stream, f"history.{stream}")
        try:
            await way.last()
        except (NoResponders, RequestTimeout):
            raise NoStream(
                f"nobody answers for the history of {stream}: check the name, and that the server runs"
            ) from None
        return History(stream, way)
    if not client.has_identities or client.service == _ADMINISTRATION:
        way = DirectGet(client, stream, f"$JS.API.DIRECT.GET.{stream}")
        try:
            await way.last()
        except (NoResponders, RequestTimeout):
            if not client.has_jetstream:
                raise JetStreamUnavailable(no_jetstream(client)) from None
        else:
            return History(stream, way)
    way = MessageGet(client, stream)  # also for a stream that does not offer direct get
    try:
        await way.last()
    except ApiError as error:
        if error.err_code == ErrorCode.STREAM_NOT_FOUND:
            raise NoStream(
                f"there is no stream {stream}: `mts1b streams ls` lists those that are, and `mts1b streams apply` "
                "creates those that are declared"
            ) from None
        raise
    return History(stream, way)
