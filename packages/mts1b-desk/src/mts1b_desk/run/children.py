"""The services as child processes: each logs to a file, one that dies is started again, none outlives the run.

Python and the libraries of a service take a second of processor time to load. So one process, the fork server of the
standard library, loads them once and forks a child for every service that starts.
"""

import asyncio
import multiprocessing
import os
import signal
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from mts1b_desk.errors import RunFailed
from mts1b_desk.settings import DeskSettings

SETTINGS = "settings.json"
"""The file in a run's directory from which its services, and whoever goes on with it, read what the run is."""
_GRACE = 8.0
_POLL = 0.02
_TAIL = 15
_DEATHS = 5
"""A service that ended by itself so often within ``deaths_within`` will not come back by being started once more."""
_UNKNOWN = 255
"""The exit code that ``multiprocessing`` gives a child whose fork server is gone; the child itself may still run."""
_forking = multiprocessing.get_context("forkserver")
_LOADED = [
    "mts1b_desk.cli",  # the child of a command imports what the command's script imports
    "mts1b_desk.services.child",
    "mts1b_desk.services.marketdata",
]


def prepare() -> None:
    """Have the fork server load what services need, while the caller does something else."""
    _forking.set_forkserver_preload(_LOADED)
    forkserver.ensure_running()


@dataclass(slots=True)
class Child:
    """One service's process."""

    name: str
    """The service, with the number of the instance behind it where there are two."""
    service: str
    process: ForkServerProcess
    log: Path
    ending: bool = False
    ends: deque[float] = field(default_factory=lambda: deque[float](maxlen=_DEATHS))
    """When it ended by itself, rather than being killed."""

    @property
    def failed(self) -> bool:
        """Whether it ended without being told to."""
        return self.process.exitcode is not None and not self.ending


class Children:
    """The processes of one run. Each ends by itself when the run is gone."""

    def __init__(self, directory: Path, settings: DeskSettings) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._deaths_within = settings.deaths_within
        self._standby = settings.standby
        self._settings = directory / SETTINGS
        self._settings.write_text(settings.model_dump_json())
        self._children: dict[str, Child] = {}
        prepare()

    async def start(self, service: str) -> None:
        """Start the process of ``service``; with standbys a second one."""
        for name in (service, f"{service}-2")[: 1 + self._standby]:
            await self._start(name, service)

    async def _start(self, name: str, service: str) -> None:
        log = self._directory / f"{name}.log"
        process = _forking.Process(target=_serve, args=(service, self._settings, log), name=name, daemon=True)
        await asyncio.to_thread(process.start)  # the first waits for the fork server
        before = self._children.get(name)
        child = self._children[name] = Child(name, service, process, log)
        if before is not None:
            child.ends = before.ends

    @property
    def alive(self) -> dict[str, int]:
        """The process id of every service that runs."""
        running = {name: child.process for name, child in self._children.items() if child.process.exitcode is None}
        return {name: process.pid for name, process in running.items() if process.pid is not None}

    async def revive(self) -> list[str]:
        """Start again whoever has died; says who died and how, a line each.

        Raises:
            RunFailed: a service ends again and again; the message names it and shows the end of its log.
        """
        news: list[str] = []
        for child in list(self._children.values()):
            if not child.failed:
                continue
            code = child.process.exitcode or 0
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            if code == _UNKNOWN:
                how = "was lost with the process that starts services"
                _kill(child)
            elif code >= 0:
                child.ends.append(time.monotonic())
                if len(child.ends) == _DEATHS and child.ends[-1] - child.ends[0] < self._deaths_within:
                    raise RunFailed(
                        f"service {child.name} {how}, {_DEATHS} times within {self._deaths_within:g} s; the run is "
                        f"over. Its last words:\n{self._tail(child)}"
                    )
            await self._start(child.name, child.service)
            news.append(f"service {child.name} {how}; it was started again")
        return news

    async def stop(self) -> None:
        """End all of them together: each finishes what it has in hand, and is killed when it takes too long."""
        for child in self._children.values():
            child.ending = True
            if child.process.exitcode is None:
                child.process.terminate()
        await asyncio.gather(*(self._gone(child) for child in self._children.values()))

    async def _gone(self, child: Child) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                while child.process.exitcode is None:  # noqa: ASYNC110 - the process tells no event loop
                    await asyncio.sleep(_POLL)
        if child.process.exitcode in (None, _UNKNOWN):
            _kill(child)
        child.process.join()

    def kill(self) -> None:
        """End all of them now."""
        for child in self._children.values():
            child.ending = True
            if child.process.exitcode in (None, _UNKNOWN):
                _kill(child)

    def _tail(self, child: Child) -> str:
        lines = child.log.read_text(errors="replace").splitlines()[-_TAIL:]
        return "\n".join(f"    {line}" for line in lines) or f"    (nothing in {child.log})"


def _kill(child: Child) -> None:
    """``Process.kill`` leaves a child alone whose fork server is gone."""
    if child.process.pid is not None:
        with suppress(ProcessLookupError):
            os.kill(child.process.pid, signal.SIGKILL)


def _serve(service: str, settings: Path, log: Path) -> None:
    from mts1b_desk.services.child import serve  # the fork server has it loaded, the run has no use for it

    serve(service, settings, log)
