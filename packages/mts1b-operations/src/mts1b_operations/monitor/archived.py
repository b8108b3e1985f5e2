"""The archive as it is watched: what streams are about to lose before it is archived, and whether it is run at all.

Both are read from the manifests and the bus, so that an archive whose timer was never made is seen as well as one whose
run fails.
"""

import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from mts1b_platform.eventbus import BusClosed, BusError, EventBus
from mts1b_platform.logs import get_logger

from mts1b_operations.archive.look import Due, due
from mts1b_operations.archive.manifest import ArchiveError, last_manifest
from mts1b_operations.monitor.reading import Reading, Watch
from mts1b_operations.monitor.survey import Survey

log = get_logger("mts1b.monitor")

_HOUR = 3600.0


class Archived:
    """One archive.

    Args:
        directory: where it lies.
        every: seconds for which what was read of it holds: it asks for a message of each stream.
        clock: seconds that only grow.
    """

    def __init__(self, directory: Path, *, every: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._every = every
        self._clock = clock
        self._read_at = -math.inf
        self._readings: list[Reading] = []

    async def read(self, bus: EventBus, seen: Survey) -> list[Reading]:
        """A reading for each stream that is archived, and one of the archive itself.

        Raises:
            BusClosed: the bus was closed.
        """
        if self._clock() - self._read_at >= self._every:
            self._readings = await self._look(bus, seen)
            self._read_at = self._clock()
        return self._readings

    async def _look(self, bus: EventBus, seen: Survey) -> list[Reading]:
        place = str(self._directory)
        try:
            last = last_manifest(self._directory)[0]
            readings = [age(place, last.made_at if last else None, seen, datetime.now(UTC))]
            return [*readings, *behind(place, await due(bus, self._directory))]
        except BusClosed:
            raise
        except BusError as error:
            log.warning("what is not archived yet could not be seen", directory=place, error=str(error))
            return [Reading(Watch.ARCHIVE_BEHIND, place, 0.0, f"what is not archived yet cannot be seen: {error}")]
        except (ArchiveError, OSError) as error:
            return [Reading(Watch.ARCHIVE_AGE, place, math.inf, f"the archive in {place} cannot be read: {error}")]


def age(place: str, made_at: datetime | None, seen: Survey, now: datetime) -> Reading:
    """Hours since the archive was brought up to date; before its first run, since there have been streams."""
    began = made_at
    if began is None:
        made = [datetime.fromisoformat(info["created"]) for info in seen.streams.values()]
        began = min(made, default=now)
    hours = max(0.0, (now - began).total_seconds() / _HOUR)
    said = f"was brought up to date {hours:.1f} hours ago" if made_at else "was never run"
    return Reading(Watch.ARCHIVE_AGE, place, hours, f"the archive in {place} {said}")


def behind(place: str, found: list[Due]) -> Iterator[Reading]:
    """Hours until each stream begins to lose what is not archived; infinite for one that loses nothing."""
    for each in found:
        hours = math.inf if each.hours is None else max(0.0, each.hours)
        left = "none leaves the stream" if hours == math.inf else f"the first leaves the stream in {hours:.1f} hours"
        yield Reading(
            Watch.ARCHIVE_BEHIND,
            each.stream,
            hours,
            f"{each.messages:,} messages of {each.stream} are not in the archive in {place}: {left}",
        )
