"""What holds the load for a moment, so that the books can be looked at while nothing moves."""

import asyncio


class Gate:
    """``async with gate:`` around each step of a load; :meth:`close` returns when no step is under way."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._busy = 0

    def open(self) -> None:
        self._open.set()

    async def close(self) -> None:
        self._open.clear()
        await self._idle.wait()

    async def __aenter__(self) -> None:
        await self._open.wait()
        self._busy += 1
        self._idle.clear()

    async def __aexit__(self, *_: object) -> None:
        self._busy -= 1
        if not self._busy:
            self._idle.set()
