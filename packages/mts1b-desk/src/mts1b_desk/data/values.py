"""Single values of a market data file, checked: each error names file, row, column, what stood there and the remedy."""

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mts1b_desk.data.times import Times
from mts1b_desk.errors import DataError


class Cells:
    """Reads the values of one file.

    Args:
        path: of the file.
        utc: whether times without a zone mean UTC.
        nothing: texts that stand where a size is not known.
        signed: symbols whose prices may be zero or negative.
    """

    def __init__(
        self, path: Path, *, utc: bool, nothing: tuple[str, ...] = (), signed: frozenset[str] = frozenset()
    ) -> None:
        self.times = Times(utc=utc)
        self._path = path
        self._nothing = nothing
        self._signed = signed

    def error(self, row: int, column: str, problem: str) -> DataError:
        """An error at one place of the file; rows count from 1 behind the header."""
        return DataError(f"{self._path}, row {row}, column {column!r}: {problem}")

    def time(self, row: int, column: str, value: Any) -> datetime:
        """A point in time, in UTC."""
        at = self.local_time(row, column, value)
        return at if at.tzinfo is UTC else at.astimezone(UTC)

    def local_time(self, row: int, column: str, value: Any) -> datetime:
        """A point in time, in the zone in which it is written."""
        try:
            return self.times.read(value)
        except ValueError as error:
            raise self.error(row, column, str(error)) from None

    def price(self, row: int, column: str, value: Any, symbol: str) -> float:
        """A finite number; a positive one, unless prices of ``symbol`` may be others."""
        number = self._number(row, column, value)
        if number is None:
            raise self.error(row, column, "the price is missing; drop the row or fill it in")
        if not math.isfinite(number):
            raise self.error(row, column, f"{value!r} is no price: prices are finite numbers; fix the row")
        if number <= 0 and symbol not in self._signed:
            raise self.error(
                row,
                column,
                f"{value!r} is no price of {symbol}: prices are positive; fix the row, or pass "
                f"--signed-prices {symbol} if they may be zero or negative",
            )
        return number

    def size(self, row: int, column: str, value: Any) -> float | None:
        """A finite number that is not negative; None where nothing stands."""
        if value in self._nothing:
            return None
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
            if "_" not in str(value):  # which Python would read
                return float(value)
        except (TypeError, ValueError):
            pass
        raise self.error(row, column, f"{value!r} is no number; drop or fix the row")
