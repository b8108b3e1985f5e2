"""Text files of rows and columns: comma, semicolon, tabulator or bar between columns, compressed or not.

Every value is read as the text that stands there, as guessing types loses digits.
"""

# pyarrow ships no types; what leaves this module is typed.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pa_csv

from mts1b_desk.data.columns import Layout, layout_of, layout_of_row
from mts1b_desk.errors import DataError

COMPRESSED: Final = {".gz": "gzip", ".zst": "zstd"}
"""The compressions that are read, by suffix."""
_HEAD = 1 << 16
_DELIMITERS = ",\t;|"
_VALUE: Final = re.compile(r"[+-]?[0-9][0-9 .,:eE+/TZ-]*")
"""What names no column."""


class TextFile:
    """One text file; opening it reads its first lines.

    Raises:
        DataError: it is empty, or what its columns hold cannot be told.
        OSError: it cannot be read.
        pyarrow.ArrowException: it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.symbol: str | None = None
        """The symbol, where the first lines tell it."""
        self._path = path
        self._encoding = "utf-8-sig"
        lines = self._first_lines()
        self._delimiter = max(_DELIMITERS, key=lines[0].count)
        rows = list(csv.reader(lines[:3], delimiter=self._delimiter))
        self._skip = 1
        if rows[0][0] == "Price" and len(rows) == 3 and rows[1][0] == "Ticker":
            self._skip = 3
            names = [rows[2][0], *rows[0][1:]]
            self.symbol = self._only_ticker(rows[1][1:])
            self.layout = layout_of(path, names)
        elif any(_VALUE.fullmatch(cell.strip()) for cell in rows[0]):
            self._skip = 0
            self.layout: Layout = layout_of_row(path, rows[0])
            names = list(self.layout.format.names[: len(rows[0])]) if self.layout.format else []
        else:
            names = rows[0]
            self.layout = layout_of(path, names)
        self._names = names

    def batches(self) -> Iterator[dict[str, list[Any]]]:
        """The columns that the layout names, some thousand rows at a time.

        Raises:
            DataError: a row has another number of columns than the file.
        """
        wanted = {name: f"c{self._names.index(name)}" for name in self.layout.columns.values()}
        columns = [f"c{number}" for number in range(len(self._names))]
        bad: list[Any] = []

        def note(row: Any) -> str:
            bad.append(row)
            return "error"

        convert = pa_csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()),
            include_columns=list(wanted.values()),
            strings_can_be_null=False,
        )
        try:
            with pa_csv.open_csv(
                # Also from UTF-8 to UTF-8: Arrow does not look at every byte, and what it trips over it prints.
                pa.transcoding_input_stream(self._stream(), self._encoding, "utf-8"),
                read_options=pa_csv.ReadOptions(column_names=columns, skip_rows=self._skip, use_threads=False),
                parse_options=pa_csv.ParseOptions(delimiter=self._delimiter, invalid_row_handler=note),
                convert_options=convert,
            ) as reader:
                for batch in reader:
                    yield {name: batch.column(column).to_pylist() for name, column in wanted.items()}
        except pa.ArrowException:
            if not bad:
                raise
            raise self._uneven(bad[0]) from None

    def _uneven(self, row: Any) -> DataError:
        place = "" if row.number is None else f", row {row.number - self._skip}"
        zeros = " and zero bytes" if "\0" in row.text else ""
        return DataError(
            f"{self._path}{place}: {row.text[:120]!r} has {row.actual_columns} columns{zeros}, the file has "
            f"{row.expected_columns}; the row is damaged or cut off, drop or fix it"
        )

    def _first_lines(self) -> list[str]:
        with self._stream() as stream:
            head = stream.read(_HEAD)
        if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
            self._encoding = "utf-16"
        text = head.decode(self._encoding, errors="ignore")
        lines = [line for line in text.splitlines() if line.strip()]
        if not lines:
            raise DataError(f"{self._path} is empty: the first line of a text file names its columns")
        if "\0" in lines[0]:
            raise DataError(
                f"{self._path}, row 1: {lines[0][:60]!r} holds zero bytes; the file is damaged, make it again"
            )
        return lines

    def _stream(self) -> Any:
        return pa.input_stream(str(self._path), compression=COMPRESSED.get(self._path.suffix.lower()))

    def _only_ticker(self, tickers: Sequence[str]) -> str:
        names = sorted({ticker for ticker in tickers if ticker})
        if len(names) != 1:
            raise DataError(
                f"{self._path} holds the columns of {len(names)} symbols side by side ({', '.join(names)}); write a "
                "file for each of them, and give the folder"
            )
        return names[0]
