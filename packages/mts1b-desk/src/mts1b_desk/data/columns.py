"""What the columns of a market data file mean: by a format that is known, or by their names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mts1b_desk.data.formats import FORMATS, MAY, NEEDS, Format, Kind, format_of
from mts1b_desk.data.times import shown
from mts1b_desk.errors import DataError

_NAMES = {
    "timestamp": ("timestamp", "time", "ts", "datetime", "date"),
    "symbol": ("symbol", "instrument", "ticker"),
    "bid": ("bid", "bid_price"),
    "ask": ("ask", "ask_price"),
    "bid_size": ("bid_size", "bid_quantity", "bid_qty"),
    "ask_size": ("ask_size", "ask_quantity", "ask_qty"),
    "price": ("price",),
    "quantity": ("quantity", "size", "qty"),
    "id": ("trade_id", "id"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close",),
    "volume": ("volume",),
    "interval": ("interval",),
}
_UNUSED = ("buyer_maker", "is_buyer_maker", "side", "venue", "exchange")
"""Columns that may be there and are not read."""
_NAMELESS = ("", "unnamed: 0", "index")
_INDEX = "__index_level_0__"
"""How a pandas index without a name comes out: as the first column of text, or under this name in Parquet."""
_OTHER_ZONE = re.compile(r"(?:.* )?(?:time|date|timestamp) ?\((?!utc|gmt)([a-z/_+0-9:]+)\)")


@dataclass(frozen=True, slots=True)
class Layout:
    """The kind of a file, and which of its columns holds what: meaning to column name."""

    kind: Kind
    columns: dict[str, str]
    unread: tuple[str, ...] = ()
    format: Format | None = None
    """The format that was recognised; None when the columns were understood by their names."""
    labels: dict[str, str] = field(default_factory=dict[str, str])
    """How columns without a name are called in words to people."""

    def has(self, meaning: str) -> bool:
        """Whether the file has a column for ``meaning``."""
        return meaning in self.columns

    def describe(self) -> str:
        """What each column was taken for, in a line."""
        what = f"{self.format.name}, {self.kind}" if self.format else f"{self.kind}"
        said = [f"{meaning} = {self.labels.get(name, repr(name))}" for meaning, name in self.columns.items()]
        unread = [self.labels.get(name, repr(name)) for name in self.unread]
        return f"{what}: {', '.join(said)}" + (f"; not read: {', '.join(unread)}" if unread else "")


def layout_of(path: Path, names: Sequence[str]) -> Layout:
    """What the file with these column names holds.

    Raises:
        DataError: a column is unknown, stands twice or is missing; the message says which names would be understood.
    """
    keys = [_key(name, position) for position, name in enumerate(names)]
    for known in FORMATS:
        if known.fits(keys):
            return layout_as(known, names, keys)
    return _by_names(path, names, keys)


def layout_of_row(path: Path, row: Sequence[str]) -> Layout:
    """What a file without a line of column names holds, by its first row.

    Raises:
        DataError: no format is known whose rows look like this.
    """
    found = format_of(row)
    if found is None:
        raise DataError(
            f"{path}, row 1: {','.join(row)[:120]!r} names no columns, and is no row of a format that comes without "
            f"names; write a first line with the names of the columns. {_help()}"
        )
    names = found.names[: len(row)]
    labels = {name: f"column {number} ({name})" for number, name in enumerate(names, 1)}
    return layout_as(found, names, names, labels)


def layout_as(known: Format, names: Sequence[str], keys: Sequence[str], labels: dict[str, str] | None = None) -> Layout:
    """The layout of a file in a known format whose columns are called ``names``, in lower case ``keys``."""
    columns: dict[str, str] = {}
    unread: list[str] = []
    for name, key in zip(names, keys, strict=True):
        meaning = known.columns[key]
        if meaning is None:
            unread.append(name)
        else:
            columns[meaning] = name
    return Layout(known.kind, columns, tuple(unread), known, labels or {"": "the column without a name"})


def _by_names(path: Path, names: Sequence[str], keys: Sequence[str]) -> Layout:
    columns: dict[str, str] = {}
    unread: list[str] = []
    for position, (name, key) in enumerate(zip(names, keys, strict=True)):
        if match := _OTHER_ZONE.fullmatch(key):
            raise DataError(
                f"{path}, column {name!r}: its times are in {match[1].upper()}, which is not UTC all year; "
                "export them in UTC (GMT)"
            )
        meaning = _meaning(key, keys)
        if meaning is None:
            if key not in (*_UNUSED, "") or (key == "" and position not in (0, len(names) - 1)):
                what = f"unknown column {shown(name)}: rename it or leave it out of the file"
                raise DataError(f"{path}: {what}. {_help()}")
            unread.append(name)
        elif meaning in columns:
            raise DataError(f"{path}: columns {columns[meaning]!r} and {name!r} both hold the {meaning}; keep one")
        else:
            columns[meaning] = name
    if "timestamp" not in columns:
        if "" not in keys:
            raise DataError(f"{path}: no timestamp column among {', '.join(names) or 'no columns at all'}. {_help()}")
        nameless = names[keys.index("")]
        unread.remove(nameless)
        columns = {"timestamp": nameless, **columns}
    kinds = [kind for kind, needs in NEEDS.items() if all(need in columns for need in needs)]
    if len(kinds) != 1:
        found = ", ".join(names)
        problem = f"could be {' or '.join(kinds)}" if kinds else "hold neither quotes, trades nor bars"
        raise DataError(f"{path}: the columns {found} {problem}. {_help()}")
    kind = kinds[0]
    for meaning, name in columns.items():
        if meaning not in ("timestamp", *NEEDS[kind], *MAY[kind]):
            raise DataError(f"{path}: a file of {kind} has no use for column {name!r}; leave it out of the file")
    return Layout(kind, columns, tuple(unread), labels={"": "the column without a name"})


def _meaning(key: str, keys: Sequence[str]) -> str | None:
    """What a column holds by its name; beside a date a time is the one of the day."""
    if key == "time" and "date" in keys:
        return "clock"
    return next((meaning for meaning, known in _NAMES.items() if key.replace(" ", "_") in known), None)


def _key(name: str, position: int) -> str:
    key = name.strip().lower()
    return "" if key == _INDEX or (position == 0 and key in _NAMELESS) else key


def _help() -> str:
    return (
        "Quotes have timestamp, bid, ask (symbol, bid_size, ask_size); trades have timestamp, price "
        "(symbol, quantity); bars have timestamp, open, high, low, close (symbol, volume, interval)"
    )
