"""CSV: one line an event. A cell that a spreadsheet would take for a formula gets a leading apostrophe."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from mts1b_platform.eventbus.history.recorded import Recorded

from mts1b_operations.export.columns import Table

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


class CsvFile:
    """A table of events as CSV, complete when the block ends well.

    Args:
        path: where it is written.
        table: what makes messages into columns.
    """

    def __init__(self, path: Path, table: Table) -> None:
        self._path = path
        self._table = table

    def __enter__(self) -> Self:
        self._file = self._path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._writer.writerow([each.name for each in self._table.columns])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def refused(self) -> int:
        """Events so far that a strict consumer refuses."""
        return self._table.refused

    def write(self, batch: Sequence[Recorded]) -> None:
        """Take the next events."""
        values = self._table.values(batch)
        columns = [[cell(value) for value in values[each.name]] for each in self._table.columns]
        self._writer.writerows(zip(*columns, strict=True))


def cell(value: Any) -> Any:
    """``value`` as a cell: text that begins like a formula is marked as text; numbers are left alone."""
    if isinstance(value, str) and value.startswith(_FORMULA) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return value
