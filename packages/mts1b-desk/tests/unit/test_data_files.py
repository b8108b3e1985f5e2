"""Market data files: what is understood, and that everything else is refused with file, place and remedy."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mts1b_desk.cores.marketdata import middle
from mts1b_desk.data.digest import check_unchanged, digest_of
from mts1b_desk.data.formats import Kind
from mts1b_desk.data.replay import Replay
from mts1b_desk.data.tick import BarTick, Tick
from mts1b_desk.errors import DataError
from mts1b_desk.settings import ReplaySettings

AT = datetime(2022, 5, 4, 13, 30, tzinfo=UTC)


def source(path: Path, **options: Any) -> Replay:
    return Replay(ReplaySettings(path=path, **options))


def parquet(path: Path, **columns: list[Any]) -> Path:
    pq.write_table(pa.table(columns), path)  # pyright: ignore[reportUnknownMemberType]
    return path


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def test_quotes_keep_their_digits_sizes_and_symbols(tmp_path: Path):
    path = text(
        tmp_path / "q.csv",
        "timestamp,symbol,bid,ask,bid_size,ask_size\n"
        "2022-05-04T13:30:00.000001Z,BRK.B,0.1,0.30000000000000004,,7\n"
        "2022-05-04 15:30:01+02:00,BTC/USD,1e-8,2,0,\n",
    )
    assert list(source(path).ticks()) == [
        Tick("BRK.B", AT + timedelta(microseconds=1), 0.1, 0.30000000000000004, None, 7.0),
        Tick("BTC/USD", AT + timedelta(seconds=1), 1e-8, 2.0, 0.0, None),
    ]


def test_parquet_and_csv_give_the_same_ticks(tmp_path: Path):
    times = [AT, AT + timedelta(milliseconds=250)]
    first = parquet(tmp_path / "a.parquet", timestamp=times, symbol=["X", "X"], bid=[1.5, 1.6], ask=[1.7, 1.8])
    lines = "".join(
        f"{at.isoformat()},X,{bid},{ask}\n" for at, bid, ask in zip(times, (1.5, 1.6), (1.7, 1.8), strict=True)
    )
    second = text(tmp_path / "a.csv", "timestamp,symbol,bid,ask\n" + lines)
    assert list(source(first).ticks()) == list(source(second).ticks())


def test_a_parquet_file_in_another_zone_is_read_as_the_same_moment(tmp_path: Path):
    column = pa.array([AT], pa.timestamp("ns", "Asia/Tokyo"))
    path = parquet(tmp_path / "z.parquet", timestamp=column, bid=[1.0], ask=[1.0])  # type: ignore[arg-type]
    assert [tick.timestamp for tick in source(path).ticks()] == [AT]


def test_a_trade_is_a_quote_without_spread_and_without_size(tmp_path: Path):
    path = text(
        tmp_path / "ethusd-trades.csv", "timestamp,price,quantity,buyer_maker\n2022-05-04T13:30:00Z,9.5,3,True\n"
    )
    replay = source(path)
    assert replay.kind is Kind.TRADES
    assert list(replay.ticks()) == [Tick("ETHUSD", AT, 9.5, 9.5)]


def test_bars_learn_their_length_from_their_distance(tmp_path: Path):
    path = text(
        tmp_path / "bars.csv",
        "timestamp,symbol,open,high,low,close,volume\n"
        "2022-05-04T13:30:00Z,A,1,3,1,2,10\n"
        "2022-05-04T13:30:00Z,B,1,3,1,2,\n"
        "2022-05-04T13:35:00Z,A,2,2,2,2,0\n",
    )
    bars = list(source(path).ticks())
    assert [bar.interval for bar in bars if isinstance(bar, BarTick)] == ["5m"] * 3
    assert bars[0] == BarTick("A", "5m", AT, AT + timedelta(minutes=5), 1.0, 3.0, 1.0, 2.0, 10.0)
    assert source(path).check().interval == "5m"


def test_the_symbol_comes_from_the_file_name_unless_it_is_given(tmp_path: Path):
    path = text(tmp_path / "usd_chf-ticks.csv", "timestamp,bid,ask\n2022-05-04T13:30:00Z,1,2\n")
    assert source(path).check().derived_symbol == "USD-CHF"
    given = source(path, symbol="USD/CHF")
    assert given.derived_symbol is None
    assert given.check().symbols == ("USD/CHF",)


def quotes(path: Path, count: int) -> Path:
    """Quotes of two symbols in turn."""
    rows = (f"{AT + timedelta(seconds=n)},{('ABC', 'BRK.B')[n % 2]},1,2" for n in range(count))
    return text(path, "\n".join(["timestamp,symbol,bid,ask", *rows]))


def test_a_symbol_selects_from_a_file_with_several(tmp_path: Path):
    path = quotes(tmp_path / "q.csv", 40)
    assert source(path, symbol="BRK.B").check().ticks == 20
    with pytest.raises(DataError, match="has no row of symbol 'XYZ'"):
        source(path, symbol="XYZ").check()


def test_a_file_can_be_read_again_and_is_read_in_pieces(tmp_path: Path):
    replay = source(quotes(tmp_path / "q.csv", 10_000))
    assert sum(1 for _ in replay.ticks()) == sum(1 for _ in replay.ticks()) == 10_000


QUOTES = "timestamp,bid,ask\n2022-05-04T13:30:00Z,1,2\n"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.csv", "", "is empty: the first line of a text file names its columns"),
        ("x.csv", "timestamp,bid,ask\n", "has no row: there is nothing to replay"),
        ("x.csv", "timestamp,bid,ask,mood\n", "unknown column 'mood': rename it or leave it out"),
        ("x.csv", "timestamp,bid,ask,price\n", "could be quotes or trades"),
        ("x.csv", "timestamp,bid,ask,volume\n", "a file of quotes has no use for column 'volume'"),
        ("x.csv", "timestamp,bid\n", "hold neither quotes, trades nor bars"),
        ("x.csv", "bid,ask\n", "no timestamp column among bid, ask"),
        ("x.csv", "timestamp,ts,bid,ask\n", "'timestamp' and 'ts' both hold the timestamp"),
        ("x.csv", QUOTES + "2022-05-04T13:30:01Z,1\n", "row 2: '2022-05-04T13:30:01Z,1' has 2 columns, the file has 3"),
        ("x.csv", QUOTES + "2022-05-04T13:30:01Z,one,2\n", "row 2, column 'bid': 'one' is no number"),
        ("x.csv", QUOTES + "2022-05-04T13:30:01Z,,2\n", "row 2, column 'bid': the price is missing"),
        ("x.csv", QUOTES + "2022-05-04T13:30:01Z,1,nan\n", "row 2, column 'ask': 'nan' is no number|no price"),
        ("x.csv", QUOTES + "2022-05-04T13:30:01Z,-1,2\n", "row 2, column 'bid': '-1' is no price"),
        ("x.csv", QUOTES + "2022-05-04T13:30:01Z,0,2\n", "row 2, column 'bid': '0' is no price"),
        ("x.csv", QUOTES + "2022-05-04T13:30:01Z,١٢,2\n", "row 2, column 'bid': '١٢' is no number"),
        ("x.csv", QUOTES + f"2022-05-04T13:30:01Z,{'x' * 9_000},2\n", r"row 2, column 'bid': 'x{79}… \(9,000 char"),
        (
            "x.csv",
            QUOTES + f"{'1' * 9_000},1,2\n",
            r"row 2, column 'timestamp': '1{79}… \(9,000 characters\) is no time",
        ),
        ("x.csv", "\n \n" + QUOTES + "2022-05-04T13:30:01Z,one,2\n", "row 2, column 'bid': 'one' is no number"),
        ("x.csv", '{"Information": "too many requests"}', "row 1: .*no table but JSON or a web page"),
        ("x.csv", "<!DOCTYPE html><html>", "row 1: .*no table but JSON or a web page, .*fetch the file again"),
        ("x.csv", QUOTES + "2022-05-04T13:29:59Z,1,2\n", "row 2, column 'timestamp': .* earlier than the row before"),
        ("x.csv", QUOTES + "yesterday,1,2\n", "row 2, column 'timestamp': 'yesterday' is no time"),
        ("x.csv", "timestamp,bid,ask\n2022-05-04T13:30:01,1,2\n", "has no zone, and zones are not guessed; pass --utc"),
        ("x.csv", "timestamp,bid,ask,bid_size\n2022-05-04T13:30:00Z,1,2,-3\n", "'-3' is no size"),
        ("x.csv", "timestamp,symbol,bid,ask\n2022-05-04T13:30:00Z,,1,2\n", "'' is no symbol"),
        ("ticks.csv", QUOTES, "has no symbol column, and its name tells none; pass --symbol"),
        ("x.csv", "timestamp,open,high,low,close\n2022-05-04T13:30:00Z,1,1,1,1\n", "one bar does not tell how long"),
        (
            "x.csv",
            "timestamp,interval,open,high,low,close\n2022-05-04T13:30:00Z,1m,5,4,1,2\n",
            "high and low do not enclose open and close",
        ),
        (
            "x.csv",
            "timestamp,interval,open,high,low,close\n2022-05-04T13:30:00Z,soon,1,1,1,1\n",
            "'soon' is no interval",
        ),
        (
            "x.csv",
            QUOTES + "timestamp,bid,ask\n",
            "row 2, column 'timestamp': the names of the columns stand here",
        ),
        ("x.csv", QUOTES + "# two rows\n", "row 2: '# two rows' has 1 columns, the file has 3"),
        ("x.csv", "BTC/USD hourly\n" + QUOTES, "row 1: 'BTC/USD hourly' does not name several columns"),
        ("x.csv", "No data", "row 1: 'No data' does not name several columns; .*fetch the file again"),
        ("x.csv", "ts;bid;ask\n2022-05-04T13:30:00Z;1,5;2\n", "'1,5' is no number; export numbers with a point"),
        ("x.csv", "ts;bid;ask\n2022-05-04T13:30:00Z;1\xa0200.5;2\n", "'1.xa0200.5' is no number; .* nothing between"),
        ("x.csv", "sep=;\nts;bid;ask\n2022-05-04T13:30:00Z;x;2\n", "row 1, column 'bid': 'x' is no number"),
        ("x.csv", QUOTES + "2022-05-04T24:00:00Z,1,2\n", "row 2, .*T24:00:00Z' is no time: hour must be"),
        ("x.csv", QUOTES + "2016-12-31T23:59:60Z,1,2\n", "row 2, .*59:60Z' is no time: second must be"),
        ("x.csv", QUOTES + "9999-12-31T23:59:59-10:00,1,2\n", "row 2, .* is not of the years 2 to 9998"),
        ("x.csv", QUOTES + "2022-05-04T13:30:00+99:00,1,2\n", "row 2, .* no zone is a day away from UTC"),
        ("x.csv", "ts,bid,ask\n2022.05.04 13:30 America/Argentina,1,2\n", "row 1, .* no zone 'America/Argentina'"),
        (
            "x.csv",
            "ts,interval,open,high,low,close\n9998-05-04T13:30:00Z,1000d,1,1,1,1\n",
            "row 1, column 'ts': the bar of 9998-05-04.* is 1000 days long",
        ),
        (
            "x.csv",
            "ts,open,high,low,close\n2001-05-04T13:30:00Z,1,1,1,1\n2022-05-04T13:30:00Z,1,1,1,1\n",
            "bars 7670 days apart, and bars are 1000 days long at most",
        ),
        (
            "x.csv",
            "ts,interval,open,high,low,close\n2022-05-04T13:30:00Z,99999999999999d,1,1,1,1\n",
            "'99999999999999d' is no interval",
        ),
        (
            "x.csv",
            "ts,open,high,low,close\n2022-05-04T13:30:00.0000Z,1,1,1,1\n2022-05-04T13:30:00.0001Z,1,1,1,1\n",
            "bars 0.1 ms apart, and bars are whole milliseconds long",
        ),
        ("x.csv", "PAR1 and so on", "is a Parquet file; call it .parquet"),
        ("x.xlsx", "PK", "save the sheet as CSV UTF-8, or use a .parquet"),
        ("x.zip", "PK\3\4 and so on", "is damaged or not what its extension says: File is not a zip file"),
        ("x.parquet", "not parquet at all", "is damaged or not what its extension says"),
        ("x.json", "{}", "'.json' is no known format; use a .parquet, .csv or .txt"),
        ("x", "", "'no extension' is no known format"),
    ],
)
def test_a_bad_file_is_refused_with_its_name_the_place_and_the_remedy(
    tmp_path: Path, name: str, content: str, says: str
):
    path = text(tmp_path / name, content)
    with pytest.raises(DataError, match=says) as caught:
        source(path).check()
    assert str(path) in str(caught.value)


def test_a_file_in_another_encoding_is_refused_with_the_place(tmp_path: Path):
    path = tmp_path / "x.csv"
    path.write_bytes(
        "timestamp,symbol,bid,ask\n2022-05-04T13:30:00Z,A,1,2\n2022-05-04T13:30:01Z,Zürich,1,2\n".encode("latin-1")
    )
    with pytest.raises(DataError, match="row 2, column 'symbol': 'Zürich' is not written in UTF-8; write the file in"):
        source(path).check()


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_its_mark_is_named(tmp_path: Path, encoding: str):
    path = tmp_path / "x.csv"
    path.write_bytes(QUOTES.encode(encoding))
    with pytest.raises(DataError, match=f"{path} is UTF-16 without the mark that says so; write it in UTF-8"):
        source(path)


def test_digits_that_no_price_holds_are_told(tmp_path: Path):
    path = text(tmp_path / "x.csv", QUOTES + "2022-05-04T13:30:01Z,1.23456789012345678901,12345.678901234567\n")
    (columns,) = source(path).check().columns
    assert "1 numbers have more digits than prices and sizes hold" in columns


def test_a_session_is_not_gone_on_with_when_its_files_have_changed(tmp_path: Path):
    path = text(tmp_path / "x.csv", QUOTES)
    settings = ReplaySettings(path=tmp_path, digest=digest_of(tmp_path))
    check_unchanged(settings)
    text(path, QUOTES.replace("1,2", "1,3"))
    with pytest.raises(DataError, match=f"{tmp_path} has changed since the session began"):
        check_unchanged(settings)
    text(path, QUOTES)
    check_unchanged(settings)
    path.rename(tmp_path / "y.csv")
    with pytest.raises(DataError, match="has changed"):
        check_unchanged(settings)


def test_bars_have_the_digits_that_the_market_shows():
    assert (60000.0 + 60000.27) / 2 != middle(60000.0, 60000.27) == 60000.135
    assert middle(-37.63, -37.6) == -37.615
    assert middle(0.1, 0.1) == 0.1


def test_a_file_that_is_not_there_or_a_folder_that_is_empty_is_named(tmp_path: Path):
    with pytest.raises(DataError, match="no such file"):
        source(tmp_path / "gone.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="is an empty folder"):
        source(tmp_path / "folder.csv")


def test_times_without_a_zone_are_read_as_utc_when_told_so(tmp_path: Path):
    path = text(tmp_path / "x.csv", "timestamp,bid,ask\n2022-05-04T13:30:00,1,2\n")
    assert [tick.timestamp for tick in source(path, utc=True).ticks()] == [AT]
    naive = parquet(tmp_path / "n.parquet", timestamp=[AT.replace(tzinfo=None)], bid=[1.0], ask=[1.0])
    with pytest.raises(DataError, match="has no zone"):
        source(naive).check()
    assert [tick.timestamp for tick in source(naive, utc=True).ticks()] == [AT]


def test_a_damaged_parquet_file_is_refused_wherever_it_is_damaged(tmp_path: Path):
    path = parquet(tmp_path / "x.parquet", timestamp=[AT] * 500, bid=[1.0] * 500, ask=[2.0] * 500)
    data = path.read_bytes()
    for cut in (10, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(DataError, match="damaged"):
            source(path).check()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, 0.0, None])
def test_a_bad_number_in_parquet_is_refused(tmp_path: Path, bad: float | None):
    path = parquet(tmp_path / "x.parquet", timestamp=[AT, AT], bid=[1.0, bad], ask=[2.0, 2.0])
    with pytest.raises(DataError, match="row 2, column 'bid'"):
        source(path).check()


@pytest.mark.parametrize("unit", ["ms", "us"])
def test_a_moment_that_no_date_holds_is_refused_with_its_row(tmp_path: Path, unit: str):
    path = tmp_path / "x.parquet"
    times = pa.array([0, 2**62], pa.timestamp(unit, "UTC"))
    pq.write_table(pa.table({"ts": times, "bid": [1.0] * 2, "ask": [2.0] * 2}), path)
    with pytest.raises(DataError, match=rf"{path}, row 2, column 'ts'.*{2**62} as timestamp.{unit}.* is no time"):
        source(path).check()


def test_a_number_that_counts_nothing_since_1970_is_no_time(tmp_path: Path):
    path = parquet(tmp_path / "x.parquet", timestamp=[165167], bid=[1.0], ask=[2.0])
    with pytest.raises(DataError, match="row 1, column 'timestamp': '165167' is no time"):
        source(path).check()
