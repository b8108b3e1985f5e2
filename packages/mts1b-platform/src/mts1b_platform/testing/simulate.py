"""The pytest fixture with which a repo tests its own service in a simulated world."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:  # every run of pytest loads this
    from mts1b_platform.testing.simulation import Simulation

__all__ = ["Simulate", "simulate"]


class Simulate(Protocol):
    """What the fixture ``simulate`` gives."""

    def __call__(self, seed: int = 0) -> "Simulation":
        """A simulated world, with a server that holds every declared stream. The same seed gives the same run.

        One at a time: the next one ends the one before.
        """
        ...


@pytest.fixture
def simulate() -> Iterator[Simulate]:
    """Simulate services on virtual time; a test that fails shows what happened last in its world."""
    from mts1b_platform.testing.simulation import Simulation

    with ExitStack() as worlds:

        def begin(seed: int = 0) -> "Simulation":
            worlds.close()
            world = worlds.enter_context(Simulation(seed))
            worlds.callback(lambda: print(world.story))
            return world

        yield begin
