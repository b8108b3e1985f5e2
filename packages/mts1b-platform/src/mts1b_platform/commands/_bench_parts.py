"""The single measurements of ``mts1b bench``: each takes its share of the time and returns its figures.

Publisher and reader are two connections of one process, so its CPU is the whole cost of an event on both ends.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Final

from mts1b_foundation.marketdata import Quote
from mts1b_foundation.subjects import DurableSubject, Subject

from mts1b_platform.eventbus import Ack, BusError, EventBus, Listener
from mts1b_platform.eventbus.jetstream.api import js_api

PACE: Final = 1_000
"""Events a second at which latency is measured."""
_WINDOW: Final = 10_000
_BURST: Final = 500
_AT_ONCE: Final = 1_000
_MOST_STORED: Final = 200_000
_LOST: Final = 10.0
_DEADLINE: Final = 10.0
_PREFETCH: Final = 1_000
_DURABLE: Final = "bench"


class BenchError(BusError):
    """A measurement could not be finished."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one measurement found.

    Attributes:
        measure: what was done.
        events: how many events went through.
        per_second: their rate; None where the rate was given.
        cpu_us: CPU of this process for each of them, in microseconds; None where it mostly waited.
        p50_ms: half of the events took at most this many milliseconds; None where each for itself was not timed.
        p99_ms: 99 of 100 did.
        p999_ms: 999 of 1000 did.
    """

    measure: str
    events: int
    per_second: float | None = None
    cpu_us: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Bench:
    """Who takes part, and on which subjects; made for one run."""

    run: str
    """Its name; no other run has it."""
    stream: str
    """Where the durable events are stored."""
    publisher: EventBus
    reader: EventBus
    live: Subject[Quote]
    stored: DurableSubject[Quote]
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def quotes(self, number: int) -> list[Quote]:
        """``number`` quotes that nobody has published before."""
        now = datetime.now(UTC)
        return [
            Quote(
                symbol="BENCH/USD",
                bid=40_000 + n % 97 / 8,
                ask=40_001 + n % 97 / 8,
                bid_size=1.5,
                ask_size=0.25,
                timestamp=now,
                sequence=n,
                session=self.run,
                source="mts1b-bench",
            )
            for n, _ in zip(self.numbers, range(number), strict=False)
        ]


class _Watch:
    """Wall and CPU time of this process from now on."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def figures(self, measure: str, events: int, latencies: Sequence[float] = ()) -> Figures:
        """The figures of ``events`` so far; ``latencies`` in seconds."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        if not events:
            raise BenchError(f"{measure}: not a single event went through in {wall:.1f} s")
        return Figures(measure, events, events / wall, cpu / events * 1e6, *percentiles(latencies))


def percentiles(seconds: Sequence[float]) -> tuple[float, float, float] | tuple[()]:
    """p50, p99 and p99.9 in milliseconds, without the first tenth (caches warm up); nothing of nothing."""
    kept = sorted(seconds[len(seconds) // 10 :])
    if not kept:
        return ()
    p50, p99, p999 = (kept[round((len(kept) - 1) * part)] * 1e3 for part in (0.5, 0.99, 0.999))
    return p50, p99, p999


class _Tally:
    """Counts what a listener hears, and says when a number is reached."""

    def __init__(self) -> None:
        self.heard = 0
        self._wanted = -1
        self._reached = asyncio.Event()

    async def count(self, listener: Listener[Quote]) -> None:
        """Hear until cancelled."""
        async for _ in listener:
            self.heard += 1
            if self.heard == self._wanted:
                self._reached.set()

    async def reached(self, number: int) -> None:
        """Wait until ``number`` were heard.

        Raises:
            BenchError: nothing more came.
        """
        if self.heard >= number:
            return
        self._wanted = number
        self._reached.clear()
        try:
            async with asyncio.timeout(_LOST):
                await self._reached.wait()
        except TimeoutError:
            raise BenchError(
                f"{number - self.heard} of the events published did not arrive within {_LOST:g} s: the server dropped "
                "them, or was away; its log says which"
            ) from None


async def flat_out(bench: Bench, seconds: float, name: str) -> Figures:
    """Best effort, as fast as both ends go together; a bounded number is under way, so none is lost."""
    quotes, tally = bench.quotes(_BURST), _Tally()
    send, lane = bench.publisher.publisher(bench.live).send_volatile, bench.publisher.lane
    async with bench.reader.listen(bench.live, limit=2 * _WINDOW) as listener:
        counting = asyncio.create_task(tally.count(listener))
        try:
            sent, watch, end = 0, _Watch(), time.monotonic() + seconds
            while time.monotonic() < end:
                sent += sum(map(send, quotes))
                if lane.crowded:
                    await lane.room()
                await tally.reached(sent - _WINDOW)
                await asyncio.sleep(0)
            await tally.reached(sent)
            return watch.figures(name, sent)
        finally:
            counting.cancel()


async def paced(bench: Bench, seconds: float, name: str) -> Figures:
    """Best effort at a steady pace: how long each event is on its way."""
    quotes, latencies = bench.quotes(_BURST), list[float]()
    send = bench.publisher.publisher(bench.live).send_volatile

    async def hear(listener: Listener[Quote]) -> None:
        async for event in listener:  # the time of sending travels as the trace id
            latencies.append((time.monotonic_ns() - int(event.trace_id or "0", 16)) / 1e9)

    async with bench.reader.listen(bench.live) as listener:
        hearing = asyncio.create_task(hear(listener))
        try:
            begin = time.monotonic()
            for n in range(max(1, int(seconds * PACE))):
                await asyncio.sleep(max(0.0, begin + n / PACE - time.monotonic()))
                send(quotes[n % _BURST], f"{time.monotonic_ns():032x}")
            await bench.publisher.flush()
            await bench.reader.flush()
            await asyncio.sleep(0.05)
        finally:
            hearing.cancel()
    if not latencies:
        raise BenchError(f"{name}: not a single event arrived; the log of the server says why")
    return Figures(name, len(latencies), None, None, *percentiles(latencies))


async def pipelined(bench: Bench, seconds: float, name: str) -> Figures:
    """Durable publishes, many under way, an ack each."""
    sent, busy = 0, 0.0
    cpu, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end and sent < _MOST_STORED:
        quotes = bench.quotes(_AT_ONCE)  # made outside of what is timed
        wall_before, cpu_before = time.perf_counter(), time.process_time()
        _all_new(await bench.publisher.emit_many(bench.stored, quotes, deadline=_DEADLINE))
        busy += time.perf_counter() - wall_before
        cpu += time.process_time() - cpu_before
        sent += len(quotes)
    return Figures(name, sent, sent / busy, cpu / sent * 1e6)


async def one_by_one(bench: Bench, seconds: float, name: str) -> Figures:
    """Durable publishes, each waiting for the ack of the one before it."""
    latencies = list[float]()
    quotes: list[Quote] = []
    watch, end = _Watch(), time.monotonic() + seconds
    while time.monotonic() < end:
        quotes = quotes or bench.quotes(_AT_ONCE)
        began = time.perf_counter()
        await bench.publisher.emit(bench.stored, quotes.pop(), deadline=_DEADLINE)
        latencies.append(time.perf_counter() - began)
    return watch.figures(name, len(latencies), latencies)


async def consume(bench: Bench, seconds: float, name: str) -> Figures:
    """What was stored before, read from its beginning, each event acknowledged, until all is read or time is up."""
    stored: int = (await js_api(bench.reader, f"STREAM.INFO.{bench.stream}"))["state"]["messages"]
    done, end = 0, time.monotonic() + seconds
    try:
        async with asyncio.timeout(seconds + _LOST):
            watch = _Watch()
            async with bench.reader.consume(bench.stored, durable=_DURABLE, prefetch=_PREFETCH) as consumer:
                async for event in consumer:
                    async with event:
                        done += 1
                    if done == stored or time.monotonic() > end:
                        break
                await bench.reader.flush()
                return watch.figures(name, done)
    except TimeoutError:
        raise BenchError(f"{done} of {stored} stored events came, and then none for {_LOST:g} s") from None


def _all_new(acks: Sequence[Ack]) -> None:
    if any(ack.duplicate for ack in acks):
        raise BenchError("the stream took an event of this run for one that it had: another run has the same name")


@dataclass(frozen=True, slots=True)
class Part:
    """One measurement, and its share of the time."""

    name: str
    measure: Callable[[Bench, float, str], Awaitable[Figures]]
    share: float


CORE: Final = (
    Part("core, end to end, flat out", flat_out, 0.25),
    Part(f"core, end to end, {PACE:,}/s", paced, 0.25),
)
"""What needs no stream."""
DURABLE: Final = (
    Part("durable publish, pipelined", pipelined, 0.15),
    Part("durable publish, one by one", one_by_one, 0.15),
    Part("durable consume and ack", consume, 0.2),
)
"""What needs one; the last reads what the others stored."""
