"""Reading a durable through overlapping pulls: while one batch is handled the next ones are on their way.

At most ``window`` messages are asked for or waiting here; whenever a part of them has been taken, a further pull goes
out in the same write as whatever else is sent then, such as the acks. Nothing is silent: what the server says about a
pull, and what it fails to say (heartbeats), comes out as a :class:`PullEvent`. A consumer with a ``max_waiting`` below
the number of overlapping pulls drops the rest of them without a word (nats-server 2.15.1); the reading is slower then,
and goes on.

    pulls = PullSubscription(connection, "OMS_ORDERS", "treasury", on_messages=take, on_event=log)
    pulls.reserve(len(queue))                    # what is held here counts against the window
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from mts1b_platform.eventbus.connection.connection import Connection
from mts1b_platform.eventbus.core import CORE
from mts1b_platform.eventbus.errors import BusError, InvalidArgument, OutboundBufferFull
from mts1b_platform.eventbus.protocol.frames import pub_frame
from mts1b_platform.eventbus.protocol.headers import HeaderError
from mts1b_platform.eventbus.protocol.message import RawMsg, WireMsg

_BACKOFF: Final = (0.05, 2.0)
_STOP: Final = 2.0
"""Most seconds to wait for what the server had sent already when reading stops."""
_OVERLAP: Final = 4
"""Pulls that a window is split into."""


class PullEventKind(StrEnum):
    """What happened to a pull."""

    HEARTBEAT_MISSED = "heartbeat_missed"
    """The server has been silent for more than two heartbeats though a pull is open; it is asked again."""
    NO_RESPONDERS = "no_responders"
    """Nobody answers pulls: the consumer may be gone, its leader away, or JetStream off (status 503)."""
    CONSUMER_DELETED = "consumer_deleted"
    """Somebody deleted the consumer; ends the reading (status 409)."""
    REFUSED = "refused"
    """The consumer takes no such pull: it is push based, or a limit is too small; ends the reading (400, 409)."""
    INTERRUPTED = "interrupted"
    """The pull was given up for a reason that passes, such as a new leader or a shutdown (409)."""
    RECONNECTED = "reconnected"
    """The connection broke and stands again; pulls were sent anew."""


@dataclass(frozen=True, slots=True)
class PullEvent:
    """Something other than messages, with the server's own words."""

    kind: PullEventKind
    status: int
    """404, 408, 409, 503, or 0 where the server said nothing."""
    description: str


class PullSubscription:
    """Overlapping pulls on one durable, from now on until :meth:`stop`.

    Args:
        connection: the connection.
        stream: name of the stream.
        durable: name of its consumer, which exists.
        on_messages: takes the messages of one read; must not block. :meth:`reserve` says how many it holds.
        on_event: told everything that is not a message, the end of the reading too; must not block.
        window: most messages asked for or held.
        expires: seconds that the server keeps a pull open.
        heartbeat: seconds after which an idle server says so; silence for two of them is an event.
        prefix: subject prefix of the JetStream API, for domains.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        durable: str,
        *,
        on_messages: Callable[[list[RawMsg]], None],
        on_event: Callable[[PullEvent], None],
        window: int = 1024,
        expires: float = 30.0,
        heartbeat: float = 5.0,
        prefix: str = "$JS.API",
    ) -> None:
        if window < 1 or not 0 < heartbeat <= expires / 2:
            raise InvalidArgument(f"window {window} must be 1 or more, heartbeat {heartbeat} at most half of {expires}")
        self._connection = connection
        self._expires = expires
        self._heartbeat = heartbeat
        self._patience = 2 * heartbeat
        """Seconds of silence after which the pulls are sent again."""
        self._shape(window)
        self._held = 0
        self._on_messages = on_messages
        self._on_event = on_event
        self._subject = f"{prefix}.CONSUMER.MSG.NEXT.{stream}.{durable}".encode()
        inbox = f"{connection.new_inbox()}."
        self._inbox = inbox.encode()
        self._pulled = 0
        self._outstanding = 0
        self._rest: list[RawMsg] = []
        """Messages that arrived after :meth:`stop` was called."""
        self._heard = asyncio.get_running_loop().time()
        self._backoff = 0.0
        self._retry: asyncio.TimerHandle | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        self._paused = False
        self._ended = False
        self._closed = False
        self._subscription = connection.subscribe(f"{inbox}*", self._take)
        self._unhook = [
            connection.on_break(self._broke),
            connection.on_ready(self._stands),
            connection.on_close(self._end),
        ]
        self._watch()
        self._refill()

    @property
    def size(self) -> int:
        """Messages of one pull."""
        return self._size

    async def stop(self) -> list[RawMsg]:
        """Ask for nothing more; returns what arrived meanwhile, for the caller to nak.

        Interest ends first and a round trip follows, so that nothing the server had sent already is left behind.
        """
        self._closed = True
        self._end()
        with suppress(BusError, TimeoutError):  # no connection: the server gives up our pulls by itself
            async with asyncio.timeout(_STOP):
                await self._subscription.drain()
        return self._rest

    # Pulling.

    def reserve(self, held: int) -> None:
        """Count ``held`` messages that were taken from here and are not done with against the window."""
        self._held = held
        if self._outstanding + held <= self._window - self._size:
            self._refill()

    def resize_window(self, window: int) -> None:
        """Ask for up to ``window`` messages from now on; pulls that are open stay as they are."""
        self._shape(window)
        self._refill()

    def _shape(self, window: int) -> None:
        self._window = window
        self._size = max(1, window // _OVERLAP)
        self._request = json.dumps(self._pull()).encode()

    def _pull(self) -> dict[str, Any]:
        """One pull, as the server reads it."""
        return {
            "batch": self._size,
            "expires": int(self._expires * 1e9),
            "idle_heartbeat": int(self._heartbeat * 1e9),
        }

    def _refill(self) -> None:
        if self._paused or self._closed or self._ended or self._retry is not None:
            return
        while self._outstanding + self._held <= self._window - self._size:
            if self._outstanding == 0:
                self._heard = asyncio.get_running_loop().time()  # silence counts from when something was asked
            self._pulled += 1
            self._outstanding += self._size
            try:
                self._connection.send(pub_frame(self._subject, self._request, b"%b%d" % (self._inbox, self._pulled)))
            except OutboundBufferFull:
                self._outstanding -= self._size
                self._try_later()
                return
            except BusError:
                # Closed or draining: the close hook ends the reading.
                return

    def _try_later(self) -> None:
        shortest, longest = _BACKOFF
        self._backoff = min(longest, max(shortest, self._backoff * 2))
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(self._backoff, self._retry_now)

    def _retry_now(self) -> None:
        self._retry = None
        self._refill()

    def _take(self, batch: list[RawMsg]) -> None:
        self._heard = asyncio.get_running_loop().time()
        # Deliveries carry a reply subject to ack them on, what the server says about a pull does not.
        common = CORE is not None and CORE.all_have_replies(batch)
        msgs = batch if common else [msg for msg in batch if msg[1]]
        if msgs:
            self._backoff = 0.0
            if self._retry is not None:
                self._retry.cancel()
                self._retry = None
            self._outstanding = max(0, self._outstanding - len(msgs))
            if self._closed:
                self._rest += msgs
            else:
                self._on_messages(msgs)
        if len(msgs) < len(batch):
            for msg in batch:
                if not msg[1]:
                    self._status(WireMsg(*msg))
        self._refill()

    def _status(self, msg: WireMsg) -> None:
        if self._ended:
            return
        headers = msg.headers
        try:
            status, words = headers.status or 0, headers.description
            left = int(headers.get("Nats-Pending-Messages") or self._size)
        except (HeaderError, ValueError):
            return
        if status == 100:
            self._backoff = 0.0
            return
        # Whatever else is said, the pull is over; what it did not deliver may be asked for again.
        self._outstanding = max(0, self._outstanding - left)
        lowered = words.lower()
        if status in {404, 408} or (status == 409 and ("maxbytes" in lowered or "batch completed" in lowered)):
            return
        if status == 503:
            kind = PullEventKind.NO_RESPONDERS
        elif "consumer deleted" in lowered:
            kind = PullEventKind.CONSUMER_DELETED
        elif status == 400 or "push based" in lowered or "maxrequest" in lowered:
            kind = PullEventKind.REFUSED
        else:
            kind = PullEventKind.INTERRUPTED
        event = PullEvent(kind, status, words)
        if kind in {PullEventKind.CONSUMER_DELETED, PullEventKind.REFUSED}:
            self._end()
        elif self._retry is not None:
            return  # said of every open pull; once is enough
        else:
            self._try_later()
        self._on_event(event)

    # Silence, breaks, the end.

    def _watch(self) -> None:
        self._watchdog = asyncio.get_running_loop().call_later(self._heartbeat, self._look)

    def _look(self) -> None:
        silent = asyncio.get_running_loop().time() - self._heard
        if self._outstanding and not self._paused and silent > self._patience:
            self._heard += silent
            self._outstanding = 0
            words = f"nothing from the server for {silent:.1f} s; the pulls are sent again"
            self._on_event(PullEvent(PullEventKind.HEARTBEAT_MISSED, 0, words))
            self._refill()
        self._watch()

    def _broke(self) -> None:
        self._paused = True

    def _stands(self) -> None:
        # The server forgot the pulls with the connection.
        self._paused = False
        self._outstanding = 0
        self._heard = asyncio.get_running_loop().time()
        self._on_event(PullEvent(PullEventKind.RECONNECTED, 0, "the connection stands again; the pulls are sent again"))
        self._refill()

    def _end(self) -> None:
        self._ended = True
        for timer in (self._retry, self._watchdog):
            if timer is not None:
                timer.cancel()
        for unhook in self._unhook:
            unhook()
