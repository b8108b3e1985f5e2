"""What a process of a workload is given, in the simulation and beside a real server alike."""

import asyncio
import random
from pathlib import Path
from typing import Any, Protocol

import aiosqlite
from mts1b_platform.eventbus import EventBus

from simulation.plan import Plan
from simulation.record import Record


class Stage(Protocol):
    """The surroundings of one process."""

    plan: Plan
    name: str
    """Of the process; another one each time it is started."""
    record: Record
    rng: random.Random
    stop: asyncio.Event | None
    """Set to end the process as SIGTERM does; made by the process when it listens to that."""

    def time(self) -> float:
        """Seconds since the run began."""
        ...

    def block(self, seconds: float) -> None:
        """Do nothing, not even turn the loop."""
        ...

    def note(self, *what: object) -> None:
        """Add a line to the transcript."""
        ...

    def connect_options(self) -> dict[str, Any]:
        """What ``connect()`` is to be called with, beside the service."""
        ...

    async def open_database(self, path: Path) -> aiosqlite.Connection:
        """Open a SQLite file, with transactions begun and ended by hand."""
        ...

    async def connect(self, service: str) -> EventBus:
        """Connect to the bus."""
        ...
