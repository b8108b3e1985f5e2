"""The simulated world: one heap of events on virtual time, one source of chance, and everything that lives in it."""

import heapq
import logging
import random
import re
import zlib
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final, Protocol

EPOCH: Final = 1_900_000_000.0
"""Wall clock at the beginning of every world."""
_LINES: Final = 400
_DIRECTORY: Final = re.compile(r"[^\s']*/mts1b-sim-\w+")


class Resident(Protocol):
    """Who lives in a world: a process, with a time of its own."""

    name: str
    now: float
    """A resident that has blocked is ahead of the world."""

    def end(self) -> None:
        """The world is over."""
        ...


class World:
    """Virtual time. What happens at the same moment happens in the order in which it was asked for.

    Args:
        seed: decides every choice.
        verbose: keep the lines of the transcript, not only its checksum.
    """

    def __init__(self, seed: int, *, verbose: bool = False) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - a seed is to repeat
        self.now = 0.0
        self.wall_offset = EPOCH
        self.current: Resident | None = None
        """Whose code runs."""
        self.residents: list[Resident] = []
        """All that ever lived: collecting a killed process's coroutines would run their ``finally`` blocks."""
        self.steps = 0
        self.injected: Counter[str] = Counter()
        """Faults that came to pass, by kind."""
        self.checksum = 0
        """Of everything that was noted: equal for equal runs."""
        self.lines: deque[str] | list[str] = [] if verbose else deque(maxlen=_LINES)
        self._verbose = verbose
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._asked = 0

    def at(self, when: float, call: Callable[..., object], *args: Any) -> None:
        """Have ``call`` happen at a time, not before now."""
        self._asked += 1
        heapq.heappush(self._heap, (max(when, self.now), self._asked, call, args))

    def time(self) -> float:
        """What time it is for the code that runs."""
        return self.now if self.current is None else self.current.now

    def wall(self) -> float:
        """Seconds since 1970, as the machine's clock has them."""
        return self.time() + self.wall_offset

    def note(self, *what: object) -> None:
        """Add a line to the transcript."""
        who = self.current.name if self.current is not None else "-"
        line = f"{self.time():.6f} {who} {' '.join(map(str, what))}"
        self.checksum = zlib.crc32(line.encode(), self.checksum)
        self.lines.append(line)

    def passed(self, direction: str, number: int, data: bytes) -> None:
        """Note bytes that arrived; cheaper than a line."""
        self.checksum = zlib.crc32(data, zlib.crc32(b"%r" % self.now, self.checksum))
        if self._verbose:
            self.lines.append(f"{self.now:.6f} {direction}{number} {data!r}")

    def run(self, until: float, stop: Callable[[], bool] | None = None) -> None:
        """Let time pass until then, or until ``stop`` says so, which is asked now and then."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= until:
            self.steps += 1
            if stop is not None and not self.steps & 31 and stop():
                return
            self.now, _, call, args = pop(heap)
            call(*args)
        self.now = max(self.now, until)

    def end(self) -> None:
        """It is over; what nobody runs any more is let go."""
        for resident in self.residents:
            resident.end()
        self.residents.clear()
        self._heap.clear()


class LogLines(logging.Handler):
    """Log lines of the bus, in the world's transcript, with virtual times and the names of processes."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        words = _DIRECTORY.sub("", record.getMessage())  # the name of which is of the real world's chance
        self._world.note(record.levelname, words[:300])
