"""What needs somebody first: every part for itself, so that one that cannot be read hides no other."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

from mts1b_console.person.person import Person
from mts1b_console.read.bus import consumers, services, streams
from mts1b_console.read.deadletters import deadletters
from mts1b_console.read.follow import kept
from mts1b_console.read.halts import alerts, halts
from mts1b_console.read.orders import orders
from mts1b_console.shapes.state import Now

OPEN_ORDERS: Final = 50
KEPT: Final = 1.0
"""Seconds for which it is given to further pages of the same person."""


@dataclass(slots=True)
class _Last:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    taken: float = -1e9
    now: Now | None = None


async def everything(person: Person) -> Now:
    """The state of the desk as far as ``person`` may see it, not older than a second."""
    last = kept(person, "now", _Last)
    async with last.lock:
        if last.now is None or time.monotonic() - last.taken > KEPT:
            last.now = await _read(person)
            last.taken = time.monotonic()
        return last.now


async def _read(person: Person) -> Now:
    parts = await asyncio.gather(
        alerts(person),
        halts(person),
        orders(person, limit=OPEN_ORDERS, open_only=True),
        services(person),
        streams(person),
        consumers(person),
        deadletters(person, rows=False),
    )
    names = ("alerts", "halts", "orders", "services", "streams", "consumers", "deadletters")
    return Now.model_validate(dict(zip(names, parts, strict=True)))
