"""The connection that knows who it is, what the server refuses it, and counts. It knows no event."""

import asyncio
from typing import Any, Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from mts1b_platform.config import Settings
from mts1b_platform.eventbus.connection.denials import Action, Denials
from mts1b_platform.eventbus.connection.identity import Identity
from mts1b_platform.eventbus.connection.service_requests import ASKS, ask
from mts1b_platform.eventbus.counters import UNSENT, Counters
from mts1b_platform.eventbus.errors import AccessDenied, BusClosed, BusError
from mts1b_platform.eventbus.events.raw_envelope import complete_envelope
from mts1b_platform.eventbus.hooks import Hooks
from mts1b_platform.eventbus.lane import Lane
from mts1b_platform.eventbus.plain import open_lane
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus")

ANONYMOUS: Final = "mts1b-anonymous"
"""The service name of a process that has not named its repo: it may consume, and dead-letters under this name."""


class BusClient(Client):
    """One connection to the bus, shared by everything that publishes and consumes on it."""

    lane: Lane
    """The hot path; the seam, or nats-py's public calls where the seam does not fit. Set by :meth:`open_lane`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.identity = Identity(settings)
        self.denials = Denials(lambda: self.identity.name, lambda: self.identity.remedy)
        """What the server refused this process."""
        self.ending: BusError | None = None
        """Why the other side ended the connection for good, if it did."""
        self.counters = Counters()
        self.hooks: Hooks | None = None
        """What watches this bus; set before it is used (see ``mts1b_platform.observability``)."""
        self._up = asyncio.Event()

    @property
    def service(self) -> str:
        """The repo this process speaks as."""
        return self.settings.service or ANONYMOUS

    @property
    def actor(self) -> str:
        """Who acts when a payload does not say."""
        return self.settings.actor or self.service

    @property
    def has_jetstream(self) -> bool:
        """Whether the connected server says that it has JetStream."""
        return bool(self._server_info.get("jetstream"))

    async def open_lane(self) -> None:
        """Take the fast lane through the connection, or say why not; called once by ``connect``."""
        self.lane = await open_lane(self)
        self.lane.on_break(self._count_lane_drops)
        if not self.lane.fast:
            self.counters.plain_path = 1
            log.warning("the fast path does not fit this nats-py; events take the slow one", reason=self.lane.reason)

    # nats-py's surface, with the envelope kept canonical.

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """As nats-py's; reserved headers go out in the case that the server and consumers look for.

        Raises:
            AccessDenied: the server refused this subject within the last second. It does so after the call for the
                first time; :meth:`flush` waits for its word.
        """
        if self.denials.recent:
            self.denials.check("publish", subject)
        await super().publish(subject, payload, reply, complete_envelope(subject, headers) if headers else None)

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,
        old_style: bool = False,  # noqa: FBT001, FBT002 - the signature is nats-py's
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """As nats-py's.

        Raises:
            AccessDenied: this identity may not publish on ``subject``; said at once, not when the time is over.
        """
        with self.denials.watch(subject):
            if subject.startswith(ASKS) and self._server_info.get("auth_required"):
                return await ask(self, self.service, subject, payload, timeout, headers)
            return await super().request(subject, payload, timeout, old_style, headers)

    async def subscribe(self, subject: str, *arguments: Any, **options: Any) -> Subscription:
        """As nats-py's; on a server with identities it waits for the server's word.

        Raises:
            AccessDenied: this identity may not subscribe to ``subject``.
        """
        made: Subscription = await super().subscribe(subject, *arguments, **options)  # pyright: ignore[reportUnknownMemberType]
        if self.is_connected and self._server_info.get("auth_required"):
            try:
                await self.confirm("subscribe", subject)
            except AccessDenied:
                await made.unsubscribe()
                raise
        return made

    async def flush(self, timeout: int = 10) -> None:
        """As nats-py's: the server has taken note of everything sent before.

        Raises:
            AccessDenied: it refused some of it, and nobody was told yet.
        """
        await super().flush(timeout)
        self.denials.tell()

    def server_said(self, words: str) -> None:
        """The server's error line as it was spelled; nats-py hands it on in lower case."""
        self.denials.spelling = words

    async def confirm(self, action: Action, subject: str) -> None:
        """Wait until the server has taken note of everything sent so far.

        Raises:
            AccessDenied: it refused this.
        """
        await super().flush()
        self.denials.check(action, subject)

    async def wait_connected(self, timeout: float) -> bool:
        """Wait until the connection stands, at most ``timeout`` seconds; says whether it does.

        Raises:
            BusClosed: the bus was closed.
        """
        if self.is_connected:
            return True
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
        """As nats-py's. A reconnect that is closing the same transport does not cancel the caller."""
        try:
            await super().close()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            log.debug("closing was cut short by a reconnect that was closing as well")
            self.went_down()
            self.was_closed()

    def came_up(self) -> None:
        """The connection stands."""
        self._up.set()

    def went_down(self) -> None:
        """The connection is lost."""
        self._up.clear()

    def was_closed(self) -> None:
        """The connection is closed for good: nobody shall wait for it."""
        if self.hooks is not None:
            self.hooks.closed()
        self._up.set()  # who waits for the connection looks, and finds it closed

    def _count_lane_drops(self) -> None:
        """Best-effort events that were handed over and never left: the connection broke under them."""
        counted = sum(self.counters.publish_dropped.values())
        if (unsent := self.lane.dropped - counted) > 0:
            self.counters.publish_dropped[UNSENT] += unsent
            log.warning("best-effort events were lost with the connection", count=unsent)
