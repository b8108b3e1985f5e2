"""Whether everything older has come: what may be handed out in order, and what is held back until it may.

A server hands out new messages while older ones that were delivered, and lost with a connection or a process, wait
for their ack wait. Two facts that it tells make it possible to know better:

- Every delivery has a number of its own, the *consumer sequence*. Deliveries that follow each other without a gap are
  all there are: while they do, nothing is missing. A gap, a number that goes back, a break, a start put the guard up.
- ``CONSUMER.INFO`` tells how many messages are *pending*: delivered and not acknowledged. When those that are here make
  up that number, nothing is missing, and the guard comes down. Until then everything that comes is held.

Newer messages than the last delivered one need no snapshot: the server delivers them in their order. Should it have
forgotten deliveries in a crash, it makes them again; what is held of them is dropped then, for what was delivered
before it may have been lost. Three assumptions: one instance reads the durable; an ack
that another process sent before it died reaches the server before the message is delivered again; a pending message is
taken off the stream by nobody. :class:`GapGuard` is sans-io and fed by a consumer; :class:`GapResolver` asks.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Generic, NamedTuple, TypeVar

from mts1b_platform.eventbus.errors import BusClosed, BusError
from mts1b_platform.eventbus.jetstream.consumer_state import ConsumerState
from mts1b_platform.eventbus.protocol.position import MessageKey
from mts1b_platform.logs import get_logger

log = get_logger("mts1b.eventbus.consumer")

Item = TypeVar("Item")

_LOOKS: Final = (0.02, 0.5)
"""Seconds between two questions, at first and at last."""


class Snapshot(NamedTuple):
    """When the server was asked: an answer says nothing of what went wrong afterwards."""

    doubts: int
    last: int
    arrivals: int


_REMEDY: Final = (
    "only one instance at a time may read a durable in order: if there are several, stop all but one, or give each a "
    "durable of its own, for other keys"
)


class GapGuard(Generic[Item]):
    """Up from the start, and from every doubt on, until an answer shows that nothing is missing."""

    def __init__(self) -> None:
        self.up = True
        """Whether what comes must be held."""
        self.doubts = 0
        """How often it was doubtful whether everything has come."""
        self._last = 0
        self._lenient = False
        self._arrivals = 0
        self._held: dict[MessageKey, tuple[int, Item]] = {}
        self._forgotten: list[Item] = []

    def __len__(self) -> int:
        """How many are held."""
        return len(self._held)

    def came(self, delivery: int) -> bool:
        """Note the next delivery, by its consumer sequence; says whether it leaves a doubt."""
        gap = delivery != self._last + 1 and not self._lenient
        self._last = delivery
        if gap:
            self.doubt()
        return gap

    def doubt(self) -> None:
        """Deliveries may have been lost."""
        self.up = True
        self.doubts += 1
        self._lenient = False

    def ask(self) -> Snapshot:
        """What to keep until the answer, taken before the server is asked."""
        return Snapshot(self.doubts, self._last, self._arrivals)

    def answer(self, snapshot: Snapshot, state: ConsumerState, here: Iterable[int]) -> int | None:
        """How many messages are missing; with none the guard comes down. None: ask again, things went on meanwhile.

        Args:
            snapshot: taken before the server was asked.
            state: its answer.
            here: sequences of what came, is neither held nor settled.
        """
        # A server that counts less than we received has forgotten deliveries in a crash, and counts anew.
        forgot = state.deliveries < snapshot.last
        if snapshot.doubts != self.doubts or (forgot and self._last != snapshot.last):
            return None
        known = sum(state.floor < seq <= state.delivered for seq in {*here, *(seq for seq, _ in self._held)})
        if state.pending > known:
            return state.pending - known
        self._last = state.deliveries if forgot else max(self._last, state.deliveries)
        self._forget(snapshot, state)
        self.up = False
        return 0

    def take_forgotten(self) -> list[Item]:
        """What was held when the guard came down though the server knows nothing of it any more: it comes again."""
        forgotten, self._forgotten = self._forgotten, []
        return forgotten

    def _forget(self, snapshot: Snapshot, state: ConsumerState) -> None:
        """Drop what the server delivered before it was asked and has forgotten."""
        for key, (arrival, item) in list(self._held.items()):
            if arrival <= snapshot.arrivals and key[0] > state.delivered:
                del self._held[key]
                self._forgotten.append(item)

    def give_up(self) -> None:
        """Let everything through, gaps and all, until the next doubt from elsewhere."""
        self.up = False
        self._lenient = True

    def hold(self, key: MessageKey, item: Item) -> Item | None:
        """Keep ``item``; returns an earlier delivery of the same message, which it replaces."""
        self._arrivals += 1
        _, replaced = self._held.get(key, (0, None))
        self._held[key] = self._arrivals, item
        return replaced

    def held(self) -> Iterable[int]:
        """Sequences of what is held."""
        return (seq for seq, _ in self._held)

    def release(self) -> list[Item]:
        """Everything held, in order of sequence; nothing is held afterwards."""
        items = [self._held[key][1] for key in sorted(self._held)]
        self._held.clear()
        return items


class GapResolver(Generic[Item]):
    """Asks what is missing until nothing is.

    Gives up, with an error, when for ``patience`` seconds of a connection that stands nothing of it has come or been
    acknowledged: another instance is at work on it, or waits as this one does.

    Args:
        guard: what is to come down.
        durable: name of the durable, for the log.
        state: asks the server.
        here: sequences of what came, is neither held nor settled.
        ack_again: sends the acks that may have been lost.
        patience: in seconds; longer than the server may keep a message back.
        expected: whether waiting for what another instance held is what happens at every takeover, and no news.
    """

    def __init__(
        self,
        guard: GapGuard[Item],
        durable: str,
        *,
        state: Callable[[], Awaitable[ConsumerState]],
        here: Callable[[], Iterable[int]],
        ack_again: Callable[[ConsumerState], Awaitable[None]],
        patience: float,
        expected: bool = False,
    ) -> None:
        self._guard = guard
        self._log = log.debug if expected else log.warning
        self._durable = durable
        self._state = state
        self._here = here
        self._ack_again = ack_again
        self._patience = patience
        self._since = 0.0
        self._least: int | None = None
        self._looks = 0

    def be_patient(self) -> None:
        """Something happened that makes the server begin to count its ack waits now, such as a break."""
        self._since = asyncio.get_running_loop().time()
        self._looks = 0

    async def look_once(self) -> int | None:
        """Ask once; how many messages are missing, None when the answer says nothing. Raises what asking raises."""
        snapshot = self._guard.ask()
        state = await self._state()
        missing = self._guard.answer(snapshot, state, self._here())
        if missing:
            # A server that has forgotten deliveries may hold other messages under these sequences: no ack of before
            # is sent to it.
            await self._note(missing, state, ack_again=state.deliveries >= snapshot.last)
        return missing

    async def look(self) -> list[Item]:
        """Ask until the guard comes down; returns what it held, in order. Nothing when the bus is closed."""
        self.be_patient()
        self._least = None
        wait, longest = _LOOKS
        while self._guard.up:
            try:
                await self.look_once()
            except BusClosed:
                return []
            except BusError as error:
                log.debug("nobody says what is under way", durable=self._durable, error=str(error))
                self.be_patient()
            self._reconsider()
            if self._guard.up:  # once it has fallen nothing may come between it and what was held
                await asyncio.sleep(wait)
                wait = min(longest, wait * 2)
        return self._guard.release()

    async def _note(self, missing: int, state: ConsumerState, *, ack_again: bool) -> None:
        if self._least is None or missing < self._least:
            self._since = asyncio.get_running_loop().time()
        self._least = missing
        self._looks += 1
        if self._looks == 2:  # at first there may be acks that are on their way
            self._log(
                "waiting for what is under way",
                durable=self._durable,
                events=missing,
                at_most=self._patience,
                remedy=_REMEDY,
            )
            if ack_again:
                await self._ack_again(state)

    def _reconsider(self) -> None:
        if self._guard.up and asyncio.get_running_loop().time() - self._since > self._patience:
            log.error(
                "what was under way has not come again: another instance may be at work on it, and order is not kept",
                durable=self._durable,
                missing=self._least,
                remedy=_REMEDY,
            )
            self._guard.give_up()
