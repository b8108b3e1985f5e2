"""What every part of the server stands on: its clock, its life, its faults of time, and who is interested in what."""

from collections.abc import Callable
from typing import Any, Final

from mts1b_platform.testing.simulation.server.subjects import Interest
from mts1b_platform.testing.simulation.world import World

SECOND: Final = 1_000_000_000
"""Nanoseconds, in which JetStream states times."""
_JITTER: Final = 0.0005


class Host:
    """The process that the server is.

    Args:
        world: where it lives.
        keeps_files: whether consumers write their state down, to be killed with.
    """

    def __init__(self, world: World, *, keeps_files: bool = False) -> None:
        self.world = world
        self.keeps_files = keeps_files
        self.interest = Interest(world.rng)
        self.up = False
        self._life = 0
        self._frozen_until = 0.0

    def now(self) -> float:
        return self.world.now

    def wall_ns(self) -> int:
        return int((self.world.now + self.world.wall_offset) * SECOND)

    def at(self, when: float, call: Callable[..., object], *args: Any) -> None:
        """Have ``call`` happen, if this server still lives then."""
        self.world.at(when, self._happen, self._life, call, args)

    def soon(self, call: Callable[[], object]) -> None:
        """Have another goroutine do it, a moment later."""
        self.at(self.world.now + self.world.rng.uniform(0, _JITTER), call)

    def when_awake(self, call: Callable[..., object], *args: Any) -> None:
        """Do it now, or when the server is no longer frozen."""
        if self.world.now >= self._frozen_until:
            call(*args)
        else:
            self.at(self._frozen_until, call, *args)

    def freeze(self, seconds: float) -> None:
        """Stop the process, as SIGSTOP does."""
        self._frozen_until = max(self._frozen_until, self.world.now) + seconds

    def die(self) -> None:
        """What was to happen does not happen any more."""
        self.up = False
        self._life += 1
        self._frozen_until = 0.0
        self.interest.clear()

    def _happen(self, life: int, call: Callable[..., object], args: tuple[Any, ...]) -> None:
        if life != self._life or not self.up:
            return
        if self.world.now < self._frozen_until:
            self.world.at(self._frozen_until, self._happen, life, call, args)
        else:
            call(*args)
