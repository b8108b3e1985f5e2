"""Pipelined JetStream publishes: many under way, an ack each, told apart by an integer.

All acks come to one inbox; the last token of its subject is the number of the publish, so that finding the waiting
future costs a dictionary lookup. At most ``window`` publishes are under way; the next one waits.

    pipeline = AckPipeline(connection)
    acks = [await pipeline.publish(template, payload, trace_id, msg_id) for …]     # waits only when the window is full
    for ack in acks:
        stored = await ack                                                         # PubAck(stream, seq, duplicate, …)

Every future ends: with the ack, with what JetStream said, after ``timeout`` seconds (at most an eighth late), when the
connection breaks, or when the pipeline is closed. What is not an ack or a refusal leaves open whether the message was
stored; publishing again with the same message id is safe inside the stream's dedupe window.

The publishes of a :class:`BulkAcks` end likewise, but have time while acks of earlier ones come: that a slow disk has
much to store is no reason to send anything again.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Protocol, cast

from mts1b_platform.eventbus.connection.connection import Connection
from mts1b_platform.eventbus.core import CORE
from mts1b_platform.eventbus.errors import raise_first
from mts1b_platform.eventbus.events.outgoing import Draft
from mts1b_platform.eventbus.protocol.frames import FrameTemplate
from mts1b_platform.eventbus.protocol.headers import NO_LINES, HeaderLines
from mts1b_platform.eventbus.protocol.message import RawMsg
from mts1b_platform.eventbus.protocol.puback import AckLost, AckReader, AckTimeout, PubAck, PublishFailed
from mts1b_platform.eventbus.publishing.batch import MAX_BATCH, Batch
from mts1b_platform.eventbus.publishing.bulk_acks import BulkAcks

_TOGETHER: Final = 128 * 1024
"""Bytes of a batch that are handed to the connection in one go, about."""
_SWEEPS: Final = 8


class Told(Protocol):
    """Who is told of the ack of each of its publishes, in the read that brings it."""

    def acked(self, token: int, ack: PubAck) -> None:
        """The publish ``token`` is stored."""
        ...

    def failed(self, token: int, error: PublishFailed) -> None:
        """No ack of ``token`` will come."""
        ...


Waiter = asyncio.Future[PubAck] | BulkAcks | Told
"""Who waits for an ack: a future for one publish, a bulk for all of its own, or somebody who is told of each."""


class AckPipeline:
    """Publishes under way on one connection; belongs to its event loop.

    Args:
        connection: the connection.
        window: most publishes under way at a time.
        timeout: seconds until an ack counts as missing.
    """

    def __init__(self, connection: Connection, *, window: int = 4096, timeout: float = 5.0) -> None:
        self._connection = connection
        self._window = window
        self._timeout = timeout
        self._inbox = f"{connection.new_inbox()}."
        self._reply = self._inbox.encode()
        self._token = 0
        self._pending: dict[int, Waiter] = {}
        self._room: asyncio.Future[None] | None = None
        self._reader = AckReader()
        self._marks: deque[tuple[float, int]] = deque()
        """When the publishes up to a token have had their time."""
        self._due = 0
        """The last token whose time has passed."""
        self._sweeper: asyncio.TimerHandle | None = None
        self._era = 0
        """How many connections broke."""
        self._framer = CORE.Framer(FrameTemplate) if CORE is not None else None
        self._subscription = connection.subscribe(f"{self._inbox}*", self._take)
        self._unhook = [
            connection.on_break(self._broke),
            connection.on_close(lambda: self._fail_all("the connection was closed")),
        ]

    def close(self) -> None:
        """Unsubscribe; whatever is still under way fails with :class:`AckLost`."""
        for unhook in self._unhook:
            unhook()
        self._fail_all("the pipeline was closed")
        self._subscription.unsubscribe()

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
            BusError: as for sending.
        """
        while len(self._pending) >= self._window or self._connection.above_high_water:
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
        self._connection.send(frame)
        self._pending[token] = future = asyncio.get_running_loop().create_future()
        if self._sweeper is None:
            self._schedule_sweep()
        return future

    def publish_many(self, bulk: BulkAcks, drafts: Sequence[Draft]) -> list[bytes]:
        """Send at once as the next of ``bulk``; the frames, to keep. Raises as :meth:`publish`, with nothing sent."""
        frames = self._frames(drafts)
        self._connection.send_many(frames)
        bulk.begin(self._sent(len(frames), bulk))
        return frames

    def publish_telling(self, told: Told, drafts: Sequence[Draft]) -> range:
        """Send at once; the tokens by which ``told`` is told. Raises as :meth:`publish`, with nothing sent."""
        frames = self._frames(drafts)
        self._connection.send_many(frames)
        return self._sent(len(frames), told)

    def _frames(self, drafts: Sequence[Draft]) -> list[bytes]:
        reply, first = self._reply, self._token + 1
        frames = None
        if self._framer is not None and isinstance(drafts, list):
            frames = self._framer.frames(drafts, reply, first)
        if frames is None:
            frames = [
                template.encode(payload, trace_id, msg_id, b"%b%d" % (reply, token), extra)
                for token, (template, payload, trace_id, msg_id, extra) in enumerate(drafts, first)
            ]
        return frames

    def _sent(self, count: int, waiter: BulkAcks | Told) -> range:
        """The tokens of the next ``count`` publishes, which are sent."""
        tokens = range(self._token + 1, self._token + 1 + count)
        self._token += count
        self._pending.update(dict.fromkeys(tokens, waiter))
        if self._sweeper is None:
            self._schedule_sweep()
        return tokens

    def stage(self, batch: Batch) -> bool:
        """Send what there is room for of ``batch`` but for its last message; says whether that was all.

        Raises:
            AckLost: the connection broke since the first message was sent: the batch is lost.
            BusError: as for sending.
        """
        last = len(batch.frames) - 1
        if batch.sent == 0 and last > 0:
            batch.era, batch.begun = self._era, self._send_end(batch, 1)
            batch.begun.add_done_callback(_heard)
            batch.sent = 1
        elif batch.sent and batch.era != self._era:
            raise AckLost("the connection broke before the batch was whole; none of it is stored")
        while batch.sent < last and not self._connection.above_high_water:
            stop = min(last, batch.sent + max(1, _TOGETHER // batch.largest))
            self._connection.send_many(batch.frames[batch.sent : stop])
            batch.sent = stop
        return batch.sent >= last

    async def store(self, batch: Batch) -> PubAck:
        """Store all messages of ``batch`` or none, in one stream, which must allow it. ``seq`` is that of the last.

        Raises:
            PublishRefused: the stream does not take batches, or a message of it (a known message id, for one); none
                was stored.
            AckLost, AckTimeout: all or none were stored: look up the last message id before trying again, as one
                known id makes the server refuse a whole batch.
            ValueError: no messages, or more than the server takes at once.
        """
        last = len(batch.drafts)
        if not 1 <= last <= MAX_BATCH:
            raise ValueError(f"an atomic batch has 1 to {MAX_BATCH} messages, not {last}")
        try:
            while not self.stage(batch) or self._connection.above_high_water:
                await self._connection.writable()
            committed = self._send_end(batch, last, b"Nats-Batch-Commit: 1\r\n")
        except BaseException:
            if batch.begun is not None:
                batch.begun.cancel()  # the server gives the rest up by itself
            raise
        # The first refusal says why; the commit's may only say that the batch is unknown by then.
        outcomes = await asyncio.gather(*filter(None, [batch.begun]), committed, return_exceptions=True)
        batch.begun = None
        del committed
        raise_first(outcomes)
        return cast("PubAck", outcomes[-1])

    def _send_end(self, batch: Batch, number: int, commit: bytes = b"") -> asyncio.Future[PubAck]:
        """The first or the last message of ``batch``."""
        template, payload, trace_id, msg_id, extra = batch.drafts[number - 1]
        lines = b"%b%b%d\r\n%b" % (extra, batch.lead, number, commit)
        return self.publish_nowait(template, payload, trace_id, msg_id, HeaderLines(lines))

    async def _wait_for_room(self) -> None:
        if self._connection.above_high_water:
            await self._connection.writable()
        if len(self._pending) >= self._window:
            if self._room is None:
                self._room = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._room)

    # Acks.

    def _take(self, batch: list[RawMsg]) -> None:
        pending, reader, start = self._pending, self._reader, len(self._reply)
        if CORE is not None and len(batch) > 1:
            batch = batch[self._take_plain(batch) :]
        # Nearly all acks are plain ones of one bulk: they are written down here, and counted together.
        bulk, acks, plain = None, dict[int, int | PubAck | None](), 0
        for subject, _, head, payload in batch:
            try:
                token = int(subject[start:])
            except ValueError:
                continue  # not one of ours
            waiter = pending.pop(token, None)
            if waiter is None:
                continue  # nobody waits for it any more
            if bulk is not None and waiter is bulk and (seq := reader.seq(payload)) and reader.stream == bulk.stream:
                acks[token] = seq
                plain += 1
                continue
            if isinstance(waiter, BulkAcks) and waiter is not bulk:
                if bulk is not None:
                    bulk.take(plain)
                bulk, acks, plain = waiter, waiter.acks, 0
            try:
                ack = reader.read(head, payload)
            except PublishFailed as error:
                _fail(waiter, token, error)
                continue
            if not isinstance(waiter, asyncio.Future):
                waiter.acked(token, ack)
            elif not waiter.done():
                waiter.set_result(ack)
        if bulk is not None:
            bulk.take(plain)
        room = self._room
        if room is not None and len(pending) < self._window:
            self._room = None
            if not room.done():
                room.set_result(None)

    def _take_plain(self, batch: list[RawMsg]) -> int:
        """Have the compiled core write down the plain acks of one bulk in front of ``batch``; how many those were."""
        stream, start = self._reader.stream, len(self._reply)
        number = batch[0][0][start:]
        waiter = self._pending.get(int(number)) if stream and number.isdigit() else None
        if CORE is None or not isinstance(waiter, BulkAcks) or waiter.stream != stream:
            return 0
        taken = CORE.take_acks(batch, start, self._pending, waiter, self._reader.begin, waiter.acks)
        if taken:
            waiter.take(taken)
        return taken

    # Endings without an ack.

    def _schedule_sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._marks.append((loop.time() + self._timeout, self._token))
        self._sweeper = loop.call_later(self._timeout / _SWEEPS, self._sweep)

    def _sweep(self) -> None:
        """Time out whatever was sent before a mark that is due; one timer for all publishes."""
        self._sweeper = None
        now = asyncio.get_running_loop().time()
        while self._marks and self._marks[0][0] <= now:
            self._due = self._marks.popleft()[1]
        if missing := self._missing(now - self._timeout):
            self._fail(missing, AckTimeout, f"no ack within {self._timeout:g} s")
        if self._pending:
            self._schedule_sweep()
        else:
            self._marks.clear()

    def _missing(self, since: float) -> list[int]:
        """What is due and not behind others of its bulk that were acked after ``since``."""
        bulks = {waiter for waiter in self._pending.values() if isinstance(waiter, BulkAcks)}
        moving: dict[Waiter | None, int] = {bulk: bulk.reached() for bulk in bulks if bulk.last_ack_at > since}
        return [token for token in self._up_to(self._due) if token <= moving.get(self._pending.get(token), token)]

    def _up_to(self, last: int) -> list[int]:
        return [token for token in self._pending if token <= last]

    def _broke(self) -> None:
        self._era += 1
        self._fail_all("the connection broke")

    def _fail_all(self, why: str) -> None:
        self._fail(self._up_to(self._token), AckLost, f"{why} before the ack")

    def _fail(self, tokens: Sequence[int], kind: type[PublishFailed], why: str) -> None:
        words = f"{why}; the message may have been stored or not"
        for token in tokens:
            _fail(self._pending.pop(token), token, kind(words))
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)


def _heard(future: "asyncio.Future[Any]") -> None:
    """Nobody need ask for its outcome."""
    if not future.cancelled():
        future.exception()


def _fail(waiter: Waiter, token: int, error: PublishFailed) -> None:
    if not isinstance(waiter, asyncio.Future):
        waiter.failed(token, error)
    elif not waiter.done():
        waiter.set_exception(error)
