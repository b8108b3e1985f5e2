"""What streams of events took while services changed, counted by what they hold: lost, doubled, given up.

**Doubled** is an event that a stream holds twice under one message id: the server knows ids for a while (two minutes in
most streams), so that a service which began anew too far back is seen here and not there. **Lost** is an event that was
stored while the change went on and is not there at its end. What a reader had under way comes again to the next one:
that counts as neither: its dedupe store knows it.
"""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from mts1b_foundation.subjects.algebra import overlaps

from mts1b_deploy.mirrors.mirror import stream_infos

if TYPE_CHECKING:
    from mts1b_platform.eventbus import EventBus

_EVENTS: Final = "mts.>"
_DEAD: Final = "DEADLETTERS"
_BACK: Final = 20_000
"""Sequences of each stream before the change whose ids are compared, too."""

Marks = Mapping[str, int]
"""By stream of events, its last sequence."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was stored while something went on.

    Attributes:
        stored: events.
        lost: by stream, those of them that are not there any more.
        doubled: by stream, those whose message id it held already.
        given_up: dead letters.
    """

    stored: int
    lost: dict[str, int] = field(default_factory=dict[str, int])
    doubled: dict[str, int] = field(default_factory=dict[str, int])
    given_up: int = 0

    @property
    def good(self) -> bool:
        """Whether every event is there, once."""
        return not self.lost and not self.doubled


async def marks_now(bus: "EventBus") -> dict[str, int]:
    """Where each stream of events ends.

    Raises:
        BusError: the server cannot be asked.
    """
    return {
        name: int(info["state"]["last_seq"])
        for name, info in (await stream_infos(bus)).items()
        if _holds_events(info["config"])
    }


async def traffic_since(bus: "EventBus", marks: Marks) -> Traffic:
    """What was stored behind ``marks``. A stream that came meanwhile counts from its beginning.

    Raises:
        BusError: a stream cannot be read.
    """
    stored, lost, doubled, given_up = 0, dict[str, int](), dict[str, int](), 0
    for name, last in (await marks_now(bus)).items():
        before = marks.get(name, 0)
        if last <= before:
            continue
        if name == _DEAD:
            given_up = last - before
            continue
        stored += last - before
        there, twice = await _look(bus, name, before, last)
        if there < last - before:
            lost[name] = last - before - there
        if twice:
            doubled[name] = twice
    return Traffic(stored, lost, doubled, given_up)


async def _look(bus: "EventBus", name: str, before: int, last: int) -> tuple[int, int]:
    """How many events a stream holds behind ``before``, and how many of them under an id that it held already."""
    from mts1b_platform.eventbus.history.history import open_history
    from mts1b_platform.eventbus.protocol.envelope_reader import read_ids

    known: set[str] = set()
    there = twice = 0
    history = await open_history(bus, name)
    async with aclosing(history.batches(max(1, before - _BACK + 1), last)) as batches:
        async for batch in batches:
            for message in batch:
                msg_id = read_ids(message.wire.head).msg_id
                if message.seq > before:
                    there += 1
                    twice += msg_id in known
                if msg_id:
                    known.add(msg_id)
    return there, twice


def _holds_events(config: Mapping[str, Any]) -> bool:
    """Whether a stream takes events that stay: it is no bucket, and nothing in it is replaced by what is newer."""
    subjects: list[str] = config.get("subjects") or []
    return config.get("max_msgs_per_subject") != 1 and any(overlaps(each, _EVENTS) for each in subjects)
