"""Accepting nothing while a halt is on its way, so that no acceptance is stored after it.

Halts and orders are stored in different streams, and no server can make a publish to one depend on the other. So
whoever requests a halt first asks the order management to hold: it finishes what it is at, waits until that is in its
stream, answers, and accepts nothing more until the halt has come. A hold without a halt ends by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

_POLL = 0.002
LONGEST = 5.0
"""Seconds that a hold lasts when its halt does not come; whoever needs longer asks again."""


class Holds:
    """The holds in force. Belongs to one order management.

    Args:
        at_rest: a context in which everything accepted before is stored in its stream.
    """

    def __init__(self, at_rest: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        self._at_rest = at_rest
        self._until: dict[str, float] = {}
        self._gate = asyncio.Lock()

    @property
    def busy(self) -> bool:
        """Whether an acceptance has to wait, or might."""
        return bool(self._until) or self._gate.locked()

    async def begin(self, halt_id: str) -> None:
        """Hold for the halt ``halt_id``; returns when nothing can be accepted any more."""
        async with self._gate, self._at_rest():
            self._until[halt_id] = asyncio.get_running_loop().time() + LONGEST

    def end(self, halt_id: str) -> None:
        """The halt has come, and is obeyed from now on."""
        self._until.pop(halt_id, None)

    async def accept(self, act: Callable[[], Awaitable[None]]) -> None:
        """Do what may accept an order, as soon as nothing holds it up."""
        while True:
            async with self._gate:
                if not self._held():
                    await act()
                    return
            await asyncio.sleep(_POLL)

    def _held(self) -> bool:
        now = asyncio.get_running_loop().time()
        self._until = {halt_id: end for halt_id, end in self._until.items() if end > now}
        return bool(self._until)
