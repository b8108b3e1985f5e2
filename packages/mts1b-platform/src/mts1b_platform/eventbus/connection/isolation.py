"""Noticing a server that answers PINGs and reaches nobody else: an island after a cut of the network, say."""

from typing import Final

PATIENCE: Final = 10.0
"""Seconds; the election of a leader takes up to nine."""
_TOGETHER: Final = 5.0
"""Seconds between two calls, at most, for them to be of one outage: who finds nobody asks again every second or two."""


class Isolation:
    """Whether nobody has answered through this server for so long that another one should be tried."""

    __slots__ = ("_latest", "_since")

    def __init__(self) -> None:
        self._since = self._latest = float("-inf")

    def begin(self) -> None:
        """This is another server, about which nothing is known."""
        self._since = self._latest = float("-inf")

    def lasts(self, now: float) -> bool:
        """Take note of a question that nobody answers; True when that has gone on for :data:`PATIENCE`."""
        if now - self._latest > _TOGETHER:
            self._since = now
        self._latest = now
        return now - self._since >= PATIENCE
