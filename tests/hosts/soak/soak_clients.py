"""The processes' buses, and when each lost its connection and had it again."""

import asyncio
import time
from dataclasses import dataclass, field

from mts1b_platform.eventbus import EventBus, ServerUnavailable
from mts1b_platform.eventbus.errors import RequestTimeout


@dataclass(slots=True)
class Times:
    """What one kind of fault has cost."""

    faults: int = 0
    breaks: int = 0
    recoveries: list[float] = field(default_factory=list[float])
    """Seconds from the beginning of a fault until a client that it had disconnected was connected again."""
    outages: list[float] = field(default_factory=list[float])
    """Seconds from a client's loss of the connection until it was connected again."""
    flows: list[float] = field(default_factory=list[float])
    """Seconds from the end of a fault until further orders were stored and handled."""


class Clients:
    """All buses of the soak."""

    def __init__(self) -> None:
        self.buses: dict[str, EventBus] = {}
        self.times: dict[str, Times] = {}
        self._fault = Times()
        self._began = 0.0
        self._broke: dict[str, float] = {}

    def add(self, name: str, bus: EventBus) -> EventBus:
        self.buses[name] = bus
        bus.connection.on_break(lambda: self._broken(name))
        bus.connection.on_ready(lambda: self._back(name))
        return bus

    def of(self, service: str) -> list[EventBus]:
        """The buses that speak as this service."""
        return [bus for bus in self.buses.values() if bus.service == service]

    def begin(self, kind: str) -> Times:
        """A fault of this kind begins; what happens from now on is its doing."""
        self._fault = self.times.setdefault(kind, Times())
        self._fault.faults += 1
        self.strikes()
        return self._fault

    def strikes(self) -> None:
        """The fault strikes now: recoveries count from here."""
        self._began = time.monotonic()

    @property
    def reconnects(self) -> int:
        return sum(bus.connection.stats.reconnects for bus in self.buses.values())

    @property
    def deduplicated(self) -> int:
        """Events that were delivered again and not handed out again."""
        return sum(sum(bus.counters.deduplicated.values()) for bus in self.buses.values())

    async def all_back(self, within: float) -> None:
        """Wait until every bus is connected to a server that answers.

        Raises:
            TimeoutError: some are not; says which.
        """
        waiting = dict(self.buses)
        try:
            async with asyncio.timeout(within):
                while waiting:
                    for name, bus in list(waiting.items()):
                        try:
                            await bus.connection.flush(within)
                        except (ServerUnavailable, RequestTimeout):
                            continue
                        del waiting[name]
                    await asyncio.sleep(0.02)
        except TimeoutError:
            late = [f"{name} ({bus.connection!r}: {bus.connection.last_error})" for name, bus in waiting.items()]
            raise TimeoutError(f"not connected again within {within:g} s: {', '.join(late)}") from None

    async def drain(self) -> None:
        for bus in self.buses.values():
            await bus.drain()

    def _broken(self, name: str) -> None:
        self._fault.breaks += 1
        self._broke[name] = time.monotonic()

    def _back(self, name: str) -> None:
        now, broke = time.monotonic(), self._broke.pop(name)
        self._fault.outages.append(now - broke)
        self._fault.recoveries.append(now - self._began)
