"""Who was thrown out: a list beside the keys, which every responder reads before it lets somebody in."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from mts1b_foundation.errors import Mts1bError


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
        draft = self.path.with_name(f".{self.path.name}.new")
        try:
            draft.unlink(missing_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(json.dumps(listed, indent=1) + "\n")
                file.flush()
                os.fsync(file.fileno())
            if os.geteuid() == 0:  # whoever the directory belongs to reads the list
                owner = self.path.parent.stat()
                os.chown(draft, owner.st_uid, owner.st_gid)
            draft.replace(self.path)
        except OSError as error:
            raise RevokedError(f"{self.path} cannot be written: {error.strerror}") from None
