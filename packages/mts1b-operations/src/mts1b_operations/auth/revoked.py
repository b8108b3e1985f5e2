"""Who was thrown out: a list beside the keys, which every responder reads before it lets somebody in."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from mts1b_foundation.errors import Mts1bError
from mts1b_platform.whole_file import write_whole


class RevokedError(Mts1bError):
    """The list cannot be read or written; nobody is let in until it can be."""


class Revoked:
    """``<directory>/revoked.json``, read again whenever it has changed."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "revoked.json"
        self._stamp: tuple[int, int, int] | None = None
        self._held: Mapping[str, Mapping[str, Any]] = {}

    def why(self, name: str) -> str | None:
        """Why this person was thrown out; None when that did not happen.

        Raises:
            RevokedError: the list cannot be read.
        """
        found = self.listed().get(name)
        return None if found is None else str(found.get("reason", ""))

    def listed(self) -> Mapping[str, Mapping[str, Any]]:
        """Everybody on the list, with ``since`` and ``reason``.

        Raises:
            RevokedError: it cannot be read.
        """
        try:
            stat = self.path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp != self._stamp:
                document: object = json.loads(self.path.read_bytes())
                if not isinstance(document, dict):
                    raise ValueError("no JSON object")
                self._held = cast("dict[str, dict[str, Any]]", document)
                self._stamp = stamp
        except FileNotFoundError:
            self._held, self._stamp = {}, None
        except (OSError, ValueError) as error:
            raise RevokedError(f"{self.path} cannot be read ({error}): correct it, or move it away") from None
        return self._held

    def add(self, name: str, reason: str) -> None:
        """Put a person on the list.

        Raises:
            RevokedError: it cannot be read or written.
        """
        since = datetime.now(UTC).isoformat(timespec="seconds")
        self._write({**self.listed(), name: {"since": since, "reason": reason}})

    def remove(self, name: str) -> None:
        """Take a person off the list.

        Raises:
            RevokedError: he is not on it, or it cannot be read or written.
        """
        listed = dict(self.listed())
        if listed.pop(name, None) is None:
            raise RevokedError(f"{name} was not thrown out: `mts1b auth revoked` lists who was")
        self._write(listed)

    def _write(self, listed: Mapping[str, Any]) -> None:
        try:
            folder = self.path.parent.stat()  # whoever the directory belongs to reads the list
            owner = (folder.st_uid, folder.st_gid) if os.geteuid() == 0 else None
            write_whole(self.path, json.dumps(listed, indent=1).encode() + b"\n", owner=owner)
        except OSError as error:
            raise RevokedError(f"{self.path} cannot be written: {error.strerror}") from None
