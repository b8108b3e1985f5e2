"""Ports for servers that tests start on loopback: what one process of pytest was given, no other is.

Between choosing a port and listening on it lies the start of a server, and several processes run tests at once. A port
is kept by a lock on a file until the process that asked for it ends.
"""

import getpass
import os
import random
import tempfile
from pathlib import Path
from typing import Final

from mts1b_platform.file_lock import try_lock
from mts1b_platform.server.probe import address_in_use

__all__ = ["free_ports"]

_CHOICE: Final = range(12_000, 16_000)
"""Below those of local clusters and ``NatsServer``, and those that the kernel gives to outgoing connections."""


def free_ports(count: int) -> list[int]:
    """``count`` ports that nobody listens on, and that no other process, nor this one, is given again meanwhile."""
    folder = Path(tempfile.gettempdir()) / f"mts1b-ports-{getpass.getuser()}"
    folder.mkdir(exist_ok=True)
    found: list[int] = []
    for port in random.sample(_CHOICE, len(_CHOICE)):
        if len(found) == count:
            return found
        lock = os.open(folder / str(port), os.O_WRONLY | os.O_CREAT, 0o600)
        if try_lock(lock) and not address_in_use("127.0.0.1", port):
            found.append(port)
        else:
            os.close(lock)
    raise RuntimeError(f"there are no {count} ports left between {_CHOICE.start} and {_CHOICE.stop}")
