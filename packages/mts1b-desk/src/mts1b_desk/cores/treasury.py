"""Treasury: cash, positions, profit and net asset value of every fund, from fills and marks alone.

Every figure is exact. Positions are kept as lots, first in first out, so that realised profit needs no division. The
mark of an instrument is the middle of its last quote. ``nav == cash + positions at their marks`` and
``nav == opening cash + realised + unrealised - fees`` hold to the last digit, always.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import ClassVar

from mts1b_foundation.fills import FillV2
from mts1b_foundation.marketdata import QuoteV2, SessionClosedV2, exact
from mts1b_foundation.subjects import MARKETDATA_SESSIONS_CLOSED_V2, OMS_FILLS_CREATED_V2, TREASURY_NAV_V2
from mts1b_foundation.treasury import NavSnapshotV2, PositionV2
from pydantic import BaseModel, ConfigDict

from mts1b_desk.books import FundHoldings, TreasuryBook
from mts1b_desk.cores.core import Effects, Emit, QuoteCore
from mts1b_desk.money import HALF, exactly
from mts1b_desk.settings import DeskSettings
from mts1b_desk.tables import Change, Recent, Table

_ZERO = Decimal(0)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Lot(BaseModel):
    """Signed units bought or sold at one price."""

    model_config = ConfigDict(frozen=True)

    quantity: Decimal
    price: Decimal


class Holdings(BaseModel):
    """What one fund owns."""

    model_config = ConfigDict(frozen=True)

    cash: Decimal
    realised: Decimal = _ZERO
    fees: Decimal = _ZERO
    fills: int = 0
    snapshots: int = 0
    lots: dict[str, tuple[Lot, ...]] = {}
    as_of: datetime | None = None


class Treasury(QuoteCore):
    """The treasury of a desk."""

    service: ClassVar[str] = "treasury"
    repo: ClassVar[str] = "mts1b-treasury"

    def __init__(self, settings: DeskSettings) -> None:
        self._settings = settings
        self._opening = {fund.fund_id: fund.cash for fund in settings.funds}
        self._interval = timedelta(milliseconds=settings.nav_interval_ms)
        self.funds: Table[Holdings] = Table("funds", Holdings)
        self.marks: Table[Decimal] = Table("marks", Decimal)
        # "closed": the end of the market data; "final": the same, once every fill of the session is booked
        self.session: Table[SessionClosedV2] = Table("session", SessionClosedV2)
        self.tables = (self.funds, self.marks, self.session)
        self._quotes: dict[str, QuoteV2] = {}  # marks that nobody has needed yet: converted when a snapshot is taken
        self._next: datetime | None = None
        self._recent = Recent()
        self.handlers = {OMS_FILLS_CREATED_V2: self._on_fill, MARKETDATA_SESSIONS_CLOSED_V2: self._on_closed}

    def book(self) -> TreasuryBook:
        """Holdings of every fund at the latest marks."""
        with exactly():
            self._mark()
            return TreasuryBook(funds={fund: self._holdings(fund) for fund in self._opening})

    def changes(self) -> list[Change]:
        """What changed since the last call, marks included."""
        with exactly():
            self._mark()
        return super().changes()

    def on_quote(self, quote: QuoteV2) -> Effects:
        """Mark the instrument; from time to time of the market, value every fund that has traded."""
        self._quotes[quote.symbol] = quote
        if self._next is None or quote.timestamp >= self._next:
            due = self._next is not None
            self._next = quote.timestamp - (quote.timestamp - _EPOCH) % self._interval + self._interval
            if due:
                with exactly():
                    return [self._snapshot(fund, quote.timestamp) for fund, state in self.funds.items() if state.fills]
        return ()

    def _on_fill(self, fill: FillV2, _at: datetime) -> Effects:
        if fill.fund_id not in self._opening or fill.fill_id in self._recent:
            return ()
        self._recent.add(fill.fill_id)
        state = self._fund(fill.fund_id)
        lots, realised = _trade(state.lots.get(fill.symbol, ()), fill.position_change, fill.price)
        self.funds[fill.fund_id] = state.model_copy(
            update={
                "cash": state.cash + fill.cash_change,
                "realised": state.realised + realised,
                "fees": state.fees + fill.fee,
                "fills": state.fills + 1,
                "lots": {**state.lots, fill.symbol: lots},
            }
        )
        if fill.symbol not in self.marks and fill.symbol not in self._quotes:
            self.marks[fill.symbol] = fill.price
        return (self._snapshot(fill.fund_id, fill.executed_at),)

    def _on_closed(self, closed: SessionClosedV2, _at: datetime) -> Effects:
        self._quotes.clear()
        for mark in closed.marks:
            self.marks[mark.symbol] = (exact(mark.bid) + exact(mark.ask)) * HALF
        self.session["closed"] = closed
        return [self._snapshot(fund, closed.closed_at) for fund in self._opening]

    def finalise(self) -> Effects:
        """The final snapshots of a session that is over: to be asked for once every fill of it is booked."""
        if "closed" not in self.session or "final" in self.session:
            return ()
        closed = self.session["closed"]
        self.session["final"] = closed
        with exactly():
            return [self._snapshot(fund, closed.closed_at) for fund in self._opening]

    def _snapshot(self, fund_id: str, at: datetime) -> Emit:
        self._mark()
        state = self._fund(fund_id)
        latest = at if state.as_of is None else max(at, state.as_of)
        state = state.model_copy(update={"snapshots": state.snapshots + 1, "as_of": latest})
        self.funds[fund_id] = state
        holdings = self._holdings(fund_id)
        snapshot = NavSnapshotV2(
            fund_id=fund_id,
            sequence=state.snapshots,
            cash=holdings.cash,
            positions=tuple(
                PositionV2(symbol=symbol, quantity=held, mark=mark, value=held * mark)
                for (symbol, held), mark in zip(holdings.positions.items(), holdings.marks.values(), strict=True)
            ),
            nav=holdings.nav,
            realised_pnl=holdings.realised_pnl,
            unrealised_pnl=holdings.unrealised_pnl,
            fees=holdings.fees,
            fills=holdings.fills,
            final=holdings.final,
            as_of=latest,
        )
        return Emit(TREASURY_NAV_V2, snapshot, f"{self._settings.session}:{fund_id}:{state.snapshots}")

    def _holdings(self, fund_id: str) -> FundHoldings:
        state = self._fund(fund_id)
        positions: dict[str, Decimal] = {}
        unrealised = value = _ZERO
        for symbol, lots in sorted(state.lots.items()):
            if held := sum((lot.quantity for lot in lots), _ZERO):
                mark = self.marks[symbol]
                positions[symbol] = held
                value += held * mark
                unrealised += sum((lot.quantity * (mark - lot.price) for lot in lots), _ZERO)
        return FundHoldings(
            cash=state.cash,
            opening_cash=self._opening[fund_id],
            positions=positions,
            marks={symbol: self.marks[symbol] for symbol in positions},
            nav=state.cash + value,
            realised_pnl=state.realised,
            unrealised_pnl=unrealised,
            fees=state.fees,
            fills=state.fills,
            final="final" in self.session,
            as_of=state.as_of,
        )

    def _mark(self) -> None:
        for symbol, quote in self._quotes.items():
            self.marks[symbol] = (exact(quote.bid) + exact(quote.ask)) * HALF
        self._quotes.clear()

    def _fund(self, fund_id: str) -> Holdings:
        return self.funds.get(fund_id) or Holdings(cash=self._opening[fund_id])


def _trade(lots: tuple[Lot, ...], change: Decimal, price: Decimal) -> tuple[tuple[Lot, ...], Decimal]:
    """The lots after ``change`` signed units at ``price``, and the profit that closing older ones realised."""
    realised = _ZERO
    rest = list(lots)
    while change and rest and (rest[0].quantity > 0) != (change > 0):
        lot = rest[0]
        closed = min(abs(lot.quantity), abs(change)).copy_sign(lot.quantity)
        realised += closed * (price - lot.price)
        change += closed
        if closed == lot.quantity:
            rest.pop(0)
        else:
            rest[0] = Lot(quantity=lot.quantity - closed, price=lot.price)
    if change:
        rest.append(Lot(quantity=change, price=price))
    return tuple(rest), realised
