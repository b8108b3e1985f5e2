"""The gate in front of the order management: every order is held against its fund's envelope (``limits.py``).

The gate keeps books of its own from the life of the orders, which it reads in the order in which the stream stored
them. So an answer depends on what the stream says before the order and on nothing else: not on the speed of market
data, not on the treasury. Between orders a position is valued at the last price that an order of its symbol referred
to.
"""

from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from typing import ClassVar

from mts1b_foundation.orders import OrderV2, Side
from mts1b_foundation.risk import OrderApproval, OrderRejection, RiskEnvelope, RiskRule
from mts1b_foundation.subjects import (
    OMS_ORDERS_ACCEPTED_V2,
    OMS_ORDERS_CANCELED_V2,
    OMS_ORDERS_CREATED_V2,
    OMS_ORDERS_FILLED_V2,
    OMS_ORDERS_PARTIALLY_FILLED_V2,
    OMS_ORDERS_REJECTED_V2,
    RISK_ENVELOPE_UPDATED,
    RISK_GATE_FAILED,
    RISK_GATE_PASSED,
)
from pydantic import BaseModel, ConfigDict

from mts1b_desk.cores.core import Core, Effects, Emit
from mts1b_desk.cores.limits import Exposure, Refusal, broken_limit
from mts1b_desk.money import mean
from mts1b_desk.settings import DeskSettings, FundSettings
from mts1b_desk.tables import Recent, Table

_ZERO = Decimal(0)
_MINUTE = timedelta(minutes=1)


class Working(BaseModel):
    """An order that was let through and is not final, and what was filled of it."""

    model_config = ConfigDict(frozen=True)

    fund_id: str
    symbol: str
    side: Side
    quantity: Decimal
    filled: Decimal = _ZERO
    notional: Decimal = _ZERO


class Risk(Core):
    """The risk engine of a desk."""

    service: ClassVar[str] = "riskengine"
    repo: ClassVar[str] = "mts1b-riskengine"

    def __init__(self, settings: DeskSettings) -> None:
        self._settings = settings
        self._funds = {fund.fund_id: fund for fund in settings.funds}
        self.envelopes: Table[RiskEnvelope] = Table("envelopes", RiskEnvelope)
        self.exposures: Table[Exposure] = Table("exposures", Exposure)
        self.working: Table[Working] = Table("working", Working)
        self.tables = (self.envelopes, self.exposures, self.working)
        self.refused: Counter[str] = Counter()
        self._recent = Recent()
        self.handlers = {
            OMS_ORDERS_CREATED_V2: self._on_created,
            OMS_ORDERS_ACCEPTED_V2: self._on_step,
            OMS_ORDERS_PARTIALLY_FILLED_V2: self._on_step,
            OMS_ORDERS_FILLED_V2: self._on_step,
            OMS_ORDERS_CANCELED_V2: self._on_step,
            OMS_ORDERS_REJECTED_V2: self._on_step,
        }

    def start(self) -> Effects:
        """The first envelope of every fund; nothing when the limits are known from before."""
        return [self._envelope(fund) for fund in self._settings.funds if fund.fund_id not in self.envelopes]

    def _envelope(self, fund: FundSettings) -> Emit:
        envelope = RiskEnvelope(
            fund_id=fund.fund_id,
            version=1,
            max_order_notional=fund.max_order_notional,
            max_position_notional=fund.max_position_notional,
            max_orders_per_minute=fund.max_orders_per_minute,
            max_drawdown=fund.max_drawdown,
            effective_at=self._settings.market_start,
        )
        self.envelopes[fund.fund_id] = envelope
        self.exposures[fund.fund_id] = Exposure(cash=fund.cash, peak=fund.cash)
        return Emit(RISK_ENVELOPE_UPDATED, envelope, f"{self._settings.session}:{fund.fund_id}:1")

    def _on_created(self, order: OrderV2, _at: datetime) -> Effects:
        if order.order_id in self._recent:
            return ()
        self._recent.add(order.order_id)
        decided_at = order.created_at
        envelope = self.envelopes.get(order.fund_id)
        if envelope is None:
            refusal = Refusal(
                rule=RiskRule.NO_ENVELOPE, reason=f"fund {order.fund_id} has no risk envelope: it may not trade"
            )
        else:
            refusal = self._judge(order, envelope)
        if refusal is None and envelope is not None:
            approval = OrderApproval(
                order_id=order.order_id,
                fund_id=order.fund_id,
                envelope_version=envelope.version,
                decided_at=decided_at,
            )
            return (Emit(RISK_GATE_PASSED, approval),)
        assert refusal is not None  # noqa: S101 - for the type checker
        self.refused[refusal.rule.value] += 1
        rejection = OrderRejection(
            order_id=order.order_id,
            idempotency_key=order.idempotency_key,
            fund_id=order.fund_id,
            symbol=order.symbol,
            decided_at=decided_at,
            **dict(refusal),
        )
        return (Emit(RISK_GATE_FAILED, rejection),)

    def _judge(self, order: OrderV2, envelope: RiskEnvelope) -> Refusal | None:
        price = order.limit_price if order.reference_price is None else order.reference_price
        seen = self.exposures[order.fund_id]
        recent, since = seen.passed, order.created_at - _MINUTE
        if recent and min(recent) <= since:
            recent = tuple(at for at in recent if at > since)
        if price is not None:
            seen = seen.model_copy(update={"prices": {**seen.prices, order.symbol: price}})
        seen = seen.model_copy(update={"passed": recent, "peak": max(seen.peak, seen.equity)})
        refusal = broken_limit(order, price, envelope, seen, self._working(order))
        if refusal is None:
            seen = seen.model_copy(update={"passed": (*recent, order.created_at)})
            self.working[order.order_id] = Working(
                fund_id=order.fund_id, symbol=order.symbol, side=order.side, quantity=order.quantity
            )
        self.exposures[order.fund_id] = seen
        return refusal

    def _working(self, order: OrderV2) -> Decimal:
        """Units that other orders like ``order`` may still fill."""
        alike = (order.fund_id, order.symbol, order.side)
        rows = (row for row in self.working.values() if (row.fund_id, row.symbol, row.side) == alike)
        return sum((row.quantity - row.filled for row in rows), _ZERO)

    def _on_step(self, order: OrderV2, _at: datetime) -> Effects:
        seen = self.exposures.get(order.fund_id)
        if seen is None:
            return ()
        before = self.working.get(order.order_id) or Working(
            fund_id=order.fund_id, symbol=order.symbol, side=order.side, quantity=order.quantity
        )
        quantity = order.filled_quantity - before.filled
        if quantity > 0:
            sign = order.side.sign
            price = order.limit_price if order.reference_price is None else order.reference_price
            if price is None:
                price = mean(order.filled_notional, order.filled_quantity)
            self.exposures[order.fund_id] = seen.model_copy(
                update={
                    "cash": seen.cash - sign * (order.filled_notional - before.notional),
                    "positions": {
                        **seen.positions,
                        order.symbol: seen.positions.get(order.symbol, _ZERO) + sign * quantity,
                    },
                    "prices": {**seen.prices, order.symbol: seen.prices.get(order.symbol, price)},
                }
            )
        if order.status.is_final:
            self.working.pop(order.order_id, None)
        elif quantity > 0:
            filled = {"filled": order.filled_quantity, "notional": order.filled_notional}
            self.working[order.order_id] = before.model_copy(update=filled)
        return ()
