"""The services as child processes: each logs to a file, one that dies is started again, none outlives the run."""

import asyncio
import os
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from mts1b_desk.errors import RunFailed
from mts1b_desk.settings import DeskSettings

SETTINGS = "settings.json"
"""The file in a run's directory from which its services, and whoever goes on with it, read what the run is."""
_GRACE = 8.0
_TAIL = 15
_DEATHS = 5
"""A service that ended by itself so often within ``deaths_within`` will not come back by being started once more."""


@dataclass(slots=True)
class Child:
    """One service's process."""

    service: str
    process: asyncio.subprocess.Process
    log: Path
    ending: bool = False
    ends: deque[float] = field(default_factory=lambda: deque[float](maxlen=_DEATHS))
    """When it ended by itself, rather than being killed."""

    @property
    def failed(self) -> bool:
        """Whether it ended without being told to."""
        return self.process.returncode is not None and not self.ending


class Children:
    """The processes of one run.

    A child ends by itself when the run is gone: its standard input is a pipe whose other end the run holds. Children do
    not see the terminal's Ctrl-C; the run tells them when to end, in its order.
    """

    def __init__(self, directory: Path, settings: DeskSettings) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._deaths_within = settings.deaths_within
        self._settings = directory / SETTINGS
        self._settings.write_text(settings.model_dump_json())
        self._children: dict[str, Child] = {}

    async def start(self, service: str) -> None:
        """Start the process of ``service``."""
        log = self._directory / f"{service}.log"
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "mts1b_desk.services", service, "--settings", str(self._settings),
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        before = self._children.get(service)
        child = self._children[service] = Child(service, process, log)
        if before is not None:
            child.ends = before.ends

    @property
    def alive(self) -> dict[str, int]:
        """The process id of every service that runs."""
        return {name: child.process.pid for name, child in self._children.items() if child.process.returncode is None}

    async def revive(self) -> list[str]:
        """Start again whoever has died; says who died and how, a line each.

        Raises:
            RunFailed: a service ends again and again; the message names it and shows the end of its log.
        """
        news: list[str] = []
        for child in list(self._children.values()):
            if not child.failed:
                continue
            code = child.process.returncode or 0
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            if code >= 0:
                child.ends.append(time.monotonic())
                if len(child.ends) == _DEATHS and child.ends[-1] - child.ends[0] < self._deaths_within:
                    raise RunFailed(
                        f"service {child.service} {how}, {_DEATHS} times within {self._deaths_within:g} s; the run is "
                        f"over. Its last words:\n{self._tail(child)}"
                    )
            await self.start(child.service)
            news.append(f"service {child.service} {how}; it was started again")
        return news

    async def stop(self) -> None:
        """End all of them together: each finishes what it has in hand, and is killed when it takes too long."""
        for child in self._children.values():
            child.ending = True
            if child.process.returncode is None:
                child.process.terminate()
        await asyncio.gather(*(self._gone(child) for child in self._children.values()))

    async def _gone(self, child: Child) -> None:
        try:
            async with asyncio.timeout(_GRACE):
                await child.process.wait()
        except TimeoutError:
            child.process.kill()
            await child.process.wait()
        if child.process.stdin is not None:
            child.process.stdin.close()

    def kill(self) -> None:
        """End all of them now."""
        for child in self._children.values():
            child.ending = True
            if child.process.returncode is None:
                child.process.kill()

    def _tail(self, child: Child) -> str:
        lines = child.log.read_text(errors="replace").splitlines()[-_TAIL:]
        return "\n".join(f"    {line}" for line in lines) or f"    (nothing in {child.log})"
