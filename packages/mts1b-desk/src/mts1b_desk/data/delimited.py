"""Rows of text with something between their cells, as columns, a million characters at a time.

All is read by whoever asks. Arrow's readers read ahead in threads of their own, which call into Python: one that is at
it when the process ends aborts it.
"""

import csv
from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from typing import Final, TextIO

_CHARACTERS: Final = 1 << 20
_ROWS: Final = 4096
_SHOWN: Final = 120


class BadRow(Exception):
    """A row is damaged.

    Args:
        number: of the row, from 1; empty lines do not count.
        problem: what is wrong with it, and what to do.
    """

    def __init__(self, number: int, problem: str) -> None:
        super().__init__(number, problem)
        self.number = number
        self.problem = problem


def columns_of(text: TextIO, delimiter: str, width: int, *, characters: int = _CHARACTERS) -> Iterator[list[list[str]]]:
    """The columns of some thousand rows after the other; empty lines are passed over.

    Args:
        text: read to its end; its lines end with a line feed.
        delimiter: what stands between two cells.
        width: how many columns there are, two at least.
        characters: read at a time.

    Raises:
        BadRow: at the first row that has another number of columns, or a quote that is not closed.
    """
    before = 0
    rest = ""
    while chunk := text.read(characters):
        chunk = rest + chunk
        if '"' in chunk:
            lines = (f"{line}\n" for line in (chunk + text.readline()).removesuffix("\n").split("\n"))
            yield from _quoted(chain(lines, text), delimiter, width, before)
            return
        lines = chunk.split("\n")
        rest = lines.pop()
        for columns in _plain(lines, delimiter, width, before):
            before += len(columns[0])
            yield columns
    yield from _plain([rest], delimiter, width, before)


def _plain(lines: list[str], delimiter: str, width: int, before: int) -> Iterator[list[list[str]]]:
    """The columns of lines without quotes."""
    if lines and set(map(str.count, lines, repeat(delimiter))) == {width - 1}:
        cells = delimiter.join(lines).split(delimiter)
        yield [cells[column::width] for column in range(width)]
    else:
        yield from _checked((line.split(delimiter) for line in lines), delimiter, width, before)


def _quoted(lines: Iterable[str], delimiter: str, width: int, before: int) -> Iterator[list[list[str]]]:
    """The columns of lines some of which have quotes."""
    rows: list[list[str]] = []
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield from _checked(rows, delimiter, width, before)
            raise BadRow(
                before + len(rows) + 1,
                f"a quote is not closed, or something stands behind the one that closes ({error}); fix the row",
            ) from None
        if row is None or len(rows) == _ROWS:
            yield from _checked(rows, delimiter, width, before)
            before += len(rows)
            rows = []
        if row is None:
            return
        if not _empty(row):
            rows.append(row)


def _checked(rows: Iterable[list[str]], delimiter: str, width: int, before: int) -> Iterator[list[list[str]]]:
    """The columns of rows, those before the first that is damaged too."""
    whole: list[list[str]] = []
    bad: list[str] | None = None
    for row in rows:
        if len(row) == width:
            whole.append(row)
        elif not _empty(row):
            bad = row
            break
    if whole:
        yield [list(column) for column in zip(*whole, strict=True)]
    if bad is not None:
        stood = delimiter.join(bad)[:_SHOWN]
        zeros = " and zero bytes" if "\0" in stood else ""
        raise BadRow(
            before + len(whole) + 1,
            f"{stood!r} has {len(bad)} columns{zeros}, the file has {width}; the row is damaged or cut off, drop or "
            "fix it",
        )


def _empty(row: list[str]) -> bool:
    return not row or (len(row) == 1 and not row[0].strip())
