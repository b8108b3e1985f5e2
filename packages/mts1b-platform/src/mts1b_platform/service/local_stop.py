"""A stop that needs no bus: a file on this host, or a signal, that whoever trades obeys within a second.

The file (setting ``stop_file``) holds the reason. As long as it is there, adapters of brokers withdraw what works in
the market and take no order; removing it lets them go on. It outlives restarts of services and of the host. SIGUSR1
stops one process alone, until it ends.
"""

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

_POLL: Final = 0.2
_LONGEST: Final = 1_000
SIGNAL: Final = signal.SIGUSR1


class Stop(NamedTuple):
    """A stop in force."""

    reason: str
    by: str
    """What said so: the file, or the signal."""


class LocalStop:
    """The stop of this host, as this process sees it.

    Args:
        path: the file; None: only the signal counts.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._signalled = False
        self._poked = asyncio.Event()

    def now(self) -> Stop | None:
        """The stop in force; None: trade on. A file that is there and cannot be read counts."""
        if self._signalled:
            return Stop("stopped by a signal", SIGNAL.name)
        if self._path is None:
            return None
        try:
            text = self._path.read_text(errors="replace")[:_LONGEST].strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            text = f"the file is there and cannot be read: {error.strerror}"
        return Stop(text or "no reason was given", str(self._path))

    async def changes(self) -> AsyncGenerator[Stop | None, None]:
        """The stop in force, now and whenever one begins or ends; told within a quarter of a second."""
        told: Stop | None = None
        first = True
        while True:
            found = self.now()
            if first or (found is None) != (told is None):
                first, told = False, found
                yield found
            self._poked.clear()
            try:
                async with asyncio.timeout(_POLL):
                    await self._poked.wait()
            except TimeoutError:
                continue

    @asynccontextmanager
    async def heeding_signals(self) -> AsyncGenerator[None, None]:
        """Inside the block SIGUSR1 is a stop; to be entered in the main thread."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(SIGNAL, self._stop)
        try:
            yield
        finally:
            loop.remove_signal_handler(SIGNAL)

    def _stop(self) -> None:
        self._signalled = True
        self._poked.set()
