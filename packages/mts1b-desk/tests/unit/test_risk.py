"""The gate: each limit refuses with its own rule, its limit and what was observed."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from mts1b_desk.cores.core import Emit
from mts1b_desk.cores.risk import Risk
from mts1b_desk.settings import DeskSettings, FundSettings
from mts1b_foundation.orders import OrderV2, Side
from mts1b_foundation.risk import OrderApproval, OrderRejection, RiskEnvelope
from mts1b_foundation.subjects import (
    OMS_ORDERS_ACCEPTED_V2,
    OMS_ORDERS_CANCELED_V2,
    OMS_ORDERS_CREATED_V2,
    OMS_ORDERS_FILLED_V2,
    OMS_ORDERS_PARTIALLY_FILLED_V2,
    RISK_ENVELOPE_UPDATED,
    DurableSubject,
)

AT = datetime(2022, 5, 4, 13, 30, tzinfo=UTC)


class Gate:
    """A gate in front of one fund; orders are numbered."""

    def __init__(self, **limits: Any) -> None:
        self.risk = Risk(DeskSettings(session="s", funds=(FundSettings(fund_id="a", cash=Decimal(1000), **limits),)))
        self.first = self.risk.start()
        self.orders = 0

    def order(self, side: Side, quantity: int, price: int | None = 10, seconds: float = 0, fund: str = "a") -> OrderV2:
        self.orders += 1
        at = AT + timedelta(seconds=seconds)
        return OrderV2(
            order_id=f"o{self.orders}",
            idempotency_key=f"o{self.orders}",
            fund_id=fund,
            actor="test",
            symbol="X",
            side=side,
            quantity=Decimal(quantity),
            reference_price=None if price is None else Decimal(price),
            created_at=at,
            updated_at=at,
        )

    def judge(self, order: OrderV2) -> OrderApproval | OrderRejection:
        (effect,) = self.risk.handle(OMS_ORDERS_CREATED_V2, order, AT)
        assert isinstance(effect, Emit)
        assert isinstance(effect.payload, OrderApproval | OrderRejection)
        return effect.payload

    def refused(self, *order: Any, **more: Any) -> tuple[str, Decimal | None, Decimal | None] | None:
        answer = self.judge(self.order(*order, **more))
        return (answer.rule.value, answer.limit, answer.observed) if isinstance(answer, OrderRejection) else None

    def step(self, subject: DurableSubject[OrderV2], order: OrderV2) -> None:
        assert self.risk.handle(subject, order, AT) == ()

    def filled(self, side: Side, quantity: int, price: int) -> None:
        order = self.order(side, quantity, price)
        assert isinstance(self.judge(order), OrderApproval)
        half = order.accept(AT).fill(Decimal(quantity) / 2, Decimal(price), AT)
        self.risk.handle(OMS_ORDERS_PARTIALLY_FILLED_V2, half, AT)
        self.risk.handle(OMS_ORDERS_PARTIALLY_FILLED_V2, half, AT)  # a repetition counts once
        self.risk.handle(OMS_ORDERS_FILLED_V2, half.fill(half.remaining, Decimal(price), AT), AT)


def test_every_fund_gets_its_envelope_once():
    gate = Gate(max_orders_per_minute=7)
    (effect,) = gate.first
    assert isinstance(effect, Emit)
    assert effect.subject == RISK_ENVELOPE_UPDATED
    assert isinstance(effect.payload, RiskEnvelope)
    assert effect.payload.max_orders_per_minute == 7
    assert gate.risk.start() == []


def test_an_order_inside_all_limits_passes():
    answer = Gate().judge(Gate().order(Side.BUY, 10))
    assert isinstance(answer, OrderApproval)
    assert answer.envelope_version == 1


def test_an_order_too_large_is_refused():
    gate = Gate(max_order_notional=Decimal(99))
    assert gate.refused(Side.BUY, 10) == ("order_notional", Decimal(99), Decimal(100))
    assert gate.refused(Side.BUY, 9) is None


def test_a_position_too_large_is_refused_but_may_be_reduced():
    gate = Gate(max_position_notional=Decimal(150))
    gate.filled(Side.BUY, 10, 10)
    assert gate.refused(Side.BUY, 6) == ("position_notional", Decimal(150), Decimal(160))
    assert gate.refused(Side.BUY, 5) is None
    assert gate.refused(Side.SELL, 26) == ("position_notional", Decimal(150), Decimal(160))
    assert gate.refused(Side.SELL, 5, price=100) is None


def test_too_many_orders_in_a_minute_of_market_time_are_refused_and_refused_ones_do_not_count():
    gate = Gate(max_orders_per_minute=2)
    assert gate.refused(Side.BUY, 1, seconds=0) is None
    assert gate.refused(Side.BUY, 1, seconds=30) is None
    assert gate.refused(Side.BUY, 1, seconds=59) == ("order_rate", Decimal(2), Decimal(2))
    assert gate.refused(Side.BUY, 1, seconds=60) is None
    assert gate.refused(Side.BUY, 1, seconds=61) == ("order_rate", Decimal(2), Decimal(2))


def test_a_fund_that_lost_too_much_may_only_reduce():
    gate = Gate(max_drawdown=Decimal("0.2"))
    gate.filled(Side.BUY, 50, 10)
    assert gate.refused(Side.BUY, 1, price=6) is None  # 200 of 1000 is the limit itself
    assert gate.refused(Side.BUY, 1, price=5) == ("drawdown", Decimal("0.2"), Decimal("0.250000"))
    assert gate.refused(Side.SELL, 1, price=5) is None


def test_a_fund_without_an_envelope_may_not_trade():
    assert Gate().refused(Side.BUY, 1, fund="stranger") == ("no_envelope", None, None)


def test_an_order_that_cannot_be_valued_is_refused():
    assert Gate().refused(Side.BUY, 1, price=None) == ("order_notional", None, None)


def test_an_order_that_arrives_twice_is_judged_once():
    gate = Gate()
    order = gate.order(Side.BUY, 1)
    gate.judge(order)
    assert gate.risk.handle(OMS_ORDERS_CREATED_V2, order, AT) == ()


def test_a_position_whose_price_has_grown_a_thousandfold_can_be_closed():
    gate = Gate(max_order_notional=Decimal(250), max_position_notional=Decimal(250), max_drawdown=Decimal(0))
    gate.filled(Side.BUY, 20, 12)
    assert gate.refused(Side.BUY, 1, price=42_000) == ("order_notional", Decimal(250), Decimal(42_000))
    assert gate.refused(Side.SELL, 20, price=42_000) is None


def test_a_short_position_can_be_bought_back_at_any_price():
    gate = Gate(max_order_notional=Decimal(250), max_position_notional=Decimal(250), max_drawdown=Decimal("0.1"))
    gate.filled(Side.SELL, 20, 10)
    assert gate.refused(Side.BUY, 20, price=100) is None


def test_an_order_that_would_turn_the_position_is_refused_whole_and_told_what_would_be_flat():
    gate = Gate(max_order_notional=Decimal(250))
    gate.filled(Side.BUY, 20, 12)
    answer = gate.judge(gate.order(Side.SELL, 21, 100))
    assert isinstance(answer, OrderRejection)
    assert answer.reason == "the order is worth 2100, the limit is 250; a sell of 20 would make the position flat"


def test_a_turn_that_ends_smaller_than_it_began_is_held_to_the_limits_as_well():
    gate = Gate(max_drawdown=Decimal("0.2"))
    gate.filled(Side.BUY, 50, 10)
    assert gate.refused(Side.SELL, 51, price=5) == ("drawdown", Decimal("0.2"), Decimal("0.250000"))
    assert gate.refused(Side.SELL, 50, price=5) is None


def test_working_orders_count_so_that_two_reductions_never_turn_a_position():
    gate = Gate(max_order_notional=Decimal(250))
    gate.filled(Side.BUY, 20, 12)
    first = gate.order(Side.SELL, 15, 100)
    assert isinstance(gate.judge(first), OrderApproval)
    answer = gate.judge(gate.order(Side.SELL, 6, 100))
    assert isinstance(answer, OrderRejection)
    assert answer.reason.endswith("a sell of 5 would make the position flat")
    part = first.accept(AT).fill(Decimal(10), Decimal(100), AT)
    gate.step(OMS_ORDERS_ACCEPTED_V2, first.accept(AT))
    gate.step(OMS_ORDERS_PARTIALLY_FILLED_V2, part)
    assert gate.refused(Side.SELL, 6, price=100) is not None
    gate.step(OMS_ORDERS_CANCELED_V2, part.cancel("no more size", AT))
    assert gate.refused(Side.SELL, 6, price=100) is None
    assert gate.refused(Side.SELL, 4, price=100) is None
    answer = gate.judge(gate.order(Side.SELL, 6, 100))
    assert isinstance(answer, OrderRejection)
    assert answer.reason.endswith("the orders that work already make the position flat")


def test_working_orders_count_towards_the_limit_of_the_position():
    gate = Gate(max_position_notional=Decimal(150))
    assert gate.refused(Side.BUY, 10) is None
    assert gate.refused(Side.BUY, 6) == ("position_notional", Decimal(150), Decimal(160))


def test_the_rate_binds_reductions_too():
    gate = Gate(max_order_notional=Decimal(250), max_orders_per_minute=1)
    gate.filled(Side.BUY, 20, 12)
    assert gate.refused(Side.SELL, 20, price=42_000) == ("order_rate", Decimal(1), Decimal(1))


def test_a_reduction_needs_no_price():
    gate = Gate()
    gate.filled(Side.BUY, 20, 12)
    assert gate.refused(Side.SELL, 20, price=None) is None
    assert gate.refused(Side.BUY, 1, price=None) == ("order_notional", None, None)


def test_a_restored_gate_knows_the_orders_that_work():
    gate = Gate(max_order_notional=Decimal(250))
    gate.filled(Side.BUY, 20, 12)
    assert gate.refused(Side.SELL, 15, price=100) is None
    rows: dict[str, list[tuple[str, bytes]]] = {}
    for change in gate.risk.changes():
        if change.data is not None:
            rows.setdefault(change.table, []).append((change.key, change.data))
    again = Gate(max_order_notional=Decimal(250))
    again.risk.restore(rows)
    again.orders = gate.orders
    assert again.refused(Side.SELL, 6, price=100) is not None
    assert again.refused(Side.SELL, 5, price=100) is None


def test_a_negative_price_counts_by_its_amount_and_zero_is_a_price():
    gate = Gate(max_order_notional=Decimal(99), max_position_notional=Decimal(150))
    assert gate.refused(Side.BUY, 10, price=-10) == ("order_notional", Decimal(99), Decimal(100))
    gate.filled(Side.SELL, 9, -10)
    assert gate.refused(Side.SELL, 9, price=-10) == ("position_notional", Decimal(150), Decimal(180))
    assert gate.refused(Side.SELL, 9, price=0) is None
    assert gate.risk.exposures["a"].cash == 1000 - 90
