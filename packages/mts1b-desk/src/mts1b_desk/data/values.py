"""Single values of a market data file, checked: each error names file, row, column, what stood there and the remedy."""

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mts1b_desk.errors import DataError


class Cells:
    """Reads the values of one file."""

    def __init__(self, path: Path, *, utc: bool) -> None:
        self._path = path
        self._utc = utc

    def error(self, row: int, column: str, problem: str) -> DataError:
        """An error at one place of the file; rows count from 1 behind the header."""
        return DataError(f"{self._path}, row {row}, column {column!r}: {problem}")

    def time(self, row: int, column: str, value: Any) -> datetime:
        """A point in time, in UTC."""
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value.strip())
            except ValueError:
                raise self.error(
                    row, column, f"{value!r} is no time; write ISO 8601 such as 2021-01-08T00:00:01.076+00:00"
                ) from None
        if not isinstance(value, datetime):
            raise self.error(row, column, f"{value!r} is no time; give the column a timestamp type with a zone")
        if value.tzinfo is None:
            if not self._utc:
                raise self.error(
                    row,
                    column,
                    f"the time {value.isoformat()} has no zone, and zones are not guessed; "
                    "pass --utc if the file means UTC, or write the zone into it",
                )
            return value.replace(tzinfo=UTC)
        return value if value.tzinfo is UTC else value.astimezone(UTC)

    def price(self, row: int, column: str, value: Any) -> float:
        """A positive finite number."""
        number = self._number(row, column, value)
        if number is None:
            raise self.error(row, column, "the price is missing; drop the row or fill it in")
        if not (number > 0 and math.isfinite(number)):
            raise self.error(row, column, f"{value!r} is no price: prices are positive finite numbers; fix the row")
        return number

    def size(self, row: int, column: str, value: Any) -> float | None:
        """A finite number that is not negative; None where nothing stands."""
        number = self._number(row, column, value)
        if number is not None and not (number >= 0 and math.isfinite(number)):
            raise self.error(row, column, f"{value!r} is no size: sizes are finite, not negative; fix the row")
        return number

    def symbol(self, row: int, column: str, value: Any) -> str:
        """An instrument's name, as it stands."""
        if not isinstance(value, str) or not value or len(value) > 64 or not value.isprintable():
            raise self.error(row, column, f"{value!r} is no symbol: symbols are 1 to 64 printable characters")
        return value

    def _number(self, row: int, column: str, value: Any) -> float | None:
        if value is None or value == "":
            return None
        if isinstance(value, float):
            return value
        try:
            return float(value)
        except (TypeError, ValueError):
            raise self.error(row, column, f"{value!r} is no number; drop or fix the row") from None
