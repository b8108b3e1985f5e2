"""A sign of life to somebody outside, who pages when it stays away: healthchecks.io and its like.

It is sent only while all is as it should be with the watching itself: the bus stores, the survey succeeds, everybody
who is to be told can be told. A monitor that was killed, a server that is dead, a box that is gone: silence pages.
"""

import time
from collections.abc import Callable

from mts1b_platform.logs import get_logger

from mts1b_operations.monitor.sinks.http import send
from mts1b_operations.monitor.sinks.sink import SinkError

log = get_logger("mts1b.monitor")


class Heartbeat:
    """One URL that is asked for from time to time.

    Args:
        url: of the one who waits for it; it may be a secret, and is not logged.
        every: seconds between two.
        clock: seconds that only grow.
    """

    def __init__(self, url: str, every: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._every = every
        self._clock = clock
        self._last: float | None = None

    async def beat(self) -> None:
        """Send one if it is time; a failure is logged, and tried again at the next call."""
        now = self._clock()
        if self._last is not None and now - self._last < self._every:
            return
        try:
            await self.send()
        except SinkError as error:
            log.warning("the sign of life was not taken", error=str(error))
        else:
            self._last = now

    async def send(self) -> None:
        """Send one now.

        Raises:
            SinkError: it was not taken.
        """
        await send(self._url, method="GET", shown="the heartbeat's URL")
