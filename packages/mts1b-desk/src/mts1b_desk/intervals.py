"""Lengths of bars as people write them."""

import re
from datetime import timedelta
from typing import Final

LONGEST: Final = timedelta(days=1000)
"""The longest bar."""
_UNITS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
"""In milliseconds, the longest first."""
_WRITTEN: Final = re.compile(r"([1-9][0-9]{0,10})(ms|s|m|h|d)")


def duration(interval: str) -> timedelta:
    """The length of a bar that is written ``500ms``, ``1s``, ``5m``, ``1h`` or ``1d``.

    Raises:
        ValueError: it is written in another way, or longer than the longest bar; the message says what to write.
    """
    match = _WRITTEN.fullmatch(interval)
    if match is None or (length := int(match[1]) * _UNITS[match[2]]) > LONGEST // timedelta(milliseconds=1):
        raise ValueError(f"{interval[:40]!r} is no interval; write 500ms, 1s, 5m, 1h or 1d, {LONGEST.days}d at most")
    return timedelta(milliseconds=length)


def written(length: timedelta) -> str:
    """A length of whole milliseconds as :func:`duration` reads it, in the longest unit that goes into it."""
    milliseconds = length // timedelta(milliseconds=1)
    unit, size = next((unit, size) for unit, size in _UNITS.items() if milliseconds % size == 0)
    return f"{milliseconds // size}{unit}"
