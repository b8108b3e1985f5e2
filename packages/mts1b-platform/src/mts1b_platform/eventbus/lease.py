"""When a lease that is stored in a file or a bucket is over, whatever any machine's clock says or said.

The clock that a lease was taken by may have been hours ahead, and so may the one that it is read by, and a server's.
What counts is what was observed: a lease that nobody has renewed for its whole length, by the monotonic clock of who
watches it, is over.
"""

import time
from typing import NamedTuple


class Lease(NamedTuple):
    """A lease as it is stored; each renewal gives it another ``stamp``."""

    owner: str
    stamp: float
    seconds: float


class Watched:
    """The lease of another, since it was seen to change."""

    def __init__(self) -> None:
        self._seen: Lease | None = None
        self._since = 0.0

    def is_over(self, lease: Lease) -> bool:
        """Whether ``lease``, read just now, was not renewed for its whole length."""
        now = time.monotonic()
        if lease != self._seen:
            self._seen, self._since = lease, now
        return now - self._since > lease.seconds

    def forget(self) -> None:
        """It is no longer another's."""
        self._seen = None


class Renewed:
    """One's own lease: renewing it costs a disk write, so that it is done once in a third of its length."""

    def __init__(self) -> None:
        self._owner = ""
        self._at = (0.0, 0.0)

    def by(self, owner: str) -> None:
        """``owner`` holds it from now on."""
        self._owner, self._at = owner, (time.monotonic(), time.time())

    def lost(self) -> None:
        """It was given back, or is another's."""
        self._owner = ""

    def is_fresh(self, owner: str, seconds: float) -> bool:
        """Whether ``owner`` renewed it in the last third of its length.

        Asked of both clocks: while a machine is suspended the monotonic one may stand still.
        """
        monotonic, wall = self._at
        third = seconds / 3
        return owner == self._owner and time.monotonic() - monotonic < third and 0 <= time.time() - wall < third
