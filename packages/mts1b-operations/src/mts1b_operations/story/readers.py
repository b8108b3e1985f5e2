"""Which durable has handled an event, by what the server says of its consumers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from mts1b_foundation.subjects.algebra import matches
from mts1b_platform.eventbus.declared import declared
from mts1b_platform.eventbus.jetstream.durables import SERVICE

from mts1b_operations.history.seen import Seen


class State(StrEnum):
    """What a durable has done with an event."""

    HANDLED = "handled"
    UNDER_WAY = "under way"
    """It was delivered and is not settled, or one before it is not: the server does not say which."""
    WAITING = "waiting"
    """It was not delivered yet."""
    BEFORE = "before its time"
    """The durable was made later and began with newer events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A durable that reads an event.

    Attributes:
        stream: what it reads.
        durable: its name.
        service: the repo that reads with it; empty when nobody says.
        state: what it has done with the event.
        reached: the last sequence that was delivered.
        behind: messages that it has not been given yet.
        unsettled: messages that were delivered and not settled.
        redelivered: how many of those more than once.
        pulls: pulls that wait: somebody is there to read.
        last_active: when it was last given a message; None when never.
        paused: whether it was paused on purpose.
    """

    stream: str
    durable: str
    service: str
    state: State
    reached: int
    behind: int
    unsettled: int
    redelivered: int
    pulls: int
    last_active: datetime | None
    paused: bool

    def to_json(self) -> dict[str, Any]:
        """It as a JSON document."""
        return {
            "durable": self.durable,
            "service": self.service or None,
            "state": self.state.value,
            "reached": self.reached,
            "behind": self.behind,
            "unsettled": self.unsettled,
            "redelivered": self.redelivered,
            "pulls": self.pulls,
            "last_active": self.last_active.isoformat() if self.last_active else None,
            "paused": self.paused,
        }


def services_of_durables() -> dict[tuple[str, str], str]:
    """The services of the declared durables, by stream and durable."""
    return {(each.stream, each.durable): each.service for each in declared().consumers}


def readers_of(seen: Seen, infos: Iterable[Mapping[str, Any]], services: Mapping[tuple[str, str], str]) -> list[Reader]:
    """The durables that read ``seen``, by name.

    Args:
        seen: a stored event.
        infos: the server's description of the consumers of its stream.
        services: as :func:`services_of_durables`.
    """
    found = [
        _reader(seen, info, services)
        for info in infos
        if "durable_name" in info["config"] and _asks_for(info["config"], seen.subject)
    ]
    return sorted(found, key=lambda reader: (reader.service, reader.durable))


def _reader(seen: Seen, info: Mapping[str, Any], services: Mapping[tuple[str, str], str]) -> Reader:
    config: Mapping[str, Any] = info["config"]
    stream, durable = str(info["stream_name"]), str(info["name"])
    told: Mapping[str, str] = config.get("metadata") or {}
    active = info["delivered"].get("last_active")
    return Reader(
        stream=stream,
        durable=durable,
        service=services.get((stream, durable)) or told.get(SERVICE, ""),
        state=_state(seen, info),
        reached=info["delivered"]["stream_seq"],
        behind=info["num_pending"],
        unsettled=info["num_ack_pending"],
        redelivered=info["num_redelivered"],
        pulls=info.get("num_waiting", 0),
        last_active=datetime.fromisoformat(active) if active else None,
        paused=bool(info.get("paused")),
    )


def _state(seen: Seen, info: Mapping[str, Any]) -> State:
    seq = seen.recorded.seq
    later = info["config"].get("deliver_policy", "all") != "all"
    if later and datetime.fromisoformat(info["created"]) > seen.recorded.time:
        return State.BEFORE
    if seq > info["delivered"]["stream_seq"]:
        return State.WAITING
    if seq <= info["ack_floor"]["stream_seq"] or not info["num_ack_pending"]:
        return State.HANDLED
    return State.UNDER_WAY


def _asks_for(config: Mapping[str, Any], subject: str) -> bool:
    several: Sequence[str] = config.get("filter_subjects") or ()
    filters = several or ((config["filter_subject"],) if config.get("filter_subject") else ())
    return not filters or any(matches(each, subject) for each in filters)
