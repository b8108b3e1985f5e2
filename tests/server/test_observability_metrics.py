"""The metrics endpoint: right names, right labels, bounded series, honest health."""

import asyncio
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from asyncio.subprocess import PIPE
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mts1b_foundation.samples import ORDER, QUOTE
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_ORDERS_CREATED
from mts1b_platform.eventbus import Event, EventBus, RetryPolicy, apply_streams
from mts1b_platform.eventbus.errors import StoreHeld
from mts1b_platform.eventbus.hooks import joined
from mts1b_platform.observability import EndpointError, Observed, observe
from mts1b_platform.observability.audit import AuditHook, AuditLog, search
from mts1b_platform.observability.histogram import BOUNDS, Histogram
from mts1b_platform.server import NatsServer
from mts1b_platform.testing.bus import ConnectBus
from prometheus_client.parser import text_string_to_metric_families

ORDERS = "mts.v1.oms.orders.created"
QUOTES = "mts.v1.marketdata.quotes.{symbol}"


def get(observed: Observed, path: str) -> tuple[int, str]:
    assert observed.endpoint is not None
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{observed.endpoint.port}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def until(observed: Observed, path: str, expected: int, problem: str | None = None) -> str:
    """Ask again until the answer is the expected one; a stalled machine makes another one true for a moment."""
    end = time.monotonic() + 60
    while True:
        status, text = await asyncio.to_thread(get, observed, path)
        if status == expected and (problem is None or problem in json.loads(text)["problems"]):
            return text
        assert time.monotonic() < end, f"{path} still says {status}: {text}"


async def scrape(observed: Observed) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    status, text = await asyncio.to_thread(get, observed, "/metrics")
    assert status == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def key(name: str, **labels: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    return name, tuple(sorted(labels.items()))


async def test_publishing_and_consuming_is_counted_by_pattern_and_repo(bus: EventBus):
    async with observe(bus, port=0) as observed:
        await bus.emit(OMS_ORDERS_CREATED, ORDER)
        await bus.emit(OMS_ORDERS_CREATED, ORDER)
        async with bus.consume(OMS_ORDERS_CREATED, durable="t") as consumer:
            async for event in consumer:
                seen = await scrape(observed)
                assert seen[key("nats_consume_in_flight", reader="t", repo="mts1b-oms")] == 1
                async with event:
                    pass
                break
        seen = await scrape(observed)
    labels = {"subject": ORDERS, "repo": "mts1b-oms"}
    assert seen[key("nats_publish_total", **labels)] == 2
    assert seen[key("nats_publish_duplicates_total", **labels)] == 1
    assert seen[key("nats_consume_total", **labels)] == 1
    assert seen[key("nats_publish_ack_seconds_count", **labels)] == 2
    assert seen[key("nats_publish_to_handler_seconds_count", **labels)] == 1
    assert seen[key("nats_handler_seconds_count", **labels)] == 1
    assert seen[key("nats_connected", repo="mts1b-oms")] == 1
    assert seen[key("nats_publish_in_flight", repo="mts1b-oms")] == 0


async def test_a_consumer_whose_store_is_away_is_seen(bus: EventBus):
    met = asyncio.Event()

    async def handle(_: Event[Any]) -> None:
        met.set()
        raise StoreHeld("another process has a transaction open")

    async with observe(bus, port=0) as observed:
        await bus.emit(OMS_ORDERS_CREATED, ORDER)
        consumer = bus.consume(OMS_ORDERS_CREATED, durable="t")
        reading = asyncio.create_task(consumer.run(handle))
        async with asyncio.timeout(60):
            await met.wait()
        seen = await scrape(observed)
        await consumer.stop()
        await reading
    assert seen[key("nats_consume_store_away", reader="t", repo="mts1b-oms")] == 1
    assert seen[key("nats_consume_store_held", reader="t", repo="mts1b-oms")] == 1
    assert seen[key("nats_consume_store_outages_total", subject=ORDERS, repo="mts1b-oms")] == 1
    assert seen.get(key("nats_consume_errors_total", subject=ORDERS, repo="mts1b-oms"), 0) == 0


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("audited", [False, True])
async def test_each_of_many_events_is_counted_and_timed(bus: EventBus, tmp_path: Path, atomic: bool, audited: bool):
    orders = [ORDER.model_copy(update={"idempotency_key": f"intent-{n}"}) for n in range(1_500)]
    if audited:
        bus.hooks = joined(bus.hooks, AuditHook(AuditLog(tmp_path, bus.service)))
    async with observe(bus, port=0) as observed:
        began = time.perf_counter()
        await bus.emit_many(OMS_ORDERS_CREATED, orders, atomic=atomic)
        took = time.perf_counter() - began
        seen = await scrape(observed)
    labels = {"subject": ORDERS, "repo": "mts1b-oms"}
    assert seen[key("nats_publish_total", **labels)] == 1_500
    assert seen[key("nats_publish_ack_seconds_count", **labels)] == 1_500
    assert 0 < seen[key("nats_publish_ack_seconds_sum", **labels)] < 1_500 * took
    assert seen[key("nats_publish_in_flight", repo="mts1b-oms")] == 0
    if audited:
        assert len(list(search(tmp_path, kind="publish"))) == 1_500


@given(st.lists(st.floats(0, 100) | st.sampled_from(BOUNDS)))
def test_observations_that_are_alike_count_like_one_by_one(seconds: list[float]):
    singly, together = Histogram(), Histogram()
    for each in seconds:
        singly.observe(each)
    for each, times in Counter(seconds).items():
        together.observe(each, times)
    assert together.counts == singly.counts
    assert together.total == pytest.approx(singly.total)


async def test_ten_thousand_symbols_are_one_series(connect_bus: ConnectBus):
    market = await connect_bus("mts1b-marketdata", ping_interval=60)
    bus = await connect_bus(ping_interval=60)
    async with observe(market, port=0) as observed:
        async with bus.listen(MARKETDATA_QUOTES) as listener, observe(bus, port=0) as reader:
            for number in range(10_000):
                await market.emit(MARKETDATA_QUOTES, QUOTE.model_copy(update={"symbol": f"SYM{number}/USD"}))
            await market.flush()
            heard = 0
            async for _ in listener:
                heard += 1
                if heard == 10_000:
                    break
            consumed = await scrape(reader)
        published = await scrape(observed)
    assert published[key("nats_publish_total", subject=QUOTES, repo="mts1b-marketdata")] == 10_000
    assert consumed[key("nats_consume_total", subject=QUOTES, repo="mts1b-oms")] == 10_000
    assert len([name for name, _ in published if name.startswith("nats_")]) < 40
    assert not [labels for _, labels in (*published, *consumed) if "SYM" in str(labels)]


async def test_a_mismatching_schema_is_counted_and_dead_lettered_and_the_consumer_goes_on(bus: EventBus):
    await bus.jetstream().publish(ORDERS, b"{}", headers={"mts-schema": "somebody.elses:v9", "Nats-Msg-Id": "bad"})
    await bus.emit(OMS_ORDERS_CREATED, ORDER)
    async with observe(bus, port=0) as observed:
        async for event in bus.consume(OMS_ORDERS_CREATED, durable="t"):
            async with event:
                assert event.payload == ORDER
            break
        seen = await scrape(observed)
    labels = {"subject": ORDERS, "repo": "mts1b-oms"}
    assert seen[key("nats_consume_schema_mismatch_total", **labels)] == 1
    assert seen[key("nats_deadletters_total", **labels)] == 1
    assert seen[key("nats_consume_total", **labels)] == 1


async def test_failures_and_retries_and_drops_are_counted(connect_bus: ConnectBus, nats_server: NatsServer):
    bus = await connect_bus(ping_interval=60)
    await apply_streams(bus)
    await bus.emit(OMS_ORDERS_CREATED, ORDER)
    async with observe(bus, port=0) as observed:
        failed = False
        async for event in bus.consume(
            OMS_ORDERS_CREATED, durable="t", policy=RetryPolicy(max_deliveries=3, base=0.01)
        ):
            async with event:
                if not failed:
                    failed = True
                    raise ValueError("once")
            if event.deliveries == 2:
                break
        nats_server.kill()
        again = asyncio.create_task(bus.emit(OMS_ORDERS_CREATED, ORDER, msg_id="second"))
        while not bus.counters.publish_retries:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0.01)
        await nats_server.restart()
        await again
        seen = await scrape(observed)
    labels = {"subject": ORDERS, "repo": "mts1b-oms"}
    assert seen[key("nats_consume_errors_total", **labels)] == 1
    assert seen[key("nats_publish_retries_total", **labels)] >= 1
    assert seen[key("nats_reconnects_total", repo="mts1b-oms")] == 1
    assert seen[key("nats_disconnects_total", repo="mts1b-oms")] == 1


async def test_a_service_is_ready_while_its_server_answers(bus: EventBus, nats_server: NatsServer):
    async with observe(bus, port=0) as observed:
        await until(observed, "/readyz", 200)
        nats_server.pause()
        text = await until(observed, "/readyz", 503, problem="bus")
        await until(observed, "/healthz", 200)
        nats_server.resume()
        assert "NATS server" in json.loads(text)["problems"]["bus"]
        await until(observed, "/readyz", 200)


async def test_a_check_of_the_service_counts_into_readiness(bus: EventBus):
    async def books() -> str | None:
        return "books are locked"

    async with observe(bus, port=0) as observed:
        observed.check("books", books)
        text = await until(observed, "/readyz", 503, problem="books")
    assert json.loads(text)["problems"]["books"] == "books are locked"


async def test_slow_checks_are_asked_side_by_side_and_a_broken_one_is_a_problem(bus: EventBus):
    together = asyncio.Barrier(4)

    async def slow() -> str | None:
        await together.wait()  # asked one after the other, none would ever answer
        return None

    async def broken() -> str | None:
        raise KeyError("table")

    async with observe(bus, port=0) as observed:
        for number in range(4):
            observed.check(f"slow {number}", slow)
        await until(observed, "/readyz", 200)
        observed.check("broken", broken)
        text = await until(observed, "/readyz", 503, problem="broken")
    problems = json.loads(text)["problems"]
    assert problems["broken"] == "KeyError: 'table'"
    assert not [name for name in problems if name.startswith("slow")]


async def test_a_blocked_event_loop_is_unhealthy_not_silent(bus: EventBus):
    async with observe(bus, port=0) as observed:
        with ThreadPoolExecutor() as pool:  # this thread is the loop's: it is blocked for as long as it waits here
            status, text = pool.submit(get, observed, "/healthz").result(60)
    assert status == 503
    assert "blocked" in json.loads(text)["problems"]["event loop"]


async def test_a_taken_port_is_named_with_the_remedy(bus: EventBus, connect_bus: ConnectBus):
    async with observe(bus, port=0) as first:
        assert first.endpoint is not None
        with pytest.raises(EndpointError, match=rf"{first.endpoint.port}.*taken.*MTS1B_METRICS_PORT"):
            async with observe(await connect_bus(), port=first.endpoint.port):
                pass


async def test_the_endpoint_announces_itself_and_sweeps_what_a_killed_process_left(
    connect_bus: ConnectBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MTS1B_METRICS_PORT", "0")
    monkeypatch.setenv("MTS1B_METRICS_DIR", str(tmp_path / "targets"))
    (tmp_path / "targets").mkdir()
    left = tmp_path / "targets" / "mts1b-oms-4194304.json"  # above the highest pid there can be
    left.write_text("[]")
    bus = await connect_bus("mts1b-oms")
    async with observe(bus) as observed:
        (path,) = (tmp_path / "targets").iterdir()
        assert observed.endpoint is not None
        assert json.loads(path.read_text())[0]["targets"] == [f"127.0.0.1:{observed.endpoint.port}"]
    assert not list((tmp_path / "targets").iterdir())


async def test_records_of_the_audit_log_are_counted(
    bus: EventBus, connect_bus: ConnectBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    await apply_streams(bus)
    monkeypatch.setenv("MTS1B_AUDIT_DIR", str(tmp_path / "audit"))
    audited = await connect_bus("mts1b-oms")
    async with observe(audited, port=0) as observed:
        await audited.emit(OMS_ORDERS_CREATED, ORDER)
        seen = await scrape(observed)
    assert seen[key("nats_audit_records_total", repo="mts1b-oms")] == 1
    assert seen[key("nats_audit_failures_total", repo="mts1b-oms")] == 0


TWIN = """
import asyncio, sys
from mts1b_foundation.samples import ORDER
from mts1b_foundation.subjects import OMS_ORDERS_CREATED
from mts1b_platform.eventbus import connect
from mts1b_platform.observability import observe
async def main():
    async with await connect() as bus, observe(bus):
        for number in range(int(sys.argv[1])):
            await bus.emit(OMS_ORDERS_CREATED, ORDER, msg_id=f"{sys.argv[1]}-{number}")
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


async def test_two_processes_of_a_service_are_scraped_apart_and_nothing_is_lost(
    bus: EventBus, nats_server: NatsServer, tmp_path: Path
):
    await apply_streams(bus)
    environment = {
        **os.environ,
        "MTS1B_NATS_URL": nats_server.url,
        "MTS1B_SERVICE": "mts1b-oms",
        "MTS1B_METRICS_PORT": "0",
        "MTS1B_METRICS_DIR": str(tmp_path),
    }
    twins = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", TWIN, number, stdin=PIPE, stdout=PIPE, env=environment
        )
        for number in ("3", "5")
    ]
    try:
        for twin in twins:
            assert twin.stdout is not None
            assert await twin.stdout.readline() == b"ready\n"
        counts = [
            re.search(r"nats_publish_total\{.*\} (\d+)", await asyncio.to_thread(read, one))
            for one in announced(tmp_path)
        ]
        assert sorted(int(count[1]) for count in counts if count) == [3, 5]
    finally:
        for twin in twins:
            assert twin.stdin is not None
            twin.stdin.close()
            await twin.wait()
    assert announced(tmp_path) == []


def announced(directory: Path) -> list[str]:
    return [json.loads(path.read_text())[0]["targets"][0] for path in directory.glob("mts1b-oms-*.json")]


def read(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=60) as answer:
        return answer.read().decode()


async def test_counts_of_two_connections_of_a_process_are_summed_and_survive_a_close(
    bus: EventBus, connect_bus: ConnectBus
):
    other = await connect_bus("mts1b-oms")
    async with observe(bus, port=0) as observed:
        observed.watch(other)
        await apply_streams(bus)
        await bus.emit(OMS_ORDERS_CREATED, ORDER, msg_id="1")
        await other.emit(OMS_ORDERS_CREATED, ORDER, msg_id="2")
        await other.close()
        seen = await scrape(observed)
    assert seen[key("nats_publish_total", subject=ORDERS, repo="mts1b-oms")] == 2
