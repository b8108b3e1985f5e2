"""A simulated operating system process: a loop of its own, that can be killed, frozen and blocked."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from mts1b_platform.testing.simulation.loop import Call, SimLoop, set_running
from mts1b_platform.testing.simulation.world import World

_TURN: Final = (5e-6, 6e-5)
"""Seconds that one turn of a loop takes."""
BUSY: Final = 20_000
"""Turns within a virtual second from which on a process does nothing but turn its loop."""


class Process:
    """Runs ``main`` until it is over or killed.

    A handler that blocks (``time.sleep``) moves this process's time alone; the world catches up meanwhile.
    """

    def __init__(self, world: World, name: str, main: Callable[["Process"], Coroutine[Any, Any, None]]) -> None:
        self.world, self.name = world, name
        self.alive = True
        self.now = world.now
        self.frozen_until = 0.0
        self.complaints: list[tuple[str, BaseException | None]] = []
        """Exceptions that nobody waited for."""
        self.handlers: dict[int, tuple[Callable[..., object], tuple[Any, ...]]] = {}
        """Of signals."""
        self.at_exit: list[Callable[[], None]] = []
        """What the operating system does when the process is gone: close its sockets and files."""
        self.busiest = 0
        """Most turns within one virtual second."""
        self._second, self._turns = 0, 0
        self._ready: list[Call] = []
        self._scheduled = False
        self.loop = SimLoop(self)
        world.residents.append(self)
        world.note("start", name)
        with _Inside(self):
            self.main = self.loop.create_task(main(self), name=name)

    def soon(self, call: Call) -> None:
        """Call it in the next turn."""
        if not self.alive:
            return
        self._ready.append(call)
        if not self._scheduled:
            self._scheduled = True
            self.world.at(max(self.now, self.frozen_until), self._turn)

    def inside(self, call: Callable[[], object]) -> None:
        """Call it as code of this process."""
        with _Inside(self):
            call()

    def block(self, seconds: float) -> None:
        """Do nothing for so long, in the middle of a turn."""
        self.now += seconds

    def freeze(self, seconds: float) -> None:
        """Stop the process, as SIGSTOP does or a paused virtual machine."""
        self.frozen_until = max(self.frozen_until, self.now, self.world.now) + seconds

    def signal(self, number: int) -> None:
        """Send a signal; ignored when nobody handles it."""
        if number in self.handlers:
            callback, args = self.handlers[number]
            self.loop.call_soon(callback, *args)

    def kill(self) -> None:
        """End it at once, as ``kill -9`` does; nothing of it runs any more."""
        if self.alive:
            self.world.note("kill -9", self.name)
            self._gone()

    def end(self) -> None:
        """The world is over; without a word."""
        if self.alive:
            self._gone()

    def close(self) -> None:
        """Close what its tasks were in the middle of, once it is gone: something else may hold on to these."""
        for task in asyncio.all_tasks(self.loop):
            with suppress(Exception):
                task.get_coro().close()  # runs its ``finally`` blocks

    def complain(self, message: str, error: BaseException | None) -> None:
        """Note an exception that nobody waited for."""
        if self.alive:
            self.world.note("unhandled", message, repr(error))
            self.complaints.append((message, error))

    def doubled_tasks(self) -> list[str]:
        """The names of tasks that keep a reader's events, of which there is more than one."""
        names = Counter(task.get_name() for task in asyncio.all_tasks(self.loop))
        return [f"{count} tasks {name!r}" for name, count in names.items() if name.startswith("keep ") and count > 1]

    def _gone(self) -> None:
        self.alive = False
        self._ready.clear()
        for call in self.at_exit:
            call()

    def _turn(self) -> None:
        if not self.alive:
            return
        world = self.world
        begin = max(self.now, self.frozen_until)
        if begin > world.now:
            world.at(begin, self._turn)
            return
        self.now = world.now
        ready, self._ready = self._ready, []
        with _Inside(self):
            for call in ready:
                if call.callback is not None:
                    try:
                        call.context.run(call.callback, *call.args)
                    except Exception as error:  # noqa: BLE001 - a loop goes on after a callback that raised
                        self.complain("exception in a callback", error)
        self.now += world.rng.uniform(*_TURN)
        self._count()
        self._scheduled = False
        if self.main.done():
            world.note("end", self.name)
            self._gone()
        elif self._ready:
            self._scheduled = True
            world.at(self.now, self._turn)

    def _count(self) -> None:
        second = int(self.now)
        if second != self._second:
            self._second, self._turns = second, 0
        self._turns += 1
        self.busiest = max(self.busiest, self._turns)


def running(world: World) -> Process | None:
    """The process whose code runs."""
    return world.current if isinstance(world.current, Process) else None


def processes(world: World) -> list[Process]:
    """All processes that ever lived."""
    return [each for each in world.residents if isinstance(each, Process)]


class _Inside:
    """While the code of one process runs."""

    __slots__ = ("_outer", "_process", "_was")

    def __init__(self, process: Process) -> None:
        self._process = process

    def __enter__(self) -> None:
        process = self._process
        self._was, process.world.current = process.world.current, process
        self._outer = set_running(process.loop)

    def __exit__(self, *exc_info: object) -> None:
        set_running(self._outer)
        self._process.world.current = self._was
