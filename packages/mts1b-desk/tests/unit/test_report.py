"""The report of a session: its figures from the events, and what each format holds of them."""

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from mts1b_desk.cores.sampling import MOST, Sampler
from mts1b_desk.errors import DeskError
from mts1b_desk.report.figures import Report, report_of
from mts1b_desk.report.write import FORMATS, check_path, write_report
from mts1b_foundation.fills import FillV2
from mts1b_foundation.marketdata import SessionPrices
from mts1b_foundation.orders import OrderV2, Side
from mts1b_foundation.treasury import NavSnapshotV2, PositionV2

AT = datetime(2022, 5, 4, 13, 30, tzinfo=UTC)
NAVS = (1000, 1200, 900, 960)


def nav(number: int, value: int, fund: str = "a<b>", *, final: bool = False) -> NavSnapshotV2:
    held = PositionV2(symbol="X", quantity=Decimal(-2), mark=Decimal(30), value=Decimal(-60))
    long = PositionV2(symbol="Y|Z", quantity=Decimal(1), mark=Decimal(50), value=Decimal(50))
    return NavSnapshotV2(
        fund_id=fund, sequence=number, cash=Decimal(value + 10), positions=(held, long), nav=Decimal(value),
        realised_pnl=Decimal(1), unrealised_pnl=Decimal(2), fees=Decimal("-0.5"), fills=number, final=final,
        as_of=AT + timedelta(seconds=number),
    )  # fmt: skip


def fill(number: int, fund: str = "a<b>") -> FillV2:
    return FillV2(
        fill_id=f"f{number}", order_id=f"s.ma_cross.X.{number}", fund_id=fund, symbol="X", side=Side.SELL,
        quantity=Decimal("0.10"), price=Decimal(-3), fee=Decimal("-0.01"), broker="paper", execution_id=f"e{number}",
        executed_at=AT + timedelta(seconds=number),
    )  # fmt: skip


def rejected(rule: str) -> OrderV2:
    order = OrderV2(
        order_id="s.o", idempotency_key="s.o", fund_id="a<b>", actor="t", symbol="X", side=Side.BUY,
        quantity=Decimal(1), created_at=AT, updated_at=AT,
    )  # fmt: skip
    return order.reject(f"{rule}: because", AT)


@pytest.fixture
def report() -> Report:
    valuations = [nav(n, value, final=n == len(NAVS)) for n, value in enumerate(NAVS, 1)]
    return report_of(
        "s1",
        [*reversed(valuations), nav(1, 500, "other")],
        [fill(2), fill(1)],
        [rejected("drawdown"), rejected("halted"), rejected("drawdown")],
    )


def test_figures_follow_from_the_events(report: Report):
    fund, other = report.funds
    assert [point.nav for point in fund.points] == list(NAVS)
    assert [point.drawdown for point in fund.points] == [0, 0, Decimal("0.25"), Decimal("0.2")]
    assert (fund.max_drawdown, fund.max_drawdown_at) == (Decimal("0.25"), AT + timedelta(seconds=3))
    assert (fund.points[0].gross, fund.points[0].net) == (110, -10)
    assert fund.rejections == {"drawdown": 2, "halted": 1}
    assert [trade.order_id for trade in fund.trades] == ["s.ma_cross.X.1", "s.ma_cross.X.2"]
    assert (fund.final, other.final, other.trades, other.max_drawdown) == (True, False, (), 0)
    assert (report.first, report.last) == (AT + timedelta(seconds=1), AT + timedelta(seconds=4))


def prices(symbol: str, *path: tuple[int, float]) -> SessionPrices:
    return SessionPrices(
        session="s1", source="t", symbol=symbol, start=AT, after_ms=tuple(1000 * second for second, _ in path),
        prices=tuple(price for _, price in path),
    )  # fmt: skip


def test_a_session_that_is_over_is_valued_by_the_market_time_of_its_fills_however_late_they_were_booked():
    bought = fill(2).model_copy(update={"side": Side.BUY, "quantity": Decimal(10), "price": Decimal("1.1")})
    late = nav(1, 1000).model_copy(update={"as_of": AT + timedelta(seconds=9)})  # booked when the market was at 9 s
    # 1000 before; 11 paid and 0.01 got back at 2 s; at the end 10 units at 2: 1000 - 11 + 0.01 + 20
    final = nav(2, 0, final=True).model_copy(
        update={"nav": Decimal("1009.01"), "realised_pnl": Decimal(0), "unrealised_pnl": Decimal(9),
                "fees": Decimal("-0.01"), "as_of": AT + timedelta(seconds=9)}
    )  # fmt: skip
    sampled = [prices("X", (0, 1.0), (3, 0.5), (5, 3.0), (9, 2.0)), prices("never traded", (0, 7.0), (9, 8.0))]
    (fund,) = report_of("s1", [late, final], [bought], [], sampled).funds
    seen = [((point.at - AT).seconds, point.nav, point.gross) for point in fund.points]
    assert seen == [
        (0, 1000, 0),
        (2, Decimal("1000.01"), 11),
        (3, Decimal("994.01"), 5),
        (5, Decimal("1019.01"), 30),
        (9, Decimal("1009.01"), 20),
    ]
    assert fund.points[-1].nav == fund.nav
    assert (fund.max_drawdown, fund.max_drawdown_at) == (Decimal("0.009813"), AT + timedelta(seconds=9))


def sampled(*prices: float, step: timedelta = timedelta(seconds=1)) -> list[tuple[datetime, float]]:
    sampler = Sampler()
    for number, price in enumerate(prices):
        sampler.add(AT + number * step, price)
    return sampler.samples(AT + (len(prices) - 1) * step, prices[-1])


def test_prices_are_sampled_evenly_over_any_session_and_end_with_its_last():
    kept = sampled(*[7.0] * 99_999, 8.0)
    steps = {(after - before).seconds for (before, _), (after, _) in pairwise(kept[1:-1])}
    assert MOST / 4 < len(kept) <= MOST
    assert (kept[0], kept[-1]) == ((AT, 7.0), (AT + timedelta(seconds=99_999), 8.0))
    assert max(steps) <= 1.1 * min(steps)


def test_the_lowest_and_the_highest_price_of_any_session_are_among_its_samples():
    prices = [7.0] * 50_000
    prices[12_345], prices[12_346], prices[40_000] = 2.0, 9.0, 1.0
    kept = sampled(*prices)
    assert len(kept) <= MOST
    assert {2.0, 9.0, 1.0} <= {price for _, price in kept}
    assert [at for at, _ in kept] == sorted(at for at, _ in kept)


def test_the_last_of_several_prices_at_the_same_time_is_the_last_sample():
    assert sampled(7.0, 8.0, 7.5, step=timedelta(0))[-1] == (AT, 7.5)
    assert sampled(7.0, step=timedelta(0)) == [(AT, 7.0)]


def test_a_page_holds_everything_and_loads_nothing(report: Report):
    page = FORMATS[".html"](report)
    assert "a&lt;b&gt;" in page
    assert "<h2>a<b>" not in page
    for words in (
        "25.00 %",
        "drawdown",
        "halted",
        "not over",
        "viewport",
        "Plotly.newPlot",
        "Trades (2 of 2)",
        "-0.01",
    ):
        assert words in page
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=", page)


def test_markdown_has_tables_of_every_fund(report: Report):
    text = FORMATS[".md"](report)
    assert "| a<b> | 960.00 | 25.00 % | 2 | 3 | 1.00 | 2.00 | -0.50 | 970.00 | 110.00 | -10.00 |" in text
    assert "Greatest drawdown: 25.00 % on 2022-05-04 13:30:03 UTC." in text
    assert "| Y\\|Z | 1 | 50 | 50.00 |" in text
    assert "| 2022-05-04 13:30:01.000 | X | sell | 0.1 | -3 | -0.01 |" in text
    assert "| drawdown | 2 |" in text


def test_a_fund_that_did_not_trade_has_no_chart_and_says_so():
    quiet = nav(1, 500).model_copy(update={"positions": ()})
    report = report_of("s1", [quiet], [], [])
    assert "The fund did not trade." in FORMATS[".md"](report)
    page = FORMATS[".html"](report)
    assert "The fund did not trade." in page
    assert "Plotly.newPlot(" not in page.partition("</head>")[2]


def test_json_holds_every_point_and_trade_as_decimal_text(report: Report):
    document = json.loads(FORMATS[".json"](report))
    assert document["funds"][0]["points"][2]["nav"] == "900"
    assert document["funds"][0]["trades"][0]["quantity"] == "0.10"
    assert Report.model_validate_json(FORMATS[".json"](report)) == report


def test_a_report_is_written_wholly_or_not_at_all(report: Report, tmp_path: Path):
    path = tmp_path / "report.md"
    write_report(report, path)
    assert path.read_text().startswith("# Session s1\n")
    taken = tmp_path / "taken.md"
    taken.mkdir()
    (taken / "file").touch()
    with pytest.raises(DeskError, match=r"taken.md cannot be written"):
        write_report(report, taken)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["report.md", "taken.md"]


@pytest.mark.parametrize(
    ("name", "says"), [("report.pdf", r"a report is a .html, .md, .json file"), ("gone/report.md", "does not exist")]
)
def test_a_path_that_no_report_can_be_written_to_is_refused_at_once(tmp_path: Path, name: str, says: str):
    with pytest.raises(DeskError, match=says):
        check_path(tmp_path / name)


def test_a_session_without_a_valuation_has_no_report():
    with pytest.raises(ValueError, match="session s1 has no valuation"):
        report_of("s1", (), (), ())
