"""Moments as people type them: a time, a day and time, or how long ago. Pure."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from mts1b_foundation.errors import Mts1bError
from mts1b_platform.eventbus.history.recorded import nanoseconds, nanoseconds_of

_AGO: Final = re.compile(r"(\d+)\s*(ms|s|m|h|d)(\s+ago)?")
_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_CLOCK: Final = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d{1,9})?)?Z?")
_EXACT: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{7,9}Z")


class MomentError(Mts1bError):
    """A text is no moment."""


def moment(text: str, now: datetime) -> int:
    """A moment in nanoseconds since 1970: ``10m`` (ago), ``03:12`` (today, UTC), ``2026-11-29T03:12:03.5Z``, ``now``.

    A time without a zone is in UTC. A clock time that is still to come is yesterday's.

    Raises:
        MomentError: it is none of these.
    """
    text = text.strip()
    if text == "now":
        return nanoseconds(now)
    if match := _AGO.fullmatch(text):
        try:
            return nanoseconds(now - timedelta(seconds=int(match[1]) * _UNITS[match[2]]))
        except OverflowError:
            raise MomentError(f"{text!r} ago is before the year 1: no event is so old") from None
    if _EXACT.fullmatch(text):
        return nanoseconds_of(text)
    try:
        if _CLOCK.fullmatch(text):
            clock = text.removesuffix("Z")
            today = datetime.fromisoformat(f"{now.date().isoformat()}T{clock.zfill(5) if len(clock) < 5 else clock}")
            found = today.replace(tzinfo=UTC)
            return nanoseconds(found if found <= now else found - timedelta(days=1))
        found = datetime.fromisoformat(text)
    except ValueError:
        raise MomentError(
            f"{text!r} is no moment: write 10m (ago), 03:12 or 03:12:03.5 (UTC), 2026-11-29T03:12:03Z, or now"
        ) from None
    return nanoseconds(found if found.tzinfo else found.replace(tzinfo=UTC))
