"""One mts1b-deploy at a time changes a prefix; a second one waits for its turn."""

import contextlib
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path

from mts1b_platform.file_lock import try_lock

from mts1b_deploy.errors import Busy
from mts1b_deploy.journal import Journal, explained, remove_if_empty
from mts1b_deploy.layout import Layout


@contextlib.contextmanager
def prefix_lock(
    layout: Layout, *, timeout: float = 120.0, on_wait: Callable[[str], None] | None = None
) -> Generator[None]:
    """Hold the prefix. The kernel lets go of it when the process dies, however it dies.

    Args:
        layout: the prefix; its directories are created, and removed again when still empty at the end.
        timeout: seconds to wait for another holder.
        on_wait: told once, in words, when there is one.

    Raises:
        Busy: another process held it for all that time.
        PrefixError: the prefix cannot be written.
    """
    until = time.monotonic() + timeout
    while True:
        journal = Journal()
        journal.make_directory(layout.run)
        with explained(layout.lock):
            handle = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            told = False
            while not try_lock(handle):
                holder = _holder(layout.lock)
                if time.monotonic() > until:
                    raise Busy(
                        f"another mts1b-deploy ({holder}) has been changing {layout.prefix} for "
                        f"{timeout:g} s: wait for it, or end it, and try again"
                    )
                if on_wait is not None and not told:
                    on_wait(f"another mts1b-deploy ({holder}) is changing {layout.prefix}: waiting for it")
                    told = True
                time.sleep(0.05)
            if not _still_there(handle, layout.lock):
                continue  # its last holder removed the file between our open and our lock
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
            try:
                yield
            finally:
                if not layout.record.exists():
                    layout.lock.unlink(missing_ok=True)
                    journal.rollback()
                    for directory in (layout.run, layout.prefix):
                        remove_if_empty(directory)
            return
        finally:
            os.close(handle)


def _still_there(handle: int, path: Path) -> bool:
    try:
        return path.stat().st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError):
        if pid := path.read_text().strip():
            return f"pid {pid}"
    return "another process"
