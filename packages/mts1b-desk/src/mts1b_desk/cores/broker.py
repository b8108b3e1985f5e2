"""The paper broker: orders trade with the first quote that the market showed after they could have reached it.

An order is due ``latency`` of market time after it was accepted. It trades with quotes whose market time is not before
that, whether they came before the order or come after it, so that no race between market data and orders changes an
execution. A buy takes the ask, a sell the bid, up to the size shown in whole lots (no size shown: all).
Immediate-or-cancel orders see one quote; others go on with the next ones until they are filled or the session ends.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import ClassVar

from mts1b_foundation.fills import BrokerCancel, BrokerFillV2, BrokerRejection
from mts1b_foundation.marketdata import QuoteV2, SessionClosedV2, exact
from mts1b_foundation.operations import HaltClearance, HaltRequest
from mts1b_foundation.orders import OrderV2, Side, TimeInForce
from mts1b_foundation.subjects import (
    BROKERS_FILLS_RAW_V2,
    BROKERS_HALT_RESUMED,
    BROKERS_HALT_STOPPED,
    BROKERS_ORDERS_CANCELED,
    BROKERS_ORDERS_REJECTED,
    MARKETDATA_SESSIONS_CLOSED_V2,
    OMS_ORDERS_ACCEPTED_V2,
    OMS_ORDERS_CANCEL_REQUESTED_V2,
)
from pydantic import BaseModel, ConfigDict

from mts1b_desk.books import BrokerBook, FundExecutions
from mts1b_desk.cores.core import Effect, Effects, Emit, NeedQuotes, QuoteCore
from mts1b_desk.cores.tape import Tape, feed_position
from mts1b_desk.money import exactly, fee_of, plain
from mts1b_desk.settings import BrokerSettings, DeskSettings
from mts1b_desk.tables import Recent, Table

_ZERO = Decimal(0)
_STOP = "stop"


class WorkingOrder(BaseModel):
    """An order at the broker."""

    model_config = ConfigDict(frozen=True)

    order: OrderV2
    broker_order_id: str
    due: datetime
    """Market time of the first quote that it may trade with."""
    seen: int = 0
    """The last quote of the feed that it was matched with."""
    filled: Decimal = _ZERO
    executions: int = 0
    fetching: bool = False
    """Whether it waits for older quotes that had to be asked for."""

    @property
    def remaining(self) -> Decimal:
        """Units that are not executed yet."""
        return self.order.quantity - self.filled


class Account(BaseModel):
    """One fund's account."""

    model_config = ConfigDict(frozen=True)

    executions: int = 0
    positions: dict[str, Decimal] = {}
    cash_change: Decimal = _ZERO
    commissions: Decimal = _ZERO


class Broker(QuoteCore):
    """All paper brokers of a desk, each with its own name, latency and fees."""

    service: ClassVar[str] = "brokers"
    repo: ClassVar[str] = "mts1b-brokers"

    def __init__(self, settings: DeskSettings) -> None:
        self._settings = settings
        self._brokers = {broker.name: broker for broker in settings.brokers}
        self._size = max(broker.history for broker in settings.brokers)
        self.orders: Table[WorkingOrder] = Table("orders", WorkingOrder)
        self.accounts: Table[Account] = Table("accounts", Account)
        self.session: Table[SessionClosedV2] = Table("session", SessionClosedV2)
        self.stops: Table[HaltRequest] = Table("stops", HaltRequest)
        """The stop on this host that is in force."""
        self.stopped_before: Table[int] = Table("stopped_before", int)
        self.tables = (self.orders, self.accounts, self.session, self.stops, self.stopped_before)
        self._tapes: dict[str, Tape] = {}
        self._whole = True  # False once the core was restored: quotes from before are not at hand
        self._waiting: dict[str, dict[str, None]] = {}
        self._recent = Recent()
        self.handlers = {
            OMS_ORDERS_ACCEPTED_V2: self._on_order,
            OMS_ORDERS_CANCEL_REQUESTED_V2: self._on_cancel_request,
            MARKETDATA_SESSIONS_CLOSED_V2: self._on_closed,
        }

    @property
    def idle(self) -> bool:
        """Whether no order waits."""
        return not self.orders

    def restore(self, rows: Mapping[str, Sequence[tuple[str, bytes]]]) -> None:
        """Start from stored rows; quotes from before are asked for when an order needs them."""
        super().restore(rows)
        self._whole = False
        self._tapes.clear()
        self._waiting.clear()
        for order_id, row in self.orders.items():
            self._waiting.setdefault(row.order.symbol, {})[order_id] = None

    def start(self) -> Effects:
        """Ask again for the quotes that orders were waiting for."""
        return [
            NeedQuotes(order_id, row.order.symbol, row.due, row.seen)
            for order_id, row in self.orders.items()
            if row.fetching
        ]

    def stop(self, reason: str, actor: str, at: datetime) -> Effects:
        """Stop on this host, whatever the bus says: withdraw what works, take no order until :meth:`resume`.

        Returns nothing when it is stopped already.
        """
        if self.stops:
            return ()
        number = self.stopped_before.get("stops", 0) + 1
        self.stopped_before["stops"] = number
        stop = HaltRequest(
            halt_id=f"host-{self._settings.session}-{number}", reason=reason, actor=actor, requested_at=at
        )
        self.stops[_STOP] = stop
        rows = tuple(self.orders.values())
        return [
            Emit(BROKERS_HALT_STOPPED, stop),
            *(self._cancel(row, _stopped(stop), row.order.updated_at) for row in rows),
        ]

    def resume(self, actor: str, at: datetime) -> Effects:
        """Take orders again; nothing when it is not stopped."""
        stop = self.stops.pop(_STOP, None)
        if stop is None:
            return ()
        ended = HaltClearance(halt_id=stop.halt_id, reason="the stop was taken away", actor=actor, cleared_at=at)
        return [Emit(BROKERS_HALT_RESUMED, ended)]

    def book(self) -> BrokerBook:
        """Executions, positions and cash of every account."""
        return BrokerBook(
            funds={
                fund: FundExecutions(
                    executions=account.executions,
                    positions={symbol: held for symbol, held in sorted(account.positions.items()) if held},
                    cash_change=account.cash_change,
                    commissions=account.commissions,
                )
                for fund, account in sorted(self.accounts.items())
            },
            working=len(self.orders),
        )

    def on_quote(self, quote: QuoteV2) -> Effects:
        """Work the orders of the symbol with its next quote. Quotes come in the order of the feed, none missing."""
        tape = self._tapes.get(quote.symbol)
        if tape is None:
            tape = self._tapes[quote.symbol] = Tape(self._size, whole=self._whole)
        tape.add(quote)
        waiting = self._waiting.get(quote.symbol)
        if not waiting:
            return ()
        effects: list[Effect] = []
        with exactly():
            for order_id in tuple(waiting):
                row = self.orders[order_id]
                if not row.fetching:
                    effects += self._match(row, (quote,))
        return effects

    def on_history(self, order_id: str, quotes: Sequence[QuoteV2]) -> Effects:
        """Older quotes that a :class:`NeedQuotes` asked for, oldest first; none when there are no more."""
        row = self.orders.get(order_id)
        if row is None or not row.fetching:
            return ()  # canceled in the meantime
        with exactly():
            effects = list(self._match(row, quotes))
            if (after := self.orders.get(order_id)) is not None:
                effects += self._from_tape(after, exhausted=not quotes)
        return effects

    def _on_order(self, order: OrderV2, _at: datetime) -> Effects:
        broker = self._brokers.get(order.broker)
        if broker is None or order.order_id in self.orders or order.order_id in self._recent:
            return ()
        if (stop := self.stops.get(_STOP)) is not None:
            return (self._reject(broker, order, _stopped(stop)),)
        if broker.max_quantity is not None and order.quantity > broker.max_quantity:
            most = plain(broker.max_quantity)
            reason = f"the quantity {plain(order.quantity)} is above the broker's limit {most}"
            return (self._reject(broker, order, reason),)
        row = WorkingOrder(
            order=order,
            broker_order_id=f"{broker.name}-{order.order_id}",
            due=order.updated_at + timedelta(milliseconds=broker.latency_ms),
        )
        self.orders[order.order_id] = row
        self._waiting.setdefault(order.symbol, {})[order.order_id] = None
        return self._from_tape(row)

    def _reject(self, broker: BrokerSettings, order: OrderV2, reason: str) -> Emit:
        self._recent.add(order.order_id)
        rejection = BrokerRejection(
            broker=broker.name,
            client_order_id=order.order_id,
            symbol=order.symbol,
            reason=reason,
            transacted_at=order.updated_at + timedelta(milliseconds=broker.latency_ms),
        )
        return Emit(BROKERS_ORDERS_REJECTED, rejection)

    def _from_tape(self, row: WorkingOrder, *, exhausted: bool = False) -> Effects:
        """Match with the quotes at hand; ask for older ones when some that matter are not at hand any more."""
        tape = self._tapes.get(row.order.symbol)
        covered = tape.covers(row.due) if tape is not None else self._whole
        reached = tape is not None and bool(tape.quotes) and row.seen >= feed_position(tape.quotes[0])
        if not covered and not reached and not exhausted:
            self.orders[row.order.order_id] = row.model_copy(update={"fetching": True})
            return (NeedQuotes(row.order.order_id, row.order.symbol, row.due, row.seen),)
        if row.fetching:
            row = row.model_copy(update={"fetching": False})
            self.orders[row.order.order_id] = row
        effects = list(self._match(row, tape.since(row.due, row.seen) if tape is not None else ()))
        if self.session and (left := self.orders.get(row.order.order_id)) is not None:
            effects.append(self._cancel(left, "session closed", self._closed_at()))
        return effects

    def _match(self, row: WorkingOrder, quotes: Iterable[QuoteV2]) -> Effects:
        effects: list[Effect] = []
        broker = self._brokers[row.order.broker]
        order = row.order
        last = row
        for quote in quotes:
            if quote.timestamp < row.due or feed_position(quote) <= row.seen:
                continue
            row = row.model_copy(update={"seen": feed_position(quote)})
            price, traded = _offered(row, quote, self._settings.lot)
            if traded and (order.limit_price is None or (price - order.limit_price) * order.side.sign <= 0):
                row, fill = self._execute(row, broker, traded, price, quote)
                effects.append(fill)
            if not row.remaining:
                self._forget(row)
                return effects
            if order.time_in_force is TimeInForce.IOC:
                reason = "immediate-or-cancel: the quote showed no more size" if row.filled else "no size at the quote"
                if order.limit_price is not None and not row.filled:
                    reason = "immediate-or-cancel: nothing at the limit or better"
                effects.append(self._cancel(row, reason, quote.timestamp))
                return effects
        if row is not last:
            self.orders[order.order_id] = row
        return effects

    def _execute(
        self, row: WorkingOrder, broker: BrokerSettings, traded: Decimal, price: Decimal, quote: QuoteV2
    ) -> tuple[WorkingOrder, Emit]:
        order = row.order
        number = row.executions + 1
        commission = fee_of(traded * price, broker.fee_bps, broker.fee_quantum)
        fill = BrokerFillV2(
            broker=broker.name,
            execution_id=f"{order.order_id}.{number}",
            client_order_id=order.order_id,
            broker_order_id=row.broker_order_id,
            symbol=order.symbol,
            side=order.side,
            last_quantity=traded,
            last_price=price,
            commission=commission,
            transacted_at=quote.timestamp,
            native={"quote_sequence": str(quote.sequence), "source": quote.source},
        )
        account = self.accounts.get(order.fund_id) or Account()
        held = account.positions.get(order.symbol, _ZERO) + order.side.sign * traded
        self.accounts[order.fund_id] = Account(
            executions=account.executions + 1,
            positions={**account.positions, order.symbol: held},
            cash_change=account.cash_change - order.side.sign * traded * price - commission,
            commissions=account.commissions + commission,
        )
        row = row.model_copy(update={"filled": row.filled + traded, "executions": number})
        return row, Emit(BROKERS_FILLS_RAW_V2, fill)

    def _on_cancel_request(self, order: OrderV2, _at: datetime) -> Effects:
        if order.broker not in self._brokers:
            return ()
        row = self.orders.get(order.order_id)
        if row is None:
            return ()  # filled or canceled before; the order management learns so from that report
        return (self._cancel(row, "canceled on request", row.order.updated_at),)

    def _on_closed(self, closed: SessionClosedV2, _at: datetime) -> Effects:
        self.session["closed"] = closed
        rows = [row for row in self.orders.values() if not row.fetching]
        return [self._cancel(row, "session closed", closed.closed_at) for row in rows]

    def _cancel(self, row: WorkingOrder, reason: str, at: datetime) -> Emit:
        self._forget(row)
        cancel = BrokerCancel(
            broker=row.order.broker,
            client_order_id=row.order.order_id,
            broker_order_id=row.broker_order_id,
            symbol=row.order.symbol,
            filled_quantity=row.filled,
            reason=reason,
            transacted_at=max(at, row.order.updated_at),
        )
        return Emit(BROKERS_ORDERS_CANCELED, cancel)

    def _forget(self, row: WorkingOrder) -> None:
        self._recent.add(row.order.order_id)
        self.orders.pop(row.order.order_id, None)
        self._waiting[row.order.symbol].pop(row.order.order_id, None)

    def _closed_at(self) -> datetime:
        return self.session["closed"].closed_at


def _stopped(stop: HaltRequest) -> str:
    return f"the broker's adapter was stopped on its host: {stop.reason}"[:2000]


def _offered(row: WorkingOrder, quote: QuoteV2, lot: Decimal) -> tuple[Decimal, Decimal]:
    """The price at which the quote trades with the order, and how much of it: the size shown, in whole lots."""
    buys = row.order.side is Side.BUY
    price, size = (quote.ask, quote.ask_size) if buys else (quote.bid, quote.bid_size)
    if size is None or (shown := exact(size)) >= row.remaining + lot:  # a larger one has any number of digits
        return exact(price), row.remaining
    return exact(price), min(shown // lot * lot, row.remaining)
