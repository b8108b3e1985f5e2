"""A pause of one consumer because the store of its handler is away.

Nothing has failed that trying the next event would mend: the events that met the outage wait here, in the order in
which they are handed out again, and no other is handed out before them. They spend no tries and become no dead letters.
The prefetch keeps them from redelivery meanwhile.
"""

import asyncio
from bisect import insort
from typing import Any, Final

from mts1b_platform.eventbus.consuming.retry_decision import leaves
from mts1b_platform.eventbus.errors import StoreHeld
from mts1b_platform.eventbus.events.event import Event
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.consumer")

_PAUSE: Final = 1.0
"""Seconds between two tries of the oldest event: how often a store is asked, and how late work goes on at most."""
_LOOK: Final = 0.05
"""Seconds between two looks at the event that is tried, while others wait for its outcome."""
_REMIND: Final = 30.0
"""Seconds between two log lines about the same outage."""


class StorePause:
    """The events of the consumer ``durable`` that wait for their store."""

    # what is looked at for every event has a slot, where the compiled core finds it
    __slots__ = ("__dict__", "__weakref__", "reason")

    def __init__(self, durable: str) -> None:
        self._durable = durable
        self._waiting: list[Event[Any]] = []
        self._tried: Event[Any] | None = None
        """The event that was handed out last; once it is settled, the store is back."""
        self._until = 0.0
        self._began = 0.0
        self._reminded = 0.0
        self._ended = asyncio.Event()
        self.several_at_work = False
        """Whether others than who tries the oldest event ask for one meanwhile; they wait for the outcome."""
        self.reason: str | None = None
        """What the store says, from the first event that it failed until one is settled again."""
        self.held = False
        """Whether it says that another process keeps it locked."""

    def hold(self, event: Event[Any], error: Exception) -> bool:
        """``event`` met the outage and is handed out again after a pause; says whether that begins one."""
        now = asyncio.get_running_loop().time()
        began = self.reason is None
        if began:
            self._began, self._reminded = now, now
            log.error(
                "store away: nothing is handed out until it is back; no try is spent",
                durable=self._durable,
                error=str(error),
            )
        elif now - self._reminded >= _REMIND:
            self._reminded = now
            log.error("store still away", durable=self._durable, seconds=round(now - self._began), error=str(error))
        self.reason = str(error) or type(error).__name__
        self.held = any(isinstance(each, StoreHeld) for each in leaves(error))
        self._tried = None
        self._until = now + _PAUSE
        insort(self._waiting, event, key=lambda waiting: waiting.seq)
        return began

    async def next(self) -> Event[Any] | None:
        """The event to hand out next, after the pause; None when there is none or the consumer stops."""
        self._look()
        while (self._waiting or (self.several_at_work and self.reason is not None)) and not self._ended.is_set():
            rest = self._until - asyncio.get_running_loop().time()
            if self._waiting and rest <= 0 and not (self.several_at_work and self._tried is not None and self.reason):
                self._tried = self._waiting.pop(0)
                return self._tried
            try:
                async with asyncio.timeout(rest if rest > 0 else _LOOK):
                    await self._ended.wait()
            except TimeoutError:
                self._look()
        return None

    def end(self) -> list[Event[Any]]:
        """The consumer stops: what still waits, oldest first."""
        waiting = self.drop()
        self._ended.set()
        return waiting

    def drop(self) -> list[Event[Any]]:
        """The events are another instance's by now: what waited; the pause is over."""
        waiting, self._waiting, self.reason, self.held, self._tried = self._waiting, [], None, False, None
        return waiting

    def _look(self) -> None:
        """Whether the event that was tried is settled: then the store is back."""
        if self.reason is None or self._tried is None or not self._tried.settled:
            return
        seconds = round(asyncio.get_running_loop().time() - self._began, 1)
        log.warning("store back: going on", durable=self._durable, after_seconds=seconds)
        self.reason = self._tried = None
        self.held = False
