"""How much room a disk has left."""

import os
from pathlib import Path
from typing import NamedTuple, Self


class DiskRoom(NamedTuple):
    """What a file system has left for this user."""

    bytes: int
    free: float
    """Share of its bytes that are free."""
    inodes: float
    """Share of its inodes that are free; 1 where their number is not fixed."""

    @classmethod
    def of(cls, path: Path) -> Self:
        """The room where ``path`` lies.

        Raises:
            OSError: it cannot be seen.
        """
        found = os.statvfs(path)
        inodes = found.f_favail / found.f_files if found.f_files else 1.0
        return cls(found.f_bavail * found.f_frsize, found.f_bavail / max(1, found.f_blocks), inodes)

    @property
    def least(self) -> tuple[str, float]:
        """What is scarcer, bytes or inodes, and its share that is free."""
        return min(("bytes", self.free), ("inodes", self.inodes), key=lambda each: each[1])
