"""Request and answer over one subscription: each question has a reply subject of its own below it."""

import asyncio
from typing import Final

from mts1b_platform.eventbus.connection.network import Chance, Clock
from mts1b_platform.eventbus.connection.outbound import Outbound
from mts1b_platform.eventbus.connection.subscription import Subscription, Subscriptions
from mts1b_platform.eventbus.connection.timing import Limit
from mts1b_platform.eventbus.errors import NoResponders, RequestTimeout, ServerUnavailable
from mts1b_platform.eventbus.protocol.frames import checked_subject, hpub_frame, pub_frame
from mts1b_platform.eventbus.protocol.message import RawMsg, WireMsg

_NOBODY: Final = b"NATS/1.0 503"


class Requests:
    """The questions of one connection that have no answer yet."""

    def __init__(
        self,
        outbound: Outbound,
        subscriptions: Subscriptions,
        clock: Clock,
        chance: Chance,
        prefix: str,
    ) -> None:
        self._outbound = outbound
        self._subscriptions = subscriptions
        self._clock = clock
        self._chance = chance
        self._prefix = prefix
        self._inbox = b""
        self._asked = 0
        self._waiting: dict[bytes, tuple[asyncio.Future[RawMsg], bytes]] = {}
        self.subscription: Subscription | None = None
        """Where answers arrive; made by the first question."""

    def new_inbox(self) -> str:
        """A subject to receive answers on, which cannot be guessed."""
        return f"{self._prefix}.{self._chance.token()}"

    async def ask(self, subject: str, payload: bytes, timeout: float, headers: bytes) -> WireMsg:
        """Ask, and wait for the first answer.

        Raises:
            NoResponders: nobody answers on the subject.
            RequestTimeout: no answer within ``timeout`` seconds.
            ServerUnavailable: the connection broke after the question had gone out.
            SubjectRefused: the subject cannot be published to.
            BusClosed, OutboundBufferFull, PayloadTooLarge: as for sending.
        """
        to = checked_subject(subject)
        if self.subscription is None:
            inbox = self.new_inbox()
            self.subscription = self._subscriptions.add(f"{inbox}.*", self._answered)
            self._inbox = f"{inbox}.".encode()
        self._asked += 1
        token = b"%x" % self._asked
        reply = self._inbox + token
        frame = hpub_frame(to, headers, payload, reply) if headers else pub_frame(to, payload, reply)
        self._outbound.send(frame)
        answer: asyncio.Future[RawMsg] = asyncio.get_running_loop().create_future()
        self._waiting[token] = answer, frame
        try:
            with Limit(self._clock, timeout):
                msg = WireMsg(*await answer)
        except TimeoutError:
            raise RequestTimeout(
                f"{subject}: no answer within {timeout:g} s; whoever answers it may have been at work all the same"
            ) from None
        finally:
            del self._waiting[token], answer  # it keeps the error that it ended with
        if not msg.payload and msg.head.startswith(_NOBODY):
            raise NoResponders(f"{subject}: nobody answers requests there; start the service that does")
        return msg

    def broke(self) -> None:
        """The connection broke: questions that went out will not be answered; those that wait still go out."""
        waiting = set(self._outbound.frames)  # each is a frame of its own, as its reply subject is
        for answer, frame in self._waiting.values():
            if frame not in waiting and not answer.done():
                subject = frame.split(b" ", 2)[1].decode(errors="replace")
                answer.set_exception(
                    ServerUnavailable(f"{subject}: the connection broke before the answer came; ask again")
                )

    def close(self) -> None:
        """The connection is closed: no answers come."""
        for answer, _ in self._waiting.values():
            if not answer.done():
                answer.set_exception(self._outbound.closed_error())

    def _answered(self, batch: list[RawMsg]) -> None:
        cut = len(self._inbox)
        for msg in batch:
            found = self._waiting.get(msg[0][cut:])
            if found is not None and not found[0].done():
                found[0].set_result(msg)
