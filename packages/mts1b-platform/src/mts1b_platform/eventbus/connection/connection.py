"""A NATS connection that is kept: what the event bus sends with, subscribes with and asks with."""

import asyncio
from collections.abc import Callable
from typing import Any

from mts1b_platform.eventbus.connection.asyncio_network import AsyncioNetwork, LoopClock, SystemChance
from mts1b_platform.eventbus.connection.compiled_outbound import CompiledOutbound, make_outbound
from mts1b_platform.eventbus.connection.keepalive import PING
from mts1b_platform.eventbus.connection.network import Chance, Clock, Network
from mts1b_platform.eventbus.connection.options import Callbacks, ConnectionOptions
from mts1b_platform.eventbus.connection.reporter import Reporter
from mts1b_platform.eventbus.connection.requests import Requests
from mts1b_platform.eventbus.connection.servers import Server
from mts1b_platform.eventbus.connection.stats import Stats
from mts1b_platform.eventbus.connection.subscription import Callback, Subscription, Subscriptions
from mts1b_platform.eventbus.connection.supervisor import State, Supervisor
from mts1b_platform.eventbus.connection.timing import Limit
from mts1b_platform.eventbus.errors import BusDraining, BusError, RequestTimeout, ServerUnavailable
from mts1b_platform.eventbus.protocol.message import WireMsg
from mts1b_platform.eventbus.protocol.parser import Parser


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
        "_clock",
        "_draining",
        "_outbound",
        "_requests",
        "_subscriptions",
        "_supervisor",
        "ack",
        "buffer",
        "flush_out",
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
        loop = asyncio.get_running_loop()
        callbacks = callbacks or Callbacks()
        chance = chance or SystemChance()
        report, parser = Reporter(callbacks, loop), Parser()
        self._clock = clock or LoopClock(loop)
        self._draining: asyncio.Task[None] | None = None
        self.stats = Stats()
        """Messages, bytes, reconnects and error lines so far."""
        self._outbound = make_outbound(
            limit=options.buffer_size, high_water=options.high_water, stats=self.stats, report=report
        )
        self.buffer = self._outbound.buffer if isinstance(self._outbound, CompiledOutbound) else None
        """The compiled core's buffer, for those of its parts that write into it; None when pure Python is at work."""
        self._subscriptions = Subscriptions(parser, self._outbound.control, self.flush, report)
        self._requests = Requests(self._outbound, self._subscriptions, self._clock, chance, options.inbox_prefix)
        self._supervisor = Supervisor(
            options,
            callbacks,
            report,
            network=network or AsyncioNetwork(),
            clock=self._clock,
            chance=chance,
            parser=parser,
            outbound=self._outbound,
            subscriptions=self._subscriptions,
            stats=self.stats,
        )
        self._supervisor.break_hooks.add(self._requests.broke)
        self._supervisor.close_hooks.add(self._requests.close)
        # Bound here, so that the hot path takes no second step.
        self.send = self._outbound.send
        self.send_many = self._outbound.send_many
        self.send_volatile = self._outbound.send_volatile
        self.ack = self._outbound.ack
        self.flush_out = self._outbound.flush_out
        self.writable = self._outbound.writable
        self.new_inbox = self._requests.new_inbox

    def __repr__(self) -> str:
        dialler = self._supervisor.dialler
        return f"<Connection {self.state} {dialler.server or dialler.pool}>"

    # What it is.

    @property
    def state(self) -> State:
        """Where it stands."""
        return self._supervisor.state

    @property
    def is_connected(self) -> bool:
        """Whether it stands."""
        return self._supervisor.state is State.UP

    @property
    def is_closed(self) -> bool:
        """Whether it is closed for good."""
        return self._supervisor.state is State.CLOSED

    @property
    def is_draining(self) -> bool:
        """Whether :meth:`drain` was called."""
        return self._draining is not None

    @property
    def server_info(self) -> dict[str, Any]:
        """What the present server told of itself, or the last one did."""
        return self._supervisor.server_info

    @property
    def max_payload(self) -> int:
        """Most bytes, of headers and payload together, that the server takes in one message."""
        return self._outbound.max_payload

    @property
    def connected_url(self) -> Server | None:
        """The server that it stands on; ``str()`` of it is the URL without credentials. None while it does not."""
        return self._supervisor.dialler.server if self.is_connected else None

    @property
    def last_error(self) -> Exception | None:
        """What went wrong last: a dial, a broken connection, or why the connection was closed for good."""
        return self._supervisor.last_error

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
        if self.buffer is not None:
            return self.buffer.above_high_water
        outbound = self._outbound  # asked for after every event: no property of its own in between
        return outbound.waiting > outbound.high_water

    # Its life.

    async def connect(self, deadline: float | None = None) -> None:
        """Dial until the connection stands.

        Args:
            deadline: seconds to try for; None: for ever.

        Raises:
            IdentityRefused: every server refuses this identity; said at once, as asking again is of no use.
            ServerUnavailable: no server answered by then; says what the last one did.
            BusError: whatever ``before_dial`` raised to end it, or it was connected before.
            BusClosed: it is closed, or was closed meanwhile.
            WrongEventLoop: this is not the event loop of the connection.
        """
        self._outbound.check_open()
        await self._supervisor.connect(deadline)

    async def close(self) -> None:
        """Close for good: what waits is written, within two seconds. Safe to repeat, and while it dials.

        When it returns, the socket is closed, nothing is delivered any more, and no task is left.

        Raises:
            WrongEventLoop: this is not the event loop of the connection.
        """
        self._outbound.check_loop()
        await self._supervisor.close()

    async def drain(self, budget: float = 5.0) -> None:
        """Close, but first have every subscription end and what the server sent before be delivered.

        It waits for a connection that is down. Answers to questions arrive until the end. Whoever calls it meanwhile
        waits for the same end; :meth:`close` cuts it short.

        Args:
            budget: most seconds; what is not done by then is reported, and the connection is closed.

        Raises:
            WrongEventLoop: this is not the event loop of the connection.
        """
        self._outbound.check_loop()
        if self._draining is None and self.state in {State.UP, State.DOWN}:
            self._draining = asyncio.get_running_loop().create_task(self._drain_within(budget))
        if self._draining is not None:
            await asyncio.shield(self._draining)
        await self._supervisor.close()

    async def _drain_within(self, budget: float) -> None:
        """Drain, then close; a task of its own, so that both are done when the caller is called off."""
        try:
            with Limit(self._clock, budget):
                await self._drain()
        except (TimeoutError, BusError) as error:
            why = str(error) or f"not done within {budget:g} s"
            self._supervisor.report(BusError(f"drain was cut short, messages may not have been delivered: {why}"))
        await self._supervisor.close()

    async def _drain(self) -> None:
        while True:
            while not self.is_connected:
                await self._outbound.writable()
            for subscription in self._subscriptions:
                if subscription is not self._requests.subscription:
                    self._outbound.control(subscription.end_line())
            try:
                await self.flush(timeout=None)
            except ServerUnavailable:
                continue  # what was kept still has to go out
            return

    async def flush(self, timeout: float | None = 10.0) -> None:
        """Wait until the server has taken note of everything sent so far on this connection.

        Args:
            timeout: seconds to wait; None: until the connection breaks.

        Raises:
            ServerUnavailable: there is no connection, or it broke meanwhile: what was sent may be lost.
            RequestTimeout: the server did not answer in time.
            BusClosed: the connection is closed.
            WrongEventLoop: this is not the event loop of the connection.
        """
        self._outbound.check_open()
        link = self._supervisor.link
        if link is None:
            servers = self._supervisor.dialler.pool
            raise ServerUnavailable(f"there is no connection to {servers} at the moment; it is dialled")
        pong, mark = link.expect_pong(), self._subscriptions.mark()
        pong.add_done_callback(lambda _: self._subscriptions.confirm(mark))
        self._outbound.control(PING)
        try:
            with Limit(self._clock, timeout):
                await pong
        except BusError as reason:
            self._outbound.check_open()
            raise ServerUnavailable(f"the connection broke before the server had confirmed: {reason}") from reason
        except TimeoutError:
            raise RequestTimeout(f"the server did not answer a PING within {timeout:g} s") from None
        finally:
            del pong  # it keeps the error that it ended with

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
        if self.is_draining:
            raise BusDraining("the connection is draining and takes no new subscriptions: connect() again")
        return self._subscriptions.add(subject, callback, queue=queue, max_msgs=max_msgs)

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
            BusClosed, OutboundBufferFull, PayloadTooLarge, WrongEventLoop: as for :attr:`send`.
        """
        self._outbound.check_open()
        return await self._requests.ask(subject, payload, timeout, headers)

    def unanswered(self, what: str) -> None:
        """Take note that nobody answered ``what`` though somebody should, as far as the present server knows.

        Where that goes on for ten seconds, this server may be cut off from its cluster: the connection goes to another
        one, if there is any.
        """
        self._supervisor.unanswered(what)

    # Hooks.

    def on_break(self, function: Callable[[], object]) -> Callable[[], None]:
        """Call ``function`` whenever the connection breaks; returns what takes it off."""
        return self._supervisor.break_hooks.add(function)

    def on_ready(self, function: Callable[[], object]) -> Callable[[], None]:
        """Call ``function`` whenever the connection stands again, with its subscriptions; returns what takes it off."""
        return self._supervisor.ready_hooks.add(function)

    def on_close(self, function: Callable[[], object]) -> Callable[[], None]:
        """Call ``function`` when the connection is closed for good; returns what takes it off."""
        return self._supervisor.close_hooks.add(function)
