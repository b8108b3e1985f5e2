"""Reading a durable whose messages are no registered events: advisories of the server, for example."""

import asyncio
from types import TracebackType
from typing import Self

from mts1b_platform.eventbus.consuming.context import ConsumeContext
from mts1b_platform.eventbus.consuming.prefetch import Prefetch
from mts1b_platform.eventbus.errors import BusClosed, BusError
from mts1b_platform.eventbus.protocol.frames import pub_frame
from mts1b_platform.eventbus.protocol.message import WireMsg
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.consumer")


class RawReader:
    """The messages of a durable, as an async iterator. Made by ``bus.read_raw``.

    What waits here or was handed out is kept from redelivery until :meth:`settle`.
    """

    def __init__(self, context: ConsumeContext, stream: str, durable: str, *, window: int, ack_wait: float) -> None:
        self._context = context
        self._name = f"{durable!r} on {stream}"
        self._wake = asyncio.Event()
        self._stopped = False
        self._prefetch = Prefetch(
            context.client, stream, durable, window=window, ack_wait=ack_wait, sort=True, wake=self._wake.set
        )

    def __repr__(self) -> str:
        return f"<RawReader {self._name}>"

    @property
    def patterns(self) -> tuple[str, ...]:
        """None: what is read is not registered."""
        return ()

    @property
    def open(self) -> int:
        """How many messages are not settled."""
        return len(self._prefetch.handled)

    @property
    def waiting(self) -> int:
        """How many messages wait here."""
        return len(self._prefetch.queue)

    async def __aenter__(self) -> Self:
        self._context.remember(self)
        await self._prefetch.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()
        self._prefetch.close()
        self._context.forget(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WireMsg:
        """The next message.

        Raises:
            ConsumerGone: the durable was deleted.
            BusClosed: the bus was closed.
        """
        while not self._stopped:
            if (msg := self._prefetch.take()) is not None:
                return WireMsg(*msg)
            if self._prefetch.failure is not None:
                raise self._prefetch.failure
            self._wake.clear()
            self._prefetch.reading(+1)
            try:
                await self._wake.wait()
            finally:
                self._prefetch.reading(-1)
            if not self._stopped and not self._prefetch.running:
                await self._prefetch.start()  # it had given back what waited, as nobody read
        raise StopAsyncIteration

    def settle(self, msg: WireMsg, answer: bytes = b"+ACK") -> None:
        """Answer the server for ``msg``: acknowledge it, or ask for it again (``acks.again_in``)."""
        try:
            self._context.client.connection.send(pub_frame(msg.reply, answer))
        except BusError as error:
            log.warning("no answer to the server; it delivers again", reader=self._name, error=str(error))
        self._prefetch.settled(msg.reply)

    async def stop(self) -> None:
        """End the iteration; what waits goes back to the server."""
        self._stopped = True
        self._wake.set()
        await self._prefetch.stop()

    def closed(self) -> None:
        """The connection is closed for good."""
        self._prefetch.close()
        closed = BusClosed(f"{self!r}: the bus was closed; open messages come again")
        self._prefetch.failure = self._prefetch.failure or closed
        self._wake.set()
