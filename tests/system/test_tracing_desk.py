"""One trace through the whole desk, as a real OTLP collector receives it."""

import asyncio
import contextlib
import gzip
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mts1b_foundation.samples import ORDER_V2
from mts1b_foundation.subjects import OMS_ORDERS_CREATED_V2
from mts1b_platform.eventbus import EventBus, apply_streams, connect
from mts1b_platform.eventbus.core import at_work
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


def whole_traces(spans: list[Span]) -> list[list[Span]]:
    """Traces that lead from a quote through an order and its fill to a NAV snapshot."""
    traces: defaultdict[str, list[Span]] = defaultdict(list)
    for span in spans:
        traces[span["trace"]].append(span)
    return [found for found in traces.values() if {f"send {pattern}" for pattern in PATH} <= names_of(found)]


def names_of(spans: list[Span]) -> set[str]:
    return {span["name"] for span in spans}


PATH = (
    "mts.v2.marketdata.quotes.{symbol}",
    "mts.v2.research.signals.published",
    "mts.v2.oms.orders.created",
    "mts.v1.risk.gate.passed",
    "mts.v2.brokers.{broker}.fills.raw",
    "mts.v2.oms.fills.created",
    "mts.v2.treasury.nav.{fund_id}",
)


def hot_paths(directory: Path) -> dict[str, list[str]]:
    """What each service of the desk that runs in ``directory`` says of its hot path."""
    return {
        log.stem: [line for line in log.read_text().splitlines() if "hot path" in line]
        for log in directory.glob("mts1b-desk-*/**/*.log")
    }


def end_of(desk: "subprocess.Popen[bytes]") -> None:
    """A desk with orders under way may take its time; the test does not wait for its books."""
    desk.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        desk.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(desk.pid, signal.SIGKILL)
    desk.wait(60)


@pytest.mark.slow(seconds=5)
@pytest.mark.timeout(400)
async def test_one_trace_leads_from_a_quote_to_the_nav_that_it_caused(
    bus: EventBus, collector: Collector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    await apply_streams(bus)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("MTS1B_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")  # milliseconds that spans wait to be sent together
    command = (sys.executable, "-m", "mts1b_desk", "run", "--speed", "60", "--seed", "1", "--start-within", "300")
    desk = subprocess.Popen(command, env=os.environ.copy(), start_new_session=True)  # noqa: ASYNC220
    try:
        end = time.monotonic() + 300
        while not (traces := whole_traces(list(collector.spans))):
            assert time.monotonic() < end, sorted(names_of(collector.spans))
            await asyncio.sleep(0.5)
        paths = hot_paths(tmp_path)
    finally:
        await asyncio.to_thread(end_of, desk)
    assert len(paths) >= 5
    for service, said in paths.items():
        assert said, service
        assert all(at_work() in line and "in_python" not in line for line in said), (service, said)
    spans = traces[0]
    assert len({span["service"] for span in spans}) >= 5
    made = {span["id"]: span for span in collector.spans}
    handled = [span for span in spans if span["name"].startswith("process ") and span["parent"] in made]
    assert handled
    for span in handled:
        sent = made[span["parent"]]
        assert sent["trace"] == span["trace"]
        assert sent["name"].split()[1] == span["name"].split()[1]
    caused = [made[span["parent"]] for span in spans if span["name"].startswith("send ") and span["parent"] in made]
    assert caused
    assert all(span["name"].startswith("process ") for span in caused)
    assert all(span["attributes"]["messaging.system"] == "nats" for span in spans)


async def test_nothing_is_exported_unless_it_is_configured(bus: EventBus, collector: Collector):
    await bus.emit(OMS_ORDERS_CREATED_V2, ORDER_V2)
    assert bus.hooks is None
    await bus.close()
    assert collector.spans == []


async def test_spans_are_sent_before_a_bus_that_is_closed_is_gone(
    bus: EventBus, collector: Collector, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
):
    await apply_streams(bus)
    monkeypatch.setenv("MTS1B_OTLP_ENDPOINT", collector.url)
    traced = await connect(nats_server.url, service="mts1b-oms")
    await traced.emit(OMS_ORDERS_CREATED_V2, ORDER_V2)
    await traced.close()
    assert [span["name"] for span in collector.spans] == ["send mts.v2.oms.orders.created"]
