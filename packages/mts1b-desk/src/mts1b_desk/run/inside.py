"""The services inside the process of the run, for runs that keep nothing.

Each has a connection of its own and hears of the others through the server alone, as it does in a process of its own;
what is saved is the processor's time to wake seven processes for every event.
"""

import asyncio
import os
from pathlib import Path

from mts1b_platform.eventbus import connect
from mts1b_platform.server import NatsServer

from mts1b_desk.errors import Fatal, RunFailed
from mts1b_desk.services.process import leave_loaded_code_alone, make_service, repo_of
from mts1b_desk.services.service import Service
from mts1b_desk.settings import DeskSettings

_GRACE = 8.0


class Inside:
    """The services of one run, as tasks.

    A service or a server that ends by itself ends the run: nothing is there to go on from.

    Args:
        directory: of the run.
        settings: what to run.
        server: the run's own.
    """

    def __init__(self, directory: Path, settings: DeskSettings, server: NatsServer) -> None:
        self._server = server
        self._directory = directory
        self._settings = settings
        self._services: dict[str, Service] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending = False
        leave_loaded_code_alone()

    async def start(self, service: str) -> None:
        """Start ``service``."""
        bus = await connect(self._settings.servers, service=repo_of(service), actor=f"desk-{self._settings.session}")
        self._services[service] = made = make_service(service, bus, self._settings, self._directory)
        self._tasks[service] = asyncio.create_task(_served(made), name=f"desk {service}")

    @property
    def alive(self) -> dict[str, int]:
        """The process id of every service that runs: this process's."""
        return {name: os.getpid() for name, task in self._tasks.items() if not task.done()}

    async def revive(self) -> list[str]:
        """Nobody is started again.

        Raises:
            RunFailed: a service has ended, or the server.
        """
        if not self._server.running and not self._ending:
            raise RunFailed(
                "the server of the run has ended, and with it everything that it held in memory: start the run "
                "again, or leave --durability out"
            )
        for name, task in self._tasks.items():
            if task.done() and not self._ending:
                error = None if task.cancelled() else task.exception()
                raise RunFailed(
                    f"service {name} ended ({error or 'nobody knows why'}), and a relaxed run keeps nothing to go on "
                    "from: start it again, or leave --durability out"
                ) from error
        return []

    async def stop(self) -> None:
        """End all of them together; each finishes what it has in hand, and is cancelled when it takes too long."""
        self._ending = True
        for service in self._services.values():
            service.stop()
        if self._tasks and self._server.running:
            await asyncio.wait(self._tasks.values(), timeout=_GRACE)
        self.kill()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def kill(self) -> None:
        """End all of them now."""
        self._ending = True
        for task in self._tasks.values():
            task.cancel()


async def _served(service: Service) -> None:
    """Run a service; what only a process of its own could end is an error here."""
    try:
        await service.run()
    except BaseExceptionGroup as group:
        fatal, rest = group.split(Fatal)
        if rest is not None or fatal is None:
            raise
        raise RunFailed(f"{service.name}: {'; '.join(str(each) for each in fatal.exceptions)}") from group
    except Fatal as error:
        raise RunFailed(f"{service.name}: {error}") from error
