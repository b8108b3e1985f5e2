"""One trace through the whole desk, as a real OTLP collector receives it."""

import asyncio
import gzip
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import EventBus, apply_streams, connect
from mts1b_platform.server import NatsServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

Span = dict[str, Any]


class Collector:
    """An OTLP collector over HTTP: receives spans in protobuf, as the specification has it."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(ExportTraceServiceRequest.FromString(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            about = {one.key: one.value.string_value for one in resource.resource.attributes}
            self.spans += [
                {
                    "service": about["service.name"],
                    "name": span.name,
                    "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex() or None,
                    "kind": span.kind,
                    "attributes": {one.key: one.value.string_value for one in span.attributes},
                }
                for scope in resource.scope_spans
                for span in scope.spans
            ]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch, nats_server: NatsServer) -> Iterator[Collector]:
    made = Collector()
    monkeypatch.setenv("MTS1B_NATS_URL", nats_server.url)
    yield made
    made.close()


def ancestors(span: Span, by_id: dict[str, Span]) -> list[Span]:
    found = [span]
    while (parent := by_id.get(found[-1]["parent"] or "")) is not None:
        found.append(parent)
    return found


def whole_chains(spans: list[Span]) -> list[list[Span]]:
    """From each NAV snapshot back to the market data that caused it, through every service between."""
    by_id = {span["id"]: span for span in spans}
    navs = [span for span in spans if span["name"].startswith("send mts.v1.treasury.nav.")]
    chains = [ancestors(span, by_id) for span in navs]
    return [
        chain
        for chain in chains
        if chain[-1]["name"].startswith("send mts.v1.marketdata.") and len({span["service"] for span in chain}) >= 5
    ]


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_one_trace_leads_from_market_data_to_the_nav_that_it_caused(
    bus: EventBus, collector: Collector, monkeypatch: pytest.MonkeyPatch
):
    await apply_streams(bus)
    monkeypatch.setenv("MTS1B_OTLP_ENDPOINT", collector.url)
    command = (sys.executable, "-m", "mts1b_desk", "run", "--speed", "60", "--seed", "1")
    desk = subprocess.Popen(command, env=os.environ.copy())  # noqa: ASYNC220
    try:
        end = time.monotonic() + 80
        while not (chains := whole_chains(list(collector.spans))):
            assert time.monotonic() < end, sorted({span["name"] for span in collector.spans})
            await asyncio.sleep(0.5)
    finally:
        desk.send_signal(signal.SIGTERM)
        await asyncio.to_thread(desk.wait, 30)
    chain = chains[0]
    assert len({span["trace"] for span in chain}) == 1
    services = [span["service"] for span in reversed(chain)]
    assert services[0] == "mts1b-marketdata"
    assert services[-1] == "mts1b-treasury"
    quotes = [
        span for span in collector.spans if span["trace"] == chain[0]["trace"] and "marketdata.quotes" in span["name"]
    ]
    assert quotes, "the quote that closed the bar is of the same trace"
    assert all(span["attributes"]["messaging.system"] == "nats" for span in collector.spans)


async def test_nothing_is_exported_unless_it_is_configured(bus: EventBus, collector: Collector):
    await bus.emit(OMS_ORDERS_CREATED, ORDER)
    assert bus.hooks is None
    await bus.close()
    assert collector.spans == []


async def test_spans_are_sent_before_a_bus_that_is_closed_is_gone(
    bus: EventBus, collector: Collector, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
):
    await apply_streams(bus)
    monkeypatch.setenv("MTS1B_OTLP_ENDPOINT", collector.url)
    traced = await connect(nats_server.url, service="mts1b-oms")
    await traced.emit(OMS_ORDERS_CREATED, ORDER)
    await traced.close()
    assert [span["name"] for span in collector.spans] == ["send mts.v1.oms.orders.created"]
