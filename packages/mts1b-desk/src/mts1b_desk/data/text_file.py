"""Text files of rows and columns: comma, semicolon, tabulator or bar between columns, compressed or not.

Every value is read as the text that stands there, as guessing types loses digits.
"""

# pyarrow ships no types; what leaves this module is typed.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from mts1b_desk.data.columns import Layout, layout_of, layout_of_row
from mts1b_desk.data.delimited import BadRow, columns_of
from mts1b_desk.data.packed import open_bytes
from mts1b_desk.data.times import shown
from mts1b_desk.errors import DataError

_HEAD = 1 << 16
_SOME = 40
"""Bytes that show how text is written."""
_DELIMITERS = ",\t;|"
_VALUE: Final = re.compile(r"[+-]?[0-9][0-9 .,:eE+/TZ-]*")
"""What names no column."""
_ANSWER: Final = re.compile(r"\s*(\{|\[\{|<(!doctype|html|\?xml))", re.IGNORECASE)
_EXCEL: Final = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""The line with which Excel is told, and tells, what stands between columns."""
_LINE_END: Final = re.compile(r"\r\n|\n|\r")
_ESCAPED: Final = re.compile("[\udc80-\udcff]")
"""Bytes that are no text, as ``surrogateescape`` writes them."""


class TextFile:
    """One text file; opening it reads its first lines.

    Raises:
        DataError: it is empty, or what its columns hold cannot be told.
        OSError: it cannot be read, or not be unpacked.
    """

    def __init__(self, path: Path) -> None:
        self.symbol: str | None = None
        """The symbol, where the first lines tell it."""
        self._path = path
        self._encoding = "utf-8-sig"
        before, lines = self._first_lines()
        told = _EXCEL.fullmatch(lines[0])
        if told is not None and len(lines) > 1:
            before, lines = before + 1, lines[1:]
        self._delimiter = told[1] if told else max(_DELIMITERS, key=lines[0].count)
        if self._delimiter not in lines[0]:
            raise DataError(
                f"{path}, row 1: {shown(lines[0].strip())} does not name several columns; take away what stands above "
                "the line that does, or fetch the file again if it says nothing else"
            )
        rows = list(csv.reader(lines[:3], delimiter=self._delimiter))
        self._skip = before + 1
        if rows[0][0] == "Price" and len(rows) == 3 and rows[1][0] == "Ticker":
            self._skip = before + 3
            names = [rows[2][0], *rows[0][1:]]
            self.symbol = self._only_ticker(rows[1][1:])
            self.layout = layout_of(path, names)
        elif any(_VALUE.fullmatch(cell.strip()) for cell in rows[0]):
            self._skip = before
            self.layout: Layout = layout_of_row(path, rows[0])
            names = list(self.layout.format.names[: len(rows[0])]) if self.layout.format else []
        else:
            names = rows[0]
            self.layout = layout_of(path, names)
        self._names = names
        self._above = self._skip - before + (told is not None)
        """How many lines stand above the rows, empty ones apart."""

    def batches(self) -> Iterator[dict[str, list[Any]]]:
        """The columns that the layout names, some thousand rows at a time.

        Raises:
            DataError: a row has another number of columns than the file, or is no text.
        """
        wanted = {name: self._names.index(name) for name in self.layout.columns.values()}
        try:
            with self._text() as text:
                for _ in range(self._skip):
                    text.readline()
                for columns in columns_of(text, self._delimiter, len(self._names)):
                    yield {name: columns[number] for name, number in wanted.items()}
        except BadRow as bad:
            raise DataError(f"{self._path}, row {bad.number}: {bad.problem}") from None
        except UnicodeDecodeError as error:
            raise self._no_text(error) from None

    def _text(self, errors: str = "strict") -> io.TextIOWrapper:
        return io.TextIOWrapper(open_bytes(self._path), encoding=self._encoding, errors=errors)

    def _no_text(self, error: UnicodeDecodeError) -> DataError:
        """Where the bytes are that are not of the file's encoding."""
        with self._text(errors="surrogateescape") as text:
            rows = csv.reader((line for line in text if line.strip()), delimiter=self._delimiter)
            for number, row in enumerate(rows, 1 - self._above):
                for name, cell in zip(self._names, row, strict=False):
                    if _ESCAPED.search(cell):
                        stood = shown(cell.encode(errors="surrogateescape").decode("latin-1"))
                        return DataError(
                            f"{self._path}, row {number}, column {name!r}: {stood} is not written in UTF-8; write the "
                            "file in that encoding"
                        )
        return DataError(f"{self._path} is not written in {error.encoding}: {error.reason}; write it in UTF-8")

    def _first_lines(self) -> tuple[int, list[str]]:
        """How many empty lines the file begins with, and the lines behind them, without other empty ones."""
        with open_bytes(self._path) as stream:
            head = stream.read(_HEAD)
        if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
            self._encoding = "utf-16"
        text = head.decode(self._encoding, errors="ignore")
        all_lines = _LINE_END.split(text)
        lines = [line for line in all_lines if line.strip()]
        if not lines:
            raise DataError(f"{self._path} is empty: the first line of a text file names its columns")
        if "\0" in lines[0]:
            if any(head[:_SOME:2]) != any(head[1:_SOME:2]):  # every second byte is zero
                raise DataError(f"{self._path} is UTF-16 without the mark that says so; write it in UTF-8")
            raise DataError(
                f"{self._path}, row 1: {lines[0][:60]!r} holds zero bytes; the file is damaged, make it again"
            )
        if _ANSWER.match(lines[0]):
            raise DataError(
                f"{self._path}, row 1: {shown(lines[0].strip())} is no table but JSON or a web page, perhaps what a "
                "service answered instead of data; read it, and fetch the file again"
            )
        return all_lines.index(lines[0]), lines

    def _only_ticker(self, tickers: Sequence[str]) -> str:
        names = sorted({ticker for ticker in tickers if ticker})
        if len(names) != 1:
            raise DataError(
                f"{self._path} holds the columns of {len(names)} symbols side by side ({', '.join(names)}); write a "
                "file for each of them, and give the folder"
            )
        return names[0]
