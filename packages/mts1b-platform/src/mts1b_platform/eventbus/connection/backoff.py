"""How long to wait before the next round through all servers."""

from typing import Final

from mts1b_platform.eventbus.connection.network import Chance
from mts1b_platform.eventbus.connection.options import ConnectionOptions

LASTING: Final = 1.0
"""Seconds after which a connection counts as one that lasted: it is made again at once when it breaks."""
_DOUBLINGS: Final = 16


class Backoff:
    """The wait, with jitter, so that a thousand clients of a server that restarts do not come all at once."""

    __slots__ = ("_chance", "_options", "_refusals", "_tries", "refused")

    def __init__(self, options: ConnectionOptions, chance: Chance) -> None:
        self._options = options
        self._chance = chance
        self._tries = 0
        self._refusals = 0
        self.refused = False
        """Whether the servers refused the identity when they were last asked."""

    def failed(self, *, refused: bool) -> None:
        """A round led to nothing."""
        self._tries += 1
        self.refused = refused
        self._refusals = min(self._refusals + 1, _DOUBLINGS) if refused else 0

    def broke(self, *, lasting: bool, refused: bool) -> None:
        """A connection broke: one that had lasted, or one that broke as soon as it was made."""
        if lasting:
            self._tries = self._refusals = 0
        if refused or not lasting:
            self.failed(refused=refused)
        else:
            self.refused = False

    def seconds(self) -> float:
        """How long to wait now."""
        if not self._tries:
            return 0.0
        longest = self._options.reconnect_wait
        if self._refusals:
            longest = min(longest * 2 ** (self._refusals - 1), max(longest, self._options.refused_wait))
        return longest * self._chance.uniform(0.5, 1.0)
