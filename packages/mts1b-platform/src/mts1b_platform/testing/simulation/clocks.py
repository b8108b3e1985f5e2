"""Time and chance of simulated processes: handed in where the bus takes them, put in the system's place elsewhere."""

import os
import random
import secrets
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from mts1b_platform.eventbus.connection.network import Timer
from mts1b_platform.eventbus.events import trace
from mts1b_platform.testing.simulation.process import Process, running
from mts1b_platform.testing.simulation.world import World


class SimClock:
    """The clock of one process; see ``Clock``."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def now(self) -> float:
        return self._process.now

    def wall(self) -> float:
        return self._process.now + self._process.world.wall_offset

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        return self._process.loop.call_later(delay, callback)


class SimChance:
    """The world's chance; see ``Chance``."""

    def __init__(self, world: World) -> None:
        self._rng = world.rng

    def token(self) -> str:
        return f"{self._rng.getrandbits(88):022x}"

    def uniform(self, low: float, high: float) -> float:
        return self._rng.uniform(low, high)


@contextmanager
def simulated(world: World) -> Generator[None]:
    """Whatever asks the system for time or chance is answered by the world, while code of a process runs."""

    def instead(real: Callable[[], float], simulated: Callable[[], float]) -> Callable[[], float]:
        return lambda: real() if world.current is None else simulated()

    def sleep(seconds: float) -> None:
        process = running(world)
        if process is None:
            real_sleep(seconds)
        else:
            process.block(seconds)

    real_sleep = time.sleep
    entropy = random.Random(world.rng.getrandbits(64))  # noqa: S311 - a seed is to repeat
    replaced: list[tuple[Any, str, Any]] = [
        (time, "time", instead(time.time, world.wall)),
        (time, "monotonic", instead(time.monotonic, world.time)),
        (time, "perf_counter", instead(time.perf_counter, world.time)),
        (time, "sleep", sleep),
        (os, "urandom", entropy.randbytes),
        (secrets, "token_hex", lambda size=32: entropy.randbytes(size).hex()),
    ]
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in replaced]
    state = random.getstate()
    trace.forget_drawn_ids()
    try:
        random.seed(world.rng.getrandbits(64))
        for owner, name, value in replaced:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in originals:
            setattr(owner, name, value)
        random.setstate(state)
        trace.forget_drawn_ids()
