"""Plain messages for those who use the bus without typed events: requests, answers, raw subscriptions."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol, Self

from mts1b_platform.eventbus.connection.connection import Connection
from mts1b_platform.eventbus.connection.subscription import refuse_when_refused
from mts1b_platform.eventbus.errors import BusClosed, BusError, RequestTimeout
from mts1b_platform.eventbus.limits import check_count, check_timeout
from mts1b_platform.eventbus.protocol.headers import Headers
from mts1b_platform.eventbus.protocol.message import RawMsg, WireMsg
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.connection")

PENDING: Final = 65_536
"""Messages that wait for a slow reader; what comes beyond that is dropped, counted and logged."""


class Publish(Protocol):
    """``bus.publish``."""

    def __call__(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: Mapping[str, str] | None = None
    ) -> Awaitable[None]:
        """Send a message."""
        ...


class Message:
    """One message as it was received."""

    __slots__ = ("_publish", "data", "head", "headers", "reply", "subject")

    def __init__(self, wire: WireMsg, publish: Publish) -> None:
        self.subject = wire.subject.decode(errors="replace")
        self.reply = wire.reply.decode(errors="replace")
        """The subject that an answer goes to; empty when none is asked for."""
        self.data = wire.payload
        self.head = wire.head
        """The header block in bytes; empty without any."""
        self.headers: Headers = wire.headers
        """The headers, looked up in any case; empty without any."""
        self._publish = publish

    def __repr__(self) -> str:
        return f"<Message {self.subject} {self.data[:40]!r}>"

    async def respond(self, payload: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Answer the request.

        Raises:
            BusError: nobody asked.
        """
        if not self.reply:
            raise BusError(f"{self.subject}: this message is no request, there is nobody to answer")
        await self._publish(self.reply, payload, headers=headers)


Handler = Callable[[Message], Awaitable[object]]


class MessageSubscription:
    """Messages of a subject, handed to a handler one after the other, or read: ``async for message in …messages``.

    Args:
        connection: the connection.
        publish: ``bus.publish``, for answers.
        subject: may have wildcards.
        queue: a group whose members share the messages.
        handler: awaited for each message; an error of it is logged and costs its own message only.
        max_msgs: end after so many messages; 0: never.
        pending: most messages that wait here.
    """

    def __init__(
        self,
        connection: Connection,
        publish: Publish,
        subject: str,
        *,
        queue: str = "",
        handler: Handler | None = None,
        max_msgs: int = 0,
        pending: int = PENDING,
    ) -> None:
        self.subject = subject
        self.dropped = 0
        """Messages that were thrown away because more than ``pending`` waited."""
        self._connection = connection
        self._publish = publish
        self._pending = pending
        self._waiting: deque[RawMsg] = deque()
        self._arrived = asyncio.Event()
        self._ended = False
        self._subscription = connection.subscribe(subject, self._take, queue=queue, max_msgs=max_msgs)
        self._subscription.on_end = self._end
        self._unhook = connection.on_close(self._end)
        self._task = None if handler is None else asyncio.create_task(self._serve(handler), name=f"handle {subject}")

    @property
    def waiting(self) -> int:
        """How many messages wait here."""
        return len(self._waiting)

    @property
    def messages(self) -> Self:
        """The messages, as an async iterator."""
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        """The next message."""
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return Message(WireMsg(*self._waiting.popleft()), self._publish)

    def take(self, most: int) -> list[RawMsg]:
        """What waits now, oldest first and at most so many, as it came off the wire; empty when nothing waits."""
        waiting = self._waiting
        return [waiting.popleft() for _ in range(min(most, len(waiting)))]

    async def next_msg(self, timeout: float | None = 1.0) -> Message:
        """The next message.

        Raises:
            RequestTimeout: none came within ``timeout`` seconds.
            InvalidArgument: ``timeout`` cannot be.
            BusClosed: the subscription has ended.
        """
        if timeout is not None:
            check_timeout("timeout", timeout)
        try:
            async with asyncio.timeout(timeout):
                return await anext(self)
        except TimeoutError:
            raise RequestTimeout(f"{self.subject}: no message within {timeout:g} s") from None
        except StopAsyncIteration:
            raise BusClosed(f"{self.subject}: the subscription has ended") from None

    def refuse_when_refused(self) -> None:
        """Raise when the server did not take the subscription; ask after a flush.

        Raises:
            SubscriptionRefused: it did not.
        """
        refuse_when_refused([self._subscription], self.subject)

    async def unsubscribe(self, limit: int = 0) -> None:
        """Give up interest, now or after ``limit`` messages in all.

        Raises:
            InvalidArgument: ``limit`` is no number of messages.
        """
        check_count("limit", limit, least=0)
        self._subscription.unsubscribe(limit)

    async def drain(self) -> None:
        """Give up interest, then wait until the server has sent what it had, and a handler has handled it."""
        await self._subscription.drain()
        if self._task is not None and self._task is not asyncio.current_task():
            await asyncio.wait([self._task])

    def _take(self, batch: list[RawMsg]) -> None:
        room = self._pending - len(self._waiting)
        if len(batch) > room:
            self.dropped += len(batch) - room
            log.warning(
                "a slow reader lost messages", subject=self.subject, lost=len(batch) - room, in_all=self.dropped
            )
            batch = batch[:room]
        self._waiting.extend(batch)
        self._arrived.set()

    def _end(self) -> None:
        self._ended = True
        self._unhook()
        self._arrived.set()

    async def _serve(self, handler: Handler) -> None:
        async for message in self:
            try:
                await handler(message)
            except Exception:
                log.exception("a handler of messages failed", subject=message.subject)
