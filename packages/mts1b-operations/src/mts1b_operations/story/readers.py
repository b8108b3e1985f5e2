"""Which durable has handled an event, by what the server says of its consumers."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from mts1b_foundation.deadletters import DeadLetter
from mts1b_foundation.subjects.algebra import matches
from mts1b_platform.eventbus.declared import declared

from mts1b_operations.history.seen import Seen
from mts1b_operations.lag import ConsumerLag


class State(StrEnum):
    """What a durable has done with an event."""

    HANDLED = "handled"
    GAVE_UP = "gave up"
    """There is a dead letter of it."""
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
        last_active: when it was last given a message; None when not since the server was started.
        paused: whether it was paused on purpose.
        lag_seconds: age of the oldest message that it has not settled.
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
    lag_seconds: float

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
            "lag_seconds": round(self.lag_seconds, 3),
        }


def services_of_durables() -> dict[tuple[str, str], str]:
    """The services of the declared durables, by stream and durable."""
    return {(each.stream, each.durable): each.service for each in declared().consumers}


def readers_of(
    seen: Seen,
    lags: Iterable[ConsumerLag],
    services: Mapping[tuple[str, str], str],
    letters: Iterable[DeadLetter] = (),
) -> list[Reader]:
    """The durables that read ``seen``, by service and name.

    Args:
        seen: a stored event.
        lags: the consumers of its stream.
        services: as :func:`services_of_durables`.
        letters: dead letters, in which some may have given it up.
    """
    place = seen.recorded.stream, seen.recorded.seq
    gave_up = {letter.consumer for letter in letters if (letter.stream, letter.sequence) == place}
    found = [
        _reader(seen, lag, services.get((lag.stream, lag.consumer)) or lag.service, gave_up)
        for lag in lags
        if lag.durable and (not lag.filters or any(matches(each, seen.subject) for each in lag.filters))
    ]
    return sorted(found, key=lambda reader: (reader.service, reader.durable))


def _reader(seen: Seen, lag: ConsumerLag, service: str, gave_up: Container[str]) -> Reader:
    return Reader(
        stream=lag.stream,
        durable=lag.consumer,
        service=service,
        state=State.GAVE_UP if lag.consumer in gave_up else _state(seen, lag),
        reached=lag.reached,
        behind=lag.pending,
        unsettled=lag.ack_pending,
        redelivered=lag.redelivered,
        pulls=lag.waiting,
        last_active=datetime.fromisoformat(lag.last_active) if lag.last_active else None,
        paused=lag.paused,
        lag_seconds=lag.seconds,
    )


def _state(seen: Seen, lag: ConsumerLag) -> State:
    seq = seen.recorded.seq
    if lag.deliver != "all" and lag.created and datetime.fromisoformat(lag.created) > seen.recorded.time:
        return State.BEFORE
    if seq > lag.reached:
        return State.WAITING
    if seq <= lag.floor or not lag.ack_pending:
        return State.HANDLED
    return State.UNDER_WAY
