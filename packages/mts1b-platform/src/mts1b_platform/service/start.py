"""Whether a service reads everything yet, told to those who wait for it."""

import asyncio


class Start:
    """The start of a service, and what asks it to stop; in one event loop after the other, as tests have them."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._anew()

    def _anew(self) -> None:
        self.stopping = asyncio.Event()
        """Set when the run shall end."""
        self._told = asyncio.Event()
        """Set while everything reads, and when that will not be: see ``_failure``."""
        self._failure: Exception | None = None

    def adopt_loop(self) -> None:
        """Belong to the running event loop."""
        if self._loop is not (loop := asyncio.get_running_loop()):
            self._loop = loop
            self._anew()

    def begin(self, unless: Exception) -> None:
        """A run begins: who waits is told ``unless`` when it ends before everything reads."""
        self.adopt_loop()
        self.stopping.clear()
        self._told.clear()
        self._failure = unless

    def reads(self) -> None:
        """Everything reads."""
        self._failure = None
        self._told.set()

    def failed(self, error: Exception) -> None:
        """The run ends by ``error``."""
        self._failure = error

    def end(self) -> None:
        """The run is over."""
        self._told.clear()
        if self._failure is not None:
            self._told.set()

    async def wait(self) -> None:
        """Wait until everything reads; raises what prevents it."""
        self.adopt_loop()
        await self._told.wait()
        if self._failure is not None:
            raise self._failure
