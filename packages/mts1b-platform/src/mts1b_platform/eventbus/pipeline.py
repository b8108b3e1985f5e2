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
import json
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Self, cast

from mts1b_foundation.errors import Mts1bError

from mts1b_platform.eventbus.headers import NO_LINES, HeaderLines
from mts1b_platform.eventbus.lane import Batches, Lane
from mts1b_platform.eventbus.wire import FrameTemplate, WireMsg, pub_frame

MAX_BATCH: Final = 1000
"""Most messages that the server takes as one atomic batch."""
_SWEEPS: Final = 8


class PublishFailed(Mts1bError):
    """A publish was not acknowledged."""


class PublishRefused(PublishFailed):
    """JetStream answered that it did not store the message.

    Attributes:
        code: HTTP-like class of the error.
        err_code: JetStream's own number of it.
        description: the server's words.
    """

    def __init__(self, subject: str, code: int, err_code: int, description: str) -> None:
        super().__init__(f"{subject}: JetStream did not store the message: {description} (error {err_code})")
        self.code = code
        self.err_code = err_code
        self.description = description


class NoStreamResponse(PublishFailed):
    """Nobody stores this subject right now: no stream, or none with a leader."""


class AckTimeout(PublishFailed, TimeoutError):
    """No ack came in time; the message may have been stored or not."""


class AckLost(PublishFailed, ConnectionError):
    """The connection broke before the ack; the message may have been stored or not."""


class PubAck(NamedTuple):
    """JetStream's word that a message is stored."""

    stream: str
    seq: int
    duplicate: bool = False
    """A message with the same id was stored before, as ``seq``; this one was not stored again."""
    batch_id: str = ""
    batch_size: int = 0


class Draft(NamedTuple):
    """One message of an atomic batch."""

    template: FrameTemplate
    payload: bytes
    trace_id: str
    msg_id: str | None = None


_MAKE_ACK: Final = cast(
    "Callable[[type[PubAck], tuple[str, int, bool, str, int]], PubAck]",
    tuple.__new__,  # pyright: ignore[reportUnknownMemberType] - its stub is generic in a way a cast cannot name
)


class AckPipeline:
    """Publishes under way on one connection. Made by :meth:`open`; belongs to its event loop."""

    def __init__(self, lane: Lane, *, window: int, timeout: float) -> None:
        self._lane = lane
        self._window = window
        self._timeout = timeout
        self._inbox = f"{lane.new_inbox()}."
        self._reply = self._inbox.encode()
        self._token = 0
        self._pending: dict[int, asyncio.Future[PubAck]] = {}
        self._asked: dict[int, asyncio.Future[WireMsg]] = {}
        self._room: asyncio.Future[None] | None = None
        self._streams: dict[bytes, str] = {}
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

    async def publish_atomic(self, drafts: Sequence[Draft]) -> PubAck:
        """Store all messages or none; they go to one stream, which must allow it. ``ack.seq`` is that of the last.

        Raises:
            PublishRefused: the stream does not take batches, or a message of it (a known message id, for one); none
                was stored.
            AckLost, AckTimeout: all or none were stored: look up the last message id before trying again, as one
                known id makes the server refuse a whole batch.
            ValueError: no messages, or more than the server takes at once.
        """
        if not 1 <= len(drafts) <= MAX_BATCH:
            raise ValueError(f"an atomic batch has 1 to {MAX_BATCH} messages, not {len(drafts)}")
        batch_id = secrets.token_hex(11)
        begun: asyncio.Future[PubAck] | None = None
        last = len(drafts)
        for number, (template, payload, trace_id, msg_id) in enumerate(drafts, 1):
            if self._lane.crowded:
                await self._lane.room()
            lines = f"Nats-Batch-Id: {batch_id}\r\nNats-Batch-Sequence: {number}\r\n"
            if number == last:
                extra = HeaderLines(f"{lines}Nats-Batch-Commit: 1\r\n".encode())
                committed = self.publish_nowait(template, payload, trace_id, msg_id, extra)
                break
            extra = HeaderLines(lines.encode())
            if number == 1:
                begun = self.publish_nowait(template, payload, trace_id, msg_id, extra)
            else:
                self._lane.send(template.encode(payload, trace_id, msg_id, b"", extra), len(payload))
        else:
            raise AssertionError("a batch has a last message")
        # The first refusal says why; the commit's may only say that the batch is unknown by then.
        outcomes = await asyncio.gather(*filter(None, [begun, committed]), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return cast("PubAck", outcomes[-1])

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

    async def settled(self) -> None:
        """Wait until nothing is under way, however it ended."""
        while self._pending or self._asked:
            await asyncio.wait([*self._pending.values(), *self._asked.values()])

    async def _wait_for_room(self) -> None:
        if self._lane.crowded:
            await self._lane.room()
        if len(self._pending) >= self._window:
            if self._room is None:
                self._room = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._room)

    # Acks.

    def _take(self, batch: list[WireMsg]) -> None:
        pending, streams, start = self._pending, self._streams, len(self._reply)
        make, kind = _MAKE_ACK, PubAck
        for subject, _, head, payload in batch:
            try:
                token = int(subject[start:])
            except ValueError:
                self.strays += 1
                continue
            future = pending.pop(token, None)
            if future is None:
                self._answer(token, WireMsg(subject, b"", head, payload))
                continue
            if future.done():
                continue
            # {"stream":"OMS_ORDERS","seq":17}: everything before the number is the same for a stream.
            cut = payload.find(b'"seq":') + 6
            stream = streams.get(payload[:cut])
            number = payload[cut:-1]
            if stream is not None and number.isdigit():
                future.set_result(make(kind, (stream, int(number), False, "", 0)))
            else:
                self._settle(future, WireMsg(subject, b"", head, payload), cut)
        room = self._room
        if room is not None and len(pending) < self._window:
            self._room = None
            if not room.done():
                room.set_result(None)

    def _settle(self, future: asyncio.Future[PubAck], msg: WireMsg, cut: int) -> None:
        """Read an ack with care: the first of a stream, a duplicate, a refusal."""
        if msg.is_status:
            future.set_exception(NoStreamResponse("no stream stores the subject, or none with a leader right now"))
            return
        if not msg.payload:
            future.set_result(PubAck("", 0))  # the first message of an atomic batch has arrived
            return
        try:
            document: dict[str, Any] = json.loads(msg.payload)
            if (error := document.get("error")) is not None:
                words = str(error.get("description", "no reason given"))
                refusal = PublishRefused("publish", int(error.get("code", 0)), int(error.get("err_code", 0)), words)
                future.set_exception(refusal)
                return
            ack = PubAck(
                stream=str(document["stream"]),
                seq=int(document["seq"]),
                duplicate=bool(document.get("duplicate")),
                batch_id=str(document.get("batch", "")),
                batch_size=int(document.get("count", 0)),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            future.set_exception(PublishRefused("publish", 0, 0, f"an answer that is no ack: {msg.payload[:120]!r}"))
            return
        if msg.payload[cut:-1] == b"%d" % ack.seq and len(self._streams) < 1024:
            self._streams[msg.payload[:cut]] = ack.stream
        future.set_result(ack)

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
        for waiting in (self._pending, self._asked):
            for token in [token for token in waiting if token <= up_to]:
                future = waiting.pop(token)
                if not future.done():
                    future.set_exception(kind(f"{why}; the message may have been stored or not"))
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)
