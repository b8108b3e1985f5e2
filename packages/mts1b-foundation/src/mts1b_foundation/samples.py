"""One valid event of every payload: what the rendered documents show, and what tests start from.

They belong together: the signal causes the order, the order is filled, the fill makes the net asset value.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from mts1b_foundation.deadletters import DeadLetter, DeadLetterNote, DeadLetterReason
from mts1b_foundation.event import Event
from mts1b_foundation.fills import BrokerCancel, BrokerFill, BrokerFillV2, BrokerRejection, Fill, FillV2
from mts1b_foundation.marketdata import (
    Bar,
    BarV2,
    ClosingMark,
    ClosingMarkV2,
    Quote,
    QuoteV2,
    SessionClosed,
    SessionClosedV2,
    SessionPrices,
)
from mts1b_foundation.operations import (
    Alert,
    AlertAcknowledgement,
    AlertSeverity,
    HaltClearance,
    HaltObedience,
    HaltRequest,
    Probe,
)
from mts1b_foundation.orders import Order, OrderType, OrderV2, Side
from mts1b_foundation.risk import OrderApproval, OrderRejection, RiskEnvelope, RiskRule
from mts1b_foundation.signals import Direction, Signal, SignalV2
from mts1b_foundation.treasury import NavSnapshot, NavSnapshotV2, Position, PositionV2

_T0: Final = datetime(2021, 1, 8, 9, 30, tzinfo=UTC)
_FUND: Final = "alpha"
_SYMBOL: Final = "BTC/USDT"


def _at(seconds: float) -> datetime:
    return _T0 + timedelta(seconds=seconds)


QUOTE: Final = Quote(
    symbol=_SYMBOL,
    bid=39_999.5,
    ask=40_000.5,
    bid_size=1.25,
    ask_size=0.75,
    timestamp=_at(0),
    sequence=17,
    session="2021-01-08",
    source="replay:quotes.parquet",
)
BAR: Final = Bar(
    symbol=_SYMBOL,
    interval="1m",
    start=_at(0),
    end=_at(60),
    open=39_990.0,
    high=40_010.0,
    low=39_980.0,
    close=40_000.0,
    volume=12.5,
    quotes=60,
    sequence=3,
    session="2021-01-08",
    source="replay:quotes.parquet",
)
SESSION_CLOSED: Final = SessionClosed(
    session="2021-01-08",
    source="replay:quotes.parquet",
    marks=(ClosingMark(symbol=_SYMBOL, bid=39_999.5, ask=40_000.5, timestamp=_at(3600), quotes=451, bars={"1m": 60}),),
    closed_at=_at(3600),
)
SESSION_PRICES: Final = SessionPrices(
    session="2021-01-08",
    source="replay:quotes.parquet",
    symbol=_SYMBOL,
    start=_at(0),
    after_ms=(0, 60_000),
    prices=(40_000.0, 40_001.25),
)
SIGNAL: Final = Signal(
    signal_id="sig-1",
    strategy="ma-cross",
    fund_id=_FUND,
    symbol=_SYMBOL,
    direction=Direction.LONG,
    reference_price=Decimal("40000.5"),
    as_of=_at(60),
)
ORDER: Final = Order(
    order_id="ord-1",
    idempotency_key="ma-cross:alpha:sig-1",
    fund_id=_FUND,
    actor="crypto_dual_paper",
    symbol=_SYMBOL,
    side=Side.BUY,
    order_type=OrderType.LIMIT,
    quantity=Decimal("0.5"),
    limit_price=Decimal(40_100),
    reference_price=Decimal("40000.5"),
    signal_id="sig-1",
    created_at=_at(61),
    updated_at=_at(61),
)
ORDER_APPROVAL: Final = OrderApproval(order_id="ord-1", fund_id=_FUND, envelope_version=1, decided_at=_at(62))
ORDER_REJECTION: Final = OrderRejection(
    order_id="ord-2",
    idempotency_key="ma-cross:alpha:sig-2",
    fund_id=_FUND,
    symbol=_SYMBOL,
    rule=RiskRule.ORDER_NOTIONAL,
    reason="order notional 80001 exceeds the limit 50000",
    limit=Decimal(50_000),
    observed=Decimal(80_001),
    decided_at=_at(62),
)
BROKER_FILL: Final = BrokerFill(
    broker="paper",
    execution_id="ex-1",
    client_order_id="ord-1",
    broker_order_id="P-1",
    symbol=_SYMBOL,
    side=Side.BUY,
    last_quantity=Decimal("0.5"),
    last_price=Decimal("40000.5"),
    commission=Decimal("20.00025"),
    transacted_at=_at(63),
    native={"LastMkt": "PAPER"},
)
BROKER_CANCEL: Final = BrokerCancel(
    broker="paper",
    client_order_id="ord-3",
    broker_order_id="P-3",
    symbol=_SYMBOL,
    filled_quantity=Decimal(0),
    reason="no quote within the limit",
    transacted_at=_at(63),
)
BROKER_REJECTION: Final = BrokerRejection(
    broker="paper",
    client_order_id="ord-4",
    symbol=_SYMBOL,
    reason="the quantity 700 is above the broker's limit 500",
    transacted_at=_at(63),
)
FILL: Final = Fill(
    fill_id="paper:ex-1",
    order_id="ord-1",
    fund_id=_FUND,
    symbol=_SYMBOL,
    side=Side.BUY,
    quantity=Decimal("0.5"),
    price=Decimal("40000.5"),
    fee=Decimal("20.00025"),
    broker="paper",
    execution_id="ex-1",
    executed_at=_at(63),
)
RISK_ENVELOPE: Final = RiskEnvelope(
    fund_id=_FUND,
    version=1,
    max_order_notional=Decimal(50_000),
    max_position_notional=Decimal(200_000),
    max_orders_per_minute=30,
    max_drawdown=Decimal("0.2"),
    effective_at=_at(-60),
)
NAV: Final = NavSnapshot(
    fund_id=_FUND,
    sequence=1,
    cash=Decimal("79979.74975"),
    positions=(Position(symbol=_SYMBOL, quantity=Decimal("0.5"), mark=Decimal(40_000), value=Decimal("20000.0")),),
    nav=Decimal("99979.74975"),
    realised_pnl=Decimal(0),
    unrealised_pnl=Decimal("-0.25"),
    fees=Decimal("20.00025"),
    fills=1,
    as_of=_at(64),
)
HALT_REQUEST: Final = HaltRequest(
    halt_id="halt-1", fund_id=_FUND, reason="feed looks wrong", actor="j.doe", requested_at=_at(70)
)
HALT_CLEARANCE: Final = HaltClearance(
    halt_id="halt-1", fund_id=_FUND, reason="feed is right again", actor="j.doe", cleared_at=_at(300)
)
HALT_OBEDIENCE: Final = HaltObedience(halt_id="halt-1", service="mts1b-oms", canceled_orders=2, obeyed_at=_at(70.05))
ALERT: Final = Alert(
    alert_id="slow_consumer-1f0c",
    name="slow_consumer",
    target="OMS_FILLS/treasury",
    severity=AlertSeverity.CRITICAL,
    value=31.2,
    threshold=30.0,
    unit="s",
    summary="treasury on OMS_FILLS lags 31 s behind",
    raised_at=_at(90),
)
ALERT_ACKNOWLEDGEMENT: Final = AlertAcknowledgement(
    acknowledgement_id="ack-1f0c",
    alert_id="slow_consumer-1f0c",
    actor="j.doe",
    note="treasury is being restarted",
    acknowledged_at=_at(92),
)
PROBE: Final = Probe(probe_id="probe-1f0c", sent_at=_at(95))
DEAD_LETTER: Final = DeadLetter(
    dead_letter_id="OMS_FILLS:17:treasury",
    reason=DeadLetterReason.INVALID_PAYLOAD,
    subject="mts.v1.oms.fills.created.fund.alpha",
    headers={"Nats-Msg-Id": "paper:ex-9", "mts-schema": "mts1b_foundation.fills.Fill:v1"},
    payload=b'{"fill_id": 9}',
    stream="OMS_FILLS",
    sequence=17,
    consumer="treasury",
    deliveries=1,
    error="fill_id: Input should be a valid string",
    stored_at=_at(80),
    failed_at=_at(81),
)
DEAD_LETTER_NOTE: Final = DeadLetterNote(
    note_id="note-1f0c",
    about="OMS_FILLS:17:treasury",
    consumer="treasury",
    text="known: the venue was down, wait until Monday",
    actor="j.doe",
    noted_at=_at(97),
)

_OIL: Final = "CLK0"
QUOTE_V2: Final = QuoteV2.model_validate({**dict(QUOTE), "symbol": _OIL, "bid": -37.65, "ask": -37.6})
BAR_V2: Final = BarV2.model_validate(
    {**dict(BAR), "symbol": _OIL, "open": 1.5, "high": 2.0, "low": -40.3, "close": -37.63}
)
SESSION_CLOSED_V2: Final = SessionClosedV2(
    session="2020-04-20",
    source="replay:oil.csv",
    marks=(ClosingMarkV2(symbol=_OIL, bid=-37.65, ask=-37.6, timestamp=_at(3600), quotes=451, bars={"1m": 60}),),
    closed_at=_at(3600),
)
SIGNAL_V2: Final = SignalV2.model_validate({**dict(SIGNAL), "symbol": _OIL, "reference_price": Decimal("-37.63")})
ORDER_V2: Final = OrderV2.model_validate(
    {**dict(ORDER), "symbol": _OIL, "limit_price": Decimal(-37), "reference_price": Decimal("-37.63")}
)
BROKER_FILL_V2: Final = BrokerFillV2.model_validate(
    {**dict(BROKER_FILL), "symbol": _OIL, "last_price": Decimal("-37.6"), "commission": Decimal("-0.00188")}
)
FILL_V2: Final = FillV2.model_validate(
    {**dict(FILL), "symbol": _OIL, "price": Decimal("-37.6"), "fee": Decimal("-0.00188")}
)
NAV_V2: Final = NavSnapshotV2(
    fund_id=_FUND,
    sequence=1,
    cash=Decimal("100018.80188"),
    positions=(PositionV2(symbol=_OIL, quantity=Decimal("0.5"), mark=Decimal("-37.625"), value=Decimal("-18.8125")),),
    nav=Decimal("99999.98938"),
    realised_pnl=Decimal(0),
    unrealised_pnl=Decimal("-0.0125"),
    fees=Decimal("-0.00188"),
    fills=1,
    as_of=_at(64),
)

SAMPLES: Final[tuple[Event, ...]] = (
    QUOTE,
    BAR,
    SESSION_CLOSED,
    SESSION_PRICES,
    SIGNAL,
    ORDER,
    ORDER_APPROVAL,
    ORDER_REJECTION,
    BROKER_FILL,
    BROKER_CANCEL,
    BROKER_REJECTION,
    FILL,
    RISK_ENVELOPE,
    NAV,
    HALT_REQUEST,
    HALT_CLEARANCE,
    HALT_OBEDIENCE,
    ALERT,
    ALERT_ACKNOWLEDGEMENT,
    PROBE,
    DEAD_LETTER,
    DEAD_LETTER_NOTE,
    QUOTE_V2,
    BAR_V2,
    SESSION_CLOSED_V2,
    SIGNAL_V2,
    ORDER_V2,
    BROKER_FILL_V2,
    FILL_V2,
    NAV_V2,
)
"""One event of each payload that a registered subject carries."""
