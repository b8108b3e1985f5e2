"""Order management: signals become orders, orders live their life, executions become fills.

One intent at a time per fund: while an order of a fund is not final, later signals of that fund wait in the order in
which they came. So the size of every order follows from finished orders alone, and no race between market, risk and
broker can change it. A reversal goes out as one order; when a limit refuses it, it goes out again in two parts, first
what makes the position flat, then, once it is flat, the rest. Whatever arrives twice or for an order that is not ours
is counted and changes nothing.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from mts1b_foundation.fills import BrokerCancel, BrokerFillV2, BrokerRejection, FillV2
from mts1b_foundation.operations import HaltClearance, HaltRequest
from mts1b_foundation.orders import OrderStatus, OrderV2, Side
from mts1b_foundation.risk import OrderApproval, OrderRejection, RiskRule
from mts1b_foundation.signals import Direction, SignalV2
from mts1b_foundation.subjects import (
    BROKERS_FILLS_RAW_V2,
    BROKERS_ORDERS_CANCELED,
    BROKERS_ORDERS_REJECTED,
    OMS_FILLS_CREATED_V2,
    OMS_ORDERS_ACCEPTED_V2,
    OMS_ORDERS_CANCEL_REQUESTED_V2,
    OMS_ORDERS_CANCELED_V2,
    OMS_ORDERS_CREATED_V2,
    OMS_ORDERS_FILLED_V2,
    OMS_ORDERS_PARTIALLY_FILLED_V2,
    OMS_ORDERS_REJECTED_V2,
    OPERATIONS_HALT_CLEARED,
    OPERATIONS_HALT_REQUESTED,
    RESEARCH_SIGNALS_PUBLISHED_V2,
    RISK_GATE_FAILED,
    RISK_GATE_PASSED,
)

from mts1b_desk.books import FundOrders, OmsBook
from mts1b_desk.cores.core import Core, Effect, Effects, Emit
from mts1b_desk.cores.halts import Halts, words_of
from mts1b_desk.cores.oms_rows import FundState, OpenOrder, Part
from mts1b_desk.ids import intent_id
from mts1b_desk.money import digits, whole_lots
from mts1b_desk.settings import DeskSettings, FundSettings
from mts1b_desk.tables import Recent, Table

_SUBJECT_OF = {
    OrderStatus.CREATED: OMS_ORDERS_CREATED_V2,
    OrderStatus.ACCEPTED: OMS_ORDERS_ACCEPTED_V2,
    OrderStatus.REJECTED: OMS_ORDERS_REJECTED_V2,
    OrderStatus.PARTIALLY_FILLED: OMS_ORDERS_PARTIALLY_FILLED_V2,
    OrderStatus.FILLED: OMS_ORDERS_FILLED_V2,
    OrderStatus.CANCELED: OMS_ORDERS_CANCELED_V2,
}
_ZERO = Decimal(0)
_HALTED = RiskRule.HALTED.value
BROKER = "broker"
"""What stands in the place of a rule for orders that their broker rejected."""
_DIGITS = 38
"""Most digits of a quantity."""
_LET_REDUCTIONS_PASS = (RiskRule.ORDER_NOTIONAL, RiskRule.POSITION_NOTIONAL, RiskRule.DRAWDOWN)


class Oms(Core):
    """The order management of a desk."""

    service: ClassVar[str] = "oms"
    repo: ClassVar[str] = "mts1b-oms"

    def __init__(self, settings: DeskSettings) -> None:
        self._settings = settings
        self._funds = {fund.fund_id: fund for fund in settings.funds}
        self.orders: Table[OpenOrder] = Table("orders", OpenOrder)
        self.funds: Table[FundState] = Table("funds", FundState)
        self._halts = Halts(self.repo, settings.session)
        self.totals: Table[int] = Table("totals", int)
        self.tables = (self.orders, self.funds, self._halts.rows, self.totals)
        self.ignored: Counter[str] = Counter()
        """Events that changed nothing, by why."""
        self._recent = Recent()
        self.handlers = {
            RESEARCH_SIGNALS_PUBLISHED_V2: self._on_signal,
            RISK_GATE_PASSED: self._on_passed,
            RISK_GATE_FAILED: self._on_failed,
            BROKERS_FILLS_RAW_V2: self._on_fill,
            BROKERS_ORDERS_CANCELED: self._on_broker_cancel,
            BROKERS_ORDERS_REJECTED: self._on_broker_rejection,
            OPERATIONS_HALT_REQUESTED: self._on_halt,
            OPERATIONS_HALT_CLEARED: self._on_clearance,
        }

    @property
    def idle(self) -> bool:
        """Whether no order is open and no signal waits."""
        return not self.orders and not any(state.queue for state in self.funds.values())

    @property
    def signals(self) -> int:
        """Signals taken up."""
        return self.totals.get("signals", 0)

    @property
    def waiting(self) -> int:
        """Signals that wait for a working order."""
        return sum(len(state.queue) for state in self.funds.values())

    @property
    def finished(self) -> int:
        """Orders that are final."""
        return sum(count for state in self.funds.values() for count in state.finished.values())

    def book(self) -> OmsBook:
        """Orders, fills and positions of every fund."""
        open_orders: dict[str, Counter[str]] = {}
        for row in self.orders.values():
            open_orders.setdefault(row.order.fund_id, Counter())[row.order.status.value] += 1
        funds = {
            fund: FundOrders(
                orders=dict(sorted((Counter(state.finished) + open_orders.get(fund, Counter[str]())).items())),
                rejections=dict(sorted(state.rejections.items())),
                passed_over=dict(sorted(state.passed_over.items())),
                fills=state.fills,
                positions={symbol: quantity for symbol, quantity in sorted(state.positions.items()) if quantity},
                cash_change=state.cash_change,
                waiting=len(state.queue),
            )
            for fund in self._funds
            for state in (self._fund(fund),)
        }
        return OmsBook(funds=funds, halts=self._halts.requests, ignored=dict(self.ignored))

    def _on_signal(self, signal: SignalV2, _at: datetime) -> Effects:
        if signal.signal_id in self._recent:
            return self._ignore("signal seen before")
        self._recent.add(signal.signal_id)
        self.totals["signals"] = self.signals + 1
        effects: list[Effect] = []
        for fund_id, fund in self._funds.items():
            if signal.strategy != fund.strategy or signal.fund_id not in (None, fund_id):
                continue
            state = self._fund(fund_id)
            self.funds[fund_id] = state.model_copy(update={"queue": (*state.queue, signal)})
            effects += self._advance(fund)
        return effects

    def _on_passed(self, approval: OrderApproval, at: datetime) -> Effects:
        row = self.orders.get(approval.order_id)
        if row is None or row.order.status is not OrderStatus.CREATED:
            return self._ignore("approval of no waiting order")
        if (halt := self._halts.of(row.order.fund_id)) is not None:
            rejected = row.order.reject(words_of(halt), approval.decided_at)
            return self._finish(row, rejected, at, _HALTED)
        order = row.order.accept(approval.decided_at)
        self.orders[order.order_id] = row.model_copy(update={"order": order})
        return [_step(order)]

    def _on_failed(self, rejection: OrderRejection, at: datetime) -> Effects:
        row = self.orders.get(rejection.order_id)
        if row is None or row.order.status is not OrderStatus.CREATED:
            return self._ignore("rejection of no waiting order")
        order = row.order
        if row.reversal is not None and rejection.rule in _LET_REDUCTIONS_PASS:
            parts = tuple(Part(signal=row.reversal, name=name) for name in ("flat", "rest"))
            self.funds[order.fund_id] = self._fund(order.fund_id).model_copy(update={"parts": parts})
        reason = f"{rejection.rule}: {rejection.reason}"
        return self._finish(row, order.reject(reason, rejection.decided_at), at, rejection.rule.value)

    def _on_fill(self, raw: BrokerFillV2, at: datetime) -> Effects:
        execution = f"{raw.broker}.{raw.execution_id}"
        row = self.orders.get(raw.client_order_id)
        if row is None:
            return self._ignore("fill seen before" if execution in self._recent else "fill of an unknown order")
        if execution in row.executions:
            return self._ignore("fill seen before")
        order = row.order.fill(raw.last_quantity, raw.last_price, raw.transacted_at)
        fill = FillV2(
            fill_id=execution,
            order_id=order.order_id,
            fund_id=order.fund_id,
            symbol=order.symbol,
            side=order.side,
            quantity=raw.last_quantity,
            price=raw.last_price,
            fee=raw.commission,
            broker=raw.broker,
            execution_id=raw.execution_id,
            executed_at=raw.transacted_at,
        )
        self._recent.add(execution)
        self._book(fill)
        row = row.model_copy(update={"order": order, "executions": (*row.executions, execution)})
        booked = Emit(OMS_FILLS_CREATED_V2, fill)
        if order.status is OrderStatus.FILLED:
            return [booked, *self._finish(row, order, at)]
        self.orders[order.order_id] = row
        step = _step(order)
        return [booked, step, *(self._withdraw(row, row.withdrawn, at) if row.withdrawn else ())]

    def _on_broker_cancel(self, cancel: BrokerCancel, at: datetime) -> Effects:
        row = self.orders.get(cancel.client_order_id)
        if row is None:
            return self._ignore("cancel of no open order")
        return self._withdraw(row, cancel, at)

    def _on_broker_rejection(self, rejection: BrokerRejection, at: datetime) -> Effects:
        row = self.orders.get(rejection.client_order_id)
        if row is None:
            return self._ignore("rejection of no open order")
        order = row.order
        reason = f"broker: {rejection.reason}"[:2000]
        if order.filled_quantity:  # nothing of it should have been executed, and the fills are booked
            return self._finish(row, order.cancel(reason, rejection.transacted_at), at)
        return self._finish(row, order.reject(reason, rejection.transacted_at), at, BROKER)

    def _withdraw(self, row: OpenOrder, cancel: BrokerCancel, at: datetime) -> Effects:
        """Cancel what is left, once every fill that the broker counts is booked."""
        if row.order.filled_quantity != cancel.filled_quantity:
            self.orders[row.order.order_id] = row.model_copy(update={"withdrawn": cancel})
            return ()
        return self._finish(row, row.order.cancel(cancel.reason, cancel.transacted_at), at)

    def _on_halt(self, request: HaltRequest, at: datetime) -> Effects:
        if request.halt_id in self._halts or request.halt_id in self._recent:
            return self._ignore("halt seen before")
        self._recent.add(request.halt_id)
        self._halts.begin(request)
        effects: list[Effect] = []
        withdrawing: set[str] = set()
        rejected = 0
        for row in tuple(self.orders.values()):
            order = row.order
            if request.fund_id not in (None, order.fund_id):
                continue
            if order.status is OrderStatus.CREATED:
                effects += self._finish(row, order.reject(words_of(request), order.updated_at), at, _HALTED)
                rejected += 1
                continue
            withdrawing.add(order.order_id)
            if row.halt_id is None:
                self.orders[order.order_id] = row.model_copy(update={"halt_id": request.halt_id})
                effects.append(Emit(OMS_ORDERS_CANCEL_REQUESTED_V2, order))
        return [*effects, *self._halts.wait_for(request, withdrawing, rejected=rejected, at=at)]

    def halted(self, fund_id: str) -> bool:
        """Whether a halt of the fund is in force."""
        return self._halts.of(fund_id) is not None

    def retract(self, order_id: str) -> Effects:
        """Reject an order of a halted fund that was accepted, when nobody has been told of that yet."""
        row = self.orders.get(order_id)
        if row is None or (halt := self._halts.of(row.order.fund_id)) is None:
            return ()
        told = row.order.model_copy(update={"status": OrderStatus.CREATED})
        # The halt did not reject a fresh order, so it does not count as withdrawn either.
        rejected = told.reject(words_of(halt), row.order.updated_at)
        return self._finish(row, rejected, halt.requested_at, _HALTED)

    def _on_clearance(self, clearance: HaltClearance, _at: datetime) -> Effects:
        if clearance.halt_id not in self._halts:
            return self._ignore("clearance of no halt in force")
        self._halts.end(clearance.halt_id)
        return ()

    def _advance(self, fund: FundSettings) -> Effects:
        """Turn waiting signals into orders until one of them has to be waited for."""
        effects: list[Effect] = []
        while (state := self._fund(fund.fund_id)).working is None and (state.parts or state.queue):
            part = state.parts[0] if state.parts else None
            signal = part.signal if part else state.queue[0]
            rest = {"parts": state.parts[1:]} if part else {"queue": state.queue[1:]}
            self.funds[fund.fund_id] = state = state.model_copy(update=rest)
            held = state.positions.get(signal.symbol, _ZERO)
            if part and part.name == "rest" and held:
                self._pass_over(fund, "not flat")
                continue
            if signal.direction is not Direction.FLAT and (why := self._no_price(signal)) is not None:
                self._pass_over(fund, why)
                continue
            target = self._target(fund, signal)
            wanted = -held if part and part.name == "flat" else target - held
            if not wanted:
                if not target and signal.direction is not Direction.FLAT:
                    self._pass_over(fund, "less than a lot")
                continue
            if digits(wanted) > _DIGITS:
                self._pass_over(fund, f"more than {_DIGITS} digits")
                continue
            order = self._order(fund, signal, wanted, part)
            effects.append(_step(order))
            turns = part is None and held * target < 0
            row = OpenOrder(order=order, reversal=signal if turns else None)
            if (halt := self._halts.of(fund.fund_id)) is not None:
                effects += self._close(row, order.reject(words_of(halt), order.created_at), _HALTED)
                continue
            self.orders[order.order_id] = row
            self.funds[fund.fund_id] = state.model_copy(update={"working": order.order_id})
        return effects

    def _no_price(self, signal: SignalV2) -> str | None:
        """Why no order can be made at the signal's price; None when one can."""
        if signal.reference_price < 0 and signal.symbol not in self._settings.signed_prices:
            return "negative price"
        return None if signal.reference_price else "price of zero"

    def _pass_over(self, fund: FundSettings, why: str) -> None:
        """Count a signal that no order can be made of."""
        state = self._fund(fund.fund_id)
        update = {"passed_over": _one_more(state.passed_over, why)}
        self.funds[fund.fund_id] = state.model_copy(update=update)

    def _target(self, fund: FundSettings, signal: SignalV2) -> Decimal:
        """The position that a signal asks for, signed."""
        if signal.direction is Direction.FLAT:
            return _ZERO
        return signal.direction.sign * whole_lots(fund.order_notional, signal.reference_price, self._settings.lot)

    def _order(self, fund: FundSettings, signal: SignalV2, wanted: Decimal, part: Part | None) -> OrderV2:
        intent = intent_id(signal.signal_id, fund.fund_id) + (f".{part.name}" if part else "")
        return OrderV2(
            order_id=intent,
            idempotency_key=intent,
            fund_id=fund.fund_id,
            actor=fund.strategy,
            symbol=signal.symbol,
            side=Side.BUY if wanted > 0 else Side.SELL,
            time_in_force=self._settings.time_in_force,
            quantity=abs(wanted),
            reference_price=signal.reference_price,
            broker=fund.broker,
            signal_id=signal.signal_id,
            created_at=signal.as_of,
            updated_at=signal.as_of,
        )

    def _finish(self, row: OpenOrder, order: OrderV2, at: datetime, rule: str | None = None) -> Effects:
        """The order is final: say so, let halts know, and go on with the fund's next signal."""
        self.orders.pop(order.order_id, None)
        closed = self._close(row, order, rule)
        return [*closed, *self._halts.left(order, at), *self._advance(self._funds[order.fund_id])]

    def _close(self, row: OpenOrder, order: OrderV2, rule: str | None = None) -> Iterable[Effect]:
        state = self._fund(order.fund_id)
        update: dict[str, Any] = {"finished": _one_more(state.finished, order.status.value)}
        if rule is not None:
            update["rejections"] = _one_more(state.rejections, rule)
        if state.working == row.order.order_id:
            update["working"] = None
        self.funds[order.fund_id] = state.model_copy(update=update)
        return (_step(order),)

    def _book(self, fill: FillV2) -> None:
        state = self._fund(fill.fund_id)
        held = state.positions.get(fill.symbol, _ZERO) + fill.position_change
        self.funds[fill.fund_id] = state.model_copy(
            update={
                "fills": state.fills + 1,
                "cash_change": state.cash_change + fill.cash_change,
                "positions": {**state.positions, fill.symbol: held},
            }
        )

    def _fund(self, fund_id: str) -> FundState:
        return self.funds.get(fund_id) or FundState()

    def _ignore(self, why: str) -> Effects:
        self.ignored[why] += 1
        return ()


def _one_more(counts: dict[str, int], name: str) -> dict[str, int]:
    return {**counts, name: counts.get(name, 0) + 1}


def _step(order: OrderV2) -> Emit:
    return Emit(_SUBJECT_OF[order.status], order)
