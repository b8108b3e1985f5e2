"""Starting children through the zygote, and learning how they ended."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Children:
    """The children of one run; all of them are gone when the block is left.

    Attributes:
        alive: the job of each child that runs, by process id.
    """

    def __init__(self) -> None:
        self.alive: dict[int, dict[str, Any]] = {}
        self._ends: dict[int, asyncio.Future[int]] = {}
        self._started: asyncio.Queue[int] = asyncio.Queue()
        self._turn = asyncio.Lock()
        self._zygote: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        program = str(Path(__file__).with_name("crash_zygote.py"))
        self._zygote = await asyncio.create_subprocess_exec(sys.executable, program, stdin=pipe, stdout=pipe)
        self._reader = asyncio.create_task(self._read(self._zygote))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._zygote is not None and self._zygote.stdin is not None and self._reader is not None:
            self._zygote.stdin.close()
            await self._zygote.wait()
            await self._reader

    async def run(self, job: dict[str, Any]) -> int:
        """Have a child do ``job``; its exit code, negative when a signal ended it."""
        assert self._zygote is not None
        assert self._zygote.stdin is not None
        async with self._turn:
            self._zygote.stdin.write(json.dumps(job).encode() + b"\n")
            pid = await self._started.get()
        end = self._end(pid)
        if not end.done():
            self.alive[pid] = job
        return await end

    def kill(self, pid: int) -> bool:
        """``kill -9``; False when it has just ended by itself."""
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def _end(self, pid: int) -> asyncio.Future[int]:
        return self._ends.setdefault(pid, asyncio.get_running_loop().create_future())

    async def _read(self, zygote: asyncio.subprocess.Process) -> None:
        assert zygote.stdout is not None
        async for line in zygote.stdout:
            what, pid, *code = line.decode().split()
            if what == "started":
                self._started.put_nowait(int(pid))
            else:
                self.alive.pop(int(pid), None)
                self._end(int(pid)).set_result(int(code[0]))
        for future in self._ends.values():
            if not future.done():
                future.set_result(-signal.SIGKILL)
