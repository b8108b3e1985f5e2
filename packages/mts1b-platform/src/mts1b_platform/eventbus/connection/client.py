"""The connection that knows who it is, what the server refuses it, and counts. It knows no event."""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from mts1b_platform.config import ConfigError, Settings
from mts1b_platform.eventbus.connection.connection import Connection
from mts1b_platform.eventbus.connection.denials import Action, Denials
from mts1b_platform.eventbus.connection.identity import Identity
from mts1b_platform.eventbus.connection.messages import PENDING, Handler, Message, MessageSubscription
from mts1b_platform.eventbus.connection.network import Chance, Clock, Network
from mts1b_platform.eventbus.connection.options import Callbacks, ConnectionOptions
from mts1b_platform.eventbus.connection.servers import Server
from mts1b_platform.eventbus.connection.service_requests import ASKS, ask, ask_all, inbox_of
from mts1b_platform.eventbus.counters import UNSENT, Counters
from mts1b_platform.eventbus.errors import (
    AccessDenied,
    BusClosed,
    BusError,
    InvalidHeader,
    ServerError,
    SubscriptionRefused,
)
from mts1b_platform.eventbus.events.raw_envelope import complete_envelope
from mts1b_platform.eventbus.hooks import Hooks
from mts1b_platform.eventbus.limits import check_count, check_timeout
from mts1b_platform.eventbus.protocol.frames import checked_subject, hpub_frame, pub_frame
from mts1b_platform.eventbus.protocol.headers import HeaderError, header_block
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.connection")

ANONYMOUS: Final = "mts1b-anonymous"
"""The service name of a process that has not named its repo: it may consume, and dead-letters under this name."""
_DIAL_ERRORS: Final = 10
"""Failed attempts that are remembered, to say why there is no connection."""


class BusClient:
    """One connection to the bus, shared by everything that publishes and consumes on it.

    Args:
        settings: who connects where.
        options: of the connection; who connects is taken from the settings.
        network: what opens sockets; this machine's when left out.
        clock: what time it is; the event loop's when left out.
        chance: where inboxes and jitter come from; the operating system when left out.
    """

    # what is looked at for every event has a slot, where the compiled core finds it
    __slots__ = ("__dict__", "__weakref__", "hooks")

    def __init__(
        self,
        settings: Settings,
        options: ConnectionOptions,
        *,
        network: Network | None = None,
        clock: Clock | None = None,
        chance: Chance | None = None,
    ) -> None:
        self.settings = settings
        self.identity = Identity(settings)
        self.denials = Denials(lambda: self.identity.name, lambda: self.identity.remedy)
        """What the server refused this process."""
        self.ending: BusError | None = None
        """Why the connection ended for good, if the other side or the identity ended it."""
        self.counters = Counters()
        self.hooks: Hooks | None = None
        """What watches this bus; set before it is used (see ``mts1b_platform.observability``)."""
        self.dial_errors: deque[Exception] = deque(maxlen=_DIAL_ERRORS)
        """Why the last attempts to connect failed."""
        self._up = asyncio.Event()
        self._was_up = False
        self.connection = Connection(
            replace(options, credentials=self.identity.credentials, inbox_prefix=self.identity.inbox_prefix),
            callbacks=Callbacks(
                error=self._on_error,
                disconnected=self._on_disconnect,
                reconnected=self._on_reconnect,
                before_dial=self._before_dial,
            ),
            network=network,
            clock=clock,
            chance=chance,
        )
        """What everything is sent and received on."""
        self.connection.on_break(self._count_unsent)
        self.connection.on_close(self.was_closed)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.service} {self.connection!r}>"

    # Who, and where.

    @property
    def service(self) -> str:
        """The repo this process speaks as."""
        return self.settings.service or ANONYMOUS

    @property
    def actor(self) -> str:
        """Who acts when a payload does not say."""
        return self.settings.actor or self.service

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection right now."""
        return self.connection.is_connected

    @property
    def is_closed(self) -> bool:
        """Whether the bus is closed for good."""
        return self.connection.is_closed

    @property
    def connected_url(self) -> Server | None:
        """The server that it is connected to; ``str()`` of it is the URL, without credentials."""
        return self.connection.connected_url

    @property
    def server_info(self) -> Mapping[str, Any]:
        """What the connected server tells of itself."""
        return self.connection.server_info

    @property
    def has_identities(self) -> bool:
        """Whether the connected server knows who everybody is, as profiles single and production have it.

        Services may create no durables there, and reply to questions on subjects of their own.
        """
        info = self.connection.server_info
        return bool(info.get("auth_required") or info.get("tls_verify"))

    @property
    def has_jetstream(self) -> bool:
        """Whether the connected server says that it has JetStream."""
        return bool(self.connection.server_info.get("jetstream"))

    @property
    def max_payload(self) -> int:
        """Most bytes, of headers and payload together, that the server takes in one message."""
        return self.connection.max_payload

    @property
    def pending_bytes(self) -> int:
        """Bytes that wait for the server."""
        return self.connection.waiting

    # Plain messages.

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a message; reserved headers go out in the case that the server and consumers look for.

        It is kept while there is no connection, as far as the buffer goes.

        Raises:
            AccessDenied: the server refused this subject within the last second. It does so after the call for the
                first time; :meth:`flush` waits for its word.
            InvalidHeader: a header cannot go on the wire.
            PayloadTooLarge: the server takes no message of this size.
            BusClosed: the bus was closed.
        """
        if self.denials.recent:
            self.denials.check("publish", subject)
        to, answers = checked_subject(subject), checked_subject(reply) if reply else b""
        head = _head(subject, headers)
        self.connection.send(hpub_frame(to, head, payload, answers) if head else pub_frame(to, payload, answers))
        if self.connection.above_high_water:
            await self.connection.writable()

    async def request(
        self, subject: str, payload: bytes = b"", timeout: float = 0.5, headers: Mapping[str, str] | None = None
    ) -> Message:
        """Ask, and return the first answer.

        Raises:
            NoResponders: nobody answers on the subject.
            RequestTimeout: no answer within ``timeout`` seconds.
            AccessDenied: this identity may not publish on ``subject``; said at once, not when the time is over.
            ServerUnavailable: the connection broke before the answer came.
            InvalidArgument: ``timeout`` cannot be.
            BusClosed: the bus was closed.
        """
        check_timeout("timeout", timeout)
        head = _head(subject, headers)
        with self.denials.watch(subject):
            if subject.startswith(ASKS) and self.has_identities:
                answer = await ask(self.connection, self.service, subject, payload, timeout, head)
            else:
                answer = await self.connection.request(subject, payload, timeout=timeout, headers=head)
        return Message(answer, self.publish)

    async def request_many(
        self, subject: str, payload: bytes = b"", timeout: float = 1.0, stall: float = 0.3
    ) -> list[Message]:
        """Ask, and return the answers of everybody who answers; none when nobody does.

        Args:
            subject: where several may answer, such as ``$SRV.PING``.
            payload: the question.
            timeout: seconds to wait in all.
            stall: seconds without a further answer after which no more is waited for.

        Raises:
            AccessDenied: this identity may not publish on ``subject``.
            BusClosed: the bus was closed.
        """
        apart = subject.startswith(ASKS) and self.has_identities
        inbox = inbox_of(self.service) if apart else self.new_inbox()
        with self.denials.watch(subject):
            answers = await ask_all(self.connection, subject, inbox, payload, timeout, stall)
        return [Message(each, self.publish) for each in answers]

    async def subscribe(
        self,
        subject: str,
        queue: str = "",
        cb: Handler | None = None,
        *,
        max_msgs: int = 0,
        pending: int = PENDING,
    ) -> MessageSubscription:
        """Receive the messages of ``subject``: by a callback, or by iterating what is returned.

        On a server with identities it waits for the server's word.

        Args:
            subject: may have wildcards.
            queue: a group whose members share the messages.
            cb: awaited for each message, one after the other.
            max_msgs: end after so many messages; 0: never.
            pending: most messages that wait for a slow reader; more are dropped, counted and logged.

        Raises:
            AccessDenied: this identity may not subscribe to ``subject``.
            InvalidArgument: ``max_msgs`` or ``pending`` cannot be.
            BusClosed: the bus was closed.
        """
        check_count("max_msgs", max_msgs, least=0)
        check_count("pending", pending)
        made = MessageSubscription(
            self.connection, self.publish, subject, queue=queue, handler=cb, max_msgs=max_msgs, pending=pending
        )
        if self.is_connected and self.has_identities:
            try:
                await self.confirm("subscribe", subject)
                made.refuse_when_refused()
            except (AccessDenied, SubscriptionRefused):
                await made.unsubscribe()
                raise
        return made

    async def flush(self, timeout: float = 10.0) -> None:
        """Wait until the server has taken note of everything sent before.

        Raises:
            AccessDenied: it refused some of it, and nobody was told yet.
            ServerUnavailable: there is no connection, or it broke meanwhile.
            RequestTimeout: the server did not answer in time.
            InvalidArgument: ``timeout`` cannot be.
        """
        check_timeout("timeout", timeout)
        await self.connection.flush(timeout)
        self.denials.raise_pending()

    async def confirm(self, action: Action, subject: str) -> None:
        """Wait until the server has taken note of everything sent so far.

        Raises:
            AccessDenied: it refused this.
        """
        await self.connection.flush()
        self.denials.check(action, subject)

    def new_inbox(self) -> str:
        """A subject to receive answers on, which cannot be guessed."""
        return self.connection.new_inbox()

    # Life.

    async def wait_connected(self, timeout: float) -> bool:
        """Wait until there is a connection, at most ``timeout`` seconds; says whether there is one.

        Raises:
            BusClosed: the bus was closed.
        """
        if self.is_connected:
            return True
        check_timeout("timeout", timeout)
        self.refuse_when_closed()
        try:
            async with asyncio.timeout(timeout):
                await self._up.wait()
        except TimeoutError:
            return False
        self.refuse_when_closed()
        return self.is_connected

    def refuse_when_closed(self) -> None:
        """Raise when the connection was closed.

        Raises:
            BusClosed: it was.
        """
        if self.is_closed:
            raise BusClosed("the bus is closed: connect() again")

    async def close(self) -> None:
        """Close at once: what is written already goes out, within two seconds. Safe to repeat."""
        await self.connection.close()

    def came_up(self) -> None:
        """There is a connection."""
        self._was_up = True
        self._up.set()

    def was_closed(self) -> None:
        """The connection is closed for good: wake whoever waits for it."""
        if self.hooks is not None:
            self.hooks.closed()
        self._up.set()  # who waits for the connection looks, and finds it closed

    # What the connection tells.

    def _on_error(self, error: Exception) -> None:
        self.counters.errors += 1
        denied = self.denials.on_error(error.words) if isinstance(error, ServerError) else None
        if denied is not None:
            log.warning("the server refuses", error=str(denied))
        elif not self.is_connected:
            self.dial_errors.append(error)
            log.debug("no connection", error=str(error) or type(error).__name__)
        else:
            log.warning("the server or the connection reports an error", error=str(error) or type(error).__name__)

    def _on_disconnect(self) -> None:
        self._up.clear()
        self.counters.disconnects += 1
        reason = self.connection.last_error
        log.warning("connection lost; reconnecting", service=self.service, reason=str(reason) if reason else "")

    def _on_reconnect(self) -> None:
        self.counters.reconnects += 1
        self.came_up()
        log.warning("connection is back", server=str(self.connected_url), service=self.service)

    def _before_dial(self, refused: bool) -> None:  # noqa: FBT001 - the connection's callback
        """Take authorities, certificate and token as they are now; end when the token has ended and is not renewed.

        Raises:
            AccessDenied: it has; the connection is closed for good.
        """
        try:
            self.identity.refresh()
        except ConfigError as error:
            log.warning("authorities and certificate cannot be read again; those of before are used", error=str(error))
        ended = self.identity.expired()
        if ended is not None and (refused or self._was_up):
            self.ending = ended
            log.error("the session is over", error=str(ended))
            raise ended

    def _count_unsent(self) -> None:
        """Count best-effort events that were handed over and never left: the connection broke under them."""
        counted = sum(self.counters.publish_dropped.values())
        if (unsent := self.connection.dropped - counted) > 0:
            self.counters.publish_dropped[UNSENT] += unsent
            log.warning("best-effort events were lost with the connection", count=unsent)


def _head(subject: str, headers: Mapping[str, str] | None) -> bytes:
    completed = complete_envelope(subject, headers) if headers else None
    try:
        return header_block(completed) if completed else b""
    except HeaderError as error:
        raise InvalidHeader(f"{subject}: {error}") from None
