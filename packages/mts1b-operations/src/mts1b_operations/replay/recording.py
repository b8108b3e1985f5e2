"""A recording: JSON lines of events, behind a first line that says which bus they are from."""

import json
import os
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

from mts1b_platform.eventbus import AccessDenied, EventBus
from mts1b_platform.eventbus.history.recorded import Recorded

from mts1b_operations.export.json_lines import RecordingError, line_of, recorded_of
from mts1b_operations.lag import stream_infos

ORIGIN: Final = "mts_recorded_from"
_LINES: Final = 1_000

Origin = Mapping[str, str]
"""When each stream of a bus was created: what tells it from every other bus."""


async def origin_of(bus: EventBus) -> Origin:
    """What tells this bus from others; nothing when this identity may not ask."""
    if bus.identity.has_token or not bus.has_jetstream:
        return {}
    try:
        return {info["config"]["name"]: info["created"] for info in await stream_infos(bus)}
    except AccessDenied:
        return {}


class Recording:
    """A file that events are written to as they pass. What is in it is a recording whenever the process ends.

    Args:
        path: the file, which is made.
        origin: of the bus.

    Raises:
        FileExistsError: it is there already.
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, origin: Origin) -> None:
        self._file = path.open("xb")
        self._file.write(json.dumps({ORIGIN: dict(origin)}).encode() + b"\n")
        self.events = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def write(self, events: list[Recorded]) -> None:
        """Add events."""
        self._file.write(b"".join([line_of(each) for each in events]))
        self._file.flush()
        self.events += len(events)


def read_origin(path: Path) -> Origin:
    """Which bus a recording is from; nothing for an export, which does not say.

    Raises:
        RecordingError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return _origin(file.readline())
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}") from None


async def read_recording(path: Path) -> AsyncGenerator[list[Recorded], None]:
    """The events of a recording, or of an export as JSON lines, in lists.

    A last line that was torn when its writer was killed is left out.

    Raises:
        RecordingError: the file cannot be read, or a line is none of a recording.
    """
    found: list[Recorded] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if number == 1 and _is_origin(line):
                    continue
                if not line.endswith(b"\n"):
                    break
                try:
                    found.append(recorded_of(line))
                except RecordingError as error:
                    raise RecordingError(f"{path}, line {number}: {error}") from None
                if len(found) >= _LINES:
                    yield found
                    found = []
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}") from None
    if found:
        yield found


def _is_origin(line: bytes) -> bool:
    return line.startswith(b'{"%b"' % ORIGIN.encode())


def _origin(line: bytes) -> Origin:
    if not _is_origin(line):
        return {}
    try:
        document = cast("dict[str, Any]", json.loads(line))
        return {str(name): str(created) for name, created in document[ORIGIN].items()}
    except (ValueError, AttributeError):
        raise RecordingError(f"the first line of the recording says no origin: {line[:120]!r}") from None
