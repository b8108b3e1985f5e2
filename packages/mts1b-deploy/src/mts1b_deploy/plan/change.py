"""A file as it is to be: never written over one that somebody else wrote or edited."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mts1b_deploy.errors import Conflict
from mts1b_deploy.layout import Layout
from mts1b_deploy.record import InstallRecord, digest, digest_of

Action = Literal["created", "updated", "unchanged"]


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file, with the content it is to have."""

    path: Path
    action: Action
    content: bytes
    mode: int
    fingerprint: str
    """For the record; empty when the file was there before and stays the user's."""


def managed_file(
    layout: Layout, path: Path, content: bytes, mode: int, previous: InstallRecord | None, *, overwrite: bool
) -> FileChange:
    """A file that is ours alone: never written over one that somebody else wrote or edited."""
    there, wanted = digest_of(path), digest(content)
    known = previous.files.get(str(path)) if previous else None
    change = FileChange(path, "created", content, mode, wanted)
    if there is None:
        return change
    if there == wanted:
        return replace(change, action="unchanged")
    if known == wanted and not overwrite:  # edited since, and there is nothing new to write
        return replace(change, action="unchanged")
    if overwrite or there == known:
        return replace(change, action="updated")
    happened = "was edited since it was installed" if known else "was not written by mts1b-deploy"
    raise Conflict(
        f"{path} is in the way: it {happened}, and would have to change. Move it away, "
        f"run the command with --overwrite, or choose another --prefix than {layout.prefix}"
    )
