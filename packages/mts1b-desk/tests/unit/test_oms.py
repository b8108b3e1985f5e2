"""The order management: one intent at a time, each event once, halts obeyed."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from mts1b_desk.cores.core import Effects, Emit
from mts1b_desk.cores.oms import Oms
from mts1b_desk.ids import signal_id
from mts1b_desk.settings import DeskSettings, FundSettings
from mts1b_foundation.event import Event
from mts1b_foundation.fills import BrokerCancel, BrokerFillV2, BrokerRejection, FillV2
from mts1b_foundation.operations import HaltClearance, HaltObedience, HaltRequest
from mts1b_foundation.orders import OrderStatus, OrderV2
from mts1b_foundation.risk import OrderApproval, OrderRejection, RiskRule
from mts1b_foundation.signals import Direction, SignalV2
from mts1b_foundation.subjects import (
    BROKERS_FILLS_RAW_V2,
    BROKERS_ORDERS_CANCELED,
    BROKERS_ORDERS_REJECTED,
    OPERATIONS_HALT_CLEARED,
    OPERATIONS_HALT_REQUESTED,
    RESEARCH_SIGNALS_PUBLISHED_V2,
    RISK_GATE_FAILED,
    RISK_GATE_PASSED,
    Subject,
)

AT = datetime(2022, 5, 4, 13, 30, tzinfo=UTC)
STORED = AT + timedelta(days=1)


class Driver:
    """Feeds the core and keeps what comes out, as texts such as ``orders.created``."""

    def __init__(self, *funds: str, signed: tuple[str, ...] = ()) -> None:
        named = tuple(FundSettings(fund_id=fund) for fund in funds or ("a",))
        self.oms = Oms(DeskSettings(session="s", funds=named, signed_prices=signed))
        self.signals = 0

    def give(self, subject: Subject[Any], event: Event) -> list[str]:
        self.effects: Effects = self.oms.handle(subject, event, STORED)
        return [effect.subject.pattern.split(".oms.")[-1] for effect in self.effects if isinstance(effect, Emit)]

    def payloads(self, kind: type[Any]) -> list[Any]:
        return [e.payload for e in self.effects if isinstance(e, Emit) and isinstance(e.payload, kind)]

    @property
    def order(self) -> OrderV2:
        """The last order that came out."""
        return self.payloads(OrderV2)[-1]

    def signal(
        self, direction: Direction, symbol: str = "X", fund: str | None = None, price: int | Decimal = 100
    ) -> list[str]:
        self.signals += 1
        signal = SignalV2(
            signal_id=f"s.ma_cross.{symbol}.{self.signals}",
            strategy="ma_cross",
            fund_id=fund,
            symbol=symbol,
            direction=direction,
            reference_price=Decimal(price),
            as_of=AT + timedelta(seconds=self.signals),
        )
        return self.give(RESEARCH_SIGNALS_PUBLISHED_V2, signal)

    def passed(self, order: OrderV2) -> list[str]:
        return self.give(
            RISK_GATE_PASSED,
            OrderApproval(order_id=order.order_id, fund_id=order.fund_id, envelope_version=1, decided_at=AT),
        )

    def fill(self, order: OrderV2, quantity: Decimal | int, number: int = 1) -> list[str]:
        return self.give(
            BROKERS_FILLS_RAW_V2,
            BrokerFillV2(
                broker="paper",
                execution_id=f"{order.order_id}.{number}",
                client_order_id=order.order_id,
                broker_order_id=f"paper-{order.order_id}",
                symbol=order.symbol,
                side=order.side,
                last_quantity=Decimal(quantity),
                last_price=Decimal(100),
                commission=Decimal(1),
                transacted_at=AT + timedelta(seconds=5),
            ),
        )

    def cancel(self, order: OrderV2, filled: int) -> list[str]:
        return self.give(
            BROKERS_ORDERS_CANCELED,
            BrokerCancel(
                broker="paper",
                client_order_id=order.order_id,
                broker_order_id=f"paper-{order.order_id}",
                symbol=order.symbol,
                filled_quantity=Decimal(filled),
                reason="no more size",
                transacted_at=AT + timedelta(seconds=6),
            ),
        )

    def refused(self, order: OrderV2, rule: RiskRule = RiskRule.ORDER_NOTIONAL) -> list[str]:
        return self.give(
            RISK_GATE_FAILED,
            OrderRejection(
                order_id=order.order_id,
                idempotency_key=order.idempotency_key,
                fund_id=order.fund_id,
                symbol=order.symbol,
                rule=rule,
                reason="too much",
                decided_at=AT,
            ),
        )

    def halt(self, fund: str | None = None, name: str = "h1") -> list[str]:
        request = HaltRequest(halt_id=name, fund_id=fund, reason="test", actor="me", requested_at=AT)
        return self.give(OPERATIONS_HALT_REQUESTED, request)


def working(driver: Driver) -> OrderV2:
    driver.signal(Direction.LONG)
    assert driver.passed(driver.order) == ["orders.accepted"]
    return driver.order


def test_a_signal_becomes_an_order_sized_by_price_and_lot():
    driver = Driver()
    assert driver.signal(Direction.SHORT, price=30) == ["orders.created"]
    order = driver.order
    assert (order.side.value, order.quantity, order.status) == ("sell", Decimal("333.3333"), OrderStatus.CREATED)
    assert order.idempotency_key == "s.ma_cross.X.1.a"
    assert order.created_at == AT + timedelta(seconds=1)


def test_every_fund_that_follows_the_strategy_gets_its_own_order_and_only_the_addressed_one_when_addressed():
    driver = Driver("a", "b")
    assert driver.signal(Direction.LONG) == ["orders.created", "orders.created"]
    assert {order.fund_id for order in driver.payloads(OrderV2)} == {"a", "b"}
    other = Driver("a", "b")
    assert other.signal(Direction.LONG, fund="b") == ["orders.created"]
    assert other.order.fund_id == "b"


def test_a_whole_life_books_fills_and_ends_filled():
    driver = Driver()
    order = working(driver)
    assert driver.fill(order, 40) == ["fills.created", "orders.partially_filled"]
    assert driver.fill(order, 60, 2) == ["fills.created", "orders.filled"]
    assert driver.payloads(FillV2)[0].fill_id == f"paper.{order.order_id}.2"
    book = driver.oms.book().funds["a"]
    assert (book.orders, book.fills, book.positions) == ({"filled": 1}, 2, {"X": Decimal(100)})
    assert book.cash_change == Decimal(-100 * 100 - 2)
    assert driver.oms.idle


def test_later_signals_of_a_fund_wait_and_are_sized_by_what_was_filled():
    driver = Driver()
    order = working(driver)
    assert driver.signal(Direction.SHORT) == []
    assert not driver.oms.idle
    driver.fill(order, 30)
    assert driver.cancel(order, 30) == ["orders.canceled", "orders.created"]
    assert (driver.order.side.value, driver.order.quantity) == ("sell", Decimal(130))


def test_a_signal_that_wants_what_is_held_makes_no_order():
    driver = Driver()
    driver.fill(working(driver), 100)
    assert driver.signal(Direction.LONG) == []
    assert driver.oms.idle


def test_a_refusal_of_the_gate_rejects_with_its_rule_and_reason():
    driver = Driver()
    driver.signal(Direction.LONG)
    order = driver.order
    assert driver.refused(order, RiskRule.DRAWDOWN) == ["orders.rejected"]
    assert driver.order.rejected_reason == "drawdown: too much"
    assert driver.oms.idle
    assert driver.oms.book().funds["a"].rejections == {"drawdown": 1}


def long_and_refused_to_turn(rule: RiskRule = RiskRule.ORDER_NOTIONAL) -> tuple[Driver, list[str]]:
    """A fund that holds 100 and was refused to sell 200."""
    driver = Driver()
    driver.fill(working(driver), 100)
    driver.signal(Direction.SHORT)
    assert driver.order.quantity == Decimal(200)
    return driver, driver.refused(driver.order, rule)


@pytest.mark.parametrize("rule", [RiskRule.ORDER_NOTIONAL, RiskRule.POSITION_NOTIONAL, RiskRule.DRAWDOWN])
def test_a_reversal_that_is_refused_goes_flat_first_and_then_on(rule: RiskRule):
    driver, out = long_and_refused_to_turn(rule)
    assert out == ["orders.rejected", "orders.created"]
    flat = driver.order
    assert (flat.side.value, flat.quantity, flat.idempotency_key) == ("sell", Decimal(100), "s.ma_cross.X.2.a.flat")
    driver.passed(flat)
    assert driver.fill(flat, 100) == ["fills.created", "orders.filled", "orders.created"]
    rest = driver.order
    assert (rest.side.value, rest.quantity, rest.idempotency_key) == ("sell", Decimal(100), "s.ma_cross.X.2.a.rest")
    assert driver.refused(rest, rule) == ["orders.rejected"]
    assert driver.oms.idle
    assert driver.oms.book().funds["a"].rejections == {rule.value: 2}


def test_a_reversal_that_did_not_become_flat_goes_no_further():
    driver, _ = long_and_refused_to_turn()
    flat = driver.order
    driver.passed(flat)
    driver.fill(flat, 60)
    assert driver.cancel(flat, 60) == ["orders.canceled"]
    assert driver.oms.idle
    assert driver.oms.book().funds["a"].passed_over == {"not flat": 1}


def test_a_reversal_beyond_the_rate_is_not_tried_in_parts():
    driver, out = long_and_refused_to_turn(RiskRule.ORDER_RATE)
    assert out == ["orders.rejected"]
    assert driver.oms.idle


def test_a_halt_binds_the_parts_of_a_reversal_too():
    driver, _ = long_and_refused_to_turn()
    assert driver.halt() == ["orders.rejected", "halt.obeyed"]
    assert driver.oms.idle
    assert driver.oms.book().funds["a"].rejections == {"halted": 1, "order_notional": 1}


def test_whatever_arrives_twice_changes_nothing():
    driver = Driver()
    order = working(driver)
    assert driver.passed(order) == []
    driver.fill(order, 40)
    assert driver.fill(order, 40) == []
    driver.fill(order, 60, 2)
    assert driver.fill(order, 60, 2) == []
    assert driver.cancel(order, 100) == []
    driver.signals = 0
    assert driver.signal(Direction.SHORT) == []
    assert driver.oms.book().funds["a"].fills == 2
    assert sum(driver.oms.ignored.values()) == 5


def test_a_cancel_that_overtakes_its_fill_waits_for_it():
    driver = Driver()
    order = working(driver)
    assert driver.cancel(order, 40) == []
    assert driver.fill(order, 40) == ["fills.created", "orders.partially_filled", "orders.canceled"]
    assert driver.oms.book().funds["a"].orders == {"canceled": 1}


def test_a_fill_of_an_order_that_nobody_knows_is_counted():
    driver = Driver()
    order = working(driver)
    foreign = order.model_copy(update={"order_id": "somebody-else"})
    assert driver.fill(foreign, 1) == []
    assert driver.oms.ignored == {"fill of an unknown order": 1}


def test_an_execution_beyond_the_order_is_refused_and_changes_nothing():
    driver = Driver()
    order = working(driver)
    with pytest.raises(ValueError, match="cannot fill 101"):
        driver.fill(order, 101)
    assert driver.oms.book().funds["a"].fills == 0


def broker_rejects(driver: Driver, order: OrderV2) -> list[str]:
    rejection = BrokerRejection(
        broker="paper", client_order_id=order.order_id, symbol=order.symbol, reason="too large", transacted_at=AT
    )
    return driver.give(BROKERS_ORDERS_REJECTED, rejection)


def test_a_broker_may_reject_an_order_that_was_accepted():
    driver = Driver()
    order = working(driver)
    driver.signal(Direction.SHORT)
    assert broker_rejects(driver, order) == ["orders.rejected", "orders.created"]
    assert driver.payloads(OrderV2)[0].rejected_reason == "broker: too large"
    assert broker_rejects(driver, order) == []
    book = driver.oms.book().funds["a"]
    assert (book.orders, book.rejections) == ({"created": 1, "rejected": 1}, {"broker": 1})


def test_a_rejection_of_an_order_that_has_fills_withdraws_the_rest():
    driver = Driver()
    order = working(driver)
    driver.fill(order, 40)
    assert broker_rejects(driver, order) == ["orders.canceled"]
    assert driver.oms.book().funds["a"].positions == {"X": Decimal(40)}


def test_an_order_at_a_negative_price_is_sized_by_its_amount_and_none_is_made_at_zero():
    driver = Driver(signed=("X",))
    assert driver.signal(Direction.LONG, price=-40) == ["orders.created"]
    assert driver.order.quantity == 250
    driver.passed(driver.order)
    driver.fill(driver.order, 250)
    assert driver.signal(Direction.SHORT, price=0) == []
    assert driver.oms.book().funds["a"].passed_over == {"price of zero": 1}
    assert driver.signal(Direction.FLAT, price=0) == ["orders.created"]
    assert driver.order.quantity == 250


def test_no_order_is_made_at_a_negative_price_of_a_symbol_that_may_have_none():
    driver = Driver(signed=("CL",))
    assert driver.signal(Direction.LONG, price=-40) == []
    assert driver.oms.book().funds["a"].passed_over == {"negative price": 1}


def test_a_signal_whose_position_is_less_than_a_lot_or_has_too_many_digits_is_counted():
    driver = Driver()
    assert driver.signal(Direction.LONG, price=Decimal("1e18")) == []
    assert driver.signal(Direction.LONG, price=Decimal("1e-36")) == []
    assert driver.oms.idle
    assert driver.oms.book().funds["a"].passed_over == {"less than a lot": 1, "more than 38 digits": 1}
    assert driver.signal(Direction.LONG, price=10) == ["orders.created"]


def test_a_halt_rejects_what_waits_for_risk_and_withdraws_what_works():
    driver = Driver("a", "b")
    driver.signal(Direction.LONG, fund="b")
    waiting = driver.order
    driver.signal(Direction.LONG, fund="a")
    driver.passed(driver.order)
    order = driver.order
    assert driver.halt() == ["orders.rejected", "orders.cancel_requested"]
    assert driver.payloads(OrderV2)[0].order_id == waiting.order_id
    assert driver.payloads(OrderV2)[0].rejected_reason == "halted: all funds are halted by me (h1): test"
    assert driver.cancel(order, 0) == ["orders.canceled", "halt.obeyed"]
    obedience: HaltObedience = driver.payloads(HaltObedience)[0]
    assert (obedience.halt_id, obedience.canceled_orders, obedience.obeyed_at) == ("h1", 2, STORED)


def test_a_halt_with_nothing_to_withdraw_is_obeyed_at_once():
    assert Driver().halt() == ["halt.obeyed"]


def test_a_fill_that_was_faster_than_the_halt_is_booked():
    driver = Driver()
    order = working(driver)
    driver.halt()
    assert driver.fill(order, 100) == ["fills.created", "orders.filled", "halt.obeyed"]


def test_no_order_is_accepted_while_halted_and_trading_goes_on_after_the_clearance():
    driver = Driver("a", "b")
    driver.signal(Direction.LONG)
    orders = {order.fund_id: order for order in driver.payloads(OrderV2)}
    driver.halt("a")
    assert driver.passed(orders["a"]) == []
    assert driver.passed(orders["b"]) == ["orders.accepted"]
    assert driver.signal(Direction.SHORT, fund="a") == ["orders.created", "orders.rejected"]
    clearance = HaltClearance(halt_id="h1", fund_id="a", reason="ok", actor="me", cleared_at=AT)
    driver.give(OPERATIONS_HALT_CLEARED, clearance)
    assert driver.signal(Direction.LONG, fund="a") == ["orders.created"]
    assert driver.passed(driver.order) == ["orders.accepted"]


def test_two_halts_hold_until_both_are_cleared():
    driver = Driver()
    driver.halt(None, "h1")
    driver.halt("a", "h2")
    for name, accepted in (("h1", False), ("h2", True)):
        clearance = HaltClearance(halt_id=name, reason="ok", actor="me", cleared_at=AT)
        driver.give(OPERATIONS_HALT_CLEARED, clearance)
        out = driver.signal(Direction.LONG)
        assert (out == ["orders.created"]) is accepted


def test_signals_that_wait_for_a_withdrawn_order_are_rejected_under_the_halt():
    driver = Driver()
    order = working(driver)
    driver.signal(Direction.SHORT)
    driver.fill(order, 10)
    driver.halt()
    out = driver.cancel(order, 10)
    assert out == ["orders.canceled", "halt.obeyed", "orders.created", "orders.rejected"]
    assert driver.oms.idle


def test_long_symbols_of_any_spelling_give_ids_that_fit_in_headers():
    driver = Driver()
    symbol = "日経平均株価 " * 10
    identity = signal_id("s", "ma_cross", symbol[:64], 7)
    assert identity.isascii()
    assert len(identity) < 150
    assert identity != signal_id("s", "ma_cross", symbol[:63], 7)
    assert driver.signal(Direction.LONG, symbol="*") == ["orders.created"]
