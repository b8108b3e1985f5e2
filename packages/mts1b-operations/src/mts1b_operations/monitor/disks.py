"""Room on the disks that matter: bytes and inodes that are left, and the hours that they last at the present pace."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from mts1b_platform.disk_room import DiskRoom

from mts1b_operations.monitor.reading import Reading, Watch

_WINDOW = 3_600.0
"""Seconds over which growth is measured."""
_LEAST = 600.0
"""Seconds that must have passed before a pace is told: a minute's burst says nothing about the next day."""
_EVERY = 60.0
"""Seconds between two samples that are kept."""
_HOUR = 3_600.0
_FOREVER = float("inf")


class Disks:
    """The disks that are watched, and how they were lately.

    Args:
        paths: a directory on each of them.
        look: measures one.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        *,
        look: Callable[[Path], DiskRoom] = DiskRoom.of,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._samples: dict[Path, deque[tuple[float, int]]] = {path: deque() for path in paths}
        self._look = look
        self._clock = clock

    def read(self) -> Iterator[Reading]:
        """Two readings of each disk: the smaller share that is free, and the hours until nothing is."""
        now = self._clock()
        for path, samples in self._samples.items():
            target = str(path)
            try:
                room = self._look(path)
            except OSError as error:
                yield Reading(Watch.DISK_FREE, target, 0.0, f"the disk of {path} cannot be seen: {error.strerror}")
                continue
            kind, share = room.least
            yield Reading(
                Watch.DISK_FREE, target, share, f"{share:.0%} of the {kind} are free where {path} lies ({_gb(room)})"
            )
            hours = self._hours_left(samples, now, room.bytes)
            left = (
                "is not filling" if hours == _FOREVER else f"is full in {hours:.1f} hours at the pace of the last hour"
            )
            yield Reading(Watch.DISK_FILLS, target, hours, f"the disk of {path} {left} ({_gb(room)})")

    def _hours_left(self, samples: deque[tuple[float, int]], now: float, free: int) -> float:
        if not samples or now - samples[-1][0] >= _EVERY:
            samples.append((now, free))
        while now - samples[0][0] > _WINDOW:
            samples.popleft()
        began, before = samples[0]
        if now - began < _LEAST or before <= free:
            return _FOREVER
        return free / ((before - free) / (now - began)) / _HOUR


def _gb(room: DiskRoom) -> str:
    return f"{room.bytes / 1e9:.1f} GB"
