"""The paper broker: market time decides, not arrival."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from mts1b_desk.cores.broker import Broker
from mts1b_desk.cores.core import Effects, Emit, NeedQuotes
from mts1b_desk.settings import BrokerSettings, DeskSettings
from mts1b_foundation.fills import BrokerCancel, BrokerFillV2, BrokerRejection
from mts1b_foundation.marketdata import ClosingMarkV2, QuoteV2, SessionClosedV2
from mts1b_foundation.orders import OrderStatus, OrderType, OrderV2, Side, TimeInForce
from mts1b_foundation.subjects import (
    BROKERS_HALT_RESUMED,
    BROKERS_HALT_STOPPED,
    MARKETDATA_SESSIONS_CLOSED_V2,
    OMS_ORDERS_ACCEPTED_V2,
    OMS_ORDERS_CANCEL_REQUESTED_V2,
)

AT = datetime(2022, 5, 4, 13, 30, tzinfo=UTC)


def broker(**settings: Any) -> Broker:
    given = BrokerSettings(latency_ms=100, fee_bps=Decimal(10), **settings)
    return Broker(DeskSettings(session="s", brokers=(given,), lot=Decimal("0.5")))


def quote(
    number: int, ms: int, bid: float = 9.0, ask: float = 11.0, size: float | None = None, symbol: str = "X"
) -> QuoteV2:
    return QuoteV2(
        symbol=symbol, bid=bid, ask=ask, bid_size=size, ask_size=size, timestamp=AT + timedelta(milliseconds=ms),
        sequence=number, session="s", source="test", feed_sequence=number,
    )  # fmt: skip


def order(side: Side = Side.BUY, quantity: int = 10, **more: Any) -> OrderV2:
    return OrderV2(
        order_id="o1", idempotency_key="o1", fund_id="a", actor="test", symbol="X", side=side,
        quantity=Decimal(quantity), status=OrderStatus.ACCEPTED, created_at=AT, updated_at=AT, **more,
    )  # fmt: skip


CLOSED = SessionClosedV2(
    session="s",
    source="test",
    marks=(ClosingMarkV2(symbol="X", bid=9.0, ask=11.0, timestamp=AT, quotes=1),),
    closed_at=AT + timedelta(seconds=9),
)


def out(effects: Effects) -> list[tuple[Any, ...]]:
    said: list[tuple[Any, ...]] = []
    for effect in effects:
        match effect:
            case Emit(payload=BrokerFillV2() as fill):
                said.append(("fill", fill.last_quantity, fill.last_price, fill.transacted_at - AT))
            case Emit(payload=BrokerCancel() as cancel):
                said.append(("cancel", cancel.filled_quantity, cancel.reason))
            case NeedQuotes():
                said.append(("need", effect.since - AT, effect.after))
            case _:
                said.append(("?",))
    return said


def place(core: Broker, placed: OrderV2) -> list[tuple[Any, ...]]:
    return out(core.handle(OMS_ORDERS_ACCEPTED_V2, placed, AT))


LATENCY = timedelta(milliseconds=100)


@pytest.mark.parametrize("quotes_first", [True, False])
def test_an_order_trades_with_the_first_quote_after_its_latency_whichever_arrives_first(quotes_first: bool):
    core = broker()
    quotes = [quote(1, 0), quote(2, 99, ask=10.5), quote(3, 100, ask=12.0), quote(4, 101, ask=8.0)]
    said: list[tuple[Any, ...]] = []
    if not quotes_first:
        said += place(core, order())
    for each in quotes:
        said += out(core.on_quote(each))
    if quotes_first:
        said += place(core, order())
    assert said == [("fill", Decimal(10), Decimal("12.0"), LATENCY)]


def test_a_buy_takes_the_ask_and_a_sell_the_bid_and_both_pay_a_commission():
    for side, price in ((Side.BUY, Decimal("11.0")), (Side.SELL, Decimal("9.0"))):
        core = broker()
        place(core, order(side))
        (effect,) = core.on_quote(quote(1, 100))
        assert isinstance(effect, Emit)
        assert isinstance(effect.payload, BrokerFillV2)
        assert effect.payload.last_price == price
        assert effect.payload.commission == 10 * price / 1000
        account = core.book().funds["a"]
        assert account.cash_change == -side.sign * 10 * price - effect.payload.commission


def test_immediate_or_cancel_takes_what_one_quote_shows_in_whole_lots():
    core = broker()
    place(core, order())
    said = out(core.on_quote(quote(1, 100, size=3.9)))
    assert said[0] == ("fill", Decimal("3.5"), Decimal("11.0"), LATENCY)
    assert said[1][:2] == ("cancel", Decimal("3.5"))
    assert core.idle


def test_a_size_of_any_magnitude_fills_what_is_ordered():
    core = broker()
    core.on_quote(quote(1, 200, size=1.7e308))
    core.on_quote(quote(2, 300, size=5e-324))
    assert place(core, order()) == [("fill", 10, 11, timedelta(milliseconds=200))]
    late = order().model_copy(update={"order_id": "o2", "updated_at": AT + timedelta(milliseconds=150)})
    assert place(core, late) == [("cancel", 0, "no size at the quote")]


def test_immediate_or_cancel_without_size_or_price_is_canceled_unfilled():
    core = broker()
    place(core, order())
    assert out(core.on_quote(quote(1, 100, size=0.4))) == [("cancel", Decimal(0), "no size at the quote")]
    limited = broker()
    place(limited, order(order_type=OrderType.LIMIT, limit_price=Decimal(10)))
    said = out(limited.on_quote(quote(1, 100)))
    assert said == [("cancel", Decimal(0), "immediate-or-cancel: nothing at the limit or better")]


def test_day_orders_work_on_with_further_quotes_until_the_session_ends():
    core = broker()
    place(core, order(time_in_force=TimeInForce.DAY))
    assert out(core.on_quote(quote(1, 100, size=3.0)))[0][:2] == ("fill", Decimal(3))
    assert out(core.on_quote(quote(2, 110, size=3.0, symbol="Y"))) == []
    assert out(core.on_quote(quote(3, 120, size=4.0)))[0][:2] == ("fill", Decimal(4))
    assert out(core.handle(MARKETDATA_SESSIONS_CLOSED_V2, CLOSED, AT)) == [("cancel", Decimal(7), "session closed")]


def test_a_limit_order_waits_for_its_price():
    core = broker()
    place(core, order(time_in_force=TimeInForce.GTC, order_type=OrderType.LIMIT, limit_price=Decimal(10)))
    assert out(core.on_quote(quote(1, 100, ask=10.01))) == []
    assert out(core.on_quote(quote(2, 101, ask=10.0))) == [
        ("fill", Decimal(10), Decimal("10.0"), timedelta(milliseconds=101))
    ]


def test_an_order_that_comes_after_the_end_trades_with_the_past_or_is_canceled():
    core = broker()
    core.on_quote(quote(1, 100))
    core.handle(MARKETDATA_SESSIONS_CLOSED_V2, CLOSED, AT)
    assert place(core, order())[0][0] == "fill"
    late = order().model_copy(update={"order_id": "o2", "updated_at": AT + timedelta(seconds=10)})
    assert place(core, late) == [("cancel", Decimal(0), "session closed")]


def test_quotes_that_were_forgotten_are_asked_for_page_by_page():
    core = broker(history=2)
    for number in range(1, 8):
        core.on_quote(quote(number, 100 + number, size=1.0))
    assert place(core, order(time_in_force=TimeInForce.DAY, quantity=7)) == [("need", LATENCY, 0)]
    first = [quote(number, 100 + number, size=1.0) for number in (1, 2, 3)]
    said = out(core.on_history("o1", first))
    assert [each[0] for each in said] == ["fill", "fill", "fill", "need"]
    assert said[-1] == ("need", LATENCY, 3)
    said = out(core.on_history("o1", [quote(number, 100 + number, size=1.0) for number in (4, 5, 6)]))
    assert [each[0] for each in said] == ["fill"] * 4
    assert core.idle


def test_a_cancel_request_withdraws_what_works_and_is_ignored_when_it_comes_too_late():
    core = broker()
    place(core, order(time_in_force=TimeInForce.DAY))
    core.on_quote(quote(1, 100, size=2.0))
    request = (OMS_ORDERS_CANCEL_REQUESTED_V2, order(), AT)
    assert out(core.handle(*request)) == [("cancel", Decimal(2), "canceled on request")]
    assert out(core.handle(OMS_ORDERS_CANCEL_REQUESTED_V2, order(), AT)) == []
    assert out(core.on_quote(quote(2, 101))) == []


def test_an_order_that_arrives_twice_is_worked_once_and_one_for_another_broker_not_at_all():
    core = broker()
    core.on_quote(quote(1, 100))
    assert len(place(core, order())) == 1
    assert place(core, order()) == []
    assert place(core, order().model_copy(update={"order_id": "o3", "broker": "elsewhere"})) == []
    assert core.idle


def test_a_stop_on_the_host_withdraws_what_works_and_rejects_what_comes_until_it_ends():
    core = broker()
    assert place(core, order()) == []
    said = core.stop("the bus is dead", "host:h", AT)
    assert out(said)[1:] == [("cancel", 0, "the broker's adapter was stopped on its host: the bus is dead")]
    assert isinstance(said[0], Emit)
    assert said[0].subject is BROKERS_HALT_STOPPED
    assert core.stop("again", "host:h", AT) == ()
    again = order().model_copy(update={"order_id": "o2"})
    (rejected,) = core.handle(OMS_ORDERS_ACCEPTED_V2, again, AT)
    assert isinstance(rejected, Emit)
    assert isinstance(rejected.payload, BrokerRejection)
    assert "stopped on its host: the bus is dead" in rejected.payload.reason
    assert core.on_quote(quote(1, 100)) == ()
    (resumed,) = core.resume("host:h", AT)
    assert isinstance(resumed, Emit)
    assert resumed.subject is BROKERS_HALT_RESUMED
    assert place(core, order().model_copy(update={"order_id": "o3"})) == [("fill", 10, 11, LATENCY)]
    assert core.resume("host:h", AT) == ()


def test_a_stop_outlives_a_restart_and_the_next_one_has_another_name():
    core = broker()
    core.stop("one", "host:h", AT)
    rows: dict[str, list[tuple[str, bytes]]] = {}
    for change in core.changes():
        assert change.data is not None
        rows.setdefault(change.table, []).append((change.key, change.data))
    after = broker()
    after.restore(rows)
    assert after.stop("one", "host:h", AT) == ()
    after.resume("host:h", AT)
    (said,) = after.stop("two", "host:h", AT)
    assert isinstance(said, Emit)
    assert said.payload.halt_id == "host-s-2"  # type: ignore[attr-defined]
