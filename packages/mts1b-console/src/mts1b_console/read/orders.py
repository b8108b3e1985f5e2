"""The blotter: the orders of the newest events, each as it stands."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Final

from mts1b_foundation.orders import Order, OrderStatus
from mts1b_foundation.treasury import NavSnapshot
from mts1b_operations.history.seen import Seen

from mts1b_console.person.person import Person
from mts1b_console.read.answer import answered
from mts1b_console.read.follow import Followed, kept
from mts1b_console.read.story import facts_of
from mts1b_console.shapes.events import Nav, NavPoint, OrderRow, Orders

STREAM: Final = "OMS_ORDERS"
NAV: Final = "TREASURY_NAV"
SLOW: Final = 10.0
"""Seconds without a change after which an open order counts as slow."""
MOST_FINAL: Final = 5_000
MOST_POINTS: Final = 2_000
_HOUR_NS: Final = 3_600_000_000_000


@dataclass(slots=True)
class _Line:
    order: Order
    first: str
    last: str
    last_ns: int
    place: str


@dataclass(slots=True)
class Blotter:
    """The orders, folded from their events; final ones are forgotten, oldest first, above 5,000."""

    followed: Followed = field(default_factory=lambda: Followed(STREAM))
    lines: dict[str, _Line] = field(default_factory=dict[str, _Line])
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def fold(self, events: list[Seen], *, anew: bool) -> None:
        """Take the next events."""
        if anew:
            self.lines.clear()
        for seen in events:
            if isinstance(seen.payload, Order):
                self._take(seen, seen.payload)
        final = [name for name, line in self.lines.items() if line.order.status.is_final]
        for name in final[: max(0, len(final) - MOST_FINAL)]:
            del self.lines[name]

    def _take(self, seen: Seen, order: Order) -> None:
        before = self.lines.pop(order.order_id, None)
        stamp = seen.recorded.stamp
        if before is not None and before.order.status.is_final and not order.status.is_final:
            self.lines[order.order_id] = before  # told late
            return
        self.lines[order.order_id] = _Line(
            order, before.first if before else stamp, stamp, seen.recorded.time_ns, seen.place
        )


async def blotter(person: Person) -> Blotter:
    """The blotter of ``person``, up to now.

    Raises:
        BusError: the stream cannot be read.
    """
    held = kept(person, "blotter", Blotter)
    async with held.lock:
        events, anew = await held.followed.new(person)
        held.fold(events, anew=anew)
    return held


async def orders(person: Person, *, limit: int = 1_000, fund: str | None = None, open_only: bool = False) -> Orders:
    """The orders, newest change first."""

    async def work() -> dict[str, Any]:
        held = await blotter(person)
        now_ns = time.time_ns()
        lines = [line for line in held.lines.values() if fund in (None, line.order.fund_id)]
        waiting = [line for line in lines if not line.order.status.is_final]
        shown = sorted(waiting if open_only else lines, key=lambda line: line.last_ns, reverse=True)
        rejected = [line for line in lines if line.order.status is OrderStatus.REJECTED]
        return {
            "orders": [_row(line, now_ns) for line in shown[:limit]],
            "open": len(waiting),
            "slow": sum(now_ns - line.last_ns >= SLOW * 1e9 for line in waiting),
            "rejected_hour": sum(now_ns - line.last_ns <= _HOUR_NS for line in rejected),
            "since": held.followed.since,
        }

    return await answered(person, Orders, work)


def _row(line: _Line, now_ns: int) -> OrderRow:
    waits = None if line.order.status.is_final else round(max(0, now_ns - line.last_ns) / 1e9, 3)
    return OrderRow(facts=facts_of(line.order), first=line.first, last=line.last, id=line.place, waiting_seconds=waits)


@dataclass(slots=True)
class _Curves:
    followed: Followed = field(default_factory=lambda: Followed(NAV))
    points: dict[str, list[NavPoint]] = field(default_factory=dict[str, list[NavPoint]])
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


async def nav(person: Person) -> Nav:
    """The value of each fund, oldest first."""

    async def work() -> dict[str, Any]:
        held = kept(person, "nav", _Curves)
        async with held.lock:
            events, anew = await held.followed.new(person)
            if anew:
                held.points.clear()
            for seen in events:
                if isinstance(found := seen.payload, NavSnapshot):
                    point = NavPoint(t=seen.recorded.stamp, fund=found.fund_id, equity=str(found.nav))
                    held.points.setdefault(found.fund_id, []).append(point)
            for fund, points in held.points.items():
                held.points[fund] = thinned(points, MOST_POINTS * 2)
        shown = [point for points in held.points.values() for point in thinned(points, MOST_POINTS)]
        return {"points": sorted(shown, key=lambda point: point.t)}

    return await answered(person, Nav, work)


def thinned(points: list[NavPoint], most: int) -> list[NavPoint]:
    """An even choice of at most ``most`` points, the newest among them."""
    if len(points) <= most:
        return points
    last = len(points) - 1
    return [points[number * last // (most - 1)] for number in range(most)]
