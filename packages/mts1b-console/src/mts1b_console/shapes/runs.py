"""Runs: one action on many dead letters, which the responders carry through whoever looks on."""

from typing import Literal

from mts1b_console.shapes.base import Answer, Instant, Shape


class RunRefused(Shape):
    """A letter that nothing was done about."""

    id: str
    why: str


class CameBack(Shape):
    """Requeued messages that failed again."""

    count: int
    error: str
    """Of the newest."""


class Run(Shape):
    """One run."""

    run_id: str
    verb: Literal["requeue", "discard", "restore"]
    consumers: list[str]
    """The durables whose letters these are."""
    to: str | None
    """For a requeue: ``consumer`` or ``subject``."""
    fund: str | None
    by: str
    reason: str
    begun: Instant
    changed: Instant
    """When a responder wrote last how far it is; every second while it runs."""
    state: Literal["running", "waiting", "stopped", "finished"]
    """``waiting``: the first ones are done, and it waits for a word to go on."""
    of: int
    at: int
    """Letters that are dealt with."""
    done: int
    failed: int
    """Letters that were refused."""
    refused: list[RunRefused]
    """The newest of these."""
    trouble: str | None
    """What keeps it from going on."""
    ordered_by: str | None
    """Who said last that it goes on, stops or ends."""
    back: CameBack | None
    """Of a requeue: what of it came back; null when this person reads no dead letters."""


class Runs(Answer):
    """``GET /api/deadletters/runs``: those of the last day, the newest first."""

    runs: list[Run] | None = None
