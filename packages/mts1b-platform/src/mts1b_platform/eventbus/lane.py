"""What the bus needs from a connection on its hot path, whoever provides it.

Two provide it: :class:`~mts1b_platform.eventbus.seam.Seam` (fast, behind nats-py's back) and
:class:`~mts1b_platform.eventbus.plain.PlainLane` (nats-py's public calls, when the seam does not fit the nats-py
at hand). Everything above is written against :class:`Lane` and does not know which it got.
"""

from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol

from mts1b_foundation.errors import Mts1bError

from mts1b_platform.eventbus.protocol.message import RawMsg, WireMsg

BatchCallback = Callable[[list[RawMsg]], None]
"""Takes the messages of one read; called from the reader itself, so it must be quick and must not block."""

DEFAULT_PENDING_MSGS: Final = 512 * 1024
DEFAULT_PENDING_BYTES: Final = 128 * 1024 * 1024


class SeamUnavailable(Mts1bError, RuntimeError):
    """The seam does not fit this nats-py; the plain lane does the same work slower."""


class Batches(Protocol):
    """A subscription that hands out what arrived since it was last asked, as one list.

    Iterate it (without a callback), or give a callback. It ends quietly after ``unsubscribe``, ``drain`` or its
    last message, and raises nats-py's ``ConnectionClosedError`` when the connection was closed under it.
    """

    dropped: int
    """Messages thrown away because more waited than the pending limits allow."""

    async def next_batch(self) -> list[WireMsg]:
        """Wait for messages; an empty list says that none will come any more."""
        ...

    def __aiter__(self) -> AsyncIterator[list[WireMsg]]: ...

    async def unsubscribe(self, limit: int = 0) -> None:
        """Give up interest, now or after ``limit`` messages in all; what waits is discarded."""
        ...

    async def drain(self) -> None:
        """Give up interest, then wait until what has arrived is consumed."""
        ...


class Lane(Protocol):
    """Sends ready frames, delivers batches. All calls belong to the event loop of the connection."""

    fast: bool
    """Whether this is the seam."""
    reason: str
    """Why not, for the warning; empty for the seam."""
    dropped: int
    """Best-effort frames that were not sent because there was no connection or no room."""

    def send(self, frame: bytes, size: int) -> None:
        """Queue a frame of ``size`` payload bytes; it goes out in this turn of the loop, or after a reconnect.

        Raises (nats-py's errors):
            ConnectionClosedError: the connection is closed.
            ConnectionDrainingError: it is past its last publish.
            OutboundBufferLimitError: too many bytes are waiting; ``await room()`` first.
            MaxPayloadError: the server takes no message of this size.
        """
        ...

    def send_many(self, frames: list[bytes], size: int) -> None:
        """Queue frames of ``size`` payload bytes together, in one go; raises as :meth:`send`, all or none."""
        ...

    def push(self) -> None:
        """Give what was queued to the operating system now, where it takes it, not when the loop comes to it."""
        ...

    def ack(self, reply: bytes) -> bool:
        """Acknowledge the delivery with this reply subject; says whether :attr:`crowded`. Raises as :meth:`send`."""
        ...

    def send_now(self, frame: bytes, size: int) -> bool:
        """Queue a frame that is worth nothing later; False when it was dropped (and counted) instead.

        What still waits when the connection breaks is dropped too: no stale quote goes out after a reconnect.

        Raises (nats-py's errors):
            ConnectionClosedError, ConnectionDrainingError, MaxPayloadError: as :meth:`send`.
        """
        ...

    @property
    def crowded(self) -> bool:
        """Whether a well-behaved sender should now ``await room()``."""
        ...

    async def room(self) -> None:
        """Wait until the waiting bytes are on their way to the server, or there is a connection again.

        Raises:
            nats.errors.ConnectionClosedError: the connection is closed.
        """
        ...

    async def subscribe_batches(
        self,
        subject: str,
        *,
        queue: str = "",
        callback: BatchCallback | None = None,
        max_msgs: int = 0,
        pending_msgs_limit: int = DEFAULT_PENDING_MSGS,
        pending_bytes_limit: int = DEFAULT_PENDING_BYTES,
    ) -> Batches:
        """Subscribe; the limits bound what waits without a callback (0 bytes: no limit)."""
        ...

    def on_break(self, hook: Callable[[], None]) -> Callable[[], None]:
        """Call ``hook`` whenever the connection breaks; returns what takes it off again."""
        ...

    def on_ready(self, hook: Callable[[], None]) -> Callable[[], None]:
        """Call ``hook`` whenever the connection stands again and its subscriptions with it."""
        ...

    def on_close(self, hook: Callable[[], None]) -> Callable[[], None]:
        """Call ``hook`` when the connection is closed for good."""
        ...

    def new_inbox(self) -> str:
        """Return a subject of our own to receive answers on."""
        ...
