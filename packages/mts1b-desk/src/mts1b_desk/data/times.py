"""Times as exports write them.

One file writes all its times in one way: with a zone or without, as words or as seconds since 1970 in one unit.
"""

import re
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime, timedelta, timezone
from typing import Any, Final
from zoneinfo import ZoneInfo

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS: Final = {"seconds": 1_000_000, "milliseconds": 1_000, "microseconds": 1, "nanoseconds": 0.001}
_LENGTHS: Final = {9: "seconds", 10: "seconds", 12: "milliseconds", 13: "milliseconds"} | {
    15: "microseconds", 16: "microseconds", 18: "nanoseconds", 19: "nanoseconds",
}  # fmt: skip
"""Digits of a number of units since 1970, for the times that market data is from."""
_NUMBER: Final = re.compile(r"(-?)([0-9]+)(?:\.([0-9]*))?")
_WRITTEN: Final = re.compile(
    r"(?:(?P<y>[0-9]{4})(?P<s>[./-]?)(?P<m>[0-9]{2})(?P=s)(?P<d>[0-9]{2})"
    r"|(?P<d2>[0-9]{2})\.(?P<m2>[0-9]{2})\.(?P<y2>[0-9]{4}))"
    r"(?:(?:T| +|-(?=[0-9]{2}:[0-9]{2}:))(?P<h>[0-9]{2}):?(?P<min>[0-9]{2})"
    r"(?::?(?P<sec>[0-9]{2})(?:[.,](?P<f>[0-9]+))?)?)?"
    r" *(?P<zone>Z|UTC|GMT|(?:UTC|GMT)?[+-][0-9]{2}:?[0-9]{2}|[A-Za-z]+(?:/[A-Za-z_]+)+)?"
)
_HINT: Final = "write ISO 8601 such as 2021-01-08T00:00:01.076+00:00"
_LONGEST: Final = 80


def shown(value: Any) -> str:
    """What stood there, in quotes, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(str(value)):,} characters)"


class Times:
    """Reads the times of one file.

    Args:
        utc: whether times without a zone mean UTC; otherwise they are refused.
    """

    def __init__(self, *, utc: bool) -> None:
        self._utc = utc
        self._unit: str | None = None
        self._zoned: bool | None = None

    @property
    def words(self) -> str:
        """How the times are written, as far as they were read."""
        if self._unit is not None:
            return f"{self._unit} since 1970"
        return "" if self._zoned is not False else "read as UTC"

    def read(self, value: Any) -> datetime:
        """The point in time, in the zone that it is written in.

        Raises:
            ValueError: it is none, or not written as those before; the message says what to do.
        """
        if isinstance(value, str):
            text = value.strip()
            if len(text) > _LONGEST:
                raise ValueError(f"{shown(text)} is no time; {_HINT}")
            if len(text) > 10 and text[4] == text[7] == "-" and text[11:13] != "24":  # the common way, the fastest
                try:
                    return self._in_a_zone(datetime.fromisoformat(text))
                except ValueError as error:
                    if "zone" in str(error):
                        raise
            return self._number(text) or self._written(text)
        if isinstance(value, datetime):
            return self._in_a_zone(value)
        if isinstance(value, date):
            return self._in_a_zone(datetime(value.year, value.month, value.day))  # noqa: DTZ001 - the zone is checked
        if isinstance(value, int | float) and not isinstance(value, bool):
            found = self._number(repr(value))
            if found is not None:
                return found
        raise ValueError(f"{shown(value)} is no time; give the column a timestamp type with a zone")

    def _number(self, text: str) -> datetime | None:
        """Units since 1970; None when it is written in another way."""
        match = _NUMBER.fullmatch(text)
        if match is None or (not match[1] and match[3] is None and len(text) in (8, 14)):
            return None
        unit = _LENGTHS.get(len(match[2]))
        if unit is None or (len(match[2]) == 12 and match[2][:2] in ("19", "20")):
            raise ValueError(f"{text!r} is no time: it could be a date or a number of units since 1970; {_HINT}")
        if self._zoned is not None or (self._unit or unit) != unit:
            raise ValueError(f"{text!r} is in {unit} since 1970, the rows before are not; write all times alike")
        self._unit = unit
        fraction = f"{match[3] or '':0<6}"[:6]
        micros = int(match[2]) // 1000 if unit == "nanoseconds" else int(match[2]) * int(_UNITS[unit])
        micros += int(fraction) * int(_UNITS[unit]) // 1_000_000
        return EPOCH + timedelta(microseconds=-micros if match[1] else micros)

    def _written(self, text: str) -> datetime:
        match = _WRITTEN.fullmatch(text) or _compact(text)
        if match is None:
            raise ValueError(f"{text!r} is no time; {_HINT}")
        year, month, day = (match[name] or match[f"{name}2"] for name in ("y", "m", "d"))
        try:
            hour, minute, second = (int(match[name] or 0) for name in ("h", "min", "sec"))
            micros = int(f"{match['f'] or '':0<6}"[:6])
            at = datetime(int(year), int(month), int(day), hour, minute, second, micros)  # noqa: DTZ001 - see below
        except ValueError as error:
            raise ValueError(f"{text!r} is no time: {error}; {_HINT}") from None
        return self._in_a_zone(_zoned(at, match["zone"], text))

    def _in_a_zone(self, at: datetime) -> datetime:
        zoned = at.tzinfo is not None
        if not MINYEAR < at.year < MAXYEAR:
            raise ValueError(
                f"the time {at.isoformat()} is not of the years {MINYEAR + 1} to {MAXYEAR - 1}; fix the row"
            )
        if self._unit is not None:
            raise ValueError(f"the time {at.isoformat()} follows {self._unit} since 1970; write all times alike")
        if self._zoned is not zoned:
            if self._zoned is not None:
                this, those = ("a zone", "none") if zoned else ("no zone", "one")
                raise ValueError(
                    f"the time {at.isoformat()} has {this}, the rows before have {those}; write all times alike"
                )
            if not zoned and not self._utc:
                raise ValueError(
                    f"the time {at.isoformat()} has no zone, and zones are not guessed; "
                    "pass --utc if the file means UTC, or write the zone into it"
                )
            self._zoned = zoned
        return at if zoned else at.replace(tzinfo=UTC)


def _compact(text: str) -> re.Match[str] | None:
    """A time of fourteen digits."""
    return _WRITTEN.fullmatch(f"{text[:8]} {text[8:]}") if len(text) == 14 and text.isdigit() else None


def _zoned(at: datetime, zone: str | None, text: str) -> datetime:
    if not zone:
        return at
    if zone in ("Z", "UTC", "GMT"):
        return at.replace(tzinfo=UTC)
    if "/" in zone:
        try:
            local = at.replace(tzinfo=ZoneInfo(zone))
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{text!r}: this machine knows no zone {zone!r}; export the times in UTC") from None
        if local.utcoffset() != local.replace(fold=1).utcoffset():
            raise ValueError(f"{text!r} comes twice or never, as clocks in {zone} change then; export the times in UTC")
        return local
    sign, digits = zone.lstrip("UTCGM")[0], re.sub(r"[^0-9]", "", zone)
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    if offset >= timedelta(days=1):
        raise ValueError(f"{text!r} is no time: no zone is a day away from UTC; {_HINT}")
    return at.replace(tzinfo=timezone(-offset if sign == "-" else offset))
