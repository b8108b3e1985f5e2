"""An answer to the browser: when it was read, and when it cannot be, that and why."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

from mts1b_foundation.errors import Mts1bError
from mts1b_platform.eventbus.errors import ServerUnavailable
from mts1b_platform.eventbus.history.recorded import nanoseconds, stamp_of

from mts1b_console.person.person import Person
from mts1b_console.problems import Refused, problem_of
from mts1b_console.shapes.base import Answer

A = TypeVar("A", bound=Answer)
LONGEST: Final = 15.0
"""Seconds after which a reading is given up."""


def now() -> str:
    """The present."""
    return stamp_of(time.time_ns())


def at(moment: datetime | str | None) -> str | None:
    """A moment as the browser gets it."""
    if moment is None:
        return None
    return stamp_of(nanoseconds(datetime.fromisoformat(moment) if isinstance(moment, str) else moment))


def moment_of(moment: datetime | str) -> str:
    """As :func:`at`, of a moment that is known."""
    return stamp_of(nanoseconds(datetime.fromisoformat(moment) if isinstance(moment, str) else moment))


def reachable(person: Person) -> None:
    """Raise when the bus is away: readings would wait for it.

    Raises:
        ServerUnavailable: it is.
    """
    if not person.bus.is_connected:
        raise ServerUnavailable("there is no connection to the bus right now")


async def answered(person: Person, made: type[A], work: Callable[[], Awaitable[Mapping[str, Any]]], **always: Any) -> A:
    """What ``work`` reads, as ``made``; when it cannot be read, ``made`` without figures and with the reason.

    Args:
        person: who reads.
        made: the answer's shape, whose figures are null unless they are given.
        work: reads the figures; ``read_at`` may be among them.
        always: what is known whatever happens.

    Raises:
        Refused: it is asked in a way that has no answer.
    """
    tried = now()
    try:
        reachable(person)
        async with asyncio.timeout(LONGEST):
            found = await work()
    except Refused:
        raise
    except (Mts1bError, TimeoutError) as error:
        return made(read_at=tried, unknown=problem_of(error), **always)
    figures: dict[str, Any] = {"read_at": tried, **always, **found}
    return made(**figures)
