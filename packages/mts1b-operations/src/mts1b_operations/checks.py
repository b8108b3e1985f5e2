"""One-shot checks of the server against levels, for people, cron and monitoring systems."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum

from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.jetstream.stored import read_stored

from mts1b_operations.monitor.reading import Reading, Watch


class State(IntEnum):
    """The outcome; its value is the exit code that Nagios-like systems expect."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Checked:
    """One reading, judged."""

    reading: Reading
    state: State


@dataclass(frozen=True, slots=True)
class Levels:
    """Beyond which values a reading is a warning, or critical."""

    warning: float | None
    critical: float | None
    less_is_worse: bool = False

    def judge(self, value: float) -> State:
        """The state of ``value``."""
        if self.critical is not None and self._beyond(value, self.critical):
            return State.CRITICAL
        if self.warning is not None and self._beyond(value, self.warning):
            return State.WARNING
        return State.OK

    def _beyond(self, value: float, level: float) -> bool:
        return value < level if self.less_is_worse else value > level


def judged(readings: Iterable[Reading], levels: Levels) -> list[Checked]:
    """Each reading with its state, the worst first."""
    found = [Checked(reading, levels.judge(reading.value)) for reading in readings]
    return sorted(found, key=lambda checked: -checked.state)


def worst(found: Sequence[Checked]) -> State:
    """The state of all of them together; OK when there is nothing to check."""
    return max((checked.state for checked in found), default=State.OK)


async def recent_deadletters(bus: EventBus, seconds: float, *, most: int) -> Reading:
    """Dead letters stored within the last ``seconds``, counted from the end; counting stops beyond ``most``.

    Raises:
        JetStreamUnavailable: JetStream does not answer.
        ApiError: the stream does not exist, or this identity may not ask.
    """
    since = datetime.now(UTC) - timedelta(seconds=seconds)
    state = (await js_api(bus, "STREAM.INFO.DEADLETTERS"))["state"]
    count = 0
    for seq in range(state["last_seq"], max(0, state["first_seq"] - 1), -1):
        if count > most:
            break
        message = await read_stored(bus, "DEADLETTERS", seq=seq)
        if message is None:
            continue  # deleted meanwhile
        if message.time < since:
            break
        count += 1
    more = "more than " if count > most else ""
    return Reading(
        Watch.DEAD_LETTERS, "DEADLETTERS", float(count), f"{more}{min(count, most)} dead letters in {seconds:g} s"
    )
