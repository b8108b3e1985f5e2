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
from typing import Any, ClassVar, Literal

from mts1b_foundation.fills import BrokerCancel, BrokerFillV2, BrokerRejection, FillV2
from mts1b_foundation.operations import HaltClearance, HaltObedience, HaltRequest
from mts1b_foundation.orders import OrderStatus, OrderV2, Side
from mts1b_foundation.risk import OrderApproval, OrderRejection, RiskRule
from mts1b_foundation.signals import Direction, SignalV2
from mts1b_foundation.subjects import (
    BROKERS_FILLS_RAW_V2,
    BROKERS_ORDERS_CANCELED,
    BROKERS_ORDERS_REJECTED,
    OMS_FILLS_CREATED_V2,
    OMS_HALT_OBEYED,
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
from pydantic import BaseModel, ConfigDict

from mts1b_desk.books import FundOrders, OmsBook
from mts1b_desk.cores.core import Core, Effect, Effects, Emit
from mts1b_desk.ids import intent_id
from mts1b_desk.money import whole_lots
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
_LET_REDUCTIONS_PASS = (RiskRule.ORDER_NOTIONAL, RiskRule.POSITION_NOTIONAL, RiskRule.DRAWDOWN)


class Frozen(BaseModel):
    """Base of the rows of tables."""

    model_config = ConfigDict(frozen=True)


class OpenOrder(Frozen):
    """An order that is not final, and what has arrived for it."""

    order: OrderV2
    executions: tuple[str, ...] = ()
    """Execution ids that are booked."""
    withdrawn: BrokerCancel | None = None
    """The broker's cancel, while fills that it counts are still on their way."""
    halt_id: str | None = None
    """The halt that asked for the order to be withdrawn."""
    reversal: SignalV2 | None = None
    """The signal of the order, when it turns the position."""


class Part(Frozen):
    """A part of a reversal that was refused as a whole."""

    signal: SignalV2
    name: Literal["flat", "rest"]
    """``flat`` closes the position; ``rest`` follows when it is closed."""


class FundState(Frozen):
    """One fund's queue and results."""

    queue: tuple[SignalV2, ...] = ()
    parts: tuple[Part, ...] = ()
    """What goes out before the queue."""
    working: str | None = None
    """The one order that is not final."""
    finished: dict[str, int] = {}
    """Final orders by status."""
    rejections: dict[str, int] = {}
    """Rejected orders by the rule that they broke."""
    fills: int = 0
    cash_change: Decimal = _ZERO
    """Sum over all fills, fees included, in the fund's currency."""
    positions: dict[str, Decimal] = {}


class ActiveHalt(Frozen):
    """A halt in force, and what it still waits for."""

    request: HaltRequest
    withdrawing: frozenset[str] = frozenset()
    canceled: int = 0


class Oms(Core):
    """The order management of a desk."""

    service: ClassVar[str] = "oms"
    repo: ClassVar[str] = "mts1b-oms"

    def __init__(self, settings: DeskSettings) -> None:
        self._settings = settings
        self._funds = {fund.fund_id: fund for fund in settings.funds}
        self.orders: Table[OpenOrder] = Table("orders", OpenOrder)
        self.funds: Table[FundState] = Table("funds", FundState)
        self.halts: Table[ActiveHalt] = Table("halts", ActiveHalt)
        self.totals: Table[int] = Table("totals", int)
        self.tables = (self.orders, self.funds, self.halts, self.totals)
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
                fills=state.fills,
                positions={symbol: quantity for symbol, quantity in sorted(state.positions.items()) if quantity},
                cash_change=state.cash_change,
                waiting=len(state.queue),
            )
            for fund in self._funds
            for state in (self._fund(fund),)
        }
        return OmsBook(funds=funds, halts=tuple(row.request for row in self.halts.values()), ignored=dict(self.ignored))

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
        if (halt := self._halt_of(row.order.fund_id)) is not None:
            rejected = row.order.reject(_halted(halt.request), approval.decided_at)
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
        if request.halt_id in self.halts or request.halt_id in self._recent:
            return self._ignore("halt seen before")
        self._recent.add(request.halt_id)
        self.halts[request.halt_id] = ActiveHalt(request=request)
        effects: list[Effect] = []
        withdrawing: set[str] = set()
        rejected = 0
        for row in tuple(self.orders.values()):
            order = row.order
            if request.fund_id not in (None, order.fund_id):
                continue
            if order.status is OrderStatus.CREATED:
                effects += self._finish(row, order.reject(_halted(request), order.updated_at), at, _HALTED)
                rejected += 1
                continue
            withdrawing.add(order.order_id)
            if row.halt_id is None:
                self.orders[order.order_id] = row.model_copy(update={"halt_id": request.halt_id})
                effects.append(Emit(OMS_ORDERS_CANCEL_REQUESTED_V2, order))
        halt = ActiveHalt(request=request, withdrawing=frozenset(withdrawing), canceled=rejected)
        self.halts[request.halt_id] = halt
        return [*effects, *self._obey(halt, at)]

    def halted(self, fund_id: str) -> bool:
        """Whether a halt of the fund is in force."""
        return self._halt_of(fund_id) is not None

    def retract(self, order_id: str) -> Effects:
        """Reject an order of a halted fund that was accepted, when nobody has been told of that yet."""
        row = self.orders.get(order_id)
        if row is None or (halt := self._halt_of(row.order.fund_id)) is None:
            return ()
        told = row.order.model_copy(update={"status": OrderStatus.CREATED})
        # The halt did not reject a fresh order, so it does not count as withdrawn either.
        rejected = told.reject(_halted(halt.request), row.order.updated_at)
        return self._finish(row, rejected, halt.request.requested_at, _HALTED)

    def _on_clearance(self, clearance: HaltClearance, _at: datetime) -> Effects:
        if clearance.halt_id not in self.halts:
            return self._ignore("clearance of no halt in force")
        del self.halts[clearance.halt_id]
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
                self.ignored["rest of a reversal that did not become flat"] += 1
                continue
            if not signal.reference_price and signal.direction is not Direction.FLAT:
                self.ignored["signal at a price of zero, at which no order can be sized"] += 1
                continue
            target = self._target(fund, signal)
            wanted = -held if part and part.name == "flat" else target - held
            if not wanted:
                continue
            order = self._order(fund, signal, wanted, part)
            effects.append(_step(order))
            turns = part is None and held * target < 0
            row = OpenOrder(order=order, reversal=signal if turns else None)
            if (halt := self._halt_of(fund.fund_id)) is not None:
                effects += self._close(row, order.reject(_halted(halt.request), order.created_at), _HALTED)
                continue
            self.orders[order.order_id] = row
            self.funds[fund.fund_id] = state.model_copy(update={"working": order.order_id})
        return effects

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
        effects: list[Effect] = list(self._close(row, order, rule))
        for halt_id, halt in tuple(self.halts.items()):
            if order.order_id in halt.withdrawing:
                canceled = halt.canceled + (order.status is OrderStatus.CANCELED)
                rest = halt.withdrawing - {order.order_id}
                self.halts[halt_id] = ActiveHalt(request=halt.request, withdrawing=rest, canceled=canceled)
                effects += self._obey(self.halts[halt_id], at)
        return [*effects, *self._advance(self._funds[order.fund_id])]

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

    def _obey(self, halt: ActiveHalt, at: datetime) -> Iterable[Effect]:
        if halt.withdrawing:
            return ()
        obedience = HaltObedience(
            halt_id=halt.request.halt_id, service=self.repo, canceled_orders=halt.canceled, obeyed_at=at
        )
        return (Emit(OMS_HALT_OBEYED, obedience, f"{halt.request.halt_id}:{self.repo}:{self._settings.session}"),)

    def _halt_of(self, fund_id: str) -> ActiveHalt | None:
        return next((halt for halt in self.halts.values() if halt.request.fund_id in (None, fund_id)), None)

    def _fund(self, fund_id: str) -> FundState:
        return self.funds.get(fund_id) or FundState()

    def _ignore(self, why: str) -> Effects:
        self.ignored[why] += 1
        return ()


def _one_more(counts: dict[str, int], name: str) -> dict[str, int]:
    return {**counts, name: counts.get(name, 0) + 1}


def _step(order: OrderV2) -> Emit:
    return Emit(_SUBJECT_OF[order.status], order)


def _halted(request: HaltRequest) -> str:
    scope = "all funds are" if request.fund_id is None else f"fund {request.fund_id} is"
    return f"halted: {scope} halted by {request.actor} ({request.halt_id}): {request.reason}"[:2000]
