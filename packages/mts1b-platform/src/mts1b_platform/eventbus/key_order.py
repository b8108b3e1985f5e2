"""Order per key for the events of one consumer: who may be handed out, who waits, who comes again and when.

An event that failed stays here until its delay is over rather than going back to the server, because those behind it
in its lane must wait for it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, Generic

from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.event import Event
from mts1b_platform.eventbus.key_lanes import KeyLanes

Key = str | Callable[[Any], Hashable]
"""What orders events: the name of a payload's field, or a function of the payload."""


class KeyOrder(Generic[T]):
    """Lanes by ``key``; events whose turn has come are in :attr:`ready`, and ``wake`` is called when one is added."""

    def __init__(self, key: Key, wake: Callable[[], None]) -> None:
        self._key_of = _key_function(key)
        self._wake = wake
        self._lanes: KeyLanes[Event[T]] = KeyLanes()
        self._inside: set[int] = set()
        self._retries: dict[int, tuple[asyncio.TimerHandle, Event[T]]] = {}
        self.ready: deque[Event[T]] = deque()

    def __len__(self) -> int:
        """How many events wait here."""
        return len(self._lanes) + len(self._retries) + len(self.ready)

    def enter(self, event: Event[T]) -> bool:
        """Whether ``event`` may be handed out now; otherwise it waits behind others of its key."""
        self._inside.add(event.seq)
        return self._lanes.enter(self._key_of(event.payload), event)

    def leave(self, event: Event[T]) -> None:
        """``event`` is done with; the next of its key is ready."""
        if event.seq not in self._inside:
            return
        self._inside.discard(event.seq)
        if (following := self._lanes.leave(self._key_of(event.payload))) is not None:
            self.add(following)

    def add(self, event: Event[T]) -> None:
        """``event`` may be handed out."""
        self.ready.append(event)
        self._wake()

    def again(self, event: Event[T], delay: float) -> None:
        """Have ``event`` handed out once more, ``delay`` seconds from now, before those behind it."""
        timer = asyncio.get_running_loop().call_later(delay, self._come_again, event.seq)
        self._retries[event.seq] = timer, event.again()

    def clear(self) -> list[Event[T]]:
        """Forget everything; returns what nobody has begun to handle."""
        waiting = [*self.ready, *self._lanes.clear()]
        for timer, event in self._retries.values():
            timer.cancel()
            waiting.append(event)
        self._retries.clear()
        self.ready.clear()
        self._inside.clear()
        return waiting

    def _come_again(self, seq: int) -> None:
        _, event = self._retries.pop(seq)
        self.add(event)


def _key_function(key: Key) -> Callable[[Any], Hashable]:
    if isinstance(key, str):
        name = key
        return lambda payload: payload.__dict__[name]
    return key
