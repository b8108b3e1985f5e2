"""What this process holds, and what it said that nobody wanted to hear."""

import asyncio
import gc
import logging
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import psutil
from soak_nodes import Nodes

SETTLES_WITHIN: Final = 30.0
"""Seconds until sockets and tasks that have ended are gone on both sides."""
_GROWTH: Final = {"rss": 24_000_000, "objects": 5_000, "blocks": 60_000}
"""The most of each that may be added after the warm-up, however long the soak: less than one block an order."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the process holds at a quiet moment."""

    at: float
    tasks: int
    files: int
    rss: int
    """Bytes of memory."""
    objects: int
    """That the garbage collector looks after."""
    blocks: int
    """Of Python's allocator."""
    connections: Mapping[str, tuple[int, int]]
    """By client, as the servers see it: connections and subscriptions."""

    def holds_no_more_than(self, other: "Held") -> bool:
        """Whether nothing was added; what others in this process left behind may go meanwhile."""
        return self.tasks <= other.tasks and self.files <= other.files and self.connections == other.connections

    def grown_since(self, warm: "Held") -> list[str]:
        """Complaints about memory, when more was added since ``warm`` than may be."""
        added = {what: getattr(self, what) - getattr(warm, what) for what in _GROWTH}
        return [
            f"{what}: {count} more than after the warm-up, {_GROWTH[what]} are allowed"
            for what, count in added.items()
            if count > _GROWTH[what]
        ]

    def line(self) -> str:
        subscriptions = sum(count for _, count in self.connections.values())
        return (
            f"{self.tasks:3} tasks  {self.files:3} files  {subscriptions:3} subscriptions  "
            f"{self.rss / 1e6:6.1f} MB  {self.objects:7} objects  {self.blocks:8} blocks"
        )


async def held(nodes: Nodes, wanted: Held | None = None) -> Held:
    """What is held now; until it is no more than ``wanted`` it is waited for."""
    end = time.monotonic() + SETTLES_WITHIN
    while True:
        connections = await nodes.connections()
        gc.collect()
        process = psutil.Process()
        found = Held(
            at=time.monotonic(),
            tasks=len(asyncio.all_tasks()),
            files=process.num_fds(),
            rss=process.memory_info().rss,
            objects=len(gc.get_objects()),
            blocks=sys.getallocatedblocks(),
            connections=connections,
        )
        if wanted is None or found.holds_no_more_than(wanted) or time.monotonic() > end:
            return found
        await asyncio.sleep(0.2)


class Listening(logging.Handler):
    """Counts what is logged, and keeps what must not be: errors, among them exceptions that nobody retrieved."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.warnings: Counter[str] = Counter()
        self.errors: list[str] = []
        self._unraisable_before = sys.unraisablehook

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            text = self.format(record)
            self.errors.append(text)
        else:
            self.warnings[str(getattr(record, "mts1b_event", record.getMessage()))] += 1

    def attach(self) -> None:
        """Listen to every logger, to the event loop and to what cannot be raised from now on."""
        gc.collect()  # what lay about in this process is not charged to the soak
        logging.getLogger().addHandler(self)
        logging.captureWarnings(capture=True)
        sys.unraisablehook = self._unraisable

    def detach(self) -> None:
        logging.getLogger().removeHandler(self)
        logging.captureWarnings(capture=False)
        sys.unraisablehook = self._unraisable_before

    def _unraisable(self, what: Any) -> None:
        self.errors.append(f"cannot be raised: {what.err_msg or ''} {what.object!r}: {what.exc_value!r}")
