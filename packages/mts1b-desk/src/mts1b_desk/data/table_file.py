"""Parquet and CSV files as batches of columns, read as a stream: a file of any size needs little memory."""

# pyarrow ships no types; what leaves this module is typed.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from mts1b_desk.errors import DataError

Columns = dict[str, list[Any]]

_BATCH = 4096


def column_names(path: Path) -> list[str]:
    """The names of the columns of the file at ``path``.

    Raises:
        DataError: there is no such file, it cannot be read, or it is none of Parquet and CSV.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file; give the path of a .parquet or .csv file")
    if not path.is_file():
        raise DataError(f"{path} is a directory; give the path of a .parquet or .csv file")
    try:
        if _is_parquet(path):
            with pq.ParquetFile(path) as file:
                return list(file.schema_arrow.names)
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = next(csv.reader(file), [])
    except (pa.ArrowException, UnicodeDecodeError, csv.Error) as error:
        raise _corrupt(path, error) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if not names:
        raise DataError(f"{path} is empty: the first line of a CSV file names its columns")
    return names


def batches(path: Path, columns: list[str]) -> Iterator[Columns]:
    """The values of ``columns``, a few thousand rows at a time; those of a CSV file as text.

    Raises:
        DataError: the file cannot be read to its end.
    """
    try:
        if _is_parquet(path):
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=_BATCH, columns=columns):
                    yield {name: _values(batch.column(name)) for name in columns}
        else:
            text = pa_csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()), include_columns=columns, strings_can_be_null=False
            )
            with pa_csv.open_csv(path, convert_options=text) as reader:
                for batch in reader:
                    yield {name: batch.column(name).to_pylist() for name in columns}
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise _corrupt(path, error) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _values(column: Any) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        zone = column.type.tz and "UTC"
        column = column.cast(pa.timestamp("us", zone), safe=False)  # nanoseconds are cut off
    return column.to_pylist()


def _is_parquet(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix not in (".parquet", ".csv"):
        raise DataError(f"{path}: {suffix or 'no extension'!r} is no known format; use a .parquet or .csv file")
    return suffix == ".parquet"


def _corrupt(path: Path, error: Exception) -> DataError:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(f"{path} is damaged or not what its extension says: {first}; make the file again")


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path} cannot be read: {error.strerror or error}; check the file and its permissions")
