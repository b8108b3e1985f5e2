"""Best-effort market data: publish quotes, listen to one symbol, keep only the latest when behind."""

import asyncio
from datetime import UTC, datetime

from mts1b_foundation.marketdata import QuoteV2
from mts1b_foundation.subjects import MARKETDATA_QUOTES_V2
from mts1b_platform.eventbus import connect


async def main() -> None:
    async with (
        await connect(service="mts1b-marketdata") as bus,
        bus.listen(MARKETDATA_QUOTES_V2, symbol="BTC/USDT", conflate=True) as quotes,
    ):
        for number in range(1, 1001):
            quote = QuoteV2(
                symbol="BTC/USDT",
                bid=40_000.0 + number,
                ask=40_001.0 + number,
                timestamp=datetime.now(UTC),
                sequence=number,
                session="example",
                source="simulated",
            )
            await bus.emit(MARKETDATA_QUOTES_V2, quote)
        async for heard in quotes:
            print(f"bid {heard.payload.bid}, {quotes.dropped} older quotes skipped")
            if heard.payload.sequence == 1000:
                break


if __name__ == "__main__":
    asyncio.run(main())
