"""A service in the simulated world: a process that is started, stopped, killed, frozen and cut off on virtual time."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from mts1b_foundation.errors import Mts1bError

from mts1b_platform.service import Service
from mts1b_platform.testing.simulation.network import SimNetwork, Socket
from mts1b_platform.testing.simulation.process import Process
from mts1b_platform.testing.simulation.world import World

Networks = dict[Process, list[SimNetwork]]


class SimulatedService:
    """A service of a :class:`Simulation`, over all of its lives.

    What it does happens when time passes: in ``settle()`` and ``run()`` of the simulation.

    Attributes:
        name: the repo it speaks as; with a number from the second instance on.
        exit_code: of its last orderly end; None before.
        error: what its last life ended with, if it ended by an error.
        ready: whether its present life reads everything.
        stopping: whether its present life was asked to end.
    """

    def __init__(self, world: World, networks: Networks, make: Callable[[], Service], name: str) -> None:
        self.name: Final = name
        self.exit_code: int | None = None
        self.error: Exception | None = None
        self.ready = self.stopping = False
        self.made: list[Service] = []
        """The service of each life; the same one each time when it was handed in made."""
        self._world, self._networks, self._make = world, networks, make
        self._process: Process | None = None
        self._lives = 0

    @property
    def running(self) -> bool:
        """Whether it lives; frozen it does."""
        return self._process is not None and self._process.alive

    def start(self) -> None:
        """Start it, or start it again.

        Raises:
            RuntimeError: it runs already.
        """
        if self.running:
            raise RuntimeError(f"{self.name} runs already")
        self._lives += 1
        self.exit_code = self.error = None
        self.ready = self.stopping = False
        service = self._make()
        self.made.append(service)

        async def live(_: Process) -> None:
            waiting = asyncio.create_task(self._wait_for(service))
            try:
                self.exit_code = await service.serve()
            except Exception as error:  # noqa: BLE001 - settle() raises it
                self._world.note("ended", type(error).__name__, str(error)[:200])
                self.error = error
            finally:
                waiting.cancel()

        self._process = Process(self._world, f"{self.name}#{self._lives}", live)

    def stop(self) -> None:
        """Ask it to end as SIGTERM does; it drains when time passes. Does nothing when it does not run."""
        if self.running:
            process, self.stopping = self._running(), True
            self._world.note("stop", process.name)
            # behind its start, should that be at this very moment
            process.inside(partial(process.loop.call_soon, self.made[-1].stop))

    def kill(self, *, back_after: float | None = None) -> None:
        """Kill it: nothing is finished, nothing acknowledged. Does nothing when it does not run.

        Its SQLite files lose what was not committed; what the module holds in memory stays, unlike in earnest.

        Args:
            back_after: seconds after which it is started again; None: when :meth:`start` is called.
        """
        if self.running:
            self._running().kill()
            if back_after is not None:
                self._world.at(self._world.now + back_after, self._start_again)

    def freeze(self, seconds: float) -> None:
        """Have it stand still for so long, as SIGSTOP does or a paused machine. Does nothing when it does not run."""
        if self.running:
            self._world.note("freeze", self._running().name, seconds)
            self._running().freeze(seconds)

    def disconnect(self) -> None:
        """Break its connections; some of the bytes under way still arrive."""
        for socket in self._sockets():
            socket.cut(self._world.rng.random(), self._world.rng.random())

    def isolate(self) -> None:
        """Have nothing pass on its connections any more, without a word to either side."""
        for socket in self._sockets():
            socket.half_open()

    def end(self) -> None:
        """The world is over: let go of everything that ran in it."""
        self._process = None
        for service in self.made:
            service.forget()

    @property
    def complaints(self) -> list[str]:
        """Exceptions of its present life that nobody waited for."""
        process = self._process
        return [f"{message}: {error!r}" for message, error in process.complaints] if process is not None else []

    async def _wait_for(self, service: Service) -> None:
        with suppress(Mts1bError):  # serve() raises it too
            await service.started()
            self.ready = True

    def _start_again(self) -> None:
        if not self.running:
            self.start()

    def _running(self) -> Process:
        assert self._process is not None
        return self._process

    def _sockets(self) -> list[Socket]:
        networks = self._networks.get(self._process, []) if self._process is not None and self.running else []
        return [socket for network in networks for socket in network.sockets if socket.open]
