"""Ports for servers that tests start on loopback: what one process of pytest was given, no other is.

Between choosing a port and listening on it lies the start of a server, and several processes run tests at once. A port
is kept by a lock on a file until the process that asked for it ends.
"""

import atexit
import fcntl
import getpass
import random
import tempfile
from pathlib import Path
from typing import IO, Final

from mts1b_platform.server.probe import address_in_use

__all__ = ["free_ports"]

_CHOICE: Final = range(12_000, 16_000)
"""Below those of local clusters and ``NatsServer``, and those that the kernel gives to outgoing connections."""
_kept: list[IO[str]] = []


@atexit.register
def _release() -> None:
    while _kept:
        _kept.pop().close()


def free_ports(count: int) -> list[int]:
    """``count`` ports that nobody listens on, and that no other process, nor this one, is given again meanwhile."""
    folder = Path(tempfile.gettempdir()) / f"mts1b-ports-{getpass.getuser()}"
    folder.mkdir(exist_ok=True)
    found: list[int] = []
    for port in random.sample(_CHOICE, len(_CHOICE)):
        if len(found) == count:
            return found
        lock = (folder / str(port)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        if address_in_use("127.0.0.1", port):
            lock.close()
            continue
        _kept.append(lock)
        found.append(port)
    raise RuntimeError(f"there are no {count} ports left between {_CHOICE.start} and {_CHOICE.stop}")
