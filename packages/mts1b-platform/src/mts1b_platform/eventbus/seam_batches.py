"""A nats-py subscription that delivers lists; companion of ``seam.py``.

It *is* a ``Subscription`` in nats-py's books, so that drain, close, auto-unsubscribe and the resubscription after a
reconnect treat it like any other.
"""
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false
# reason: it overrides private parts of nats-py's Subscription; see seam.py.

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, cast

from nats import errors
from nats.aio.subscription import Subscription

from mts1b_platform.eventbus.lane import BatchCallback
from mts1b_platform.eventbus.protocol.message import RawMsg, WireMsg

if TYPE_CHECKING:
    from nats.aio.client import Client


class BatchSubscription(Subscription):
    """Messages of one subscription, as many at a time as have arrived.

    Without a callback they wait here, at most ``pending_msgs_limit`` of them and less than ``pending_bytes_limit``
    payload bytes (0: no limit). What is over is dropped, counted in :attr:`dropped`, and told to the connection's
    ``error_cb`` as one ``SlowConsumerError`` per read.
    """

    def __init__(
        self,
        client: "Client",
        sid: int,
        subject: str,
        *,
        queue: str,
        callback: BatchCallback | None,
        max_msgs: int,
        pending_msgs_limit: int,
        pending_bytes_limit: int,
        unroute: Callable[["BatchSubscription"], None],
        closed: Callable[[], None],
    ) -> None:
        super().__init__(
            client,
            sid,
            subject,
            queue=queue,
            max_msgs=max_msgs,
            pending_msgs_limit=pending_msgs_limit,
            pending_bytes_limit=pending_bytes_limit,
        )
        self._backlog = _Backlog(self)
        # nats-py asks these two when it drains and closes.
        self._pending_queue = cast("asyncio.Queue[Any]", self._backlog)
        self._message_iterator = cast("Any", self._backlog)
        self._batch_callback = callback
        self._unroute = unroute
        self.closed = closed
        self._waiting: list[RawMsg] = []
        self._ended = False
        self.dropped = 0

    def deliver(self, batch: list[RawMsg], size: int) -> None:
        """Take the messages of one read; ``size`` is the sum of their payload bytes.

        Raises:
            nats.errors.SlowConsumerError: some were dropped; the others are kept.
            Exception: whatever the callback raised.
        """
        if self._max_msgs > 0:
            left = self._max_msgs - self._received
            if len(batch) >= left:
                batch = batch[: max(0, left)]
                size = sum([len(msg[3]) for msg in batch])
                self._received += len(batch)
                self._finish()
            else:
                self._received += len(batch)
        else:
            self._received += len(batch)
        if self._batch_callback is not None:
            if batch:
                self._batch_callback(batch)
            return
        limit = self._pending_bytes_limit
        if len(self._waiting) + len(batch) <= self._pending_msgs_limit and (
            limit <= 0 or self._pending_size + size < limit
        ):
            self._pending_size += size
            if self._waiting:
                self._waiting += batch
            else:
                self._waiting = batch
            self._backlog.wake()
            return
        self._deliver_what_fits(batch)

    def _deliver_what_fits(self, batch: list[RawMsg]) -> None:
        first_dropped: RawMsg | None = None
        for msg in batch:
            size = self._pending_size + len(msg[3])
            if len(self._waiting) < self._pending_msgs_limit and (
                self._pending_bytes_limit <= 0 or size < self._pending_bytes_limit
            ):
                self._pending_size = size
                self._waiting.append(msg)
            else:
                self.dropped += 1
                first_dropped = first_dropped or msg
        self._backlog.wake()
        if first_dropped is not None:
            raise errors.SlowConsumerError(
                subject=first_dropped[0].decode(errors="replace"),
                reply=first_dropped[1].decode(errors="replace"),
                sid=self._id,
                sub=self,
            )

    async def next_batch(self) -> list[WireMsg]:
        """Wait for messages and take all that wait; an empty list says that the subscription has ended.

        Raises:
            nats.errors.ConnectionClosedError: the connection was closed under it.
            nats.errors.Error: it has a callback, or somebody else is already waiting.
        """
        if self._batch_callback is not None:
            raise errors.Error("nats: a batch subscription with a callback cannot be iterated")
        while not self._waiting:
            if self._ended:
                return []
            if self._conn.is_closed:
                raise errors.ConnectionClosedError
            await self._backlog.wait()
        batch, self._waiting = self._waiting, []
        self._pending_size = 0
        self._backlog.taken()
        return [WireMsg(*msg) for msg in batch]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[WireMsg]:
        if batch := await self.next_batch():
            return batch
        raise StopAsyncIteration

    def _finish(self) -> None:
        """No more will come; what waits is still handed out."""
        self._ended = True
        self._conn._subs.pop(self._id, None)
        self._unroute(self)
        self._backlog.wake()

    def _stop_processing(self) -> None:
        """Called by nats-py's ``unsubscribe`` (what waits is discarded) and at the end of its ``drain``."""
        self._waiting = []
        self._pending_size = 0
        self._finish()
        self._backlog.taken()


class _Backlog:
    """Stands where nats-py keeps a queue and an iterator: enough of both for its drain and close."""

    def __init__(self, batches: BatchSubscription) -> None:
        self._batches = batches
        self._waiter: asyncio.Future[None] | None = None
        self._joiners: list[asyncio.Future[None]] = []

    def qsize(self) -> int:
        return len(self._batches._waiting)

    def empty(self) -> bool:
        return not self._batches._waiting

    def _cancel(self) -> None:
        """The connection is being closed."""
        self.wake()
        self._batches.closed()

    def wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def wait(self) -> None:
        if self._waiter is not None:
            raise errors.Error("nats: somebody is already waiting for this batch subscription")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def taken(self) -> None:
        """Nothing waits any more."""
        for joiner in self._joiners:
            if not joiner.done():
                joiner.set_result(None)
        self._joiners.clear()

    async def join(self) -> None:
        """Wait until everything that arrived was taken."""
        if not self.empty():
            joiner: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._joiners.append(joiner)
            await joiner
