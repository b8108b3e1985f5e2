"""Measure a server in about a minute: rates and latencies of typed events, and nothing left behind."""

import asyncio
import secrets
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import count
from typing import Annotated, Any, Final

import typer
from mts1b_foundation.marketdata import Quote
from mts1b_foundation.subjects import PRODUCERS, DurableSubject, Subject, Tier

from mts1b_platform.config import Settings
from mts1b_platform.eventbus import AccessDenied, BusError, EventBus, JetStreamUnavailable, StreamDefinition, connect
from mts1b_platform.eventbus.core import at_work
from mts1b_platform.eventbus.jetstream.api import ApiError, js_api, where
from mts1b_platform.eventbus.protocol.error_codes import ErrorCode
from mts1b_platform.output import Json, noun, print_json, print_table, say

app = noun(__doc__ or "", verbs=False)
_ROUND: Final = 1_000
_MOST: Final = 200_000
"""Events of one measurement, so that a fast server's disk does not fill up."""
_TIMEOUT: Final = 10.0
"""Seconds for one round."""
Row = dict[str, Any]


@app.command()
def bench(
    *,
    seconds: Annotated[float, typer.Option(min=1, help="How long to measure, about.")] = 60.0,
    url: Annotated[
        str | None, typer.Option("--url", "--servers", help="NATS URLs to measure; otherwise as configured.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a server in about a minute: rates and latencies of typed events, and nothing left behind.

    Quotes are published and read on subjects and a stream of its own, which is deleted at the end, also after Ctrl-C.
    Where this identity may create no stream, only best-effort events are measured, and the output says so.

    Rates are those of rounds of 1,000 events, latencies those of one event at a time. Publisher and reader share this
    process. Exit code 0 when measured, 1 when not, 130 after Ctrl-C.

    Example: mts1b bench --seconds 20 --url nats://127.0.0.1:4222 --json
    """
    try:
        document = asyncio.run(_measure(url, seconds))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.stderr.write("mts1b: stopped; the stream of the measurement was deleted\n")
        sys.exit(130)
    if as_json:
        print_json(document)
        return
    measured = f"{document['url']}, nats-server {document['version']}, profile {document['profile']}"
    say(f"{measured}, {document['hot_path']}\n")
    print_table(document["results"])
    if document["not_measured"]:
        say(f"\nnot measured: {document['not_measured']}")


async def _measure(url: str | None, seconds: float) -> Row:
    if (task := asyncio.current_task()) is not None and sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # as Ctrl-C does
    settings = Settings.load()
    if settings.service is None and settings.tls_dir is not None:
        raise BusError("this bus asks who publishes: set MTS1B_SERVICE to one of its services, such as mts1b-oms")
    async with await connect(url, service=settings.service or "mts1b-bench") as bus:
        hooks, bus.hooks = bus.hooks, None  # the audit log and traces are for events that mean something
        try:
            return await _Run(bus, seconds / 3).measure()
        finally:
            bus.hooks = hooks


class _Run:
    """One measurement of a server, on subjects and a stream that nobody else has."""

    def __init__(self, bus: EventBus, seconds: float) -> None:
        self.bus, self.seconds, self.name, self.numbers = bus, seconds, secrets.token_hex(4), count(1)
        token = PRODUCERS.get(bus.service, bus.service.removeprefix("mts1b-").replace("-", "_"))
        about: Row = {"producer": bus.service, "payload": Quote, "description": "A measurement by `mts1b bench`."}
        live, stored = (f"mts.v1.{token}.bench_{self.name}_{kind}.{{symbol}}" for kind in ("live", "stored"))
        self.live = Subject[Quote](live, tier=Tier.BEST_EFFORT, **about)
        self.stored = DurableSubject[Quote](stored, tier=Tier.AT_LEAST_ONCE, dedupe_key="{session}:{sequence}", **about)
        self.stream = f"MTS1B_BENCH_{self.name}"

    async def measure(self) -> Row:
        bus, not_measured = self.bus, None
        patterns, description = self.stored.patterns, self.stored.description
        stream = StreamDefinition(name=self.stream, subjects=patterns, description=description, max_age="1h")
        config = stream.render(bus.settings.profile)
        try:
            try:  # first of all: the server refuses it where another stream would store what is published here
                await js_api(bus, f"STREAM.CREATE.{self.stream}", config, timeout=_TIMEOUT)
            except (AccessDenied, JetStreamUnavailable) as error:
                not_measured = f"durable publish and consume, as no stream could be created: {error}"
            results = [await self.best_effort()]
            if not_measured is None:
                results += [await self.publish(), await self.consume()]
        finally:
            if not_measured is None:
                await self.delete()
        about = {"url": where(bus), "version": str(bus.server_info.get("version", ""))}
        about |= {"profile": bus.settings.profile, "hot_path": at_work()}
        return about | {"results": results, "not_measured": not_measured}

    async def delete(self) -> None:
        try:
            await js_api(self.bus, f"STREAM.DELETE.{self.stream}", timeout=_TIMEOUT)
        except ApiError as error:
            if error.err_code != ErrorCode.STREAM_NOT_FOUND:
                raise

    async def best_effort(self) -> Row:
        async with self.bus.listen(self.live) as listener:

            async def round_of(number: int) -> None:
                for quote in self.quotes(number):
                    await self.bus.emit(self.live, quote)
                for _ in range(number):
                    await anext(listener)

            return await self.row("best effort, publish and receive", round_of)

    async def publish(self) -> Row:
        async def round_of(number: int) -> None:
            await self.bus.emit_many(self.stored, self.quotes(number), deadline=_TIMEOUT)

        return await self.row("durable, publish", round_of)

    async def consume(self) -> Row:
        async with self.bus.consume(self.stored, durable="bench", deliver="new") as consumer:

            async def round_of(number: int) -> None:
                await self.bus.emit_many(self.stored, self.quotes(number), deadline=_TIMEOUT)
                for _ in range(number):
                    async with await anext(consumer):
                        pass

            return await self.row("durable, publish and consume", round_of)

    async def row(self, measure: str, round_of: Callable[[int], Awaitable[None]]) -> Row:
        sys.stderr.write(f"measuring {measure}, {self.seconds:.1f} s\n")
        sys.stderr.flush()
        events, latencies, began = 0, list[float](), time.perf_counter()
        try:
            while ((took := time.perf_counter() - began) < self.seconds / 2 and events < _MOST) or not events:
                async with asyncio.timeout(_TIMEOUT):
                    await round_of(_ROUND)
                events += _ROUND
            while (single := time.perf_counter()) - began - took < self.seconds / 2 or not latencies:
                async with asyncio.timeout(_TIMEOUT):
                    await round_of(1)
                latencies.append(time.perf_counter() - single)
        except TimeoutError:
            raise BusError(f"{measure}: events did not come back within {_TIMEOUT:g} s; see the server's log") from None
        p50, p99 = (sorted(latencies)[int((len(latencies) - 1) * part)] * 1e3 for part in (0.5, 0.99))
        figures = {"events/s": round(events / took), "p50 ms": round(p50, 3), "p99 ms": round(p99, 3)}
        return {"measure": measure, "events": events + len(latencies), **figures}

    def quotes(self, number: int) -> list[Quote]:
        """Quotes that nobody has published before."""
        fields: Row = {"symbol": "BENCH/USD", "bid": 40_000.5, "ask": 40_001.5, "bid_size": 1.5, "ask_size": 0.25}
        fields |= {"timestamp": datetime.now(UTC), "session": self.name, "source": "mts1b-bench"}
        return [Quote(**fields, sequence=next(self.numbers)) for _ in range(number)]
