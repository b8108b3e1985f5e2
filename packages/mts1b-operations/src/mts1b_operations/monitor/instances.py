"""Durables that several instances read: whether one is active, whether it gets on, and how often they take over."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from mts1b_operations.lag import ConsumerLag
from mts1b_operations.monitor.reading import Reading, Watch
from mts1b_operations.monitor.survey import Survey

_WINDOW: Final = 600.0


@dataclass(slots=True)
class _Seen:
    """What was seen of one durable at the looks before."""

    pin: str
    """Of who was active last."""
    done: tuple[int, int]
    """Where it stood when something was acknowledged last."""
    since: float
    takeovers: list[float] = field(default_factory=list[float])


class Instances:
    """Compares each look with those before. Takeovers between two looks count as one."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def read(self, seen: Survey) -> Iterator[Reading]:
        """Three readings for each durable for several instances that is not paused.

        One that nobody has ever read is of a service that does not run here: it needs no instance.
        """
        now = time.monotonic()
        lags = {f"{lag.stream}/{lag.consumer}": lag for lag in seen.lags if lag.takeover and not lag.paused}
        self._seen = {target: before for target, before in self._seen.items() if target in lags}
        for target, lag in lags.items():
            before = self._seen.setdefault(target, _Seen(lag.pin, _done(lag), now))
            yield _nobody_active(target, lag)
            yield _held_up(target, lag, before, now)
            yield _takeovers(target, lag, before, now)


def _nobody_active(target: str, lag: ConsumerLag) -> Reading:
    alone = bool(lag.deliveries and lag.messages) and not lag.pin
    detail = f"{lag.messages} messages wait for {lag.consumer} on {lag.stream}, and no instance is handed them: " + (
        "those that stand by do not take over" if lag.waiting else "start one"
    )
    return Reading(
        Watch.NOBODY_ACTIVE, target, float(alone), detail if alone else "an instance is active, or none is needed"
    )


def _held_up(target: str, lag: ConsumerLag, before: _Seen, now: float) -> Reading:
    if not lag.pin or not lag.ack_pending or (lag.pin, _done(lag)) != (before.pin, before.done):
        before.done, before.since = _done(lag), now
    seconds = now - before.since
    detail = (
        f"the active instance of {lag.consumer} on {lag.stream} has {lag.ack_pending} messages and has finished none "
        f"for {seconds:.0f} s: its handler or its store is stuck; one that is frozen in a transaction keeps a store "
        "locked"
    )
    return Reading(Watch.HELD_UP, target, seconds, detail if seconds else "the active instance gets on")


def _takeovers(target: str, lag: ConsumerLag, before: _Seen, now: float) -> Reading:
    if lag.pin and before.pin and lag.pin != before.pin:
        before.takeovers.append(now)
    before.pin = lag.pin or before.pin
    before.takeovers = [at for at in before.takeovers if now - at < _WINDOW]
    count = len(before.takeovers)
    detail = f"instances of {lag.consumer} on {lag.stream} took over {count} times in the last {_WINDOW / 60:g} minutes"
    return Reading(Watch.TAKEOVERS, target, float(count), detail)


def _done(lag: ConsumerLag) -> tuple[int, int]:
    """Moves when something is acknowledged: what is delivered fills a window, and no more comes before."""
    return lag.floor, lag.reached
