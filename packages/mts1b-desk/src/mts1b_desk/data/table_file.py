"""Market data files as batches of columns, read as a stream: a file of any size needs little memory."""

# pyarrow ships no types; what leaves this module is typed.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

import csv
import errno
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from mts1b_desk.data.columns import Layout, layout_of
from mts1b_desk.data.packed import PACKED, TEXT
from mts1b_desk.data.text_file import TextFile
from mts1b_desk.errors import DataError

Columns = dict[str, list[Any]]

_BATCH = 4096


class TableFile(Protocol):
    """One file that can be read again and again."""

    layout: Layout
    symbol: str | None
    """The symbol, where the file itself tells the one that all of it is about."""

    def batches(self) -> Iterator[Columns]:
        """The columns that the layout names, a few thousand rows at a time."""
        ...


class ParquetFile:
    """A Parquet file. Implements ``TableFile``."""

    def __init__(self, path: Path) -> None:
        self.symbol: str | None = None
        self._path = path
        with pq.ParquetFile(path) as file:
            self.layout = layout_of(path, list(file.schema_arrow.names))

    def batches(self) -> Iterator[Columns]:
        """The columns that the layout names."""
        names = list(self.layout.columns.values())
        with pq.ParquetFile(self._path) as file:
            for batch in file.iter_batches(batch_size=_BATCH, columns=names):
                yield {name: _values(batch.column(name)) for name in names}


class _Named:
    """A file whose errors name it. Implements ``TableFile``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _naming(path):
            self._file: TableFile = ParquetFile(path) if _format(path) == ".parquet" else TextFile(path)
        self.layout = self._file.layout
        self.symbol = self._file.symbol

    def batches(self) -> Iterator[Columns]:
        with _naming(self._path):
            yield from self._file.batches()


def open_table(path: Path) -> TableFile:
    """The file at ``path``.

    Raises:
        DataError: there is no such file, it cannot be read, or nobody knows what it holds. Its batches raise it too.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; give the path of a {_known()} file, or of a folder of them")
    return _Named(path)


def stem_of(path: Path) -> str:
    """The name of the file without the suffixes of its format and compression."""
    name = path.name
    if path.suffix.lower() in PACKED:
        name = name[: -len(path.suffix)]
    return name[: -len(Path(name).suffix)] or name


@contextmanager
def _naming(path: Path) -> Generator[None]:
    try:
        yield
    except (
        pa.ArrowException, UnicodeDecodeError, csv.Error, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError
    ) as error:  # fmt: skip
        raise _corrupt(path, error) from error
    except OSError as error:
        if error.errno is None:  # a decompressor's
            raise _corrupt(path, error) from error
        remedy = "check the file and its permissions"
        if error.errno == errno.EMFILE:
            remedy = "so many files of the folder go on at the same time: raise the limit (`ulimit -n`), or give fewer"
        raise DataError(f"{path} cannot be read: {error.strerror or error}; {remedy}") from error


def _corrupt(path: Path, error: Exception) -> DataError:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(f"{path} is damaged or not what its extension says: {first}; make the file again")


def _format(path: Path) -> str:
    suffix, packed = path.suffix.lower(), path.suffix.lower()
    if packed in PACKED:
        suffix = Path(path.stem).suffix.lower()
    if packed in PACKED and suffix == ".parquet":
        raise DataError(f"{path}: Parquet is compressed by itself; unpack the file first")
    if suffix not in (*TEXT, ".parquet") and packed != ".zip":
        what = "save the sheet as CSV UTF-8, or " if suffix in (".xls", ".xlsx", ".ods") else ""
        raise DataError(f"{path}: {suffix or 'no extension'!r} is no known format; {what}use a {_known()} file")
    return suffix


def _known() -> str:
    return f".parquet, {' or '.join(TEXT)} (the latter also {' or '.join(PACKED)})"


def _values(column: Any) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        zone = column.type.tz and "UTC"
        cut = column.type.unit == "ns"  # what is finer than a microsecond
        try:
            column = column.cast(pa.timestamp("us", zone), safe=not cut)
        except pa.ArrowInvalid:  # one of them is too far from 1970 for microseconds
            return [_value(each) for each in column]
    try:
        return column.to_pylist()
    except (OverflowError, ValueError):
        return [_value(each) for each in column]


def _value(scalar: Any) -> Any:
    """A value; in words, which the reader of its column refuses, when Python has no date for it."""
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        return f"{scalar.value} as {scalar.type}"
