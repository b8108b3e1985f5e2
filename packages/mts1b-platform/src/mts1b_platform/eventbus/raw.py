"""nats-py's own JetStream surface, with this bus underneath.

``js.publish`` writes reserved headers in the case that the server recognises and completes the envelope.
``js.subscribe(subject, durable=…, manual_ack=True)`` reads through the same pull consumer as ``bus.consume``: both
forms of a registered subject, several instances on one durable, dead letters after the last delivery. Everything else
is nats-py's.
"""

import asyncio
from typing import Any, Literal, Protocol, Self, overload

import nats.errors
from mts1b_foundation.subjects import DurableSubject, registry
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext, api

from mts1b_platform.eventbus.connection.client import BusClient
from mts1b_platform.eventbus.connection.servers import Server
from mts1b_platform.eventbus.consuming.consumer import Consumer
from mts1b_platform.eventbus.errors import BusClosed, ServerUnavailable
from mts1b_platform.eventbus.events.event import Event
from mts1b_platform.eventbus.events.outgoing import Ack, Outgoing
from mts1b_platform.eventbus.events.raw_envelope import complete_envelope
from mts1b_platform.eventbus.protocol.envelope import MSG_ID
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.raw")


class Consume(Protocol):
    """``bus.consume``, as far as it is used here."""

    def __call__(self, subject: DurableSubject[Any], /, *, durable: str, **parameters: Any) -> Consumer[Any]:
        """A consumer of ``subject``."""
        ...


class NatsClient(Client):
    """nats-py's client with the settings of a bus; whatever is asked of it first awaits one connect.

    nats-py is used as it is. Its connection is its own: it reconnects by nats-py's rules, for ever.
    """

    def __init__(self, bus: BusClient) -> None:
        super().__init__()
        self._bus = bus
        self._dialling: asyncio.Task[None] | None = None

    async def dial(self) -> None:
        """Connect, once; later calls wait for it.

        Raises:
            ServerUnavailable: no server answered in time; it goes on trying.
            BusClosed: the bus is closed.
        """
        self._bus.refuse_when_closed()
        if self._dialling is None:
            self._dialling = asyncio.create_task(self._dial(), name="connect nats-py")
        dialling, patience = self._dialling, self._bus.settings.connect_timeout
        await asyncio.wait([dialling], timeout=patience)
        servers = ", ".join(str(Server.parse(server)) for server in self._bus.settings.servers)
        if not dialling.done():
            raise ServerUnavailable(f"nats-py cannot connect to {servers} within {patience:g} s; it goes on trying")
        if dialling.cancelled():
            raise BusClosed("the bus was closed while nats-py was connecting: connect() again")
        if (error := dialling.exception()) is not None:
            self._dialling = None
            raise ServerUnavailable(f"nats-py cannot connect to {servers}: {error}") from error

    async def _dial(self) -> None:
        credentials, settings = self._bus.identity.credentials(), self._bus.settings
        options: dict[str, Any] = {
            "name": f"{self._bus.service} (nats-py)",
            "inbox_prefix": self._bus.identity.inbox_prefix,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": 0.1,
            "connect_timeout": 2,
            "ping_interval": 1,
            "max_outstanding_pings": 2,
            "error_cb": self._report,
        }
        if credentials.tls is not None:
            options["tls"] = credentials.tls
        if credentials.token is not None:
            options["token"] = self._bus.identity.token
        await self.connect(list(settings.servers), **options)

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, Any] | None = None
    ) -> None:
        """As nats-py's."""
        await self.dial()
        await super().publish(subject, payload, reply, headers)

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,
        old_style: bool = False,  # noqa: FBT001, FBT002 - the signature is nats-py's
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """As nats-py's; a refusal that the server tells this connection of is an :class:`AccessDenied` at once."""
        await self.dial()
        with self._bus.denials.watch(subject):
            return await super().request(subject, payload, timeout, old_style, headers)

    async def subscribe(self, subject: str, *arguments: Any, **options: Any) -> Subscription:
        """As nats-py's."""
        await self.dial()
        made: Subscription = await super().subscribe(subject, *arguments, **options)  # pyright: ignore[reportUnknownMemberType]
        return made

    async def flush(self, timeout: int = 10) -> None:
        """As nats-py's."""
        await self.dial()
        await super().flush(timeout)

    def new_inbox(self) -> str:
        """A subject to receive answers on; may be asked for before it is connected."""
        return self._bus.new_inbox()

    async def close(self) -> None:
        """Close its connection, if there is one."""
        if self._dialling is None:
            return
        while not self._dialling.done():  # on Python 3.11 nats-py may lose a cancellation
            self._dialling.cancel()
            await asyncio.wait([self._dialling], timeout=0.05)
        connected = not self._dialling.cancelled() and self._dialling.exception() is None
        try:
            await super().close()
        except (AttributeError, AssertionError):  # nats-py, when it had not begun or no socket was opened
            if connected:
                raise
        # its server is away, and it had something unsent: since Python 3.12 asyncio's writelines() raises TypeError
        except (OSError, TypeError, nats.errors.Error) as error:
            log.warning("nats-py's connection was closed with messages unsent", error=str(error))

    async def _report(self, error: Exception) -> None:
        if self._bus.denials.on_error(str(error)) is None:
            tell = log.warning if self.is_connected else log.debug  # while it dials, each attempt fails alike
            tell("nats-py's connection reports an error", error=str(error) or type(error).__name__)


class JetStream(JetStreamContext):
    """nats-py's JetStream context on the bus.

    Args:
        bus: counts and watches.
        client: the connection.
        consume: makes the consumer of a durable subject; ``bus.consume``.
        options: as nats-py's.
    """

    def __init__(self, bus: BusClient, client: NatsClient, consume: Consume, **options: Any) -> None:
        super().__init__(client, **options)
        self._bus = bus
        self._client = client
        self._consume = consume

    async def publish(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float | None = None,
        stream: str | None = None,
        headers: dict[str, Any] | None = None,
        msg_ttl: float | None = None,
    ) -> api.PubAck:
        """As nats-py's; the caller's headers are not written into."""
        envelope = complete_envelope(subject, headers)
        registered = registry().find(subject)
        if registered is None:
            return await super().publish(subject, payload, timeout, stream, envelope, msg_ttl)
        counters, hooks = self._bus.counters, self._bus.hooks
        out = Outgoing(subject, registered.pattern, payload, envelope or {})
        mark = None if hooks is None else hooks.publishing(registered, None, out, None)
        try:
            answer = await super().publish(subject, payload, timeout, stream, out.headers, msg_ttl)
        except BaseException as error:
            if hooks is not None:
                hooks.published(mark, out, None, error)
            raise
        ack = Ack(answer.stream, answer.seq, bool(answer.duplicate), subject, out.headers.get(MSG_ID, ""))
        counters.published[out.pattern] += 1
        if ack.duplicate:
            counters.publish_duplicates[out.pattern] += 1
        if hooks is not None:
            hooks.published(mark, out, ack, None)
        return answer

    @overload  # type: ignore[override]
    async def subscribe(  # pyright: ignore[reportInconsistentOverload] - the same surface either way
        self, subject: str, *, durable: str, manual_ack: Literal[True]
    ) -> "RawSubscription": ...

    @overload
    async def subscribe(
        self, subject: str, *arguments: Any, **options: Any
    ) -> "RawSubscription | JetStreamContext.PushSubscription": ...

    async def subscribe(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, subject: str, *arguments: Any, **options: Any
    ) -> "RawSubscription | JetStreamContext.PushSubscription":
        """As nats-py's; ``durable=`` with ``manual_ack=True`` on a registered subject reads by a pull consumer.

        Raises:
            ConsumerConflict: the durable exists and reads something else.
            NoStream: the stream does not exist.
        """
        durable: str | None = options.get("durable")
        registered = registry().find(subject)
        if (
            durable is None
            or arguments
            or options.keys() - {"durable", "manual_ack"}
            or not options.get("manual_ack")
            or not isinstance(registered, DurableSubject)
        ):
            return await super().subscribe(subject, *arguments, **options)
        parameters: dict[str, Any] = registered.parse(subject) or {}
        consumer: Consumer[Any] = self._consume(registered, durable=durable, **parameters)
        await consumer.start()
        return RawSubscription(self._client, consumer)


class RawSubscription:
    """What the raw ``subscribe`` returns: nats-py messages, settled by the caller through their own methods."""

    def __init__(self, client: Client, consumer: Consumer[Any]) -> None:
        self._client = client
        self._consumer = consumer

    @property
    def messages(self) -> Self:
        """The messages, as an async iterator."""
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Msg:
        """The next message."""
        return self._hand_over(await anext(self._consumer))

    async def next_msg(self, timeout: float | None = 1.0) -> Msg:
        """The next message.

        Raises:
            nats.errors.TimeoutError: none came within ``timeout`` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                return self._hand_over(await anext(self._consumer))
        except TimeoutError:
            raise nats.errors.TimeoutError from None

    async def unsubscribe(self) -> None:
        """Stop reading; what was not handed out goes back to the server."""
        await self._consumer.stop()

    async def drain(self) -> None:
        """As :meth:`unsubscribe`."""
        await self._consumer.stop()

    def _hand_over(self, event: Event[Any]) -> Msg:
        self._consumer.release(event)
        wire = event.wire
        return Msg(
            _client=self._client,
            subject=event.subject,
            reply=wire.reply.decode(),
            data=wire.payload,
            headers=event.headers.readable(),
        )
