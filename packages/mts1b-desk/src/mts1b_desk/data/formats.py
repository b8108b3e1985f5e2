"""The formats in which market data is commonly exported, as a table.

A format is recognised by the names of its columns or, where its files name none, by the look of the first row. It says
what each column holds; everything else about a file, such as how its times are written, is found in the rows.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class Kind(StrEnum):
    """What a file holds."""

    QUOTES = "quotes"
    TRADES = "trades"
    BARS = "bars"


NEEDS: Final = {
    Kind.QUOTES: ("bid", "ask"),
    Kind.TRADES: ("price",),
    Kind.BARS: ("open", "high", "low", "close"),
}
"""What a file of a kind must have beside its times."""
MAY: Final = {
    Kind.QUOTES: ("symbol", "bid_size", "ask_size", "clock"),
    Kind.TRADES: ("symbol", "quantity", "id", "clock"),
    Kind.BARS: ("symbol", "volume", "interval", "clock"),
}
"""What it may have; ``clock`` is the time of day where the date stands in a column of its own."""

_LOOKS: Final = {
    "n": r"-?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?",  # a number
    "i": r"[0-9]+",
    "e": r"[0-9]{9,19}(\.[0-9]+)?",  # seconds or parts of them since 1970
    "b": r"(?i:true|false)",
    "p": r"[A-Z]{3}/[A-Z]{3}",  # a currency pair
    "u": r"[0-9]{8} [0-9:.]+",  # 20210104 00:00:00.123
    "m": r"[0-9]{4}\.[0-9]{2}\.[0-9]{2}",  # 2021.01.04
    "c": r"[0-9]{2}:[0-9]{2}(:[0-9]{2})?",
}


@dataclass(frozen=True, slots=True)
class Format:
    """One format: its columns in their order, each with its meaning or None when it is not read."""

    name: str
    kind: Kind
    columns: Mapping[str, str | None]
    looks: str = ""
    """How the first row of a file without names looks, a letter of ``_LOOKS`` a column; "" when files name columns."""
    utc: bool = False
    """Whether times without a zone are UTC, as whoever publishes the format says."""
    nothing: tuple[str, ...] = ()
    """Texts that stand where a size is not known."""
    must: tuple[str, ...] = ()
    """Columns of which one at least is there, where the others would fit another format."""
    carried: bool = False
    """Whether a price that is left out is that of the row before."""
    behind: str = ""
    """A pattern of what stands right behind the symbol in the names of its files."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(self.columns)

    def symbol_in(self, name: str) -> str:
        """The symbol in the name of a file, such as ``EURUSD`` in MetaTrader's ``EURUSD60``."""
        return re.sub(f"(?:{self.behind})$", "", name) or name if self.behind else name

    def fits(self, keys: Sequence[str]) -> bool:
        """Whether a file with the columns ``keys``, in lower case, is in this format."""
        found = [self.columns[key] for key in keys if key in self.columns]
        meanings = [meaning for meaning in found if meaning is not None]
        needed = {"timestamp", *NEEDS[self.kind]}
        return (
            not self.looks
            and len(found) == len(keys) == len(set(keys))
            and len(meanings) == len(set(meanings))
            and needed <= set(meanings)
            and (not self.must or not set(self.must).isdisjoint(keys))
        )

    def fits_row(self, row: Sequence[str]) -> bool:
        """Whether ``row`` looks like one of this format."""
        return len(row) == len(self.looks) > 0 and all(
            re.fullmatch(_LOOKS[look], cell.strip()) for look, cell in zip(self.looks, row, strict=True)
        )


def format_of(row: Sequence[str]) -> Format | None:
    """The format of a file without column names whose first row is ``row``; None when none is known."""
    return next((known for known in FORMATS if known.fits_row(row)), None)


def _columns(text: str) -> dict[str, str | None]:
    """Columns in a line: ``name``, ``name=meaning``, or ``-name`` for one that is not read."""
    found: dict[str, str | None] = {}
    for part in text.split(","):
        name, _, meaning = part.strip().partition("=")
        found[name.removeprefix("-")] = None if name.startswith("-") else meaning or name
    return found


def _bars(name: str, columns: str, looks: str = "", **more: Any) -> Format:
    return Format(name, Kind.BARS, _columns(columns), looks, **more)


def _trades(name: str, columns: str, looks: str = "", **more: Any) -> Format:
    return Format(name, Kind.TRADES, _columns(columns), looks, **more)


def _quotes(name: str, columns: str, looks: str = "", **more: Any) -> Format:
    return Format(name, Kind.QUOTES, _columns(columns), looks, **more)


_OHLC: Final = "open, high, low, close, volume"
_KLINES: Final = (
    f"open_time=timestamp, {_OHLC}, -close_time, -quote_volume, -count, -taker_buy_volume, -taker_buy_quote_volume, "
    "-ignore"
)
_API_KLINES: Final = (
    f"open_time=timestamp, {_OHLC}, -close_time, -quote_asset_volume, -number_of_trades, "
    "-taker_buy_base_asset_volume, -taker_buy_quote_asset_volume, -ignore"
)
_TRADES: Final = "id, price, qty=quantity, -quote_qty, time=timestamp, -is_buyer_maker"
_AGGREGATED: Final = (
    "agg_trade_id=id, price, quantity, -first_trade_id, -last_trade_id, transact_time=timestamp, -is_buyer_maker"
)
_MILLIONS: Final = "-askvolume, -bidvolume"  # of units: no sizes as a quote has them

FORMATS: Final = (
    _bars("Binance klines", _KLINES),
    _bars("Binance klines", _KLINES, "ennnnneninnn"),
    _bars("Binance klines", _API_KLINES),
    _bars("Binance klines", f"-, {_API_KLINES.replace('_', ' ')}"),
    _trades("Binance trades", _TRADES),
    _trades("Binance trades", _TRADES, "innneb"),
    _trades("Binance trades", f"{_TRADES}, -is_best_match", "innnebb"),
    _trades("Binance aggTrades", _AGGREGATED),
    _trades("Binance aggTrades", _AGGREGATED, "inniieb"),
    _trades("Binance aggTrades", f"{_AGGREGATED}, -is_best_match", "inniiebb"),
    _quotes(
        "Binance bookTicker",
        "-update_id, best_bid_price=bid, best_bid_qty=bid_size, best_ask_price=ask, best_ask_qty=ask_size, "
        "transaction_time=timestamp, -event_time",
    ),
    _bars("Kraken OHLCVT", f"time=timestamp, {_OHLC}, -trades", "ennnnni"),
    _trades("Kraken trades", "time=timestamp, price, volume=quantity", "enn"),
    _quotes("TrueFX", "pair=symbol, time=timestamp, bid, ask", "punn", utc=True),
    _bars(
        "MetaTrader 4",
        f"date=timestamp, time=clock, {_OHLC}",
        "mcnnnnn",
        behind="1|5|15|30|60|240|1440|10080|43200",  # minutes of a bar
    ),
    _bars(
        "MetaTrader 5",
        "<date>=timestamp, <time>=clock, <open>=open, <high>=high, <low>=low, <close>=close, -<tickvol>, <vol>=volume, "
        "-<spread>",
    ),
    _quotes(
        "MetaTrader 5 ticks",
        "<date>=timestamp, <time>=clock, <bid>=bid, <ask>=ask, -<last>, -<volume>, -<flags>",
        carried=True,
    ),
    _bars(
        "Stooq",
        "<ticker>=symbol, -<per>, <date>=timestamp, <time>=clock, <open>=open, <high>=high, <low>=low, <close>=close, "
        "<vol>=volume, -<openint>",
    ),
    _bars("Dukascopy", f"gmt time=timestamp, {_OHLC}", utc=True),
    _bars("Dukascopy", f"time (utc)=timestamp, {_OHLC}", utc=True),
    _bars("Dukascopy", f"local time=timestamp, {_OHLC}"),
    _quotes("Dukascopy ticks", f"gmt time=timestamp, ask, bid, {_MILLIONS}", utc=True),
    _quotes("Dukascopy ticks", f"time (utc)=timestamp, ask, bid, {_MILLIONS}", utc=True),
    _quotes("Dukascopy ticks", f"local time=timestamp, ask, bid, {_MILLIONS}"),
    _quotes("Dukascopy ticks", f"timestamp, askprice=ask, bidprice=bid, {_MILLIONS}"),
    _bars(
        "Interactive Brokers",
        f"-, date=timestamp, {_OHLC}, -average, -wap, -barcount, -count, -hasgaps",
        must=("average", "wap", "barcount", "count", "hasgaps"),
        nothing=("-1", "-1.0"),
    ),
    _quotes(
        "Interactive Brokers ticks",
        "-, time=timestamp, -tickattribbidask, pricebid=bid, priceask=ask, sizebid=bid_size, sizeask=ask_size",
    ),
    _trades(
        "Interactive Brokers ticks",
        "-, time=timestamp, -tickattriblast, price, size=quantity, -exchange, -specialconditions",
        must=("tickattriblast",),
    ),
    _bars("Stooq", "data=timestamp, otwarcie=open, najwyzszy=high, najnizszy=low, zamkniecie=close, wolumen=volume"),
    _bars("Yahoo or Stooq", f"date=timestamp, {_OHLC}, -adj close, -dividends, -stock splits, -capital gains"),
    _bars("Yahoo", f"datetime=timestamp, {_OHLC}, -adj close, -dividends, -stock splits, -capital gains"),
    _bars(
        "Alpha Vantage",
        f"timestamp, {_OHLC}, -adjusted_close, -adjusted close, -dividend_amount, -dividend amount, "
        "-split_coefficient, -split coefficient",
    ),
    _bars("pandas", f"=timestamp, {_OHLC}, -adj close"),
)
"""Every format that is known, the more particular before the more general."""
