"""What a run has done, as its processes tell it: the facts that the oracles judge."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple


class Acked(NamedTuple):
    """An event that ``emit`` has returned for."""

    key: str
    seq: int
    era: int
    """How often the stream had been rolled back or made again by then."""


class Effect(NamedTuple):
    """A handler that has returned."""

    at: float
    process: str
    order: int
    seq: int
    deliveries: int


class Ended(NamedTuple):
    """A process that ended by itself though nobody had asked it to."""

    at: float
    process: str
    error: str
    words: str


@dataclass(slots=True)
class Reader:
    """What one durable has handled."""

    ordered: bool
    key: str | None = None
    """The key of the only orders that it reads."""
    shared: bool = False
    """Whether several processes read it, so that no order is promised."""
    once: bool = False
    """Whether its effects are written together with the marks of a SQL store."""
    booked: Counter[int] = field(default_factory=Counter)
    """By order how often its effect is written; of one that is ``once``."""
    effects: list[Effect] = field(default_factory=list)
    begun: Counter[int] = field(default_factory=Counter)
    """By order how often its handler was called."""
    terms: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    """Processes and the terms in which they began with an event, in the order of time; of instances that stand by."""
    failures: Counter[int] = field(default_factory=Counter)
    """By order how often its handler raised."""
    crashes: Counter[int] = field(default_factory=Counter)
    """By order how often a process was killed inside its handler."""
    inside: list[tuple[str, int]] = field(default_factory=list)
    """Processes and the orders that they handle right now."""

    @property
    def done(self) -> set[int]:
        """Orders that were handled."""
        return set(self.booked) if self.once else {effect.order for effect in self.effects}

    def begin(self, process: str, order: int) -> None:
        """A handler is called."""
        self.begun[order] += 1
        self.inside.append((process, order))

    def handled(self, effect: Effect) -> None:
        """It has returned."""
        self.effects.append(effect)

    def failed(self, order: int) -> None:
        """It raises."""
        self.failures[order] += 1

    def leave(self, process: str, order: int) -> None:
        """It is over, in whatever way."""
        if (process, order) in self.inside:  # that of a killed process is over already
            self.inside.remove((process, order))

    def killed(self, process: str) -> None:
        """A process was killed: what it was handling crashed."""
        self.crashes.update(order for who, order in self.inside if who == process)
        self.inside = [each for each in self.inside if each[0] != process]


class Record:
    """All facts of one run."""

    def __init__(self) -> None:
        self.era = 0
        self.acked: dict[int, Acked] = {}
        self.emitted = 0
        """Orders that the producer has come to; a new one goes on from there."""
        self.all_emitted = False
        self.unpublished: set[int] = set()
        """Numbers of outbox rows that were never published."""
        self.excused: set[int] = set()
        """Orders that a fault took off the stream."""
        self.readers: dict[str, Reader] = {}
        self.ended: list[Ended] = []
        self.refused: list[tuple[int, str]] = []
        """Orders that an emit gave up, with the error."""
        self.drained: list[tuple[str, float]] = []
        """Processes that were asked to end, and how many seconds they took."""

    def emit_returned(self, order: int, acked: Acked) -> None:
        """An event is stored."""
        self.acked[order] = acked
        self.emitted = order + 1

    def emitted_all(self) -> None:
        """The producer is through."""
        self.all_emitted = True
