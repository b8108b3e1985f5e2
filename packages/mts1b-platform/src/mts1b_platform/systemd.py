"""Telling systemd how a service is: ready, and a sign of life of its event loop while it goes round.

A process that systemd did not start with ``Type=notify`` tells nobody. See sd_notify(3).
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress


@asynccontextmanager
async def notifying() -> AsyncGenerator[None, None]:
    """Ready inside the block; with a watchdog in the unit, alive as long as the event loop turns."""
    tell("READY=1")
    beating = asyncio.create_task(_beat(), name="signs of life for systemd")
    try:
        yield
    finally:
        beating.cancel()
        tell("STOPPING=1")


def tell(words: str) -> None:
    """Send ``words`` to systemd, if it wants to hear from this process; a system that does not listen is no error."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    name = f"\0{address[1:]}" if address.startswith("@") else address
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.connect(name)
        listening.send(words.encode())


async def _beat() -> None:
    every = int(os.environ.get("WATCHDOG_USEC") or 0) / 1e6 / 3
    while every:
        tell("WATCHDOG=1")
        await asyncio.sleep(every)
