"""Noticing a server that answers PINGs and reaches nobody else: an island after a cut of the network, say."""

from typing import Final

PATIENCE: Final = 10.0
"""Seconds; the election of a leader takes up to nine."""
_MOST: Final = 160.0
"""Seconds, when going elsewhere has not helped: it may be the leader that is away, whatever server is asked."""
_TOGETHER: Final = 5.0
"""Seconds between two calls, at most, for them to be of one outage: who finds nobody asks again every second or two."""


class Isolation:
    """Whether nobody has answered through this server for so long that another one should be tried.

    Each server of one outage is given twice as long as the one before.
    """

    __slots__ = ("_latest", "_since", "patience")

    def __init__(self) -> None:
        self._since: float | None = None
        self._latest = float("-inf")
        self.patience = PATIENCE

    def begin(self) -> None:
        """This is another server, about which nothing is known."""
        self._since = None

    def lasts(self, now: float) -> bool:
        """Take note of a question that nobody answers; True when this server has had its time."""
        if now - self._latest > _TOGETHER:
            self._since, self.patience = None, PATIENCE
        self._latest = now
        if self._since is None:
            self._since = now
        return now - self._since >= self.patience

    def left(self) -> None:
        """The server is left for another one."""
        self.patience = min(2 * self.patience, _MOST)
