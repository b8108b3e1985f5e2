"""The services as child processes: each logs to a file, none outlives the run."""

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from mts1b_desk.errors import RunFailed

_GRACE = 8.0
_TAIL = 15


@dataclass(slots=True)
class Child:
    """One service's process."""

    service: str
    process: asyncio.subprocess.Process
    log: Path
    ending: bool = False

    @property
    def failed(self) -> bool:
        """Whether it ended without being told to."""
        return self.process.returncode is not None and not self.ending


class Children:
    """The processes of one run.

    A child ends by itself when the run is gone: its standard input is a pipe whose other end the run holds. Children do
    not see the terminal's Ctrl-C; the run tells them when to end, in its order.
    """

    def __init__(self, directory: Path, settings: Path) -> None:
        self._directory = directory
        self._settings = settings
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
        self._children[service] = Child(service, process, log)

    def check(self) -> None:
        """Do nothing while all are alive.

        Raises:
            RunFailed: a service died; the message names it and shows the end of its log.
        """
        for child in self._children.values():
            if child.failed:
                code = child.process.returncode
                how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
                raise RunFailed(f"service {child.service} {how}; the run is over. Its last words:\n{self._tail(child)}")

    async def stop(self) -> None:
        """End all of them together: each finishes what it has in hand, and is killed when it takes too long."""
        for child in self._children.values():
            child.ending = True
            if child.process.returncode is None:
                child.process.terminate()
        await asyncio.gather(*(self._gone(child) for child in self._children.values()))

    async def _gone(self, child: Child) -> None:
        try:
            await asyncio.wait_for(child.process.wait(), _GRACE)
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
