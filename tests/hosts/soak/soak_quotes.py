"""Best-effort events through all faults, and what became of each.

NATS keeps nothing for a reader: what is under way when a connection or a server goes is lost, and a reader that moves
to another server may be shown a message twice. What holds nevertheless:

- what the publisher was told is dropped, and what its bus counts as unsent, adds up with what was accepted;
- between two reconnects of publisher and listener, what arrives does so in order and once;
- while nothing is wrong, everything arrives.
"""

import asyncio
from bisect import bisect
from typing import Final

from mts1b_foundation.marketdata import Quote
from mts1b_foundation.samples import QUOTE
from mts1b_foundation.subjects import MARKETDATA_QUOTES
from mts1b_platform.eventbus import EventBus, Listener, LiveEvent
from soak_gate import Gate
from soak_nodes import until

_TOGETHER: Final = 4
_PAUSE: Final = 0.02
_MOST_A_SECOND: Final = 250


class Ear:
    """A listener's book."""

    def __init__(self, name: str, feed: "Feed", bus: EventBus) -> None:
        self.name = name
        self._feed = feed
        self._last: dict[int, int] = {}  # by connection of the publisher, since this one's last reconnect
        self.heard = bytearray(feed.room)
        """By number of a quote: how often it came."""
        self.received = 0
        self.repeated = 0
        """Quotes that came again over another connection."""
        self.complaints: list[str] = []
        bus.connection.on_ready(self._last.clear)

    @property
    def different(self) -> int:
        """Quotes that came, each counted once."""
        return self.received - self.repeated

    def take(self, event: LiveEvent[Quote]) -> None:
        number = event.payload.sequence
        connection = bisect(self._feed.connections, number)
        if number <= self._last.get(connection, 0):
            self.complaints.append(f"{self.name}: quote {number} came after {self._last[connection]}")
        self._last[connection] = number
        self.received += 1
        self.repeated += bool(self.heard[number])
        self.heard[number] = min(255, self.heard[number] + 1)

    async def listen(self, listener: Listener[Quote]) -> None:
        """Take by iterating; endless."""
        async for event in listener:
            self.take(event)

    def missing(self, first: int, last: int) -> int:
        """How many of these quotes did not come."""
        return self.heard[first : last + 1].count(0)


class Feed:
    """The publisher and its book."""

    def __init__(self, seconds: float, gate: Gate) -> None:
        self.room = int(seconds * _MOST_A_SECOND)
        self._gate = gate
        self.number = 0
        """The last quote that was handed to the bus."""
        self.refused = 0
        """Quotes of which ``send_volatile`` said that they are dropped."""
        self.connections: list[int] = []
        """The first number of each connection after the first one."""

    async def publish(self, bus: EventBus) -> None:
        """Endless."""
        self.watch(bus)
        while True:
            async with self._gate:
                self.send(bus, _TOGETHER)
            await asyncio.sleep(_PAUSE)

    def watch(self, bus: EventBus) -> None:
        """Note when another connection begins."""
        bus.connection.on_ready(lambda: self.connections.append(self.number + 1))

    def send(self, bus: EventBus, count: int) -> None:
        publisher = bus.publisher(MARKETDATA_QUOTES)
        for _ in range(count):
            self.number += 1
            if not publisher.send_volatile(QUOTE.model_copy(update={"sequence": self.number})):
                self.refused += 1

    async def everything_arrives(self, bus: EventBus, ears: list[Ear], count: int, within: float) -> list[str]:
        """Complaints about ``count`` quotes that are sent while nothing is wrong."""
        await self._interest(bus, ears, within)
        first = self.number + 1
        self.send(bus, count)
        return await self.all_arrive(ears, first, self.number, within, "quiet times")

    async def all_arrive(self, ears: list[Ear], first: int, last: int, within: float, when: str) -> list[str]:
        """Complaints about quotes that were sent when none may be lost nor come twice."""
        try:
            await until(lambda: not any(ear.missing(first, last) for ear in ears), within)
        except TimeoutError:
            return [f"{when}: {ear.missing(first, last)} of {last - first + 1} quotes did not come" for ear in ears]
        surplus = [sum(ear.heard[first : last + 1]) - (last - first + 1) for ear in ears]
        return [f"{when}: {count} quotes came twice" for count in surplus if count]

    def unaccounted(self, bus: EventBus) -> list[str]:
        """Complaints about drops that the bus has not counted, or has counted twice."""
        unsent = self.unsent(bus)
        counted, dropped = sum(bus.counters.publish_dropped.values()), bus.connection.dropped
        accepted = bus.counters.published[MARKETDATA_QUOTES.pattern]
        complaints: list[str] = []
        if counted != dropped or counted != self.refused + unsent:
            complaints.append(f"{dropped} quotes were dropped, {self.refused} refused, {counted} counted")
        if accepted + self.refused != self.number:
            complaints.append(f"{self.number} quotes were handed over: {accepted} accepted, {self.refused} refused")
        return complaints

    @staticmethod
    def unsent(bus: EventBus) -> int:
        """Quotes that were accepted and then died with the connection before they left the process."""
        return sum(count for key, count in bus.counters.publish_dropped.items() if key != MARKETDATA_QUOTES.pattern)

    async def _interest(self, bus: EventBus, ears: list[Ear], within: float) -> None:
        """Wait until every server knows of the listeners: word of them takes its way through the cluster."""

        def reached() -> bool:
            self.send(bus, 1)
            return all(ear.heard[max(1, self.number - 3)] for ear in ears)

        await until(reached, within)
