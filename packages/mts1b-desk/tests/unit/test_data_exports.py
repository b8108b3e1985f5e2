"""Files as they come: the exports of common sources, each read without telling what its columns are."""

import contextlib
import gzip
import io
import random
import re
import resource
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mts1b_desk.data.replay import Replay
from mts1b_desk.data.tick import BarTick, Tick
from mts1b_desk.errors import DataError
from mts1b_desk.settings import ReplaySettings

DAY = datetime(2021, 1, 4, tzinfo=UTC)


def source(path: Path, **options: Any) -> Replay:
    return Replay(ReplaySettings(path=path, **options))


def bar(symbol: str, interval: str, length: timedelta, volume: float | None, at: datetime = DAY) -> BarTick:
    """The bar that every example of bars begins with."""
    return BarTick(symbol, interval, at, at + length, 1.5, 2.5, 1.25, 2.0, volume)


DAILY = bar("AAPL", "1d", timedelta(days=1), 700.0)
MINUTE = bar("BTCUSDT", "1m", timedelta(minutes=1), 12.5)
MS = 1_609_718_400_000
"""``DAY`` in milliseconds since 1970."""

EXPORTS: dict[str, tuple[str, str, Tick | BarTick, str]] = {
    "Yahoo": (
        "AAPL.csv",
        "Date,Open,High,Low,Close,Adj Close,Volume\n2021-01-04,1.5,2.5,1.25,2,1.9,700\n2021-01-05,2,2,2,2,2,0\n",
        DAILY,
        (
            "Yahoo or Stooq, bars: timestamp = 'Date', open = 'Open', high = 'High', low = 'Low', close = 'Close', "
            "volume = 'Volume'; not read: 'Adj Close'; times are read as UTC; symbol AAPL"
        ),
    ),
    "yfinance, several header lines": (
        "prices.csv",
        (
            "Price,Close,High,Low,Open,Volume\nTicker,AAPL,AAPL,AAPL,AAPL,AAPL\nDate,,,,,\n"
            "2021-01-04,2.0,2.5,1.25,1.5,700\n2021-01-05,2,2,2,2,0\n"
        ),
        DAILY,
        "symbol AAPL",
    ),
    "yfinance, by the clock of New York through a change of the clocks": (
        "SPY.csv",
        (
            "Date,Open,High,Low,Close,Volume,Dividends,Stock Splits\n"
            "2021-03-12 00:00:00-05:00,1.5,2.5,1.25,2,700,0,0\n2021-03-15 00:00:00-04:00,2,2,2,2,0,0,0\n"
            "2021-03-16 00:00:00-04:00,2,2,2,2,0,0,0\n"
        ),
        bar("SPY", "1d", timedelta(days=1), 700.0, datetime(2021, 3, 12, 5, tzinfo=UTC)),
        "not read: 'Dividends', 'Stock Splits'",
    ),
    "Binance klines": (
        "BTCUSDT-1m-2021-01.csv",
        f"{MS},1.5,2.5,1.25,2.0,12.5,{MS + 59_999},30,7,3,4,0\n{MS + 60_000},2,2,2,2,0,{MS + 119_999},0,0,0,0,0\n",
        MINUTE,
        "Binance klines, bars: timestamp = column 1 (open_time), open = column 2 (open), high = column 3 (high)",
    ),
    "Binance klines in microseconds": (
        "BTCUSDT-1m-2025-01.csv",
        f"{MS}000,1.5,2.5,1.25,2.0,12.5,{MS + 59_999}999,30,7,3,4,0\n{MS + 60_000}000,2,2,2,2,0,{MS}999,0,0,0,0,0\n",
        MINUTE,
        "times are microseconds since 1970",
    ),
    "Binance futures klines": (
        "BTCUSDT-1m-2021-01.csv",
        (
            "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,"
            f"ignore\n{MS},1.5,2.5,1.25,2.0,12.5,{MS + 59_999},30,7,3,4,0\n{MS + 60_000},2,2,2,2,0,{MS},0,0,0,0,0\n"
        ),
        MINUTE,
        "times are milliseconds since 1970; symbol BTCUSDT",
    ),
    "Binance trades": (
        "BTCUSDT-trades-2021-01.csv",
        f"603,1.5,0.25,0.375,{MS},True,True\n604,1.5,0.25,0.375,{MS},True,True\n",
        Tick("BTCUSDT", DAY, 1.5, 1.5),
        "Binance trades, trades: id = column 1 (id), price = column 2 (price), quantity = column 3 (qty)",
    ),
    "Binance futures trades": (
        "BTCUSDT-trades-2021-01.csv",
        f"id,price,qty,quote_qty,time,is_buyer_maker\n603,1.5,0.25,0.375,{MS},true\n",
        Tick("BTCUSDT", DAY, 1.5, 1.5),
        "not read: 'quote_qty', 'is_buyer_maker'",
    ),
    "Binance aggTrades": (
        "ETHUSDT-aggTrades-2021-01-04.csv",
        f"41,1.5,0.25,603,603,{MS},True,True\n",
        Tick("ETHUSDT", DAY, 1.5, 1.5),
        "Binance aggTrades",
    ),
    "Binance bookTicker": (
        "BTCUSDT-bookTicker-2021-01-04.csv",
        (
            "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time\n"
            f"9,1.5,3,1.75,4,{MS},{MS + 5}\n"
        ),
        Tick("BTCUSDT", DAY, 1.5, 1.75, 3.0, 4.0),
        "timestamp = 'transaction_time'; not read: 'update_id', 'event_time'",
    ),
    "Kraken OHLCVT": (
        "XBTUSD_1.csv",
        f"{MS // 1000},1.5,2.5,1.25,2.0,12.5,3\n{MS // 1000 + 60},2,2,2,2,0,0\n",
        bar("XBTUSD", "1m", timedelta(minutes=1), 12.5),
        "Kraken OHLCVT",
    ),
    "Kraken trades": (
        "XBTUSD.csv",
        f"{MS // 1000}.1234,1.5,0.25\n{MS // 1000}.1234,1.5,0.25\n",
        Tick("XBTUSD", DAY + timedelta(microseconds=123_400), 1.5, 1.5),
        "Kraken trades, trades: timestamp = column 1 (time), price = column 2 (price), quantity = column 3 (volume)",
    ),
    "Stooq": (
        "aapl_us_d.csv",
        "Date,Open,High,Low,Close,Volume\n2021-01-04,1.5,2.5,1.25,2,700\n2021-01-05,2,2,2,2,0\n",
        bar("AAPL-US", "1d", timedelta(days=1), 700.0),
        "Yahoo or Stooq",
    ),
    "Stooq, packed": (
        "aapl.us.txt",
        (
            "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
            "AAPL.US,5,20210104,000000,1.5,2.5,1.25,2,700,0\nAAPL.US,5,20210104,000500,2,2,2,2,0,0\n"
        ),
        bar("AAPL.US", "5m", timedelta(minutes=5), 700.0),
        "Stooq, bars: symbol = '<TICKER>', timestamp = '<DATE>', clock = '<TIME>'",
    ),
    "Dukascopy candles": (
        "EURUSD_Candlestick_1_M_BID_01.01.2021-31.01.2021.csv",
        (
            "Gmt time,Open,High,Low,Close,Volume\n04.01.2021 00:00:00.000,1.5,2.5,1.25,2,700\n"
            "04.01.2021 00:01:00.000,2,2,2,2,0\n"
        ),
        bar("EURUSD", "1m", timedelta(minutes=1), 700.0),
        "Dukascopy, bars",
    ),
    "Dukascopy ticks": (
        "EURUSD_Ticks_04.01.2021-04.01.2021.csv",
        "Gmt time,Ask,Bid,AskVolume,BidVolume\n04.01.2021 00:00:00.250,1.75,1.5,0.75,1.5\n",
        Tick("EURUSD", DAY + timedelta(milliseconds=250), 1.5, 1.75),
        "not read: 'AskVolume', 'BidVolume'",
    ),
    "Dukascopy in local time": (
        "EURUSD_Ticks_04.01.2021-04.01.2021.csv",
        "Local time,Ask,Bid,AskVolume,BidVolume\n04.01.2021 01:00:00.000 GMT+0100,1.75,1.5,0.75,1.5\n",
        Tick("EURUSD", DAY, 1.5, 1.75),
        "timestamp = 'Local time'",
    ),
    "TrueFX": (
        "EURUSD-2021-01.csv",
        "EUR/USD,20210104 00:00:00.123,1.5,1.75\nEUR/USD,20210104 00:00:01.000,1.5,1.75\n",
        Tick("EUR/USD", DAY + timedelta(milliseconds=123), 1.5, 1.75),
        "TrueFX, quotes: symbol = column 1 (pair), timestamp = column 2 (time), bid = column 3 (bid)",
    ),
    "Alpha Vantage, newest first": (
        "daily_AAPL.csv",
        (
            "timestamp,open,high,low,close,volume\n2021-01-06,2,2,2,2,0\n2021-01-05,2,2,2,2,0\n"
            "2021-01-04,1.5,2.5,1.25,2,700\n"
        ),
        DAILY,
        "Alpha Vantage, bars",
    ),
    "Alpha Vantage, adjusted": (
        "daily_adjusted_AAPL.csv",
        (
            "timestamp,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient\n"
            "2021-01-05,2,2,2,2,2,0,0,1\n2021-01-04,1.5,2.5,1.25,2,1.9,700,0,1\n"
        ),
        DAILY,
        "not read: 'adjusted_close', 'dividend_amount', 'split_coefficient'",
    ),
    "backtesting.py": (
        "AAPL.csv",
        ",Open,High,Low,Close,Volume\n2021-01-04,1.5,2.5,1.25,2,700\n2021-01-05,2,2,2,2,0\n",
        DAILY,
        "pandas, bars: timestamp = the column without a name",
    ),
    "Interactive Brokers through ib_insync": (
        "AAPL.csv",
        (
            ",date,open,high,low,close,volume,average,barCount\n0,2021-01-04,1.5,2.5,1.25,2,700,1.9,3\n"
            "1,2021-01-05,2,2,2,2,0,2,1\n"
        ),
        DAILY,
        "Interactive Brokers, bars: timestamp = 'date'",
    ),
    "Interactive Brokers, in New York's time, without volumes": (
        "EUR.USD.csv",
        (
            "Date,Open,High,Low,Close,Volume,WAP,Count\n20210104 09:30:00 US/Eastern,1.5,2.5,1.25,2,-1,-1,-1\n"
            "20210104 09:31:00 US/Eastern,2,2,2,2,-1,-1,-1\n"
        ),
        bar("EUR-USD", "1m", timedelta(minutes=1), None, DAY + timedelta(hours=14, minutes=30)),
        "Interactive Brokers",
    ),
    "Interactive Brokers, days": (
        "AAPL.csv",
        "date,open,high,low,close,volume,average,barCount\n20210104,1.5,2.5,1.25,2,700,1.9,3\n20210105,2,2,2,2,0,2,1\n",
        DAILY,
        "Interactive Brokers",
    ),
    "Interactive Brokers ticks": (
        "AAPL.csv",
        (
            ",time,tickAttribBidAsk,priceBid,priceAsk,sizeBid,sizeAsk\n"
            '0,2021-01-04 00:00:00+00:00,"TickAttribBidAsk(bidPastLow=False, askPastHigh=False)",1.5,1.75,3,4\n'
        ),
        Tick("AAPL", DAY, 1.5, 1.75, 3.0, 4.0),
        "Interactive Brokers ticks",
    ),
    "Interactive Brokers ticks of trades": (
        "AAPL.csv",
        (
            ",time,tickAttribLast,price,size,exchange,specialConditions\n"
            '0,2021-01-04 00:00:00+00:00,"TickAttribLast(pastLimit=False, unreported=False)",1.5,100,NASDAQ,\n'
        ),
        Tick("AAPL", DAY, 1.5, 1.5),
        "Interactive Brokers ticks, trades: timestamp = 'time'",
    ),
    "Binance klines through python-binance": (
        "BTCUSDT.csv",
        (
            ",Open time,Open,High,Low,Close,Volume,Close time,Quote asset volume,Number of trades,"
            "Taker buy base asset volume,Taker buy quote asset volume,Ignore\n"
            "0,1609718400000,1.5,2.5,1.25,2,7,1609718459999,1,1,1,1,0\n"
            "1,1609718460000,2,2,2,2,7,1609718519999,1,1,1,1,0\n"
        ),
        bar("BTCUSDT", "1m", timedelta(minutes=1), 7.0),
        "Binance klines, bars: timestamp = 'Open time'",
    ),
    "Stooq in Polish": (
        "aapl_d.csv",
        ("Data,Otwarcie,Najwyzszy,Najnizszy,Zamkniecie,Wolumen\n2021-01-04,1.5,2.5,1.25,2,700\n2021-01-05,2,2,2,2,0\n"),
        DAILY,
        "Stooq, bars: timestamp = 'Data', open = 'Otwarcie'",
    ),
    "a date and a time in columns of their own": (
        "EURUSD.csv",
        "Date,Time,Open,High,Low,Close,Volume\n2021.01.04,00:00,1.5,2.5,1.25,2,9\n2021.01.04,00:01,2,2,2,2,9\n",
        bar("EURUSD", "1m", timedelta(minutes=1), 9.0),
        "bars: timestamp = 'Date', clock = 'Time'",
    ),
    "names with blanks in them": (
        "EURUSD.csv",
        "Time,Bid Price,Ask Price,Bid Size,Ask Size\n2021-01-04T00:00:00Z,1.5,1.75,3,4\n",
        Tick("EURUSD", DAY, 1.5, 1.75, 3.0, 4.0),
        "bid = 'Bid Price', ask = 'Ask Price'",
    ),
    "MetaTrader 5": (
        "EURUSD_M1_202101040000_202101082355.csv",
        (
            "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
            "2021.01.04\t00:00:00\t1.5\t2.5\t1.25\t2\t9\t0\t3\n2021.01.04\t00:01:00\t2\t2\t2\t2\t9\t0\t3\n"
        ),
        bar("EURUSD", "1m", timedelta(minutes=1), 0.0),
        "MetaTrader 5, bars: timestamp = '<DATE>', clock = '<TIME>'",
    ),
    "MetaTrader 5, days": (
        "EURUSD_Daily_202101040000_202101080000.csv",
        (
            "<DATE>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
            "2021.01.04\t1.5\t2.5\t1.25\t2\t9\t700\t3\n2021.01.05\t2\t2\t2\t2\t9\t0\t3\n"
        ),
        bar("EURUSD", "1d", timedelta(days=1), 700.0),
        "MetaTrader 5",
    ),
    "MetaTrader 5 ticks": (
        "EURUSD_202101040000_202101082355.csv",
        (
            "<DATE>\t<TIME>\t<BID>\t<ASK>\t<LAST>\t<VOLUME>\t<FLAGS>\n2021.01.04\t00:00:00.250\t1.5\t1.75\t\t\t6\n"
            "2021.01.04\t00:00:00.500\t\t1.8\t\t\t4\n"
        ),
        Tick("EURUSD", DAY + timedelta(milliseconds=250), 1.5, 1.75),
        "MetaTrader 5 ticks",
    ),
    "MetaTrader 4": (
        "EURUSD1.csv",
        "2021.01.04,00:00,1.5,2.5,1.25,2,9\n2021.01.04,00:01,2,2,2,2,9\n",
        bar("EURUSD", "1m", timedelta(minutes=1), 9.0),
        "MetaTrader 4",
    ),
}


@pytest.mark.parametrize("export", EXPORTS)
def test_an_export_is_read_as_it_comes_and_told_what_its_columns_were_taken_for(tmp_path: Path, export: str):
    name, content, first, told = EXPORTS[export]
    path = tmp_path / name
    path.write_text(content)
    summary = source(path, utc=True).check()
    assert next(source(path, utc=True).ticks()) == first
    assert told in summary.columns[0]


def test_a_price_that_metatrader_leaves_out_is_that_of_the_tick_before(tmp_path: Path):
    path = tmp_path / "EURUSD.csv"
    path.write_text(EXPORTS["MetaTrader 5 ticks"][1])
    assert [(tick.bid, tick.ask) for tick in source(path, utc=True).ticks() if isinstance(tick, Tick)] == [
        (1.5, 1.75),
        (1.5, 1.8),
    ]


@pytest.mark.parametrize("export", ["Binance klines", "Dukascopy ticks", "TrueFX", "Kraken trades"])
def test_times_that_mean_utc_by_their_format_need_no_option(tmp_path: Path, export: str):
    name, content, first, _ = EXPORTS[export]
    (tmp_path / name).write_text(content)
    assert next(source(tmp_path / name).ticks()) == first


def zipped(**files: str) -> bytes:
    """An archive of text files; two underscores stand for a point."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "."), content)
    return made.getvalue()


def test_a_file_is_unpacked_by_what_it_holds_whatever_it_is_called(tmp_path: Path):
    for name, data in {
        "a.csv.gz": QUOTES.encode(),
        "b.csv": gzip.compress(QUOTES.encode()),
        "c.csv.gz": zipped(eurusd__csv=QUOTES),
        "BTCUSDT-1m-2021-01.zip": zipped(eurusd__csv=QUOTES),
    }.items():
        path = tmp_path / name
        path.write_bytes(data)
        assert source(path).check().ticks == 1
    assert source(tmp_path / "BTCUSDT-1m-2021-01.zip").check().derived_symbol == "BTCUSDT"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"a__csv": "", "b__csv": ""}, "holds a.csv, b.csv, and not one .csv or .txt or .tsv file alone; unpack it"),
        ({"a__json": "{}"}, "holds a.json, and not one"),
        ({}, "holds nothing, and not one"),
        ({"[Content_Types]__xml": "", "xl/workbook__xml": ""}, "is an Excel workbook; save its sheet as CSV UTF-8"),
    ],
)
def test_an_archive_that_is_not_one_table_is_refused(tmp_path: Path, files: dict[str, str], says: str):
    path = tmp_path / "x.zip"
    path.write_bytes(zipped(**files))
    with pytest.raises(DataError, match=re.escape(f"{path} {says}")):
        source(path)


def test_what_excel_writes_for_itself_above_the_names_is_passed_over(tmp_path: Path):
    path = tmp_path / "x.csv"
    path.write_bytes(b'\xef\xbb\xbfsep=;\r\n"time";"bid";"ask"\r\n"2021-01-04T00:00:00Z";"1";"2"\r\n')
    assert source(path).check().ticks == 1


@pytest.mark.parametrize("packed", ["gz", "zst", "zip"])
def test_a_compressed_file_is_read_and_a_cut_one_refused(tmp_path: Path, packed: str):
    content = (
        "timestamp,bid,ask\n" + "".join(f"{DAY + timedelta(seconds=n)},{n + 1},2\n" for n in range(500))
    ).encode()
    path = tmp_path / f"eurusd-quotes.csv.{packed}"
    if packed == "zip":
        data = zipped(x__csv=content.decode())
    else:
        data = gzip.compress(content) if packed == "gz" else pa.compress(content, "zstd", asbytes=True)
    path.write_bytes(data)
    summary = source(path).check()
    assert (summary.ticks, summary.derived_symbol) == (500, "EURUSD")
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="is damaged") as caught:
        source(path).check()
    assert str(path) in str(caught.value)


def test_quotes_around_cells_hold_delimiters_and_lines_wherever_in_a_file_they_begin(tmp_path: Path):
    path = tmp_path / "x.csv"
    lines = [f"{DAY + timedelta(seconds=n)},1,{n + 2},A" for n in range(30_000)]
    lines[25_000] = f'"{DAY + timedelta(seconds=25_000)}\n",1,"25002","A, ""B"""'
    path.write_text("timestamp,bid,ask,symbol\n" + "\n".join([*lines[:100], "", "  ", *lines[100:]]))
    ticks = list(source(path).ticks())
    assert [(tick.timestamp - DAY).seconds for tick in ticks] == list(range(30_000))
    assert [tick.ask for tick in ticks if isinstance(tick, Tick)] == list(range(2, 30_002))
    assert [tick.symbol for tick in ticks if tick.symbol != "A"] == ['A, "B"']


def test_text_in_utf_16_is_read(tmp_path: Path):
    path = tmp_path / "EURUSD.csv"
    path.write_text(EXPORTS["MetaTrader 5"][1], encoding="utf-16")
    assert source(path, utc=True).check().ticks == 2


@pytest.mark.parametrize(
    ("written", "unit"),
    [
        ("1609718400", "seconds"),
        ("1609718400.0", "seconds"),
        ("1609718400000", "milliseconds"),
        ("1609718400000000", "microseconds"),
        ("1609718400000000000", "nanoseconds"),
    ],
)
def test_times_since_1970_are_read_in_their_unit(tmp_path: Path, written: str, unit: str):
    path = tmp_path / "x.csv"
    path.write_text(f"ts,bid,ask\n{written},1,2\n")
    assert [tick.timestamp for tick in source(path).ticks()] == [DAY]
    summary = source(path).check()
    assert f"times are {unit} since 1970" in summary.columns[0]
    whole = tmp_path / "x.parquet"
    if "." not in written:
        pq.write_table(pa.table({"ts": [int(written)], "bid": [1.0], "ask": [2.0]}), whole)
        assert [tick.timestamp for tick in source(whole).ticks()] == [DAY]


@pytest.mark.parametrize(
    ("starts", "interval"),
    [
        (["2021-01-01", "2021-02-01", "2021-03-01"], "31d"),
        (["2021-01-01", "2021-04-01"], "92d"),
        (["2021-01-01", "2022-01-01"], "366d"),
        (["2021-01-04", "2021-01-11"], "7d"),
    ],
)
def test_bars_of_months_never_end_before_their_month(tmp_path: Path, starts: list[str], interval: str):
    path = tmp_path / "x.csv"
    path.write_text("Date,Open,High,Low,Close\n" + "".join(f"{start},1,1,1,1\n" for start in starts))
    assert source(path, utc=True).check().interval == interval


def test_a_pandas_index_in_parquet_is_the_time(tmp_path: Path):
    path = tmp_path / "x.parquet"
    columns = {"Open": [1.5, 2], "High": [2.5, 2], "Low": [1.25, 2], "Close": [2.0, 2], "Volume": [700, 0]}
    table = {**columns, "__index_level_0__": [DAY, DAY + timedelta(days=1)]}
    pq.write_table(pa.table(table), path)
    assert source(path).check().interval == "1d"


def test_gaps_between_bars_are_counted_and_the_longest_is_told(tmp_path: Path):
    path = tmp_path / "x.csv"
    path.write_text(BARS + "2021-01-04T00:05:00Z,1,1,1,1\n2021-01-04T00:07:00Z,1,1,1,1\n")
    summary = source(path).check()
    assert summary.gaps == 2
    assert summary.longest_gap == (DAY + timedelta(minutes=2), DAY + timedelta(minutes=5))


def test_a_folder_is_several_symbols_in_the_order_of_time(tmp_path: Path):
    for symbol, offset in (("A", 0), ("B", 1)):
        lines = "".join(f"{DAY + timedelta(seconds=2 * n + offset)},1,2\n" for n in range(3))
        (tmp_path / f"{symbol}.csv").write_text("time,bid,ask\n" + lines)
    (tmp_path / ".hidden").write_text("not read")
    assert [tick.symbol for tick in source(tmp_path).ticks()] == ["A", "B"] * 3
    summary = source(tmp_path).check()
    assert summary.symbols == ("A", "B")
    assert len(summary.columns) == 2
    assert [tick.symbol for tick in source(tmp_path, symbol="B").ticks()] == ["B"] * 3


def test_several_files_of_one_symbol_go_on_one_from_the_other(tmp_path: Path):
    for month in ("01", "02"):
        start = datetime(2021, int(month), 1, tzinfo=UTC)
        lines = "".join(f"{start + timedelta(days=n)},1,1,1,1\n" for n in range(3))
        (tmp_path / f"BTCUSDT-1d-2021-{month}.csv").write_text("time,open,high,low,close\n" + lines)
    assert source(tmp_path).check().symbols == ("BTCUSDT",)
    assert source(tmp_path).check().ticks == 6


@pytest.fixture
def few_files() -> Iterator[None]:
    """A process that may hold forty files open beside those that it has."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = {int(each.name) for each in Path("/proc/self/fd").iterdir()}
    free = islice((number for number in count() if number not in taken), 40)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(free) + 1, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("few_files")
def test_a_history_of_many_files_is_read_with_few_of_them_open(tmp_path: Path):
    for day in range(100):
        lines = "".join(f"{DAY + timedelta(days=day, hours=hour)},1,2\n" for hour in range(3))
        (tmp_path / f"EURUSD-2021-{day:03}.csv").write_text("time,bid,ask\n" + lines)
    assert source(tmp_path).check().ticks == 300


@pytest.mark.usefixtures("few_files")
def test_more_files_at_the_same_time_than_a_process_may_open_are_refused_with_what_to_do(tmp_path: Path):
    for number in range(100):
        (tmp_path / f"S{number}X.csv").write_text(f"time,bid,ask\n{DAY},1,2\n{DAY + timedelta(1)},1,2\n")
    with pytest.raises(DataError, match=r"csv cannot be read: Too many open files; .* raise the limit .`ulimit -n`"):
        source(tmp_path).check()


def test_what_a_folder_cannot_hold_is_named(tmp_path: Path):
    (tmp_path / "A.csv").write_text("time,bid,ask\n2021-01-04T00:00:00Z,1,2\n")
    trades = tmp_path / "B.csv"
    trades.write_text("time,price\n2021-01-04T00:00:00Z,1\n")
    with pytest.raises(DataError, match=f"{trades} holds trades, .*A.csv quotes"):
        source(tmp_path)
    trades.unlink()
    (tmp_path / "inner").mkdir()
    with pytest.raises(DataError, match="is a folder in the folder"):
        source(tmp_path)


QUOTES = "timestamp,bid,ask\n2021-01-04T00:00:00Z,1,2\n"
BARS = "timestamp,open,high,low,close\n2021-01-04T00:00:00Z,1,1,1,1\n2021-01-04T00:01:00Z,1,1,1,1\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (QUOTES + "\0\0\0\0\n", r"row 2: '\\x00\\x00\\x00\\x00' has 1 columns and zero bytes, the file has 3"),
        (QUOTES + "2021-01-04T00:00:01Z,\0\0,2\n", r"row 2, column 'bid': '\\x00\\x00' is no number"),
        ("\0\0\0\0\0\0", "row 1: .* holds zero bytes"),
        (
            QUOTES + '2021-01-04T00:00:01Z,"1,2\n2021-01-04T00:00:02Z,1,3\n',
            "row 2: a quote is not closed, or something",
        ),
        (QUOTES + '2021-01-04T00:00:01Z,"1"5,2\n', "row 2: a quote is not closed, or something stands behind the one"),
        (QUOTES + "2021-01-04T00:00:01Z,1_0,2\n2021-01-04T00:00:02Z,1\n", "row 2, column 'bid': '1_0' is no number"),
        (QUOTES + "2021-01-04T00:00:01,1,2\n", "row 2, column 'timestamp': the time .* has no zone, the rows before"),
        (QUOTES + "1609718401,1,2\n", "row 2, column 'timestamp': '1609718401' is in seconds since 1970, the rows"),
        ("ts,bid,ask\n1609718400,1,2\n1609718401000,1,2\n", "row 2, .* is in milliseconds since 1970, the rows before"),
        ("ts,bid,ask\n20210104,1,2\n1609718401000,1,2\n", "row 2, .* is in milliseconds since 1970, the rows before"),
        ("ts,bid,ask\n201001010000,1,2\n", "row 1, .* could be a date or a number of units since 1970"),
        (QUOTES + QUOTES.splitlines()[1], "row 2, column 'timestamp': 2021.* of X was there before; drop one"),
        (BARS + "2021-01-04T00:01:00Z,1,1,1,1\n", "row 3, .* the bar of 2021-01-04T00:01:00.* was there before"),
        ("id,time,price\n7,2021-01-04,1\n7,2021-01-04,1\n", "row 2, .* was there before"),
        (BARS + "2021-01-03T23:59:00Z,1,1,1,1\n", "row 3, .* is earlier than the row before it; .* or pass --sort"),
        (QUOTES + "2021-01-04T00:00:01Z,1_0,2\n", "row 2, column 'bid': '1_0' is no number"),
        (
            "Date,Open,High,Low,Close,Volume\n2021-01-04,null,null,null,null,null\n2021-01-05,1,1,1,1,1\n",
            "row 1, .*null",
        ),
        (
            "Time (EET),Ask,Bid\n2021.01.04 00:00:00,1,2\n",
            "column 'Time .EET.': its times are in EET, which is not UTC",
        ),
        ("timestamp,open (USD)\n2021-01-04,1\n", "unknown column 'open .USD.': rename it"),
        ("1,2,3,4\n", "row 1: '1,2,3,4' names no columns, and is no row of a format that comes without names"),
        ("Price,Close,Close\nTicker,A,B\nDate,,\n2021-01-04,1,1\n", "the columns of 2 symbols side by side .A, B."),
        (
            "date,open,high,low,close,volume,wap\n20211107 01:30:00 US/Eastern,1,1,1,1,1,1\n",
            "row 1, column 'date': '20211107 01:30:00 US/Eastern' comes twice or never",
        ),
        ("date,open,high,low,close,wap\n20211107 01:30:00 Mars/Olympus,1,1,1,1,1\n", "knows no zone 'Mars/Olympus'"),
        (QUOTES + "2021-01-04T00:00:01Z,1e300,2\n", "row 2, column 'bid': '1e300' is no price that can be booked"),
        (QUOTES + "2021-01-04T00:00:01Z,1,5e-324\n", "row 2, column 'ask': '5e-324' is no price that can be booked"),
        (QUOTES + "2021-01-04T00:00:01Z,1e-10,1e10\n", "row 2, column 'ask': a bid of 1e-10 and an ask of 1.* too far"),
        ("time,bid,ask\n31.02.2021 00:00:00,1,2\n", "row 1, column 'time': '31.02.2021 00:00:00' is no time: day"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(tmp_path: Path, content: str, says: str):
    path = tmp_path / "x.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=says) as caught:
        source(path, utc=True).check()
    assert str(path) in str(caught.value)


def test_a_bar_that_two_files_of_a_folder_hold_is_refused(tmp_path: Path):
    for name in ("X-1m-2020", "X-1m-2021"):
        (tmp_path / f"{name}.csv").write_text(BARS)
    with pytest.raises(DataError, match=r"X-1m-2021.csv, row 1, .* was there before"):
        source(tmp_path).check()


def test_prices_that_are_zero_or_negative_are_read_of_symbols_that_may_have_them(tmp_path: Path):
    path = tmp_path / "CL-trades.csv"
    path.write_text("time,price\n2020-04-20T18:00:00Z,-37.63\n2020-04-20T18:00:01Z,0\n")
    with pytest.raises(DataError, match=r"row 1, column 'price': '-37.63' is no price of CL: .* --signed-prices CL"):
        source(path).check()
    ticks = Replay(ReplaySettings(path=path), signed=["CL"]).ticks()
    assert [tick.bid for tick in ticks if isinstance(tick, Tick)] == [-37.63, 0.0]


def test_rows_out_of_order_are_sorted_when_asked_for_and_stay_in_place_when_at_the_same_time(tmp_path: Path):
    path = tmp_path / "x.csv"
    path.write_text(QUOTES + "2021-01-03T00:00:00Z,3,4\n2021-01-03T00:00:00Z,5,6\n")
    assert [tick.bid for tick in source(path, sort=True).ticks() if isinstance(tick, Tick)] == [3.0, 5.0, 1.0]


def test_the_same_quote_at_the_same_time_with_another_between_is_no_repetition(tmp_path: Path):
    path = tmp_path / "x.csv"
    path.write_text(QUOTES + "2021-01-04T00:00:00Z,1,3\n" + QUOTES.splitlines()[1])
    assert source(path).check().ticks == 3


@pytest.mark.parametrize("export", EXPORTS)
def test_a_file_with_bytes_changed_is_read_or_refused(tmp_path: Path, export: str):
    rng = random.Random(export)  # noqa: S311 - reproducible damage
    name, content, _, _ = EXPORTS[export]
    path = tmp_path / name
    for _ in range(20):
        data = bytearray(content.encode())
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data))
            data[at : at + rng.randrange(3)] = rng.choice(
                [b"", b"\0", b"\xff", b",", b"\n", b'"', b"-", b"9", b"1e999"]
            )
        path.write_bytes(data)
        with contextlib.suppress(DataError):
            source(path, utc=True).check()
