"""Pipelined JetStream publishes: many under way, an ack each, told apart by an integer.

All acks come to one inbox; the last token of its subject is the number of the publish, so that finding the waiting
future costs a dictionary lookup. At most ``window`` publishes are under way; the next one waits.

    pipeline = await AckPipeline.open(lane)
    acks = [await pipeline.publish(template, payload, trace_id, msg_id) for …]     # waits only when the window is full
    for ack in acks:
        stored = await ack                                                         # PubAck(stream, seq, duplicate, …)

Every future ends: with the ack, with what JetStream said, after ``timeout`` seconds (at most an eighth late), when the
connection breaks, or when the pipeline is closed. What is not an ack or a refusal leaves open whether the message was
stored; publishing again with the same message id is safe inside the stream's dedupe window.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Self, cast

from mts1b_platform.eventbus.headers import NO_LINES, HeaderLines
from mts1b_platform.eventbus.lane import Batches, Lane
from mts1b_platform.eventbus.puback import AckLost, AckReader, AckTimeout, PubAck, PublishFailed
from mts1b_platform.eventbus.wire import FrameTemplate, RawMsg, WireMsg, frame_size, pub_frame

MAX_BATCH: Final = 1000
"""Most messages that the server takes as one atomic batch."""
_TOGETHER: Final = 128 * 1024
"""Bytes of a batch that are handed to the connection in one go, about."""
_SWEEPS: Final = 8


class Draft(NamedTuple):
    """One message, ready for the wire but for where its ack goes."""

    template: FrameTemplate
    payload: bytes
    trace_id: str
    msg_id: str | None = None
    extra: HeaderLines = NO_LINES


class Batch(NamedTuple):
    """An atomic batch that is encoded, its first and last message apart: they say where acks go. To be sent once."""

    lead: bytes
    """The header lines that name it, up to the number of a message."""
    drafts: Sequence[Draft]
    middle: list[tuple[list[bytes], int]]
    """All but the first and the last, in portions that the connection takes in one go, and their payload bytes."""
    largest: int
    """Bytes of its largest message, as the server holds them against ``max_payload``."""


Waiter = asyncio.Future[PubAck] | tuple["Bulk", int]
"""Who waits for an ack: a future, or the place of one publish among many."""


class Bulk:
    """The acks of many publishes, in the order of sending, without a future for each. Made by :meth:`AckPipeline.bulk`.

    Every publish ends as that of :meth:`AckPipeline.publish` does: in :attr:`acks`, or in :attr:`failures`.
    """

    def __init__(self) -> None:
        self.acks: list[PubAck | None] = []
        """One for each publish; None where none came, or came yet."""
        self.failures: dict[int, PublishFailed] = {}
        """Why not, by place."""
        self.under_way = 0
        self._enough = 0
        self._waiter: asyncio.Future[None] | None = None

    async def wait(self, most: int) -> None:
        """Wait until at most ``most`` are under way, or until the first failure."""
        while self.under_way > most and not self.failures:
            await self._change(most)

    async def settled(self) -> None:
        """Wait until none is under way."""
        while self.under_way:
            await self._change(0)

    async def _change(self, most: int) -> None:
        self._enough = most
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def begin(self) -> int:
        """The place of a publish that is about to be sent."""
        self.acks.append(None)
        self.under_way += 1
        return len(self.acks) - 1

    def failed(self, place: int, error: PublishFailed) -> None:
        """No ack will come."""
        self.failures[place] = error
        self.under_way -= 1
        self.wake()

    def wake(self) -> None:
        """Look whether somebody waits for what has happened."""
        waiter = self._waiter
        if waiter is not None and not waiter.done() and (self.under_way <= self._enough or self.failures):
            waiter.set_result(None)


class AckPipeline:
    """Publishes under way on one connection. Made by :meth:`open`; belongs to its event loop."""

    def __init__(self, lane: Lane, *, window: int, timeout: float) -> None:
        self._lane = lane
        self._window = window
        self._timeout = timeout
        self._inbox = f"{lane.new_inbox()}."
        self._reply = self._inbox.encode()
        self._token = 0
        self._pending: dict[int, Waiter] = {}
        self._asked: dict[int, asyncio.Future[WireMsg]] = {}
        self._room: asyncio.Future[None] | None = None
        self._read = AckReader().read
        self._marks: deque[tuple[float, int]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._batches: Batches | None = None
        self._unhook: list[Callable[[], None]] = []
        self.strays = 0
        """Acks that nobody waited for any more."""

    @classmethod
    async def open(cls, lane: Lane, *, window: int = 4096, timeout: float = 5.0) -> Self:
        """Subscribe to the inbox of acks.

        Args:
            lane: the connection.
            window: most publishes under way at a time.
            timeout: seconds until an ack counts as missing.
        """
        pipeline = cls(lane, window=window, timeout=timeout)
        pipeline._batches = await lane.subscribe_batches(f"{pipeline._inbox}*", callback=pipeline._take)
        pipeline._unhook = [
            lane.on_break(lambda: pipeline._fail_all("the connection broke")),
            lane.on_close(lambda: pipeline._fail_all("the connection was closed")),
        ]
        return pipeline

    async def close(self) -> None:
        """Unsubscribe; whatever is still under way fails with :class:`AckLost`."""
        for unhook in self._unhook:
            unhook()
        self._fail_all("the pipeline was closed")
        batches, self._batches = self._batches, None
        if batches is not None:
            await batches.unsubscribe()

    @property
    def outstanding(self) -> int:
        """Publishes under way."""
        return len(self._pending)

    # Publishing.

    async def publish(
        self,
        template: FrameTemplate,
        payload: bytes,
        trace_id: str,
        msg_id: str | None = None,
        extra: HeaderLines = NO_LINES,
    ) -> asyncio.Future[PubAck]:
        """Send when there is room; returns the future of the ack.

        Raises:
            HeaderError: an id cannot go on the wire.
            nats.errors.Error: as :meth:`Lane.send`.
        """
        while len(self._pending) >= self._window or self._lane.crowded:
            await self._wait_for_room()
        return self.publish_nowait(template, payload, trace_id, msg_id, extra)

    def publish_nowait(
        self,
        template: FrameTemplate,
        payload: bytes,
        trace_id: str,
        msg_id: str | None = None,
        extra: HeaderLines = NO_LINES,
    ) -> asyncio.Future[PubAck]:
        """Send at once, whatever the window says; raises as :meth:`publish`."""
        self._token = token = self._token + 1
        frame = template.encode(payload, trace_id, msg_id, b"%b%d" % (self._reply, token), extra)
        self._lane.send(frame, len(payload))
        self._pending[token] = future = asyncio.get_running_loop().create_future()
        if self._sweeper is None:
            self._schedule_sweep()
        return future

    def bulk_nowait(
        self,
        bulk: Bulk,
        template: FrameTemplate,
        payload: bytes,
        trace_id: str,
        msg_id: str | None = None,
        extra: HeaderLines = NO_LINES,
    ) -> bytes:
        """Send at once as the next of ``bulk``; the frame, to keep. Raises as :meth:`publish`, with nothing sent."""
        self._token = token = self._token + 1
        frame = template.encode(payload, trace_id, msg_id, b"%b%d" % (self._reply, token), extra)
        self._lane.send(frame, len(payload))
        self._pending[token] = bulk, bulk.begin()
        if self._sweeper is None:
            self._schedule_sweep()
        return frame

    async def publish_atomic(self, drafts: Sequence[Draft]) -> PubAck:
        """Store all messages or none; they go to one stream, which must allow it. ``ack.seq`` is that of the last.

        Raises:
            PublishRefused: the stream does not take batches, or a message of it (a known message id, for one); none
                was stored.
            AckLost, AckTimeout: all or none were stored: look up the last message id before trying again, as one
                known id makes the server refuse a whole batch.
            ValueError: no messages, or more than the server takes at once.
        """
        return await self.store(self.batch(drafts))

    def batch(self, drafts: Sequence[Draft]) -> Batch:
        """Encode a batch for :meth:`store`, while the server is at work on another, say.

        Raises:
            HeaderError: an id cannot go on the wire.
            ValueError: no messages, or more than the server takes at once.
        """
        if not 1 <= len(drafts) <= MAX_BATCH:
            raise ValueError(f"an atomic batch has 1 to {MAX_BATCH} messages, not {len(drafts)}")
        batch_id = secrets.token_hex(11).encode()
        lead = b"Nats-Batch-Id: %b\r\nNats-Batch-Sequence: " % batch_id
        frames = [
            template.encode(payload, trace_id, msg_id, b"", HeaderLines(b"%b%b%d\r\n" % (extra, lead, number)))
            for number, (template, payload, trace_id, msg_id, extra) in enumerate(drafts, 1)
        ]
        longest = max(frames, key=len)
        return Batch(lead, drafts, list(_portions(frames, drafts, len(longest))), frame_size(longest))

    async def store(self, batch: Batch) -> PubAck:
        """Send what :meth:`batch` has encoded; promises and raises as :meth:`publish_atomic`."""
        last = len(batch.drafts)
        begun = [self._send_end(batch, 1)] if last > 1 else []
        try:
            for frames, payload_bytes in batch.middle:
                while self._lane.crowded:
                    await self._lane.room()
                self._lane.send_many(frames, payload_bytes)
            while self._lane.crowded:
                await self._lane.room()
            committed = self._send_end(batch, last, b"Nats-Batch-Commit: 1\r\n")
        except BaseException:
            for future in begun:
                future.cancel()  # the server gives the rest up by itself
            raise
        # The first refusal says why; the commit's may only say that the batch is unknown by then.
        outcomes = await asyncio.gather(*begun, committed, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return cast("PubAck", outcomes[-1])

    def _send_end(self, batch: Batch, number: int, commit: bytes = b"") -> asyncio.Future[PubAck]:
        """The first or the last message of ``batch``."""
        template, payload, trace_id, msg_id, extra = batch.drafts[number - 1]
        lines = b"%b%b%d\r\n%b" % (extra, batch.lead, number, commit)
        return self.publish_nowait(template, payload, trace_id, msg_id, HeaderLines(lines))

    def ask(self, subject: bytes, payload: bytes) -> asyncio.Future[WireMsg]:
        """Send a request that is answered like an ack: a double ack, an API call; ``subject`` is trusted.

        The future fails like that of a publish, but not on what the answer says.
        """
        self._token = token = self._token + 1
        self._lane.send(pub_frame(subject, payload, b"%b%d" % (self._reply, token)), len(payload))
        self._asked[token] = future = asyncio.get_running_loop().create_future()
        if self._sweeper is None:
            self._schedule_sweep()
        return future

    async def _wait_for_room(self) -> None:
        if self._lane.crowded:
            await self._lane.room()
        if len(self._pending) >= self._window:
            if self._room is None:
                self._room = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._room)

    # Acks.

    def _take(self, batch: list[RawMsg]) -> None:
        pending, read, start = self._pending, self._read, len(self._reply)
        bulks: set[Bulk] = set()
        for subject, _, head, payload in batch:
            try:
                token = int(subject[start:])
            except ValueError:
                self.strays += 1
                continue
            waiter = pending.pop(token, None)
            if waiter is None:
                self._answer(token, WireMsg(subject, b"", head, payload))
                continue
            try:
                ack = read(head, payload)
            except PublishFailed as error:
                _fail(waiter, error)
                continue
            if isinstance(waiter, tuple):
                bulk, place = waiter
                bulk.acks[place] = ack
                bulk.under_way -= 1
                bulks.add(bulk)
            elif not waiter.done():
                waiter.set_result(ack)
        for bulk in bulks:
            bulk.wake()
        room = self._room
        if room is not None and len(pending) < self._window:
            self._room = None
            if not room.done():
                room.set_result(None)

    def _answer(self, token: int, msg: WireMsg) -> None:
        asked = self._asked.pop(token, None)
        if asked is None:
            self.strays += 1
        elif not asked.done():
            asked.set_result(msg)

    # Endings without an ack.

    def _schedule_sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._marks.append((loop.time() + self._timeout, self._token))
        self._sweeper = loop.call_later(self._timeout / _SWEEPS, self._sweep)

    def _sweep(self) -> None:
        """Time out whatever was sent before a mark that is due; one timer for all publishes."""
        self._sweeper = None
        now, due = asyncio.get_running_loop().time(), 0
        while self._marks and self._marks[0][0] <= now:
            due = self._marks.popleft()[1]
        if due:
            self._fail(due, AckTimeout, f"no ack within {self._timeout:g} s")
        if self._pending or self._asked:
            self._schedule_sweep()
        else:
            self._marks.clear()

    def _fail_all(self, why: str) -> None:
        self._fail(self._token, AckLost, f"{why} before the ack")

    def _fail(self, up_to: int, kind: type[PublishFailed], why: str) -> None:
        words = f"{why}; the message may have been stored or not"
        for token in [token for token in self._pending if token <= up_to]:
            _fail(self._pending.pop(token), kind(words))
        for token in [token for token in self._asked if token <= up_to]:
            _fail(self._asked.pop(token), kind(words))
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)


def _portions(frames: list[bytes], drafts: Sequence[Draft], longest: int) -> Iterator[tuple[list[bytes], int]]:
    """All but the ends of ``frames``, in lists of about :data:`_TOGETHER` bytes at most, with their payload bytes."""
    last, size = len(frames) - 1, max(1, _TOGETHER // longest)
    for start in range(1, last, size):
        stop = min(last, start + size)
        yield frames[start:stop], sum([len(draft.payload) for draft in drafts[start:stop]])


def _fail(waiter: "Waiter | asyncio.Future[Any]", error: PublishFailed) -> None:
    if isinstance(waiter, tuple):
        bulk, place = waiter
        bulk.failed(place, error)
    elif not waiter.done():
        waiter.set_exception(error)
