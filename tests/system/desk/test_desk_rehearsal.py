"""The cores together: conservation, the same books whatever the order of events, and whatever is taken down."""

import csv
import json
import random
from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from operator import neg
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mts1b_desk.data.bounds import LEAST, MOST
from mts1b_desk.data.replay import Replay
from mts1b_desk.data.simulated import SimulatedMarket
from mts1b_desk.data.tick import Tick
from mts1b_desk.reconcile import reconcile
from mts1b_desk.settings import (
    BrokerSettings,
    DeskSettings,
    FundSettings,
    ReplaySettings,
    SimulationSettings,
    StrategySettings,
)
from mts1b_foundation.orders import TimeInForce

from .conftest import START
from .rehearsal import Books, Rehearsal


def replay(desk: DeskSettings, **options: object) -> Books:
    assert isinstance(desk.source, ReplaySettings)
    return Rehearsal(desk, Replay(desk.source), **options).run()  # type: ignore[arg-type]


def ledger(books: Books) -> str:
    """Everything that must be the same; intermediate valuations may differ."""
    treasury = books.treasury.model_dump(mode="json")
    for fund in treasury["funds"].values():
        del fund["as_of"]
    return json.dumps(
        [books.oms.model_dump(mode="json"), books.brokers.model_dump(mode="json"), treasury], sort_keys=True
    )


def small_quotes(path: Path) -> Path:
    """Made-up quotes of two symbols in turn that trend up and down, with small sizes."""
    rng = random.Random(3)  # noqa: S311 - made-up prices
    prices = {"ABC": 50.0, "BRK.B": 100.0}
    now = START
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["timestamp", "symbol", "bid", "ask", "bid_size", "ask_size"])
        for number in range(400):
            now += timedelta(milliseconds=rng.randrange(20, 400))
            symbol = ("ABC", "BRK.B")[number % 2]
            prices[symbol] *= 1 + rng.gauss(0, 4e-4)
            bid = round(prices[symbol], 2)
            sizes = (round(rng.uniform(0, 300), 3), round(rng.uniform(0, 300), 3))
            writer.writerow([now.isoformat(), symbol, bid, round(bid + 0.02, 2), *sizes])
    return path


@pytest.fixture(params=[TimeInForce.IOC, TimeInForce.DAY])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> DeskSettings:
    return DeskSettings(
        session="s1",
        source=ReplaySettings(path=small_quotes(tmp_path / "made.csv")),
        funds=(FundSettings(fund_id="alpha"), FundSettings(fund_id="beta", order_notional=Decimal(3333))),
        market_start=START,
        time_in_force=request.param,
    )


def test_a_replay_trades_in_both_directions_and_its_books_agree(desk: DeskSettings):
    books = replay(desk)
    for fund in ("alpha", "beta"):
        orders = books.oms.funds[fund]
        assert orders.fills > 5
        assert sum(orders.orders.values()) > 5
        assert set(orders.orders) <= {"filled", "canceled"}
        assert orders.waiting == 0
        assert books.treasury.funds[fund].final
    assert reconcile(books.oms, books.brokers, books.treasury) == []
    assert books.brokers.working == 0
    assert any(holdings.realised_pnl for holdings in books.treasury.funds.values())


def test_nav_is_cash_and_positions_to_the_last_digit(desk: DeskSettings):
    books = replay(desk)
    for holdings in books.treasury.funds.values():
        value = sum((quantity * holdings.marks[symbol] for symbol, quantity in holdings.positions.items()), Decimal(0))
        assert holdings.nav == holdings.cash + value
        profit = holdings.realised_pnl + holdings.unrealised_pnl - holdings.fees
        assert holdings.nav == holdings.opening_cash + profit


@pytest.mark.parametrize("seed", range(12))
def test_no_order_of_events_changes_the_ledger(desk: DeskSettings, seed: int):
    rng = random.Random(seed)  # noqa: S311 - reproducible disorder
    weights = {
        name: rng.random() ** 3 for name in ("marketdata", "research", "oms", "riskengine", "brokers", "treasury")
    }

    def choose(names: Sequence[str]) -> str:
        return rng.choices(names, [weights.get(name.partition("/")[0], 0.5) + 0.001 for name in names])[0]

    assert ledger(replay(desk, choose=choose)) == ledger(replay(desk))


@pytest.mark.parametrize("seed", range(12))
def test_no_service_that_is_taken_down_changes_the_ledger(desk: DeskSettings, seed: int):
    rng = random.Random(seed)  # noqa: S311 - reproducible disorder

    def choose(names: Sequence[str]) -> str:
        return rng.choice(names)

    def restart(names: Sequence[str]) -> str:
        return rng.choice(names) if rng.random() < 0.1 else ""

    assert ledger(replay(desk, choose=choose, restart=restart)) == ledger(replay(desk))


def test_a_broker_with_a_short_memory_fetches_what_it_forgot(desk: DeskSettings):
    forgetful = desk.model_copy(update={"brokers": (BrokerSettings(history=3),)})

    def market_first(names: Sequence[str]) -> str:
        return names[-1]

    assert ledger(replay(forgetful, choose=market_first)) == ledger(replay(desk))


class Series:
    """Trades of one symbol, a second apart."""

    label = "test"

    def __init__(self, *prices: float) -> None:
        self._prices = prices

    def ticks(self) -> Iterator[Tick]:
        return iter(Tick("X", START + timedelta(seconds=n), price, price) for n, price in enumerate(self._prices))


QUICK = DeskSettings(
    session="s",
    strategies=(StrategySettings(fast=1, slow=2),),
    market_start=START,
    nav_interval_ms=1,
    signed_prices=("X",),
)
"""A desk that turns with every price."""


def test_a_fund_whose_position_grew_a_thousandfold_gets_out_and_trades_on():
    books = Rehearsal(
        QUICK, Series(12, 13, 13, 13, 42_000, 41_000, 41_000, 41_000, 41_000, 42_000, 42_000, 42_000)
    ).run()
    orders = books.oms.funds["alpha"]
    assert reconcile(books.oms, books.brokers, books.treasury) == []
    assert orders.orders == {"filled": 4, "rejected": 1}
    assert orders.rejections == {"order_notional": 1}
    assert books.treasury.funds["alpha"].realised_pnl > 20_000_000
    assert abs(orders.positions["X"]) < 1


OIL = Series(*(10.0, 9.5, 9.0, 9.5, 4.0, 0.0, -37.63, -40.0, -37.0, -12.0, -1.0, 0.0, 0.5, 1.0, 12.0, 11.0, 10.0, 10.0))
"""Prices that fall through zero and come back."""


@pytest.mark.parametrize("fee_bps", [Decimal(3), Decimal(-3)])
def test_books_agree_through_prices_below_zero_with_fees_and_with_rebates(fee_bps: Decimal):
    desk = QUICK.model_copy(
        update={
            "brokers": (BrokerSettings(fee_bps=fee_bps),),
            "funds": (FundSettings(fund_id="alpha", order_notional=Decimal(100)),),
        }
    )
    books = Rehearsal(desk, OIL).run()
    held = books.treasury.funds["alpha"]
    assert reconcile(books.oms, books.brokers, books.treasury) == []
    assert held.fills >= 4
    assert (held.fees > 0) is (fee_bps > 0)
    assert held.nav == held.opening_cash + held.realised_pnl + held.unrealised_pnl - held.fees


_MOVES = st.floats(0.001, 1000)


@settings(max_examples=40, deadline=None)
@given(
    moves=st.lists(_MOVES | _MOVES.map(neg) | st.just(0.0), min_size=3, max_size=30),
    scale=st.sampled_from([1.0, LEAST * 1000, MOST / 1000]),
    notional=st.sampled_from([Decimal(1), Decimal(10_000), Decimal("1e12")]),
)
def test_books_agree_at_every_scale_of_prices_that_files_may_hold(moves: list[float], scale: float, notional: Decimal):
    fund = FundSettings(
        fund_id="alpha", order_notional=notional, max_order_notional=notional * 9, max_position_notional=notional * 9
    )
    market = Series(*(move * scale for move in moves))
    books = Rehearsal(QUICK.model_copy(update={"funds": (fund,)}), market).run()
    assert reconcile(books.oms, books.brokers, books.treasury) == []


def test_a_broker_that_rejects_leaves_books_that_agree():
    desk = QUICK.model_copy(update={"brokers": (BrokerSettings(max_quantity=Decimal(800)),)})
    books = Rehearsal(desk, OIL).run()
    assert reconcile(books.oms, books.brokers, books.treasury) == []
    assert books.oms.funds["alpha"].rejections["broker"] > 1


def test_another_session_has_other_ids_and_the_same_ledger(desk: DeskSettings):
    assert ledger(replay(desk.model_copy(update={"session": "s2"}))) == ledger(replay(desk))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10_000),
    lot=st.sampled_from([Decimal("0.0001"), Decimal("0.03"), Decimal(1)]),
    fee=st.decimals(0, 50, places=3),
    latency=st.integers(0, 3000),
    notional=st.decimals(1, 80_000, places=2),
    force=st.sampled_from([TimeInForce.IOC, TimeInForce.DAY]),
)
def test_whatever_the_market_cash_and_positions_are_conserved(
    seed: int, lot: Decimal, fee: Decimal, latency: int, notional: Decimal, force: TimeInForce
):
    source = SimulationSettings(seed=seed, quotes=600, symbols=("ONE", "TWO/X", "*"), tick_ms=200)
    desk = DeskSettings(
        session="s",
        source=source,
        lot=lot,
        time_in_force=force,
        brokers=(BrokerSettings(fee_bps=fee, latency_ms=latency),),
        funds=(
            FundSettings(fund_id="a", order_notional=notional),
            FundSettings(fund_id="b", order_notional=notional / 2),
        ),
    )
    books = Rehearsal(desk, SimulatedMarket(source)).run()
    assert reconcile(books.oms, books.brokers, books.treasury) == []
    for fund in ("a", "b"):
        holdings, orders = books.treasury.funds[fund], books.oms.funds[fund]
        assert holdings.cash == holdings.opening_cash + orders.cash_change
        assert orders.waiting == 0
        created = books.events.get("mts.v2.oms.orders.created", 0)
        assert sum(sum(each.orders.values()) for each in books.oms.funds.values()) == created
