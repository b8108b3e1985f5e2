"""Order per key for the events of one consumer: who may be handed out, who waits, who comes again and when.

Guarantees:

- Of the events with one key one is under way at a time, in order of sequence; nothing is handed out while something
  older may be missing (``gap_guard.py``).
- An event that failed stays here until its delay is over rather than going back to the server, because those behind it
  of its key must wait for it.
- A message that is delivered again while it is here is not handed out a second time; neither is one that was done
  before, as long as its ack can have been lost.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import chain
from typing import Any, Final, Generic

from mts1b_foundation.subjects.subject import T

from mts1b_platform.eventbus.consuming.ordering.gap_guard import GapGuard
from mts1b_platform.eventbus.consuming.ordering.key_queues import KeyQueues
from mts1b_platform.eventbus.events.event import Event
from mts1b_platform.eventbus.jetstream.consumer_state import ConsumerState
from mts1b_platform.eventbus.protocol.position import MessageKey, Position
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.consumer")

Key = str | Callable[[Any], Hashable]
"""What orders events: the name of a payload's field, or a function of the payload."""

_REMEMBERED: Final = 20_000
"""Acks that can be lost at a time: those on their way, of which ``max_ack_pending`` allows 10,000, and those that the
server has read and not written down when it is killed, which it does ten times a second."""


class KeyOrder(Generic[T]):
    """Queues by ``key``; events whose turn has come are in :attr:`ready`, and ``wake`` is called when one is added."""

    def __init__(self, key: Key, wake: Callable[[], None]) -> None:
        self._key_of = _key_function(key)
        self._wake = wake
        self._queues: KeyQueues[Event[T]] = KeyQueues()
        self._inside: dict[MessageKey, Hashable] = {}
        self._retries: dict[MessageKey, tuple[asyncio.TimerHandle, Event[T]]] = {}
        self._put_off: set[MessageKey] = set()
        self._done: dict[MessageKey, bytes] = {}
        self._given_up: dict[MessageKey, None] = {}
        self._newest: MessageKey = (0, 0)
        self._went_back: MessageKey = (0, 0)
        """The message with which the stream's sequences went back last."""
        self.guard: GapGuard[Event[T]] = GapGuard()
        self.ready: deque[Event[T]] = deque()

    def __len__(self) -> int:
        """How many events wait here."""
        return len(self._queues) + len(self._retries) + len(self.ready) + len(self.guard)

    def came(self, position: Position) -> bool:
        """Note that a message has come, whatever becomes of it; says whether it puts the guard up."""
        key = position.key
        if key not in self._inside and key not in self._done and key not in self._put_off and key not in self._given_up:
            self._see(key)
        self._put_off.discard(key)
        return self.guard.came(position.consumer_seq)

    def put_off(self, key: MessageKey) -> None:
        """The message ``key``, which has no key, goes back to the server for a while: nobody waits for it."""
        self._put_off.add(key)

    def given_up(self, keys: Iterable[MessageKey]) -> None:
        """These messages were here and are another instance's now; should they come again they are no new ones."""
        self._given_up.update(dict.fromkeys(keys))
        while len(self._given_up) > _REMEMBERED:
            del self._given_up[next(iter(self._given_up))]

    def was_done(self, event: Event[T]) -> bool:
        """Whether ``event`` was acknowledged in this process: its ack was late, or lost."""
        return event.key in self._done

    def is_here(self, event: Event[T]) -> bool:
        """Whether an earlier delivery of the same message waits or is under way here."""
        return event.key in self._inside

    def enter(self, event: Event[T]) -> bool:
        """Whether ``event`` may be handed out now; otherwise it waits behind others of its key.

        Raises what the key function raises; the event is not here then.
        """
        key = self._inside[event.key] = self._key_of(event.payload)
        return self._queues.enter(key, event)

    def behind(self, event: Event[T]) -> Iterator[Event[T]]:
        """The events that wait for ``event``, which is under way, oldest first."""
        return self._queues.behind(self._inside[event.key]) if event.key in self._inside else iter(())

    def leave(self, event: Event[T], *, done: bool) -> None:
        """``event`` is settled, ``done`` says that it was acknowledged; the next of its key is ready."""
        if done:
            self._done[event.key] = event.reply
            if len(self._done) > _REMEMBERED:
                del self._done[next(iter(self._done))]
        else:
            self.given_up((event.key,))
        if event.key not in self._inside:
            return
        if (following := self._queues.leave(self._inside.pop(event.key))) is not None:
            self.add(following)

    def add(self, event: Event[T]) -> None:
        """``event`` may be handed out."""
        self.ready.append(event)
        self._wake()

    def again(self, event: Event[T], delay: float) -> None:
        """Have ``event`` handed out once more, ``delay`` seconds from now, before those behind it."""
        timer = asyncio.get_running_loop().call_later(delay, self._come_again, event.key)
        self._retries[event.key] = timer, event.again()

    def here(self) -> Iterable[int]:
        """Sequences of what came and is not settled, those that the guard holds aside."""
        seq, stored_at = self._went_back
        return [s for s, moment in chain(self._inside, self._put_off) if s < seq or moment >= stored_at]

    def acks(self, state: ConsumerState) -> list[bytes]:
        """Where to send acks that the server may not know of."""
        return [reply for (seq, _), reply in self._done.items() if state.floor < seq <= state.delivered]

    def present(self) -> set[int]:
        """Sequences of all that is here and not settled."""
        return {*self.here(), *self.guard.held()}

    def let_go(self) -> list[Event[T]]:
        """Forget what nobody has begun to handle, and return it; what is under way stays."""
        turns = [*self.ready, *(event for _, event in self._retries.values())]
        waiting = [*turns, *self._queues.drop(), *self.guard.release()]
        for timer, _ in self._retries.values():
            timer.cancel()
        self._retries.clear()
        self.ready.clear()
        for event in turns:
            if event.key in self._inside:
                self._queues.leave(self._inside[event.key])
        for event in waiting:
            self._inside.pop(event.key, None)
        self.given_up(event.key for event in waiting)
        return waiting

    def clear(self) -> list[Event[T]]:
        """Forget everything; returns what nobody has begun to handle."""
        waiting = [*self.ready, *self._queues.clear(), *self.guard.release()]
        for timer, event in self._retries.values():
            timer.cancel()
            waiting.append(event)
        self._retries.clear()
        self.ready.clear()
        self._inside.clear()
        return waiting

    def _see(self, key: MessageKey) -> None:
        """Notice when the stream's sequences go back: a message that was stored later has a lower one.

        What was remembered of the sequences from there on is of messages that the stream does not hold any more. Their
        acks must not be sent again: they would acknowledge others. A message that was here before says nothing: where
        the server's clock was set back it seems to be stored later than those after it.
        """
        if key[0] <= self._newest[0] and key[1] > self._newest[1]:
            log.warning(
                "the stream's sequences went back: it was made again, or restored", seq=key[0], was=self._newest[0]
            )
            self._went_back = key
            self._done.clear()
            self._newest = key
        else:
            self._newest = max(self._newest, key)

    def _come_again(self, key: MessageKey) -> None:
        _, event = self._retries.pop(key)
        self.add(event)


def _key_function(key: Key) -> Callable[[Any], Hashable]:
    if isinstance(key, str):
        name = key
        return lambda payload: payload.__dict__[name]
    return key
