"""One key or fund is asked for by itself, or in ``where``: both read the same, and what cannot be is refused."""

import pytest
from mts1b_foundation.errors import UnknownParameter
from mts1b_foundation.fills import Fill
from mts1b_foundation.marketdata import Quote
from mts1b_foundation.samples import FILL, QUOTE
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_FILLS_CREATED
from mts1b_platform.eventbus import Event, InvalidArgument, LiveEvent
from mts1b_platform.service import Service
from mts1b_platform.testing import Simulate


def test_a_service_is_given_the_one_fund_and_the_one_symbol(simulate: Simulate):
    heard: dict[str, list[str]] = {"where": [], "itself": [], "quotes": []}
    service = Service("mts1b-treasury")

    @service.consumes(OMS_FILLS_CREATED, durable="where", where={"fund_id": "beta"})
    async def there(event: Event[Fill]) -> None:
        heard["where"].append(event.payload.fill_id)

    @service.consumes(OMS_FILLS_CREATED, durable="itself", fund_id="beta")
    async def itself(event: Event[Fill]) -> None:
        heard["itself"].append(event.payload.fill_id)

    @service.listens(MARKETDATA_QUOTES, where={"symbol": "BRK.B"})
    async def quotes(event: LiveEvent[Quote]) -> None:
        heard["quotes"].append(event.payload.symbol)

    world = simulate()
    world.start(service)
    world.settle()
    world.publish(MARKETDATA_QUOTES, *(QUOTE.model_copy(update={"symbol": name}) for name in ("BTC/USDT", "BRK.B")))
    funds = (("1", "alpha"), ("2", "beta"))
    world.publish(OMS_FILLS_CREATED, *(FILL.model_copy(update={"fill_id": n, "fund_id": fund}) for n, fund in funds))
    world.settle()
    world.run(1)
    assert heard == {"where": ["2"], "itself": ["2"], "quotes": ["BRK.B"]}


def test_what_cannot_be_is_refused_where_it_is_declared():
    service = Service("mts1b-treasury")
    with pytest.raises(InvalidArgument, match="fund_id is given twice: in where and by itself"):
        service.consumes(OMS_FILLS_CREATED, durable="d", where={"fund_id": "a"}, fund_id="b")
    with pytest.raises(UnknownParameter, match="has no parameter 'venue'"):
        service.listens(MARKETDATA_QUOTES, where={"venue": "X"})
    with pytest.raises(InvalidArgument, match="where is 'alpha': give names with values"):
        service.consumes(OMS_FILLS_CREATED, durable="d", where="alpha")  # pyright: ignore[reportArgumentType]
