"""Ending a task of nats-py for certain.

On Python 3.11 ``asyncio.wait_for``, which nats-py dials with, swallows a cancellation that comes together with its
result, such as a refused connection: a task that was cancelled once may go on for ever.
"""

import asyncio
from typing import Any, Final

_AGAIN: Final = 0.05


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel ``task`` until it is over, whatever came of it."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_AGAIN)
    if not task.cancelled():
        task.exception()  # seen: asyncio need not complain
