"""Writing files so that a failure leaves nothing half-done.

Each file appears whole or not at all (written beside, then renamed). A ``Journal`` remembers what was there before;
unless ``commit()`` was called, leaving it puts everything back, newest first. After ``kill -9`` nothing can be put
back; the next install then finishes the job, since it compares contents.
"""

import contextlib
import shutil
import signal
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from types import TracebackType
from typing import Self

from mts1b_foundation.errors import Mts1bError
from mts1b_platform.whole_file import write_whole

from mts1b_deploy.errors import PrefixError


class Journal:
    """Steps that can be undone: ``with Journal() as journal: …; journal.commit()``."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], object]] = []

    def on_rollback(self, undo: Callable[[], object]) -> None:
        """Also do this when rolling back."""
        self._undo.append(undo)

    def make_directory(self, directory: Path, mode: int = 0o755) -> None:
        """Create a directory and its missing parents.

        Raises:
            PrefixError: something is in the way, or it may not be created.
        """
        for missing in reversed([path for path in (directory, *directory.parents) if not path.exists()]):
            with explained(missing):
                missing.mkdir(mode=mode, exist_ok=True)
            self.on_rollback(lambda path=missing: remove_if_empty(path))
        if not directory.is_dir():
            raise PrefixError(f"{directory} is in the way: it is no directory. Move it, or choose another --prefix")

    def write(self, path: Path, content: bytes, mode: int = 0o644) -> None:
        """Create or replace a file.

        Raises:
            PrefixError: it may not be written.
        """
        self.make_directory(path.parent)
        with explained(path):
            before = (path.read_bytes(), path.stat().st_mode & 0o7777) if path.exists() else None
            write_whole(path, content, mode)
        if before is None:
            self.on_rollback(lambda: path.unlink(missing_ok=True))
        else:
            self.on_rollback(lambda: write_whole(path, *before))

    def commit(self) -> None:
        """Everything worked: forget how to undo it."""
        self._undo.clear()

    def rollback(self) -> None:
        """Undo every step, newest first; one that fails does not keep the others from being undone."""
        with _uninterrupted():
            while self._undo:
                with contextlib.suppress(OSError, Mts1bError):
                    self._undo.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.rollback()


def remove_if_empty(directory: Path) -> bool:
    """Remove a directory that has nothing in it; whether it is gone."""
    with contextlib.suppress(OSError):
        directory.rmdir()
    return not directory.exists()


def remove_tree(path: Path) -> None:
    """Remove a directory with all that is in it, if it is there."""
    if path.exists():
        shutil.rmtree(path)


@contextlib.contextmanager
def _uninterrupted() -> Generator[None]:
    """A second Ctrl-C does not stop the cleaning up after the first one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def explained(path: Path) -> Generator[None]:
    """Turn the system's refusal into one that says what to do."""
    remedy = "choose another place with --prefix (and --no-user-config for the user's configuration)"
    try:
        yield
    except PermissionError as error:
        raise PrefixError(f"no permission to write {path}: change its owner, or {remedy}") from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise PrefixError(
            f"{error.filename or path} is in the way of {path} ({error.strerror}): move it, or {remedy}"
        ) from error
    except OSError as error:
        raise PrefixError(f"{path} cannot be written ({error.strerror}): make room for it, or {remedy}") from error
