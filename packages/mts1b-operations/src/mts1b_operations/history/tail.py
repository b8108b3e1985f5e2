"""Hearing events as they pass, for people: bounded memory, exact counts, a sample when a terminal cannot follow."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from time import time_ns
from types import TracebackType
from typing import Final, Self

from mts1b_foundation.subjects import Registry
from mts1b_foundation.subjects.algebra import is_pattern, overlaps
from mts1b_foundation.subjects.algebra import matches as is_matched
from mts1b_platform.eventbus import BusError, EventBus, MessageSubscription
from mts1b_platform.eventbus.history.recorded import stamp_of

from mts1b_operations.history.matching import matches, whole_pattern
from mts1b_operations.history.query import EVERYTHING, Query
from mts1b_operations.history.seen import Decoders, Heard, Seen

_FRAME: Final = 0.1
"""Seconds between two looks at what has come."""
_MOST: Final = 20_000
"""Events that one look takes, so that what is said about them is not late."""
_HISTORY: Final = b"\r\nNats-Stream: "


class Tail:
    """Live messages of some patterns. ``async with`` it, then iterate :meth:`frames`.

    Args:
        bus: the connection.
        patterns: what to hear. An event that several of them match is heard once.
        query: which of these.
        decoders: what strict consumers make of a message.
    """

    def __init__(self, bus: EventBus, patterns: Sequence[str], query: Query, decoders: Decoders) -> None:
        self._bus = bus
        self._patterns = patterns
        self._before = [
            tuple(earlier for earlier in patterns[:at] if overlaps(earlier, pattern))
            for at, pattern in enumerate(patterns)
        ]
        """For each pattern those before it that match some of its subjects too."""
        self._query = query
        self._decoders = decoders
        self._subscriptions: list[MessageSubscription] = []
        self.heard = 0
        """Messages that have come, whether they are what the query means or not."""
        self.from_history = 0
        """Answers of streams that somebody has sent here; they are not shown."""

    @property
    def dropped(self) -> int:
        """Messages that were lost here, because more came than could be looked at."""
        return sum(each.dropped for each in self._subscriptions)

    async def __aenter__(self) -> Self:
        """Subscribe.

        Raises:
            AccessDenied: this identity may not hear one of the patterns.
        """
        for pattern in self._patterns:
            self._subscriptions.append(await self._bus.subscribe(pattern))
        await self._bus.flush()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for each in self._subscriptions:
            await each.unsubscribe()

    async def frames(self, stop: asyncio.Event) -> AsyncGenerator[list[Seen], None]:
        """What came since the last one, ten times a second, until ``stop``; empty when nothing did.

        Raises:
            BusError: the connection has ended.
        """
        clock = asyncio.get_running_loop().time
        due = clock() + _FRAME
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await stop.wait()
            due = max(due + _FRAME, clock())  # what a frame costs is no part of the time between two of them
            yield self._waiting()
            if stop.is_set() and not any(each.waiting for each in self._subscriptions):
                return
            if self._bus.is_closed:
                raise self._bus.ending or BusError("the connection was closed while it was listened to")

    def _waiting(self) -> list[Seen]:
        """What has come and is meant, oldest first of each pattern."""
        stamp = stamp_of(time_ns())
        wary = self._bus.identity.has_token
        query, decoders = self._query, self._decoders
        everything = query == EVERYTHING
        found: list[Seen] = []
        for subscription, before in zip(self._subscriptions, self._before, strict=True):
            messages = subscription.take(_MOST)
            if before:  # what has come on an earlier pattern already
                messages = [
                    each
                    for each in messages
                    if not any(is_matched(earlier, each[0].decode(errors="replace")) for earlier in before)
                ]
            self.heard += len(messages)
            if wary:
                live = [each for each in messages if _HISTORY not in each[2]]
                self.from_history += len(messages) - len(live)
                messages = live
            heard = [Heard(each, stamp, decoders) for each in messages]
            found += heard if everything else [seen for seen in heard if matches(query, seen)]
        return found


def patterns_to_hear(text: str, registry: Registry) -> tuple[str, ...]:
    """The patterns to subscribe to for a subject as people write it, both forms of a verb subject.

    ``oms.orders.created``, ``mts.v1.marketdata.quotes.{symbol}``, ``mts.v1.oms.>``.

    Raises:
        BusError: it is no pattern.
    """
    pattern = whole_pattern(".".join("*" if token.startswith("{") else token for token in text.split(".")))
    if not is_pattern(pattern):
        raise BusError(
            f"{text!r} is no subject or pattern: tokens with dots in between, * for one, > at the end for more"
        )
    scoped = [each for each in registry.matching(pattern) if each.fund_scoped]
    tokens = pattern.split(".")
    if not pattern.endswith(">") and len(tokens) == 5 and scoped:
        return (pattern, f"{pattern}.fund.*")
    return (pattern,)
