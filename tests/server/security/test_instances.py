"""Readers with several instances on a locked-down bus: what they need is granted by their declaration, and no more."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from locked_server import PATIENCE, SPEC_READER, Locked, started
from mts1b_foundation.samples import FILL, ORDER, QUOTE
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_FILLS_CREATED, OMS_ORDERS_CREATED, OMS_ORDERS_FILLED
from mts1b_platform.eventbus import AccessDenied, ConsumerConflict
from mts1b_platform.eventbus.declared import declared

BOOKS = Path(__file__).parents[2] / "checkouts" / "books-twice"


async def test_instances_take_over_share_keys_and_listen_in_groups_by_their_declared_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    checkouts = (SPEC_READER, BOOKS)
    known = declared(checkouts)
    monkeypatch.setattr("mts1b_platform.eventbus.consuming.make_reader.declared", lambda: known)
    async with started(Locked(tmp_path, checkouts=checkouts)) as locked:
        oms = await locked.bus("mts1b-oms")
        first, second = await locked.bus("mts1b-treasury"), await locked.bus("mts1b-treasury")
        standby: dict[str, Any] = {"durable": "books", "ordered_by": "fund_id", "instances": "standby"}
        one, two = (bus.consume(OMS_ORDERS_CREATED, **standby) for bus in (first, second))
        await oms.emit(OMS_ORDERS_CREATED, ORDER)
        async with await asyncio.wait_for(anext(one), PATIENCE) as event:
            assert event.term > 0, "its bucket may be written"
        await two.start()
        await one.stop()
        await oms.emit(OMS_ORDERS_CREATED, ORDER.model_copy(update={"order_id": "2", "idempotency_key": "2"}))
        async with await asyncio.wait_for(anext(two), PATIENCE) as after:
            assert after.term > event.term
        await two.stop()

        share: dict[str, Any] = {"durable": "ledger", "ordered_by": "fund_id", "instances": "share", "takeover": 1}
        ledgers = [bus.consume(OMS_FILLS_CREATED, member=name, **share) for bus, name in ((first, "a"), (second, "b"))]
        await asyncio.gather(*(ledger.start() for ledger in ledgers))
        async with asyncio.timeout(PATIENCE):
            while [len(ledger.keys) for ledger in ledgers] != [1, 1]:  # noqa: ASYNC110 - they tell nobody
                await asyncio.sleep(0.01)
        owned = [(ledger, *ledger.keys) for ledger in ledgers]
        for ledger, fund in owned:
            await oms.emit(OMS_FILLS_CREATED, FILL.model_copy(update={"fill_id": fund, "fund_id": fund}))
            async with await asyncio.wait_for(anext(ledger), PATIENCE) as fill:
                assert fill.payload.fund_id == fund
        for ledger in ledgers:  # what one has given up the other would take
            await ledger.stop()

        market = await locked.bus("mts1b-marketdata")
        async with first.listen(MARKETDATA_QUOTES, group="pricers") as quotes:
            await market.emit(MARKETDATA_QUOTES, QUOTE)
            await asyncio.wait_for(anext(quotes), PATIENCE)

        plain = first.consume(OMS_ORDERS_FILLED, durable="my-consumer", ordered_by="fund_id", instances="standby")
        with pytest.raises(ConsumerConflict, match="declare it with"):
            await plain.start()
        with pytest.raises(AccessDenied):
            await second.request("$JS.API.CONSUMER.UNPIN.OMS_ORDERS.my-consumer", b"{}", timeout=PATIENCE)
