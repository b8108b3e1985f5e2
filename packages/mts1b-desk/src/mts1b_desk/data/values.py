"""Single values of a market data file, checked: each error names file, row, column, what stood there and the remedy."""

import math
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from mts1b_desk.data.bounds import LEAST, MOST, bookable, near_enough
from mts1b_desk.data.times import Times, shown
from mts1b_desk.errors import DataError

_DIGITS: Final = 15
"""A number of so few digits is held by a double to its last one."""

_GROUPED: Final = re.compile("[+-]?[0-9]+([.,' \xa0\u202f\u2019][0-9]+)+")
"""A number with a decimal comma, or something between its thousands."""


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
        self.rounded = 0
        """How many numbers have more digits than the double that they are read as."""
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
        if value == column:
            raise self.error(row, column, "the names of the columns stand here again; drop the row")
        try:
            return self.times.read(value)
        except ValueError as error:
            raise self.error(row, column, str(error)) from None

    def price(self, row: int, column: str, value: Any, symbol: str) -> float:
        """A number that can be booked; a positive one, unless prices of ``symbol`` may be others."""
        number = self._number(row, column, value)
        if number is not None and LEAST <= number <= MOST:
            return number
        if number is None:
            raise self.error(row, column, "the price is missing; drop the row or fill it in")
        if not math.isfinite(number):
            raise self.error(row, column, f"{shown(value)} is no price: prices are finite numbers; fix the row")
        if number <= 0 and symbol not in self._signed:
            raise self.error(
                row,
                column,
                f"{shown(value)} is no price of {symbol}: prices are positive; fix the row, or pass "
                f"--signed-prices {symbol} if they may be zero or negative",
            )
        if not bookable(number):
            raise self.error(
                row,
                column,
                f"{shown(value)} is no price that can be booked: those are between {LEAST:g} and {MOST:g}; fix the "
                "row, or quote in another unit",
            )
        return number

    def check_spread(self, row: int, column: str, bid: float, ask: float) -> None:
        """Refuse two prices whose middle cannot be booked."""
        if not near_enough(bid, ask):
            raise self.error(
                row, column, f"a bid of {bid!r} and an ask of {ask!r} are too far apart to be booked; fix the row"
            )

    def size(self, row: int, column: str, value: Any) -> float | None:
        """A finite number that is not negative; None where nothing stands."""
        if value in self._nothing:
            return None
        number = self._number(row, column, value)
        if number is not None and not (number >= 0 and math.isfinite(number)):
            raise self.error(row, column, f"{shown(value)} is no size: sizes are finite, not negative; fix the row")
        return number

    def symbol(self, row: int, column: str, value: Any) -> str:
        """An instrument's name, without the blanks around it."""
        name = value.strip() if isinstance(value, str) else ""
        if not name or len(name) > 64 or not name.isprintable():
            what = f"{shown(value)} is no symbol: symbols are 1 to 64 printable characters; fix the row"
            raise self.error(row, column, what)
        return name

    def _number(self, row: int, column: str, value: Any) -> float | None:
        if value is None or value == "":
            return None
        if isinstance(value, float):
            return value
        text = str(value)
        if text.isascii() and "_" not in text and not isinstance(value, bool):  # Python reads more than files mean
            try:
                number = float(text)
            except ValueError:
                pass
            else:
                if len(text) > _DIGITS and math.isfinite(number) and Decimal(text.strip()) != Decimal(repr(number)):
                    self.rounded += 1
                return number
        grouped = _GROUPED.fullmatch(text) is not None
        what = "export numbers with a point and nothing between thousands" if grouped else "drop or fix the row"
        raise self.error(row, column, f"{shown(value)} is no number; {what}")
