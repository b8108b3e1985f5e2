"""Durable events through all faults, and the books about them.

Eight emitters send the orders of one key each, one after the other; a ninth sends those of four keys with
``emit_many``. A plain and an ordered consumer handle them all. An order is named by its key and its number within it.
"""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final

from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_FILLED
from mts1b_platform.eventbus import Ack, Consumer, EventBus, PublishUncertain
from soak_gate import Gate
from soak_nodes import ORDERED, PLAIN, until

SINGLE: Final = tuple(f"s{number}" for number in range(8))
BULK: Final = tuple(f"b{number}" for number in range(4))
_PAUSE: Final = 0.15
_BULK_SIZE: Final = 20
_BULK_PAUSE: Final = 0.5
_DEADLINE: Final = 90.0
"""Seconds; less than the stream's dedupe window, so that an order that is sent again is recognised."""
_MOST_A_SECOND: Final = 12
"""Orders of one key; more than the pauses allow."""


class Orders:
    """The load and its books, whose size does not grow.

    Args:
        seconds: how long it runs at most.
        gate: holds it.
    """

    def __init__(self, seconds: float, gate: Gate) -> None:
        room = int(seconds * _MOST_A_SECOND)
        self._gate = gate
        self.acked = dict.fromkeys((*SINGLE, *BULK), 0)
        """By key, the last number that was acknowledged; so were all before it."""
        self.acked_at = time.monotonic()
        self.longest_gap = 0.0
        """Most seconds without any ack while the gate was open."""
        self.uncertain = 0
        """Publishes that ended without an ack and were sent again."""
        self.plain = {key: bytearray(room) for key in self.acked}
        """By key and number: how often the plain consumer has handled it."""
        self.ordered = {key: bytearray(room) for key in self.acked}
        self.handled = {PLAIN: 0, ORDERED: 0}
        self.repeated = {PLAIN: 0, ORDERED: 0}
        self._position: defaultdict[str, int] = defaultdict(int)  # by key, the sequence that was handled last
        self.complaints: list[str] = []

    @property
    def total(self) -> int:
        """How many orders were acknowledged."""
        return sum(self.acked.values())

    @property
    def unhandled(self) -> int:
        """Orders that were acknowledged and that one of the consumers has not handled yet."""
        return self._unhandled(self.acked)

    # The load.

    def emitters(self, bus: EventBus) -> list[Coroutine[Any, Any, None]]:
        """Endless."""
        return [self._emit(bus, key) for key in SINGLE]

    async def emit_bulks(self, bus: EventBus) -> None:
        """Endless."""
        size = _BULK_SIZE // len(BULK)
        while True:
            async with self._gate:
                first = self.acked[BULK[0]] + 1
                orders = [order(key, number) for number in range(first, first + size) for key in BULK]
                await self._until_acked(partial(bus.emit_many, OMS_ORDERS_FILLED, orders, deadline=_DEADLINE))
                for key in BULK:
                    self.acked[key] += size
                self._acked_now()
            await asyncio.sleep(_BULK_PAUSE)

    async def consume_plain(self, consumer: Consumer[Order]) -> None:
        async for seq, key, number in self._events(consumer, PLAIN):
            if self.plain[key][number]:
                self.complaints.append(f"the plain consumer was given {key}-{number} ({seq}) again after its ack")
            self._count(PLAIN, self.plain[key], number)

    async def consume_ordered(self, consumer: Consumer[Order]) -> None:
        async for seq, key, number in self._events(consumer, ORDERED):
            again = self.ordered[key][number]
            if again:
                self.complaints.append(f"the ordered consumer was given {key}-{number} ({seq}) again after its ack")
            elif seq <= self._position[key]:
                self.complaints.append(f"{key}-{number} ({seq}) was handled after {self._position[key]} of its key")
            elif key in SINGLE and not self.ordered[key][number - 1] and number > 1:
                self.complaints.append(f"{key}-{number} ({seq}) was handled before {key}-{number - 1}")
            self._position[key] = max(seq, self._position[key])
            self._count(ORDERED, self.ordered[key], number)

    async def flow(self, count: int, within: float) -> float:
        """Wait until so many more orders have been acknowledged and all these handled; the seconds that it took."""
        began, goal = time.monotonic(), self.total + count
        await until(lambda: self.total >= goal, within)
        wanted = dict(self.acked)
        await until(lambda: not self._unhandled(wanted), within)
        return time.monotonic() - began

    # How.

    def _unhandled(self, acked: Mapping[str, int]) -> int:
        return sum(
            numbers[1 : last + 1].count(0)
            for key, last in acked.items()
            for numbers in (self.plain[key], self.ordered[key])
        )

    async def _emit(self, bus: EventBus, key: str) -> None:
        while True:
            async with self._gate:
                next_one = order(key, self.acked[key] + 1)
                await self._until_acked(partial(bus.emit, OMS_ORDERS_FILLED, next_one, deadline=_DEADLINE))
                self.acked[key] += 1
                self._acked_now()
            await asyncio.sleep(_PAUSE)

    async def _until_acked(self, send: Callable[[], Awaitable[Ack | list[Ack]]]) -> None:
        while True:
            try:
                await send()
            except PublishUncertain:
                self.uncertain += 1
            else:
                return

    def opened(self) -> None:
        """The gate was opened: gaps count from here."""
        self.acked_at = time.monotonic()

    def _acked_now(self) -> None:
        now = time.monotonic()
        self.longest_gap, self.acked_at = max(self.longest_gap, now - self.acked_at), now

    async def _events(self, consumer: Consumer[Order], durable: str) -> AsyncIterator[tuple[int, str, int]]:
        async for event in consumer:
            async with event:
                key, _, number = event.payload.order_id.partition("-")
                yield event.seq, key, int(number)
                self.handled[durable] += 1

    def _count(self, durable: str, numbers: bytearray, number: int) -> None:
        self.repeated[durable] += bool(numbers[number])
        numbers[number] = min(255, numbers[number] + 1)

    # The judgement.

    def judge_stream(self, stored: list[bytes]) -> list[str]:
        """What is wrong with the stream: each order is in it once, those of one emitter in their order."""
        complaints: list[str] = []
        seen: defaultdict[str, list[int]] = defaultdict(list)
        for payload in stored:
            body: dict[str, Any] = json.loads(payload)
            key, _, number = body["order_id"].partition("-")
            seen[key].append(int(number))
        for key, last in self.acked.items():
            numbers = seen[key]
            if missing := set(range(1, last + 1)) - set(numbers):
                complaints.append(f"{key}: {len(missing)} orders are acknowledged and not stored, {min(missing)} first")
            if len(numbers) != len(set(numbers)):
                complaints.append(f"{key}: {len(numbers) - len(set(numbers))} orders are stored twice")
            if key in SINGLE and numbers != sorted(numbers):
                complaints.append(f"{key}: stored in another order than emitted")
        return complaints

    @staticmethod
    def overtaken(stored: list[bytes]) -> int:
        """Orders of ``emit_many`` that are stored behind a later one of their key."""
        highest: defaultdict[str, int] = defaultdict(int)
        count = 0
        for payload in stored:
            key, _, number = json.loads(payload)["order_id"].partition("-")
            count += int(number) < highest[key]
            highest[key] = max(highest[key], int(number))
        return count


def order(key: str, number: int) -> Order:
    """The order with this name."""
    name = f"{key}-{number}"
    return ORDER.model_copy(update={"order_id": name, "idempotency_key": name, "fund_id": key})
