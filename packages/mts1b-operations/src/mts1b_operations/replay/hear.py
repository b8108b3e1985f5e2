"""Recording events as they pass: each with the moment at which it came."""

import asyncio
from collections.abc import Sequence
from time import time_ns
from typing import Final

from mts1b_platform.eventbus import EventBus, Message
from mts1b_platform.eventbus.history.recorded import Recorded, stamp_of
from mts1b_platform.eventbus.protocol.message import WireMsg

from mts1b_operations.replay.recording import Recording

_FRAME: Final = 0.1


async def record(
    bus: EventBus, patterns: Sequence[str], recording: Recording, stop: asyncio.Event, ready: asyncio.Event
) -> int:
    """Write what passes on ``patterns`` until ``stop``; returns how many events were lost, as too many came at once.

    Raises:
        AccessDenied: this identity may not hear one of the patterns.
        OSError: the file cannot be written.
    """
    waiting: list[Recorded] = []

    async def take(message: Message) -> None:
        wire = WireMsg(message.subject.encode(), b"", message.head, message.data)
        waiting.append(Recorded("", 0, stamp_of(time_ns()), wire))

    subscriptions = [await bus.subscribe(pattern, cb=take) for pattern in patterns]
    await bus.flush()
    ready.set()
    last = False
    while not last:
        last = stop.is_set() or bus.is_closed
        if last:
            for each in subscriptions:
                await each.drain()
        else:
            try:
                async with asyncio.timeout(_FRAME):
                    await stop.wait()
            except TimeoutError:
                pass
        found = waiting[:]
        waiting.clear()
        await asyncio.to_thread(recording.write, found)
    return sum(each.dropped for each in subscriptions)
