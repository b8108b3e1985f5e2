"""Treasury, marketdata, reconciliation and the ledger: exact figures."""

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal, Inexact
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mts1b_desk.books import BrokerBook, FundExecutions, FundHoldings, FundOrders, OmsBook, TreasuryBook
from mts1b_desk.cores.core import Emit
from mts1b_desk.cores.marketdata import Marketdata
from mts1b_desk.cores.treasury import Treasury
from mts1b_desk.data.simulated import SimulatedMarket
from mts1b_desk.data.tick import BarTick, Tick
from mts1b_desk.intervals import duration
from mts1b_desk.ledger import ledger_document, print_ledger
from mts1b_desk.money import exactly, fee_of, plain, whole_lots
from mts1b_desk.reconcile import reconcile
from mts1b_desk.settings import DeskSettings, FundSettings, SimulationSettings
from mts1b_foundation.fills import FillV2
from mts1b_foundation.marketdata import BarV2, QuoteV2
from mts1b_foundation.orders import Side
from mts1b_foundation.subjects import MARKETDATA_SESSIONS_CLOSED_V2, OMS_FILLS_CREATED_V2
from mts1b_foundation.treasury import NavSnapshotV2
from pydantic import ValidationError
from rich.console import Console

AT = datetime(2022, 5, 4, 13, 30, tzinfo=UTC)
DESK = DeskSettings(session="s", funds=(FundSettings(fund_id="a", cash=Decimal(1000)),), intervals=("1s", "1m"))


def fill(number: int, side: Side, quantity: str, price: str, fee: str = "0") -> FillV2:
    return FillV2(
        fill_id=f"f{number}", order_id="o", fund_id="a", symbol="X", side=side, quantity=Decimal(quantity),
        price=Decimal(price), fee=Decimal(fee), broker="paper", execution_id=f"e{number}", executed_at=AT,
    )  # fmt: skip


@given(
    st.lists(
        st.tuples(
            st.sampled_from(Side),
            st.decimals("0.0001", 1000, places=4),
            st.decimals("0.01", 10_000, places=3),
            st.decimals(0, 5, places=8),
        ),
        max_size=30,
    ),
    st.decimals("0.01", 10_000, places=3),
)
def test_profit_explains_nav_to_the_last_digit(trades: list[tuple[Side, Decimal, Decimal, Decimal]], mark: Decimal):
    treasury = Treasury(DESK)
    cash, position = Decimal(1000), Decimal(0)
    for number, (side, quantity, price, fee) in enumerate(trades):
        made = fill(number, side, str(quantity), str(price), str(fee))
        with exactly():
            cash += made.cash_change
            position += made.position_change
        treasury.handle(OMS_FILLS_CREATED_V2, made, AT)
        treasury.handle(OMS_FILLS_CREATED_V2, made, AT)
    last = QuoteV2(
        symbol="X", bid=float(mark), ask=float(mark), timestamp=AT, sequence=1, session="s", source="t", feed_sequence=1
    )
    treasury.on_quote(last)
    holdings = treasury.book().funds["a"]
    with exactly():
        assert holdings.cash == cash
        assert holdings.positions.get("X", Decimal(0)) == position
        assert holdings.nav == cash + position * mark
        assert holdings.nav == 1000 + holdings.realised_pnl + holdings.unrealised_pnl - holdings.fees
    assert holdings.fills == len(trades)


def test_realised_profit_is_first_in_first_out():
    treasury = Treasury(DESK)
    for made in (fill(1, Side.BUY, "2", "10"), fill(2, Side.BUY, "2", "20"), fill(3, Side.SELL, "3", "30")):
        treasury.handle(OMS_FILLS_CREATED_V2, made, AT)
    assert treasury.book().funds["a"].realised_pnl == 2 * 20 + 1 * 10


def test_snapshots_come_with_fills_and_with_the_time_of_the_market_and_the_last_is_final():
    treasury = Treasury(DESK)
    market = Marketdata(DESK, "t")

    def snapshots(seconds: float) -> list[NavSnapshotV2]:
        effects = []
        for item in market.on_tick(Tick("X", AT + timedelta(seconds=seconds), 10.0, 10.0)):
            if isinstance(item, QuoteV2):
                effects += treasury.on_quote(item)
        return [effect.payload for effect in effects if isinstance(effect, Emit)]  # type: ignore[misc]

    assert snapshots(1) == []
    (effect,) = treasury.handle(OMS_FILLS_CREATED_V2, fill(1, Side.BUY, "1", "10"), AT)
    assert isinstance(effect, Emit)
    assert effect.msg_id == "s:a:1"
    assert snapshots(9) == []
    assert [snapshot.sequence for snapshot in snapshots(10)] == [2]
    assert treasury.finalise() == ()
    (closing,) = treasury.handle(MARKETDATA_SESSIONS_CLOSED_V2, market.close(), AT)
    (final,) = treasury.finalise()
    assert isinstance(closing, Emit)
    assert isinstance(final, Emit)
    assert isinstance(closing.payload, NavSnapshotV2)
    assert isinstance(final.payload, NavSnapshotV2)
    assert (closing.payload.final, final.payload.final) == (False, True)
    assert final.payload.as_of == AT + timedelta(seconds=10)
    assert treasury.finalise() == ()


def test_bars_are_aligned_published_when_over_and_counted():
    market = Marketdata(DESK, "t")
    out: list[QuoteV2 | BarV2] = []
    for ms, bid in ((100, 1.0), (900, 3.0), (1000, 2.0), (3500, 5.0), (61_000, 4.0)):
        out += market.on_tick(Tick("X", AT + timedelta(milliseconds=ms), bid, bid + 1))
    bars = [item for item in out if isinstance(item, BarV2)]
    assert [
        (bar.interval, (bar.start - AT).total_seconds(), bar.open, bar.high, bar.low, bar.close, bar.quotes)
        for bar in bars
    ] == [
        ("1s", 0, 1.5, 3.5, 1.5, 3.5, 2),
        ("1s", 1, 2.5, 2.5, 2.5, 2.5, 1),
        ("1s", 3, 5.5, 5.5, 5.5, 5.5, 1),
        ("1m", 0, 1.5, 5.5, 1.5, 5.5, 4),
    ]
    closed = market.close()
    assert closed.marks[0].quotes == 5
    assert closed.marks[0].bars == {"1s": 3, "1m": 1}
    assert [item.sequence for item in out if isinstance(item, QuoteV2)] == [1, 2, 3, 4, 5]


def test_bars_of_several_symbols_go_out_in_the_order_of_their_ends():
    market = Marketdata(DESK.model_copy(update={"intervals": ("1s",)}), "t")
    out: list[QuoteV2 | BarV2] = []
    for ms, symbol in ((0, "B"), (10, "A"), (20, "*"), (5000, "Z")):
        out += market.on_tick(Tick(symbol, AT + timedelta(milliseconds=ms), 1.0, 1.0))
    bars = [item for item in out if isinstance(item, BarV2)]
    assert [(bar.symbol, bar.feed_sequence, bar.sequence) for bar in bars] == [("*", 1, 1), ("A", 2, 1), ("B", 3, 1)]


def test_a_given_bar_goes_out_as_it_is_with_its_close_as_a_quote():
    market = Marketdata(DESK.model_copy(update={"intervals": ("5m",)}), "t")
    end = AT + timedelta(minutes=5)
    bar, quote = market.on_tick(BarTick("X", "5m", AT, end, 1.0, 4.0, 1.0, 3.0, 12.0))
    assert isinstance(bar, BarV2)
    assert isinstance(quote, QuoteV2)
    assert (bar.high, bar.volume, bar.end) == (4.0, 12.0, end)
    assert (quote.bid, quote.ask, quote.timestamp) == (3.0, 3.0, end)


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("1s", 1), ("5m", 300), ("1h", 3600), ("1d", 86_400)])
def test_intervals_are_read_as_people_write_them(text: str, seconds: float):
    assert duration(text).total_seconds() == seconds


def test_settings_have_no_interval_that_no_bar_can_have():
    with pytest.raises(ValidationError, match="'1001d' is no interval"):
        DeskSettings(session="s", intervals=("1s", "1001d"))


def test_the_simulated_market_is_the_same_for_the_same_seed_and_never_anything_else_than_simulated():
    def ticks(seed: int) -> list[Tick]:
        return list(SimulatedMarket(SimulationSettings(seed=seed, quotes=200)).ticks())

    assert ticks(1) == ticks(1) != ticks(2)
    assert SimulatedMarket(SimulationSettings()).label == "simulated"
    assert all(tick.bid < tick.ask for tick in ticks(3))
    times = [tick.timestamp for tick in ticks(3)]
    assert times == sorted(times)


def test_a_rebate_lowers_fees_below_nothing_and_a_negative_mark_values_a_position():
    treasury = Treasury(DESK)
    treasury.handle(OMS_FILLS_CREATED_V2, fill(1, Side.BUY, "10", "5", "-0.5"), AT)
    treasury.handle(OMS_FILLS_CREATED_V2, fill(2, Side.BUY, "10", "-37.63", "-1"), AT)
    treasury.on_quote(
        QuoteV2(symbol="X", bid=-38.0, ask=-37.0, timestamp=AT, sequence=1, session="s", source="t", feed_sequence=1)
    )
    holdings = treasury.book().funds["a"]
    assert holdings.cash == 1000 - 50 + Decimal("376.3") + Decimal("1.5")
    assert holdings.fees == Decimal("-1.5")
    assert holdings.nav == holdings.cash + 20 * Decimal("-37.5")
    assert holdings.nav == 1000 + holdings.realised_pnl + holdings.unrealised_pnl - holdings.fees


def test_orders_are_sized_and_charged_by_the_amount_of_a_price():
    assert whole_lots(Decimal(1000), Decimal(-40), Decimal("0.1")) == 25
    assert fee_of(Decimal(-1000), Decimal(2), Decimal("0.01")) == Decimal("0.20")
    assert fee_of(Decimal(-1000), Decimal(-2), Decimal("0.01")) == Decimal("-0.20")


def test_money_is_exact_or_says_so():
    with exactly(), pytest.raises(Inexact):
        assert Decimal(1) / Decimal(3)
    assert whole_lots(Decimal(10_000), Decimal("39433.305"), Decimal("0.0001")) == Decimal("0.2535")
    assert fee_of(Decimal("1234.567"), Decimal("0.3"), Decimal("0.01")) == Decimal("0.04")
    assert [plain(Decimal(text)) for text in ("1E+3", "0.500", "-0.00", "-7")] == ["1000", "0.5", "0", "-7"]


def books() -> tuple[OmsBook, BrokerBook, TreasuryBook]:
    positions = {"X": Decimal(2)}
    cash = Decimal(-21)
    orders = FundOrders(
        orders={"filled": 1, "rejected": 3},
        rejections={"drawdown": 1, "halted": 2},
        passed_over={"less than a lot": 4},
        fills=1,
        positions=positions,
        cash_change=cash,
        waiting=0,
    )
    account = FundExecutions(executions=1, positions=positions, cash_change=cash, commissions=Decimal(1))
    holdings = FundHoldings(
        cash=Decimal(979), opening_cash=Decimal(1000), positions=positions, marks={"X": Decimal(10)}, nav=Decimal(999),
        realised_pnl=Decimal(0), unrealised_pnl=Decimal(0), fees=Decimal(1), fills=1, final=True, as_of=AT,
    )  # fmt: skip
    return (
        OmsBook(funds={"a": orders}),
        BrokerBook(funds={"a": account}, working=0),
        TreasuryBook(funds={"a": holdings}),
    )


def test_books_that_agree_have_no_difference_and_the_ledger_says_so():
    oms, brokers, treasury = books()
    assert reconcile(oms, brokers, treasury) == []
    document = ledger_document(oms, brokers, treasury, [], session="s")
    assert document["reconciled"] is True
    assert document["funds"]["a"]["orders"] == {"filled": 1, "rejected": 3}
    assert document["funds"]["a"]["rejections"] == {"drawdown": 1, "halted": 2}
    assert {key: document["funds"]["a"][key] for key in ("cash", "nav", "positions", "fills")} == {
        "cash": "979",
        "nav": "999",
        "positions": {"X": "2"},
        "fills": 1,
    }


def test_the_printed_ledger_says_why_orders_were_rejected_and_signals_passed_over():
    oms, brokers, treasury = books()
    said = io.StringIO()
    print_ledger(ledger_document(oms, brokers, treasury, [], session="s"), Console(file=said, width=140))
    assert "1 drawdown, 2 halted" in said.getvalue()
    assert "passed over: signals that fund a could make no order of: 4 less than a lot" in said.getvalue()


@pytest.mark.parametrize(
    ("service", "change", "says"),
    [
        ("oms", {"fills": 2}, "fund a, number of fills: oms says 2, brokers says 1, treasury says 1"),
        ("brokers", {"positions": {"X": Decimal(3)}}, "fund a, position in X: oms says 2, brokers says 3"),
        ("treasury", {"cash": Decimal("979.01")}, "fund a, cash moved by trading: oms says -21, brokers says -21"),
        (
            "treasury",
            {"nav": Decimal("999.01")},
            "fund a, nav against cash and positions: nav says 999.01, sum says 999",
        ),
        ("treasury", {"fees": Decimal(2)}, "fund a, nav against opening cash and profit: nav says 999, sum says 998"),
    ],
)
def test_every_disagreement_is_named_with_what_each_says(service: str, change: dict[str, object], says: str):
    given: dict[str, Any] = dict(zip(("oms", "brokers", "treasury"), books(), strict=True))
    book = given[service]
    given[service] = book.model_copy(update={"funds": {"a": book.funds["a"].model_copy(update=change)}})
    found = reconcile(given["oms"], given["brokers"], given["treasury"])
    assert says in str(found[0])
