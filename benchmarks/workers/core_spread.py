"""Quotes of many instruments: a listener each on one connection (``subscriptions-N``), or one (``symbols-N``).

``raw-N``: a subscription each of nats-py, bytes in, nothing validated.
"""
# pyright: reportUnknownMemberType=false
# reason: nats-py's signatures are partly untyped.

import asyncio
import sys
from collections.abc import Iterable

import nats
from common import REPOS, TRACE, Stopwatch, main, quotes_of, say, symbol_of
from mts1b_foundation.marketdata import Quote
from mts1b_foundation.subjects import MARKETDATA_QUOTES
from mts1b_platform.eventbus import EventBus, Listener, connect
from nats.aio.msg import Msg

MODE, _, NUMBER = sys.argv.pop().partition("-")
SYMBOLS = int(NUMBER)
LIMIT = 10_000_000


class Tally:
    """Counts what several listeners hear together, and times it from when every instrument was heard once."""

    def __init__(self, count: int) -> None:
        self._left = count + SYMBOLS
        self._warm = count
        self.watch = Stopwatch()
        self.done = asyncio.Event()

    def heard(self) -> None:
        """One more."""
        self._left -= 1
        if self._left == self._warm:
            self.watch = Stopwatch()
        elif not self._left:
            self.done.set()

    async def hear(self, listener: Listener[Quote]) -> None:
        """Listen until everything is heard."""
        async for _ in listener:
            self.heard()

    async def take(self, msg: Msg) -> None:
        """A message of nats-py's, its headers looked at."""
        assert msg.headers is not None
        self.heard()


async def subscribe(url: str, count: int, _kind: str, _rate: float) -> None:
    await (subscribe_raw if MODE == "raw" else subscribe_typed)(url, count)


async def subscribe_raw(url: str, count: int) -> None:
    client, tally = await nats.connect(url), Tally(count)
    for n in range(SYMBOLS):
        name = MARKETDATA_QUOTES.filters(symbol=symbol_of(n))[0]
        await client.subscribe(name, cb=tally.take, pending_msgs_limit=-1, pending_bytes_limit=0)
    await client.flush()
    say({"ready": True})
    await tally.done.wait()
    say(tally.watch.figures())
    await client.close()


async def subscribe_typed(url: str, count: int) -> None:
    async with await connect(url, service="benchmark") as bus:
        symbols = [symbol_of(n) for n in range(SYMBOLS)] if MODE == "subscriptions" else [None]
        listeners = [bus.listen(MARKETDATA_QUOTES, symbol=symbol, limit=LIMIT) for symbol in symbols]
        for listener in listeners:
            await listener.start()
        await bus.flush()
        tally = Tally(count)
        tasks = [asyncio.create_task(tally.hear(listener)) for listener in listeners]
        say({"ready": True})
        await tally.done.wait()
        say(tally.watch.figures())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def publish(url: str, count: int, _kind: str, _rate: float) -> None:
    async with await connect(url, service=REPOS["quote"]) as bus:
        quotes = quotes_of(SYMBOLS)
        await send_all(bus, quotes)
        watch = Stopwatch()
        await send_all(bus, (quotes[n % SYMBOLS] for n in range(count)))
        say(watch.figures(dropped=sum(bus.counters.publish_dropped.values())))


async def send_all(bus: EventBus, quotes: Iterable[Quote]) -> None:
    """Publish as fast as the connection takes it; none is dropped."""
    send, connection = bus.publisher(MARKETDATA_QUOTES).send_volatile, bus.connection
    for quote in quotes:
        send(quote, TRACE)
        if connection.above_high_water:
            await connection.writable()
    await bus.flush()


main(subscribe, publish)
