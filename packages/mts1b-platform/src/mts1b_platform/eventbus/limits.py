"""Counts and times that calls take, within what servers, clocks and the compiled core can hold."""

from typing import Any, Final

from mts1b_platform.eventbus.errors import LONGEST, InvalidArgument

MOST: Final = 10**12
"""Most that can be asked for of anything that is counted; more overflows somewhere on the way to the server."""

MOST_CALLS: Final = 10_000
"""Most calls of one handler at a time: each is a task, made when the reading begins."""


def check_seconds(name: str, value: Any) -> None:
    """A number of seconds that an operation can last.

    Raises:
        InvalidArgument: it is no number greater than 0, or more than a hundred years.
    """
    if not _is_number(value) or not 0 < value <= LONGEST:
        raise InvalidArgument(
            f"{name} is {value!r}: give seconds as a finite number greater than 0, {LONGEST} (100 years) at most"
        )


def check_timeout(name: str, value: Any) -> None:
    """Seconds to wait, of which none may be left.

    Raises:
        InvalidArgument: it is no number, or more than a hundred years.
    """
    if not _is_number(value) or not -LONGEST <= value <= LONGEST:
        raise InvalidArgument(f"{name} is {value!r}: give seconds as a finite number, {LONGEST} (100 years) at most")


def check_count(name: str, value: Any, *, least: int = 1, most: int = MOST) -> None:
    """A whole number within its limits.

    Raises:
        InvalidArgument: it is something else.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidArgument(f"{name} is {value!r}: give a whole number from {least} to {most}")


def check_concurrency(value: Any) -> None:
    """How many calls of a handler are at work at a time.

    Raises:
        InvalidArgument: it is no number of calls.
    """
    check_count("concurrency", value, most=MOST_CALLS)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
