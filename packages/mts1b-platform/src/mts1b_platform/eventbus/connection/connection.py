"""A NATS connection that is kept: dialled, watched, made again, and closed for good.

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

One task, the supervisor, dials and waits for the end of the link; one timer looks for signs of life. Everything that
arrives is handled inside the event loop's read callback.
"""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from mts1b_platform.eventbus.connection.backoff import LASTING, Backoff
from mts1b_platform.eventbus.connection.dial import Dialler
from mts1b_platform.eventbus.connection.hooks import Hooks
from mts1b_platform.eventbus.connection.link import Link
from mts1b_platform.eventbus.connection.network import (
    AsyncioNetwork,
    Chance,
    Clock,
    LoopClock,
    Network,
    SystemChance,
    Timer,
)
from mts1b_platform.eventbus.connection.options import Callbacks, ConnectionOptions
from mts1b_platform.eventbus.connection.outbound import Outbound
from mts1b_platform.eventbus.connection.refusal import is_refusal
from mts1b_platform.eventbus.connection.requests import Requests
from mts1b_platform.eventbus.connection.servers import Server
from mts1b_platform.eventbus.connection.stats import Stats
from mts1b_platform.eventbus.connection.subscription import Callback, Subscription, Subscriptions
from mts1b_platform.eventbus.connection.timing import Limit, done_within, pause
from mts1b_platform.eventbus.errors import (
    BusClosed,
    BusDraining,
    BusError,
    IdentityRefused,
    RequestTimeout,
    ServerError,
    ServerLeaving,
    ServerUnavailable,
    StaleConnection,
)
from mts1b_platform.eventbus.wire import Parser, WireMsg

_PING = b"PING\r\n"
_PONG = b"PONG\r\n"
_ENDING = 1.0
"""Most seconds that closing waits for a task or a socket that was told to end at once."""


class State(StrEnum):
    """Where a connection stands; see the module."""

    NEW = "new"
    CONNECTING = "connecting"
    UP = "up"
    DOWN = "down"
    CLOSED = "closed"


class Connection:
    """A connection to one of several servers. All calls belong to the event loop that it was made in.

    Frames are ready bytes (``wire.FrameTemplate``, ``pub_frame`` …). :attr:`send`, :attr:`send_many`,
    :attr:`send_volatile`, :attr:`ack`, :attr:`flush_out` and :attr:`writable` are documented where they are written,
    in :class:`~mts1b_platform.eventbus.connection.outbound.Outbound`.

    Guarantees: everything goes out in the order of the calls. A subscription's callback gets all messages of one read
    at once. An error of a callback costs its own batch. Nothing waits without a limit, unless the caller asked for
    none. A closed connection stays closed.

    Args:
        options: whom to dial and how.
        callbacks: whom to tell what.
        network: what opens sockets; this machine's when left out.
        clock: what time it is; the event loop's when left out.
        chance: where inboxes and jitter come from; the operating system when left out.

    Raises:
        ValueError: a server's URL is malformed.
    """

    __slots__ = (
        "_break_hooks",
        "_buffer",
        "_callbacks",
        "_chance",
        "_clock",
        "_close_hooks",
        "_closing",
        "_connected_at",
        "_dialler",
        "_draining",
        "_first",
        "_leaving",
        "_link",
        "_loop",
        "_options",
        "_outbound",
        "_parser",
        "_ready_hooks",
        "_requests",
        "_server_info",
        "_state",
        "_subscriptions",
        "_supervisor",
        "_timer",
        "ack",
        "flush_out",
        "last_error",
        "new_inbox",
        "send",
        "send_many",
        "send_volatile",
        "stats",
        "writable",
    )

    def __init__(
        self,
        options: ConnectionOptions,
        *,
        callbacks: Callbacks | None = None,
        network: Network | None = None,
        clock: Clock | None = None,
        chance: Chance | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._options = options
        self._callbacks = callbacks or Callbacks()
        self._clock = clock or LoopClock(self._loop)
        self._chance = chance or SystemChance()
        self._state = State.NEW
        self._draining = False
        self._leaving = False
        self._link: Link | None = None
        self._server_info: dict[str, Any] = {}
        self._connected_at = 0.0
        self._supervisor: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._first: asyncio.Future[None] = self._loop.create_future()
        self._closing: asyncio.Task[None] | None = None
        self.last_error: Exception | None = None
        """What went wrong last: a dial, a broken connection, or why the connection was closed for good."""
        self.stats = Stats()
        """Messages, bytes, reconnects and error lines so far."""
        self._parser = Parser()
        self._buffer = memoryview(bytearray(options.read_buffer))
        self._dialler = Dialler(options, network or AsyncioNetwork(), self._clock, self._new_link, self._failed_dial)
        self._outbound = Outbound(
            limit=options.buffer_size, high_water=options.high_water, stats=self.stats, report=self.report
        )
        self._subscriptions = Subscriptions(self._parser, self._outbound.control, self.flush, self.report)
        self._requests = Requests(
            self._outbound, self._clock, self._chance, options.inbox_prefix, self._subscribe_for_answers
        )
        self._break_hooks = Hooks(self.report)
        self._ready_hooks = Hooks(self.report)
        self._close_hooks = Hooks(self.report)
        # Bound here, so that the hot path takes no second step.
        self.send = self._outbound.send
        self.send_many = self._outbound.send_many
        self.send_volatile = self._outbound.send_volatile
        self.ack = self._outbound.ack
        self.flush_out = self._outbound.flush_out
        self.writable = self._outbound.writable
        self.new_inbox = self._requests.new_inbox

    def __repr__(self) -> str:
        return f"<Connection {self._state} {self._dialler.server or self._dialler.pool}>"

    # What it is.

    @property
    def state(self) -> State:
        """Where it stands."""
        return self._state

    @property
    def is_connected(self) -> bool:
        """Whether it stands."""
        return self._state is State.UP

    @property
    def is_closed(self) -> bool:
        """Whether it is closed for good."""
        return self._state is State.CLOSED

    @property
    def is_draining(self) -> bool:
        """Whether :meth:`drain` was called."""
        return self._draining

    @property
    def server_info(self) -> dict[str, Any]:
        """What the present server told of itself, or the last one did."""
        return self._server_info

    @property
    def max_payload(self) -> int:
        """Most bytes, of headers and payload together, that the server takes in one message."""
        return self._outbound.max_payload

    @property
    def connected_url(self) -> Server | None:
        """The server that it stands on; ``str()`` of it is the URL without credentials. None while it does not."""
        return self._dialler.server if self._state is State.UP else None

    @property
    def dropped(self) -> int:
        """Volatile frames that were not sent because there was no connection or no room."""
        return self._outbound.dropped

    @property
    def waiting(self) -> int:
        """Bytes that wait for the server."""
        return self._outbound.waiting

    @property
    def above_high_water(self) -> bool:
        """Whether a well-behaved sender should now ``await writable()``."""
        outbound = self._outbound  # asked before every event: without a second property
        return outbound.waiting > outbound.high_water

    # Its life.

    async def connect(self, deadline: float | None = None) -> None:
        """Dial until the connection stands.

        Args:
            deadline: seconds to try for; None: for ever.

        Raises:
            IdentityRefused: every server refuses this identity; said at once, as asking again is of no use.
            ServerUnavailable: no server answered by then; says what the last one did.
            BusError: whatever ``before_dial`` raised to end it.
            BusClosed: it was closed meanwhile, or connected before.
        """
        self._outbound.check_open()
        if self._state is not State.NEW:
            raise BusError("this connection was connected before: make another one")
        self._state = State.CONNECTING
        self._supervisor = self._loop.create_task(self._supervise())
        try:
            with Limit(self._clock, deadline):
                await asyncio.shield(self._first)
        except TimeoutError as timeout:
            error = self.last_error
            await self.close()
            if isinstance(timeout, BusError):
                raise
            raise ServerUnavailable(
                f"no NATS server at {self._dialler.pool} within {deadline:g} s: {error or 'none answered'}"
            ) from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close for good: what waits is written, within two seconds. Safe to repeat, and while it dials.

        When it returns, the socket is closed, nothing is delivered any more, and no task is left.

        Raises:
            WrongEventLoop: this is not the event loop of the connection.
        """
        self._outbound.check_loop()
        if self._closing is None:
            self._closing = self._loop.create_task(self._close())
        await asyncio.shield(self._closing)

    async def drain(self, budget: float = 5.0) -> None:
        """Close, but first have every subscription end and what the server sent before be delivered.

        It waits for a connection that is down. Answers to questions arrive until the end.

        Args:
            budget: most seconds; what is not done by then is reported, and the connection is closed.

        Raises:
            WrongEventLoop: this is not the event loop of the connection.
        """
        self._outbound.check_loop()
        if self._state in {State.UP, State.DOWN} and not self._draining:
            self._draining = True
            try:
                with Limit(self._clock, budget):
                    await self._drain()
            except (TimeoutError, BusError) as error:
                why = f"not done within {budget:g} s" if type(error) is TimeoutError else str(error)
                self.report(BusError(f"drain was cut short, messages may not have been delivered: {why}"))
        await self.close()

    async def flush(self, timeout: float | None = 10.0) -> None:
        """Wait until the server has taken note of everything sent so far on this connection.

        Args:
            timeout: seconds to wait; None: until the connection breaks.

        Raises:
            ServerUnavailable: there is no connection, or it broke meanwhile: what was sent may be lost.
            RequestTimeout: the server did not answer in time.
            BusClosed: the connection is closed.
        """
        self._outbound.check_open()
        link = self._link
        if link is None:
            raise ServerUnavailable(f"there is no connection to {self._dialler.pool} at the moment; it is dialled")
        pong = link.expect_pong()
        self._outbound.control(_PING)
        try:
            with Limit(self._clock, timeout):
                await pong
        except BusError as reason:
            self._outbound.check_open()
            raise ServerUnavailable(f"the connection broke before the server had confirmed: {reason}") from reason
        except TimeoutError:
            raise RequestTimeout(f"the server did not answer a PING within {timeout:g} s") from None

    # Receiving.

    def subscribe(self, subject: str, callback: Callback, *, queue: str = "", max_msgs: int = 0) -> Subscription:
        """Have the messages of ``subject`` given to ``callback``, those of one read as one list.

        The callback is called from the reader: it must be quick and must not block. Await :meth:`flush` to know that
        the server has taken note.

        Args:
            subject: may have wildcards.
            callback: takes a list of messages, as tuples of subject, reply subject, header block and payload.
            queue: a group whose members share the messages.
            max_msgs: end after so many messages; 0: never.

        Raises:
            SubjectRefused: the subject or the queue group is malformed.
            BusDraining, BusClosed: the connection is draining, or closed.
            WrongEventLoop: this is not the event loop of the connection.
        """
        self._outbound.check_open()
        if self._draining:
            raise BusDraining("the connection is draining and takes no new subscriptions: connect() again")
        return self._subscriptions.add(subject, queue, callback, max_msgs)

    async def request(self, subject: str, payload: bytes = b"", *, timeout: float, headers: bytes = b"") -> WireMsg:
        """Ask, and wait for the first answer.

        Args:
            subject: where somebody answers.
            payload: the question.
            timeout: seconds to wait.
            headers: a ready header block, from ``NATS/1.0`` to its empty line.

        Raises:
            NoResponders: nobody answers on the subject.
            RequestTimeout: no answer in time.
            ServerUnavailable: the connection broke after the question had gone out.
            SubjectRefused: the subject cannot be published to.
            BusClosed, OutboundBufferFull, PayloadTooLarge: as for :attr:`send`.
        """
        self._outbound.check_open()
        return await self._requests.ask(subject, payload, timeout, headers)

    # Hooks.

    def on_break(self, function: Callable[[], object]) -> Callable[[], None]:
        """Call ``function`` whenever the connection breaks; returns what takes it off."""
        return self._break_hooks.add(function)

    def on_ready(self, function: Callable[[], object]) -> Callable[[], None]:
        """Call ``function`` whenever the connection stands again, with its subscriptions; returns what takes it off."""
        return self._ready_hooks.add(function)

    def on_close(self, function: Callable[[], object]) -> Callable[[], None]:
        """Call ``function`` when the connection is closed for good; returns what takes it off."""
        return self._close_hooks.add(function)

    # What links call.

    def is_current(self, link: Link) -> bool:
        """Whether this is the link that it stands on."""
        return link is self._link

    def deliver(self, link: Link) -> None:
        """Hand out the messages of one read."""
        if link is not self._link:
            self._subscriptions.discard()
            return
        stats, parser = self.stats, self._parser
        stats.in_bytes += parser.routed_bytes
        parser.routed_bytes = 0
        stats.in_msgs += self._subscriptions.deliver()

    def answer_ping(self) -> None:
        """Say PONG."""
        self._outbound.control(_PONG)

    def heard_info(self, link: Link, info: dict[str, Any]) -> None:
        """Take what the server tells of itself."""
        self._server_info.update(info)
        most = info.get("max_payload")
        if isinstance(most, int) and most > 0:
            self._outbound.limit_payload(most)
        server, pool = self._dialler.server, self._dialler.pool
        if self._options.discover and server is not None and "connect_urls" in info:
            pool.discovered(server, info["connect_urls"])
        if info.get("ldm") and len(pool) > 1:  # without another server it stays until this one closes
            self._leave(link)

    def server_said(self, link: Link, words: str) -> None:
        """Tell of an error line."""
        self.stats.errors += 1
        try:
            self._callbacks.server_said(words)
        except Exception as error:  # noqa: BLE001 - it is the callback's, not the connection's
            self.report(error)
        if link is self._link:
            self.report(ServerError(words))

    def paused(self, link: Link, *, paused: bool) -> None:
        """The transport wants a pause, or takes bytes again."""
        if link is self._link and not self._leaving:
            self._outbound.pause(paused=paused)

    def ended(self, link: Link, reason: BusError) -> None:
        """The link has ended: what is sent from now on waits for the next one."""
        if link is not self._link:
            return
        self._link = None
        self._leaving = False
        self._stop_timer()
        self._outbound.broke()
        self._requests.broke()
        if self._state is State.CLOSED:
            return
        self._state = State.DOWN
        if isinstance(reason, StaleConnection):
            self._dialler.pool.failed(self._dialler.address)  # another address of this host goes first
        self.last_error = reason
        self.report(reason)
        self._tell(self._callbacks.disconnected)
        self._break_hooks.call()

    def report(self, error: Exception) -> None:
        """Tell whoever wants to know."""
        try:
            self._callbacks.error(error)
        except Exception as failure:  # noqa: BLE001 - the last resort is the loop's own
            self._loop.call_exception_handler({"message": "a callback for errors failed", "exception": failure})

    # How: the life of the supervisor.

    async def _supervise(self) -> None:
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
                link = await self._dialler.dial()
            except BusError as error:
                backoff.failed(refused=isinstance(error, IdentityRefused))
                if backoff.refused:
                    self.last_error = error
                    if not self._first.done():
                        self._first.set_exception(error)
                continue
            self._stand(link)
            await asyncio.wait([link.ended])  # not the future itself, which a cancellation would cancel
            error = link.ended.result()
            lasted = self._clock.now() - self._connected_at
            backoff.broke(lasting=lasted >= LASTING or isinstance(error, ServerLeaving), refused=is_refusal(error))

    def _new_link(self) -> Link:
        self._parser.reset()
        self._subscriptions.discard()
        return Link(self, self._parser, self._buffer)

    def _failed_dial(self, error: Exception) -> None:
        self.last_error = error
        self.report(error)

    def _stand(self, link: Link) -> None:
        """The server has let us in."""
        if self._state is State.CLOSED:  # closed while a library below us ignored that we do not want to dial any more
            link.end(BusClosed("the connection was closed"))
            return
        self._connected_at = self._clock.now()
        if link.over:  # as soon as it had let us in
            self._failed_dial(link.ended.result())
            return
        again = self._state is State.DOWN
        self._state = State.UP
        self._link = link
        self._server_info = {}
        link.heard, link.pings = True, 0
        most = link.server_info.get("max_payload")
        self._outbound.open(
            link.plain(),
            most if isinstance(most, int) and most > 0 else self._outbound.max_payload,
            self._subscriptions.lines(),
        )
        self.heard_info(link, link.server_info)
        self._look_for_life(link)
        if not self._first.done():
            self._first.set_result(None)
        if again:
            self.stats.reconnects += 1
            self._tell(self._callbacks.reconnected)
            self._ready_hooks.call()

    def _leave(self, link: Link) -> None:
        """Go to another server, when this one has taken all that was sent; what is sent meanwhile goes there."""
        if link is not self._link or self._leaving:
            return
        self._leaving = True
        reason = ServerLeaving(f"{self._dialler.server} is shutting down (lame duck); another one is dialled")
        link.expect_pong().add_done_callback(lambda _: link.end(reason))
        self._outbound.write_last(_PING)

    def _look_for_life(self, link: Link) -> None:
        """Whatever arrived since last time is a sign of life; without one the server is asked, then given up."""
        if link.over:
            return
        if link.heard:
            link.heard, link.pings = False, 0
        elif link.pings >= self._options.max_outstanding_pings:
            seconds = self._options.ping_interval * (link.pings + 1)
            link.end(StaleConnection(f"{self._dialler.server} has sent nothing for {seconds:g} s; it is dialled again"))
            return
        link.pings += 1
        link.pongs.append(None)
        self._outbound.control(_PING)
        self._timer = self._clock.call_later(self._options.ping_interval, lambda: self._look_for_life(link))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell(self, callback: Callable[[], object]) -> None:
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - it is the callback's, not the connection's
            self.report(error)

    # How: the end.

    async def _drain(self) -> None:
        while True:
            while self._state is not State.UP:
                await self._outbound.writable()
            answers = self._requests.subscription
            for subscription in self._subscriptions:
                if subscription is not answers:
                    self._outbound.control(b"UNSUB %b\r\n" % subscription.key)
            try:
                await self.flush(timeout=None)
            except ServerUnavailable:
                continue  # what was kept still has to go out
            return

    async def _close(self) -> None:
        supervisor, link = self._supervisor, self._link
        self._state = State.CLOSED
        if supervisor is not None:
            while not supervisor.done():
                supervisor.cancel()
                await done_within(self._clock, supervisor, _ENDING)
        if link is not None and link is self._link:
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
        self._state = State.CLOSED
        self._stop_timer()
        self._link = None
        closed = reason if isinstance(reason, BusClosed) else BusClosed(f"the connection was closed: {reason}")
        if not isinstance(reason, BusClosed):
            self.last_error = reason
        if unsent := self._outbound.close(closed):
            self.report(BusError(f"the connection was closed with {unsent} messages unsent: there was no server"))
        self._requests.close(closed)
        if not self._first.done():
            self._first.set_exception(reason)
            self._first.exception()  # seen: nobody may be waiting
        for subscription in self._subscriptions:
            self._subscriptions.forget(subscription)
        self._close_hooks.call_last()

    def _subscribe_for_answers(self, subject: str, callback: Callback) -> Subscription:
        return self._subscriptions.add(subject, "", callback, 0)
