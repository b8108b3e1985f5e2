"""Where a session begins in durables that outlive it.

Where services may create no durables, a session finds them where the one before left off, perhaps with events of it
that nobody has worked. So whatever a stream holds when the state of a session is first made is not the session's, and
is acknowledged unread. What was decided before and still holds (halts) is read from the stream itself. Both are stored
by the first transaction of that state: a service that is started again begins where it did.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mts1b_platform.eventbus import EventBus
from mts1b_platform.eventbus.jetstream.api import js_api
from mts1b_platform.eventbus.jetstream.durables import stream_of

from mts1b_desk.declared import Input
from mts1b_desk.errors import DeskError
from mts1b_desk.stored import Stored, stored_events


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a session begins.

    Attributes:
        last: by stream, the last sequence that is not the session's.
        decided: what still holds of before, in the order of its stream.
    """

    last: dict[str, int]
    decided: tuple[Stored[Any], ...] = ()


async def check_beginning(bus: EventBus, begins: Mapping[str, int]) -> None:
    """Make sure that no stream ends before the session begins.

    Such a stream was restored from a backup that is older than the session: what comes next in it would be taken for
    something of before, and be acknowledged unread.

    Raises:
        DeskError: one does.
    """
    for stream, last in begins.items():
        end = int((await js_api(bus, f"STREAM.INFO.{stream}"))["state"]["last_seq"])
        if end < last:
            raise DeskError(
                f"{stream} ends at {end}, and this session began behind {last}: the stream was restored from a backup "
                "older than the session, whose state says nothing of it. Begin another session"
            )


async def find_beginning(bus: EventBus, inputs: Iterable[Input]) -> Beginning:
    """What the streams of ``inputs`` hold now.

    Raises:
        NoStream: one of them does not exist.
        AccessDenied: this service may not look at one of them.
        JetStreamUnavailable: JetStream does not answer.
    """
    last: dict[str, int] = {}
    decided: list[Stored[Any]] = []
    for wanted in inputs:
        stream = await stream_of(bus, wanted.subjects)
        end = last[stream] = int((await js_api(bus, f"STREAM.INFO.{stream}"))["state"]["last_seq"])
        if wanted.deliver == "all":
            decided += [each async for each in stored_events(bus, stream, wanted.subjects, last=end)]
    return Beginning(last, tuple(decided))
