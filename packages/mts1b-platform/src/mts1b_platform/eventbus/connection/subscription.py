"""Subscriptions, and the registry that says them again to each server."""

import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final

from mts1b_platform.eventbus.errors import SubscriptionRefused
from mts1b_platform.eventbus.protocol.frames import SubjectRefused
from mts1b_platform.eventbus.protocol.message import RawMsg
from mts1b_platform.eventbus.protocol.parser import Parser

_UNCONFIRMED: Final = 1024
"""Subscriptions that are remembered until a flush confirms them."""

Callback = Callable[[list[RawMsg]], object]
"""Takes the messages of one read; called from the reader itself, so it must be quick and must not block."""

_REFUSED: Final = re.compile(r"[\x00-\x20\x7f]")


class Subscription:
    """Interest in a subject; made by ``Connection.subscribe``.

    It survives reconnects. It ends with :meth:`unsubscribe`, :meth:`drain`, its last message or the connection, and
    then calls :attr:`on_end` once.
    """

    __slots__ = (
        "_before",
        "_callback",
        "_limit",
        "_registry",
        "key",
        "on_end",
        "queue",
        "received",
        "refused",
        "subject",
    )

    def __init__(
        self, registry: "Subscriptions", key: bytes, subject: str, queue: str, callback: Callback, max_msgs: int
    ) -> None:
        self._registry = registry
        self._callback = callback
        self._limit = max_msgs
        self._before = 0  # messages that came from servers before the present one
        self.key = key
        """The subscription id, as the protocol spells it."""
        self.subject = subject
        self.queue = queue
        """The queue group, whose members share the messages; empty for none."""
        self.received = 0
        """Messages so far."""
        self.refused = ""
        """The server's words, when it did not take this subscription; known after a ``flush``."""
        self.on_end: Callable[[], object] | None = None
        """Called when nothing will come any more."""

    def __repr__(self) -> str:
        return f"<Subscription {self.key.decode()} {self.subject}{f' ({self.queue})' if self.queue else ''}>"

    @property
    def is_active(self) -> bool:
        """Whether messages may still come."""
        return self._registry.holds(self)

    def unsubscribe(self, limit: int = 0) -> None:
        """Give up interest, now or after ``limit`` messages in all; does nothing when it has ended.

        Raises:
            WrongEventLoop: this is not the event loop of the connection.
        """
        if limit > self.received:
            self._limit = limit
            self._registry.limit(self, limit)
        else:
            self._registry.end(self)

    async def drain(self) -> None:
        """Give up interest, then wait until what the server had sent before was given to the callback.

        Raises:
            ServerUnavailable: the connection broke meanwhile; the subscription has ended all the same.
            RequestTimeout: the server did not answer.
        """
        await self._registry.drain(self)

    def take(self, batch: list[RawMsg]) -> None:
        """Give the messages of one read to the callback; called by the registry."""
        self.received += len(batch)
        limit = self._limit
        if not limit or self.received < limit:
            self._callback(batch)
            return
        surplus = self.received - limit
        self.received = limit
        try:
            self._callback(batch[: len(batch) - surplus])
        finally:
            self._registry.end(self)  # the server may have counted fewer: word of no responders is no message to it

    def lines(self) -> bytes:
        """What makes the server send its messages, on a connection where none came so far."""
        key = self.key
        queue = f"{self.queue} " if self.queue else ""
        line = b"SUB %b %b%b\r\n" % (self.subject.encode(), queue.encode(), key)
        self._before = self.received
        return line + self.limit_line(self._limit) if self._limit else line

    def end_line(self) -> bytes:
        """What makes the server end it now."""
        return b"UNSUB %b\r\n" % self.key

    def limit_line(self, limit: int) -> bytes:
        """What makes the server end it after ``limit`` messages in all; it counts from the SUB that it knows."""
        return b"UNSUB %b %d\r\n" % (self.key, limit - self._before)


class Subscriptions:
    """All subscriptions of a connection.

    Args:
        parser: what collects their messages.
        control: queues a line for the present server; without one it is not needed.
        flush: waits until the server has answered a PING.
        report: is told of errors of callbacks.
    """

    def __init__(
        self,
        parser: Parser,
        control: Callable[[bytes], None],
        flush: Callable[[], Awaitable[None]],
        report: Callable[[Exception], None],
    ) -> None:
        self._parser = parser
        self._control = control
        self._flush = flush
        self._report = report
        self._last = 0
        self._active: dict[bytes, Subscription] = {}
        self._unconfirmed: deque[Subscription] = deque(maxlen=_UNCONFIRMED)
        self._added = 0
        self._refusals: list[str] = []

    def __iter__(self) -> Iterator[Subscription]:
        return iter(list(self._active.values()))

    def holds(self, subscription: Subscription) -> bool:
        """Whether it has not ended."""
        return self._active.get(subscription.key) is subscription

    def add(self, subject: str, callback: Callback, *, queue: str = "", max_msgs: int = 0) -> Subscription:
        """Subscribe; see ``Connection.subscribe``.

        Raises:
            SubjectRefused: the subject or the queue group is malformed.
        """
        check_pattern(subject)
        if queue and _REFUSED.search(queue):
            raise SubjectRefused(f"cannot subscribe as {queue!r}: a queue group has no blanks or control characters")
        self._last += 1
        key = b"%d" % self._last
        made = Subscription(self, key, subject, queue, callback, max_msgs)
        self._control(made.lines())
        self._unconfirmed.append(made)
        self._added += 1
        self._active[key] = made
        self._parser.route(key)
        return made

    def refusal(self, words: str) -> None:
        """The server did not take one of the subscriptions that it has not confirmed yet."""
        self._refusals.append(words)

    def mark(self) -> int:
        """Keep this when a PING is sent: the PONG confirms all that was added before."""
        return self._added

    def confirm(self, mark: int) -> None:
        """A PONG has come: of what was added before its PING, the last ones were refused, as often as it was said."""
        before = len(self._unconfirmed) - (self._added - mark)
        asked = [self._unconfirmed.popleft() for _ in range(max(0, before))]
        refusals, self._refusals = self._refusals, []
        for subscription, words in zip(asked[::-1], refusals, strict=False):
            subscription.refused = words
            self.forget(subscription)

    def limit(self, subscription: Subscription, limit: int) -> None:
        """Have the server end it after ``limit`` messages in all."""
        if self.holds(subscription):
            self._control(subscription.limit_line(limit))

    def end(self, subscription: Subscription) -> None:
        """Have it end now."""
        if self.holds(subscription):
            self._control(subscription.end_line())
            self.forget(subscription)

    async def drain(self, subscription: Subscription) -> None:
        """Have it end when the server has confirmed that nothing more comes."""
        if self.holds(subscription):
            self._control(subscription.end_line())
            try:
                await self._flush()
            finally:
                self.forget(subscription)

    def forget(self, subscription: Subscription) -> None:
        """It has ended."""
        if self.holds(subscription):
            del self._active[subscription.key]
            self._parser.unroute(subscription.key)
            if subscription.on_end is not None:
                try:
                    subscription.on_end()
                except Exception as error:  # noqa: BLE001 - it costs nobody else anything
                    self._report(error)

    def lines(self) -> bytes:
        """What to say to a new server."""
        self._unconfirmed.clear()
        self._refusals.clear()
        return b"".join([subscription.lines() for subscription in self._active.values()])

    def deliver(self) -> int:
        """Give what the parser has collected to the callbacks; returns how many messages those were."""
        parser, active = self._parser, self._active
        touched, parser.touched = parser.touched, []
        count = 0
        for key in touched:
            batch = parser.collected(key)
            subscription = active.get(key)
            if subscription is None or not batch:
                continue  # a callback before has ended it
            count += len(batch)
            try:
                subscription.take(batch)
            except Exception as error:  # noqa: BLE001 - it costs this batch only, not the connection
                self._report(error)
        return count

    def discard(self) -> None:
        """Throw away what was collected from a link that counts no more."""
        parser = self._parser
        for key in parser.touched:
            parser.collected(key)
        parser.touched = []
        parser.routed_bytes = 0


def refuse_when_refused(subscriptions: Iterable[Subscription], what: str) -> None:
    """Raise when the server did not take one of them; ask after a flush.

    Raises:
        SubscriptionRefused: it did not.
    """
    for subscription in subscriptions:
        if subscription.refused:
            raise SubscriptionRefused(
                f"{what}: the server did not take the subscription to {subscription.subject}: {subscription.refused}. "
                "Raise max_subscriptions on the server, or use a further connection"
            )


def check_pattern(subject: str) -> None:
    """Look whether a subject, which may have wildcards, can be subscribed to.

    Raises:
        SubjectRefused: it is empty, has an empty token or blanks or control characters, or ends not with its ``>``.
    """
    tokens = subject.split(".")
    if _REFUSED.search(subject) or "" in tokens or ">" in tokens[:-1]:
        raise SubjectRefused(
            f"cannot subscribe to {subject!r}: a subject has no empty token, blanks or control characters, and '>' last"
        )
    try:
        subject.encode()
    except UnicodeEncodeError as error:
        raise SubjectRefused(f"cannot subscribe to {subject!r}: it is not valid Unicode") from error
