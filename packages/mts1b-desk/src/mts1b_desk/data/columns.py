"""What the columns of a market data file mean: by their names, quotes, trades or bars."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mts1b_desk.errors import DataError

_NAMES = {
    "timestamp": ("timestamp", "time", "ts", "datetime"),
    "symbol": ("symbol", "instrument", "ticker"),
    "bid": ("bid", "bid_price"),
    "ask": ("ask", "ask_price"),
    "bid_size": ("bid_size", "bid_quantity", "bid_qty"),
    "ask_size": ("ask_size", "ask_quantity", "ask_qty"),
    "price": ("price",),
    "quantity": ("quantity", "size", "qty"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close",),
    "volume": ("volume",),
    "interval": ("interval",),
}
_UNUSED = ("trade_id", "id", "buyer_maker", "is_buyer_maker", "side", "venue", "exchange")
"""Columns that may be there and are not read."""


class Kind(StrEnum):
    """What a file holds."""

    QUOTES = "quotes"
    TRADES = "trades"
    BARS = "bars"


_NEEDS = {
    Kind.QUOTES: ("bid", "ask"),
    Kind.TRADES: ("price",),
    Kind.BARS: ("open", "high", "low", "close"),
}
_MAY = {
    Kind.QUOTES: ("symbol", "bid_size", "ask_size"),
    Kind.TRADES: ("symbol", "quantity"),
    Kind.BARS: ("symbol", "volume", "interval"),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """The kind of a file, and which of its columns holds what: meaning to column name."""

    kind: Kind
    columns: dict[str, str]

    def has(self, meaning: str) -> bool:
        """Whether the file has a column for ``meaning``."""
        return meaning in self.columns


def layout_of(path: Path, names: Sequence[str]) -> Layout:
    """What the file with these column names holds.

    Raises:
        DataError: a column is unknown, stands twice or is missing; the message says which names would be understood.
    """
    columns: dict[str, str] = {}
    for name in names:
        key = name.strip().lower()
        meaning = next((meaning for meaning, known in _NAMES.items() if key in known), None)
        if meaning is None:
            if key in _UNUSED:
                continue
            raise DataError(f"{path}: unknown column {name!r}: rename it or leave it out of the file. {_help()}")
        if meaning in columns:
            raise DataError(f"{path}: columns {columns[meaning]!r} and {name!r} both hold the {meaning}; keep one")
        columns[meaning] = name
    if "timestamp" not in columns:
        raise DataError(f"{path}: no timestamp column among {', '.join(names) or 'no columns at all'}. {_help()}")
    kinds = [kind for kind, needs in _NEEDS.items() if all(need in columns for need in needs)]
    if len(kinds) != 1:
        found = ", ".join(names)
        problem = f"could be {' or '.join(kinds)}" if kinds else "hold neither quotes, trades nor bars"
        raise DataError(f"{path}: the columns {found} {problem}. {_help()}")
    kind = kinds[0]
    for meaning, name in columns.items():
        if meaning not in ("timestamp", *_NEEDS[kind], *_MAY[kind]):
            raise DataError(f"{path}: a file of {kind} has no use for column {name!r}; leave it out of the file")
    return Layout(kind, columns)


def _help() -> str:
    return (
        "Quotes have timestamp, bid, ask (symbol, bid_size, ask_size); trades have timestamp, price "
        "(symbol, quantity); bars have timestamp, open, high, low, close (symbol, volume, interval)"
    )
