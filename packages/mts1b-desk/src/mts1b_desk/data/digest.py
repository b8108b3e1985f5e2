"""What market data files held when they were checked: a run works these bytes or none."""

from hashlib import blake2b, file_digest
from pathlib import Path

from mts1b_desk.errors import DataError
from mts1b_desk.settings import ReplaySettings


def digest_of(path: Path) -> str:
    """The digest of a file, or of the files of a folder and their names.

    Raises:
        DataError: one of them cannot be read.
    """
    found = blake2b(digest_size=16)
    try:
        for file in files_of(path):
            with file.open("rb") as stream:
                found.update(f"{file.name}\0{file_digest(stream, blake2b).hexdigest()}\0".encode())
    except OSError as error:
        raise DataError(
            f"{error.filename or path} cannot be read: {error.strerror or error}; check the file and its permissions"
        ) from error
    return found.hexdigest()


def files_of(path: Path) -> list[Path]:
    """``path`` itself, or the files in that folder, hidden ones left out, in the order of their names.

    Raises:
        DataError: the folder is empty, or holds another one.
    """
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if not file.name.startswith("."))
    if not found:
        raise DataError(f"{path} is an empty folder: there is nothing to replay")
    for file in found:
        if file.is_dir():
            raise DataError(f"{file} is a folder in the folder {path}; files of market data lie side by side")
    return found


def check_unchanged(source: ReplaySettings) -> None:
    """Compare what the files hold with what they held when they were checked.

    Raises:
        DataError: they hold something else, or cannot be read.
    """
    if source.digest is not None and digest_of(source.path) != source.digest:
        raise DataError(
            f"{source.path} has changed since the session began, and its rows are not those that the session counts: "
            "put the file back as it was, or begin another session"
        )
