"""Schemas as they were released: JSON files beside the package, read from the tree or from a git revision."""

import json
import subprocess
from pathlib import Path
from typing import Any

from mts1b_foundation.errors import Mts1bError

FOLDER = "schemas"
"""Below the package that holds the models."""


class SnapshotError(Mts1bError):
    """Snapshots cannot be read: a broken file, an unknown revision, no git."""


def kept(folder: Path) -> dict[str, dict[str, Any]]:
    """The snapshots in ``folder``, by file name.

    Raises:
        SnapshotError: a file is no JSON.
    """
    return {path.name: _parse(path.read_text(), str(path)) for path in sorted(folder.glob("*.v*.json"))}


def kept_at(folder: Path, revision: str) -> dict[str, dict[str, Any]]:
    """The snapshots in ``folder`` as they were at a git ``revision``, by file name.

    Raises:
        SnapshotError: the folder is in no git checkout, or the revision does not exist.
    """
    top = Path(_git(_nearest(folder), "rev-parse", "--show-toplevel").strip())
    inside = folder.resolve().relative_to(top.resolve()).as_posix()
    _git(top, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    names = _git(top, "ls-tree", "--name-only", revision, f"{inside}/").splitlines()
    return {
        Path(name).name: _parse(_git(top, "show", f"{revision}:{name}"), f"{revision}:{name}")
        for name in names
        if name.endswith(".json") and ".v" in Path(name).name
    }


def _nearest(folder: Path) -> Path:
    while not folder.is_dir():
        folder = folder.parent
    return folder


def _git(folder: Path, *arguments: str) -> str:
    try:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - whichever git the user has
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except FileNotFoundError:
        raise SnapshotError("comparing with a revision needs git on the PATH") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip() or f"no such revision: {arguments[-1].removesuffix('^{commit}')}"
        raise SnapshotError(
            f"git {arguments[0]} in {folder}: {said}; give a revision that this checkout has "
            "(in CI, fetch it: a shallow clone has one commit)"
        ) from None


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SnapshotError(f"{name} is no JSON: {error}; write it again with `mts1b schemas write`") from None
