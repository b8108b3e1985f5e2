"""The index, when there is one that can be used."""

from collections.abc import Generator
from contextlib import contextmanager

from mts1b_platform.config import Settings

from mts1b_operations.commands._events_options import tell
from mts1b_operations.index.store import IndexFileError, IndexStore


@contextmanager
def the_index() -> Generator[IndexStore | None]:
    """The index that the settings name, open for reading; None without one; when it cannot be used, that is said."""
    file = Settings.load().index_file
    if file is None or not file.exists():
        if file is not None:
            tell(f"there is no index at {file} (`mts1b index run` makes it); the streams are searched")
        yield None
        return
    try:
        store = IndexStore(file)
    except IndexFileError as error:
        tell(f"{error}; the streams are searched")
        yield None
        return
    with store:
        yield store
