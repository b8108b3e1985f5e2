"""The time by which marks grow old: that of this process's monotonic clock, from the newest mark on.

The machine's clock may jump; by it, a jump ahead would forget every mark at once, and a jump back would mark what
happens now as long past. Time in which no process has the store open does not count: marks are then kept longer.
"""

import time


class MarkClock:
    """Goes on from the newest mark; in an empty store, from what the machine's clock says."""

    def __init__(self) -> None:
        self._base = 0.0
        self._since = 0.0

    def start(self, newest: float | None) -> None:
        """The store was opened; ``newest`` is the time of its newest mark."""
        self._base = time.time() if newest is None else newest
        self._since = time.monotonic()

    def now(self) -> float:
        """Seconds, comparable with the times of the marks."""
        return self._base + time.monotonic() - self._since
