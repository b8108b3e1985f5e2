"""What keeps a connection connected: it dials, stands on one link at a time, and dials again when that ends.

::

              connect()                                  every address failed: wait, then the next round
      NEW ------------------> CONNECTING <-------------+
                                | let in               |
                                v                      |
              drain() +------> UP ----- broke ------> DOWN
                      |         ^                      |
                      |         +-- dialled: SUBs, ----+
                      v             then what waited
                    CLOSED <---- close(), or the identity has ended

One task dials and waits for the end of the link; one timer looks for signs of life. Everything that arrives is handled
inside the event loop's read callback.
"""

import asyncio
from enum import StrEnum
from typing import Any

from mts1b_platform.eventbus.connection.backoff import LASTING, Backoff
from mts1b_platform.eventbus.connection.dial import Dialler
from mts1b_platform.eventbus.connection.hooks import Hooks
from mts1b_platform.eventbus.connection.isolation import Isolation
from mts1b_platform.eventbus.connection.keepalive import PING, KeepAlive
from mts1b_platform.eventbus.connection.link import Link
from mts1b_platform.eventbus.connection.network import Chance, Clock, Network
from mts1b_platform.eventbus.connection.options import Callbacks, ConnectionOptions
from mts1b_platform.eventbus.connection.outbound import Outbound
from mts1b_platform.eventbus.connection.refusal import is_refusal
from mts1b_platform.eventbus.connection.reporter import Reporter
from mts1b_platform.eventbus.connection.stats import Stats
from mts1b_platform.eventbus.connection.subscription import Subscriptions
from mts1b_platform.eventbus.connection.timing import Limit, done_within, pause
from mts1b_platform.eventbus.errors import (
    BusClosed,
    BusError,
    IdentityRefused,
    ServerError,
    ServerIsolated,
    ServerLeaving,
    ServerUnavailable,
    StaleConnection,
)
from mts1b_platform.eventbus.protocol.parser import Parser

_PONG = b"PONG\r\n"
_ENDING = 1.0
"""Most seconds that closing waits for a task or a socket that was told to end at once."""
_TOO_MANY = "maximum subscriptions exceeded"
"""How the server says that it did not take a subscription, and keeps the connection."""


class State(StrEnum):
    """Where a connection stands; see the module."""

    NEW = "new"
    CONNECTING = "connecting"
    UP = "up"
    DOWN = "down"
    CLOSED = "closed"


class Supervisor:
    """The life of one connection. It is what its links belong to."""

    def __init__(
        self,
        options: ConnectionOptions,
        callbacks: Callbacks,
        report: Reporter,
        *,
        network: Network,
        clock: Clock,
        chance: Chance,
        parser: Parser,
        outbound: Outbound,
        subscriptions: Subscriptions,
        stats: Stats,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._options = options
        self._callbacks = callbacks
        self._clock = clock
        self._chance = chance
        self._parser = parser
        self._outbound = outbound
        self._subscriptions = subscriptions
        self._stats = stats
        self._buffer = memoryview(bytearray(options.read_buffer))
        self._keep_alive = KeepAlive(options, clock, outbound)
        self._isolation = Isolation()
        self._connected_at = 0.0
        self._leaving = False
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] = self._loop.create_future()
        self.report = report
        self.dialler = Dialler(options, network, clock, self._new_link, self._failed_dial)
        self.state = State.NEW
        self.link: Link | None = None
        """The link that it stands on."""
        self.server_info: dict[str, Any] = {}
        self.last_error: Exception | None = None
        self.break_hooks = Hooks(report)
        self.ready_hooks = Hooks(report)
        self.close_hooks = Hooks(report)

    # What callers ask for; documented in Connection.

    async def connect(self, deadline: float | None) -> None:
        """Dial until the connection stands."""
        if self.state is not State.NEW:
            raise BusError("this connection was connected before: make another one")
        self.state = State.CONNECTING
        self._task = self._loop.create_task(self._live())
        try:
            with Limit(self._clock, deadline):
                await asyncio.shield(self._first)
        except BusError:
            await self.close()
            raise
        except TimeoutError:
            error = self.last_error
            await self.close()
            raise ServerUnavailable(
                f"no NATS server at {self.dialler.pool} within {deadline:g} s: {error or 'none answered'}"
            ) from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close for good; whoever calls it meanwhile waits for the same end."""
        if self._closing is None:
            self._closing = self._loop.create_task(self._close())
        await asyncio.shield(self._closing)

    def unanswered(self, what: str) -> None:
        """Nobody answers who should: where that lasts, go to a server that may know them."""
        link = self.link
        if link is None or not self._isolation.lasts(self._clock.now()) or len(self.dialler.pool) < 2:
            return
        why = f"{self.dialler.server} has known nobody who answers {what} for {self._isolation.patience:g} s"
        self._isolation.left()
        self._leave(link, ServerIsolated(f"{why}: it may be cut off from its cluster; another one is dialled"))

    # What links call.

    def is_current(self, link: Link) -> bool:
        """Whether this is the link that it stands on."""
        return link is self.link

    def deliver(self, link: Link) -> None:
        """Hand out the messages of one read."""
        if link is not self.link:
            self._subscriptions.discard()
            return
        stats, parser = self._stats, self._parser
        stats.in_bytes += parser.routed_bytes
        parser.routed_bytes = 0
        stats.in_msgs += self._subscriptions.deliver()

    def answer_ping(self) -> None:
        """Say PONG."""
        self._outbound.control(_PONG)

    def heard_info(self, link: Link, info: dict[str, Any]) -> None:
        """Take what the server tells of itself."""
        self.server_info.update(info)
        most = info.get("max_payload")
        if isinstance(most, int) and most > 0:
            self._outbound.limit_payload(most)
        server, pool = self.dialler.server, self.dialler.pool
        if self._options.discover and server is not None and "connect_urls" in info:
            pool.discovered(server, info["connect_urls"])
        if info.get("ldm") and len(pool) > 1:  # without another server it stays until this one closes
            self._leave(link, ServerLeaving(f"{server} is shutting down (lame duck); another one is dialled"))

    def server_said(self, link: Link, words: str) -> None:
        """Tell of an error line."""
        self._stats.errors += 1
        self.report.calling(lambda: self._callbacks.server_said(words))
        if link is self.link:
            if words.lower().startswith(_TOO_MANY):
                self._subscriptions.refusal(words)
            self.report(ServerError(words))

    def paused(self, link: Link, *, paused: bool) -> None:
        """The transport wants a pause, or takes bytes again."""
        if link is self.link and not self._leaving:
            self._outbound.pause(paused=paused)

    def ended(self, link: Link, reason: BusError) -> None:
        """The link has ended: what is sent from now on waits for the next one."""
        if link is not self.link:
            return
        self.link = None
        self._leaving = False
        self._keep_alive.stop()
        self._outbound.broke()
        if self.state is State.CLOSED:
            return
        self.state = State.DOWN
        if isinstance(reason, StaleConnection):
            self.dialler.pool.failed(self.dialler.address)  # another address of this host goes first
        self.last_error = reason
        self.report(reason)
        self.report.calling(self._callbacks.disconnected)
        self.break_hooks.call()

    # How.

    async def _live(self) -> None:
        try:
            await self._keep_connected()
        except Exception as error:  # noqa: BLE001 - an error of ours must not leave a connection that nobody makes again
            self.report(error)
            self._finish(error)

    async def _keep_connected(self) -> None:
        backoff = Backoff(self._options, self._chance)
        while True:
            if wait := backoff.seconds():
                await pause(self._clock, wait)
            try:
                self._callbacks.before_dial(backoff.refused)
            except BusError as ending:
                self._finish(ending)
                return
            except Exception as error:  # noqa: BLE001 - it is the callback's, not the connection's
                self.report(error)
            try:
                link = await self.dialler.dial()
            except BusError as error:
                backoff.failed(refused=isinstance(error, IdentityRefused))
                if backoff.refused:
                    self.last_error = error
                    self._fail_first(error)
                continue
            self._stand(link)
            await asyncio.wait([link.ended])  # not the future itself, which a cancellation would cancel
            error = link.ended.result()
            lasted = self._clock.now() - self._connected_at
            backoff.broke(lasting=lasted >= LASTING or isinstance(error, ServerLeaving), refused=is_refusal(error))

    def _fail_first(self, error: Exception) -> None:
        """Tell whoever waits for the first connection, if it is still to come."""
        if not self._first.done():
            self._first.set_exception(error)
            self._first.exception()  # seen: nobody may be waiting any more

    def _new_link(self) -> Link:
        self._parser.reset()
        self._subscriptions.discard()
        return Link(self, self._parser, self._buffer)

    def _failed_dial(self, error: Exception) -> None:
        self.last_error = error
        self.report(error)

    def _stand(self, link: Link) -> None:
        """A server has let us in."""
        if self.state is State.CLOSED:  # closed while a library below us ignored that we do not want to dial any more
            link.end(BusClosed("the connection was closed"))
            return
        self._connected_at = self._clock.now()
        if link.over:  # as soon as it had let us in
            self._failed_dial(link.ended.result())
            return
        again = self.state is State.DOWN
        self.state = State.UP
        self.link = link
        self.server_info = {}
        most = link.server_info.get("max_payload")
        if not isinstance(most, int) or most <= 0:
            most = self._outbound.max_payload
        self._outbound.open(link.plain(), most, self._subscriptions.lines())
        self._keep_alive.watch(link)
        self._isolation.begin()
        self.heard_info(link, link.server_info)
        if not self._first.done():
            self._first.set_result(None)
        if again:
            self._stats.reconnects += 1
            self.report.calling(self._callbacks.reconnected)
            self.ready_hooks.call()

    def _leave(self, link: Link, reason: ServerUnavailable) -> None:
        """Go to another server, when this one has taken all that was sent; what is sent meanwhile goes there."""
        if link is not self.link or self._leaving:
            return
        self._leaving = True
        link.expect_pong().add_done_callback(lambda _: link.end(reason))
        self._outbound.write_last(PING)

    async def _close(self) -> None:
        task, link = self._task, self.link
        self.state = State.CLOSED
        if task is not None:
            while not task.done():  # a library below us may lose a cancellation
                task.cancel()
                await done_within(self._clock, task, _ENDING)
        if link is not None and link is self.link:
            self._outbound.pause(paused=False)  # write all that waits, whatever the transport holds already
        self._finish(BusClosed("the connection was closed: connect() again"))
        if link is not None:
            await self._say_goodbye(link)

    async def _say_goodbye(self, link: Link) -> None:
        """Let the server take what was written, then close the socket."""
        link.plain().close()
        if not await done_within(self._clock, link.ended, self._options.last_write):
            self.report(ServerUnavailable("closed before everything was written: the server takes nothing"))
        link.end(BusClosed("the connection was closed"))
        await done_within(self._clock, link.closed, _ENDING)

    def _finish(self, reason: Exception) -> None:
        """Nothing comes after this; safe to repeat."""
        if self._outbound.closed is not None:
            return
        self.state = State.CLOSED
        self.link = None
        self._keep_alive.stop()
        if isinstance(reason, BusClosed):
            closed = reason
        else:
            closed, self.last_error = BusClosed(f"the connection was closed: {reason}"), reason
        if unsent := self._outbound.close(closed):
            self.report(BusError(f"the connection was closed with {unsent} messages unsent: there was no server"))
        self._fail_first(reason)
        for subscription in self._subscriptions:
            self._subscriptions.forget(subscription)
        self.close_hooks.call_last()
