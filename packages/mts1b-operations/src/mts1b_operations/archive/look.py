"""Looking into an archive: is it whole, what does it hold, and what will leave its stream before it is archived?"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.history.history import open_history
from mts1b_platform.eventbus.history.recorded import Recorded, nanoseconds_of
from mts1b_platform.observability.audit import verify as verify_audit

from mts1b_operations.archive.events_file import read_events
from mts1b_operations.archive.manifest import (
    AUDIT,
    ArchivedFile,
    ArchiveError,
    Manifest,
    hash_of,
    last_manifest,
    manifests,
)
from mts1b_operations.archive.run import archived_infos, archived_through
from mts1b_operations.history.matching import matches, may_match, needles, streams_of
from mts1b_operations.history.query import Query
from mts1b_operations.history.seen import Decoders, Seen

_HOUR: Final = 3600.0
_NANO: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Verified:
    """What was checked, and each place where the archive is not whole, in words."""

    manifests: int
    files: int
    events: int
    chains: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Due:
    """What of one stream is not archived yet."""

    stream: str
    messages: int
    hours: float | None
    """Until the first of it leaves the stream, by age or size at the pace since it came; None: it does not."""


def verify(directory: Path) -> Verified:
    """Compare everything with the manifests, and these with each other.

    Raises:
        ArchiveError: there is no archive.
    """
    problems: list[str] = []
    number, previous, files, events = 0, None, 0, 0
    through: dict[tuple[str, str], int] = {}
    last: Manifest | None = None
    for manifest, digest in manifests(directory):
        number += 1
        if manifest.number != number:
            problems.append(f"manifest {number} is missing: {manifest.number} comes next")
            number = manifest.number
        elif manifest.previous != previous:
            problems.append(f"manifest {number} does not follow the one before it: one of them was changed")
        previous, last = digest, manifest
        for stream in manifest.streams:
            key = (stream.name, stream.created)
            for file in stream.files:
                files += 1
                events += file.events
                problems += _wrong_with(directory, stream.name, file)
                if file.first <= through.get(key, 0):
                    problems.append(f"{file.path}: it begins at {file.first}, which was archived before")
                through[key] = file.last
            if stream.lost is not None:
                problems.append(
                    f"{stream.name}: sequences {stream.lost[0]} to {stream.lost[1]} had left the stream before the run "
                    f"of {manifest.made_at.isoformat(timespec='seconds')}"
                )
    chains = last.chains if last is not None else ()
    for log in sorted({chain.log for chain in chains}):
        heads = {chain.chain: chain.head for chain in chains if chain.log == log}
        place = directory / AUDIT / log
        if not place.is_dir():
            problems.append(f"{AUDIT}/{log} is missing")
            continue
        there = verify_audit(place, heads=heads)
        problems += [f"{AUDIT}/{log}/{problem}" for chain in there for problem in chain.problems]
        problems += [f"{AUDIT}/{log}/{name} is missing" for name in heads.keys() - {chain.path.name for chain in there}]
    return Verified(number, files, events, len(chains), tuple(problems))


def find(
    directory: Path, query: Query, decoders: Decoders, *, since_ns: int | None = None, until_ns: int | None = None
) -> Iterator[Seen]:
    """What a query means, oldest first within each stream, each event once.

    Raises:
        ArchiveError: there is no archive, or a file of it cannot be read.
    """
    names, wanted = streams_of(query), needles(query)
    low, high = since_ns or 0, until_ns if until_ns is not None else 1 << 63
    files = [
        (stream.name, file)
        for manifest, _ in manifests(directory)
        for stream in manifest.streams
        if not names or stream.name in names
        for file in stream.files
        if nanoseconds_of(file.until) >= low and nanoseconds_of(file.since) <= high
    ]
    seen: set[tuple[str, int, str]] = set()
    for stream, file in sorted(files, key=lambda each: (each[0], each[1].since)):
        for batch in read_events(directory / file.path, stream):
            for recorded in batch:
                if low <= recorded.time_ns <= high and may_match(wanted, recorded):
                    event = Seen(recorded, decoders)
                    key = _key(recorded)
                    if key not in seen and matches(query, event):
                        seen.add(key)
                        yield event


async def due(bus: EventBus, directory: Path) -> list[Due]:
    """What of every stream is not archived yet, and when it would be too late; all of it before the first run.

    Raises:
        ArchiveError: the archive cannot be read.
        BusError: a stream cannot be read.
    """
    last = last_manifest(directory)[0]
    known = {stream.name: stream for stream in last.streams} if last is not None else {}
    found: list[Due] = []
    for info in await archived_infos(bus):
        name = info["config"]["name"]
        through = archived_through(known.get(name), info)
        state = info["state"]
        first = max(state["first_seq"], through + 1)
        waiting = max(0, state["last_seq"] - first + 1)
        history = await open_history(bus, name)
        oldest = await history.get(first) if waiting else None
        found.append(Due(name, waiting, _hours(info, oldest, waiting) if oldest is not None else None))
    return found


def _hours(info: dict[str, Any], oldest: Recorded, waiting: int) -> float:
    """Hours until ``oldest`` leaves its stream."""
    config, state = info["config"], info["state"]
    age = max(1.0, (datetime.now(UTC) - oldest.time).total_seconds())
    left = [float("inf")]
    if (max_age := config.get("max_age", 0)) > 0:
        left.append(max_age / _NANO - age)
    share = min(1.0, waiting / max(1, state["messages"]))
    for limit, held in (("max_bytes", state["bytes"]), ("max_msgs", state["messages"])):
        if (most := config.get(limit, -1)) > 0 and held:
            own = held * share  # what is older may go
            left.append((most - own) / (own / age))
    return min(left) / _HOUR


def _wrong_with(directory: Path, stream: str, file: ArchivedFile) -> list[str]:
    path = directory / file.path
    try:
        if hash_of(path) != file.sha256:
            return [f"{file.path}: it is not as it was written"]
        sequences = [recorded.seq for batch in read_events(path, stream) for recorded in batch]
    except (OSError, ArchiveError) as error:
        return [f"{file.path}: {error}"]
    if len(sequences) != file.events or sequences != sorted(set(sequences)):
        return [f"{file.path}: it holds {len(sequences)} events, not {file.events} in order"]
    return []


def _key(recorded: Recorded) -> tuple[str, int, str]:
    return recorded.stream, recorded.seq, recorded.stamp
