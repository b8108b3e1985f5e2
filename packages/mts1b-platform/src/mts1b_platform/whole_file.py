"""Files that a reader sees whole: the old content or the new one, whenever the writer or its machine dies."""

import os
import tempfile
from pathlib import Path


def write_whole(
    path: Path, content: bytes, mode: int = 0o600, *, owner: tuple[int, int] | None = None, sync: bool = True
) -> None:
    """Replace ``path`` as a whole: written beside it, for its owner alone from the first byte, and moved there.

    Args:
        path: the file; its directory exists.
        content: what it holds afterwards.
        mode: its permissions.
        owner: user and group that it shall belong to; None: who writes it.
        sync: whether it is on the disk when this returns; without, a power cut may leave the old content.

    Raises:
        OSError: it cannot be written; nothing has changed.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        draft.chmod(mode)
        if owner is not None:
            os.chown(draft, *owner)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
