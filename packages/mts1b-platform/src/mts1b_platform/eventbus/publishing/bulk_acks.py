"""The acks of many publishes of one call: how many are under way, what became of each, how long they took.

No sockets here; an :class:`~mts1b_platform.eventbus.publishing.ack_pipeline.AckPipeline` tells it what was sent and
what came back.
"""

import asyncio
import math
import time
from collections.abc import Iterator

from mts1b_platform.eventbus.protocol.puback import PubAck, PublishFailed


class BulkAcks:
    """The acks of many publishes, in the order of sending, without a future for each.

    Every publish ends as that of :meth:`AckPipeline.publish` does: in :attr:`acks`, or in :attr:`failures`. What is
    kept of one is a number, so that the garbage collector has nothing to look through.
    """

    def __init__(self) -> None:
        self.acks: dict[int, int | PubAck | None] = {}
        """By token: the sequence in :attr:`stream`, or the ack when it says more; None where none came, or came yet."""
        self.plain = True
        """Whether no ack has said more."""
        self.stream = ""
        self._sent: list[tuple[int, float]] = []
        """How many were sent together, and when (``perf_counter``)."""
        self._came: list[tuple[int, float]] = []
        """How many acks came together, and when."""
        self._acked = 0
        self.failures: dict[int, PublishFailed] = {}
        """Why not, by token."""
        self.under_way = 0
        self.last_ack_at = -math.inf
        """When the last acks came, as the event loop counts."""
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

    def latencies(self) -> Iterator[tuple[float, int]]:
        """Seconds from sending to ack, and of how many: a stream acknowledges in the order of sending."""
        sent = iter(self._sent)
        left, began = 0, 0.0
        for acks, now in self._came:
            open_acks = acks
            while open_acks:
                if not left:
                    left, began = next(sent)
                some = min(left, open_acks)
                yield now - began, some
                left, open_acks = left - some, open_acks - some

    async def _change(self, most: int) -> None:
        self._enough = most
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def begin(self, tokens: range) -> None:
        """Publishes with these tokens are sent."""
        self.acks.update(dict.fromkeys(tokens))
        self.under_way += len(tokens)
        self._sent.append((len(tokens), time.perf_counter()))

    def acked(self, token: int, ack: PubAck) -> None:
        """It is stored."""
        self.stream = self.stream or ack.stream
        says_more = ack.duplicate or ack.stream != self.stream
        self.acks[token] = ack if says_more else ack.seq
        self.plain = self.plain and not says_more
        self.under_way -= 1
        self._acked += 1

    def failed(self, token: int, error: PublishFailed) -> None:
        """No ack will come."""
        self.failures[token] = error
        self.under_way -= 1
        self.wake()

    def reached(self) -> int:
        """The last token that has an ack; acks come in the order of sending."""
        return next((token for token, ack in reversed(self.acks.items()) if ack is not None), 0)

    def take(self, plain: int) -> None:
        """What one read has brought was all told; so many plain acks of it were put into :attr:`acks` at once."""
        self.under_way -= plain
        self._acked += plain
        self.last_ack_at = asyncio.get_running_loop().time()
        if self._acked:
            self._came.append((self._acked, time.perf_counter()))
            self._acked = 0
        self.wake()

    def wake(self) -> None:
        """Look whether somebody waits for what has happened."""
        waiter = self._waiter
        if waiter is not None and not waiter.done() and (self.under_way <= self._enough or self.failures):
            waiter.set_result(None)
