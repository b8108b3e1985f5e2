"""Prometheus metrics of the buses of this process.

Counting costs the hot path an integer addition: the bus counts by itself (``eventbus/counters.py``), and the collector
here reads the integers when Prometheus asks. Only times are taken by a hook, for durable events alone.
"""

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from mts1b_foundation.event import Event as Payload
from mts1b_foundation.subjects import Subject
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from mts1b_platform.eventbus import Ack, Consumer, Event, EventBus, LiveEvent
from mts1b_platform.eventbus.core import CORE
from mts1b_platform.eventbus.events.outgoing import Outgoing
from mts1b_platform.eventbus.hooks import Chain, Hooks, joined
from mts1b_platform.eventbus.protocol.position import stored_at
from mts1b_platform.observability import names
from mts1b_platform.observability.audit import AuditHook
from mts1b_platform.observability.histogram import BOUNDS, Histogram
from mts1b_platform.observability.names import Metric

_BY_SUBJECT = {
    names.PUBLISHED: "published",
    names.PUBLISH_ERRORS: "publish_failed",
    names.PUBLISH_DROPPED: "publish_dropped",
    names.PUBLISH_RETRIES: "publish_retries",
    names.PUBLISH_DUPLICATES: "publish_duplicates",
    names.CONSUMED: "consumed",
    names.CONSUME_ERRORS: "consume_errors",
    names.SCHEMA_MISMATCH: "schema_mismatch",
    names.DEDUPLICATED: "deduplicated",
    names.STORE_OUTAGES: "store_outages",
    names.TAKEOVERS: "takeovers",
    names.DEADLETTERS: "deadletters",
    names.SLOW_CONSUMER_DROPS: "slow_consumer_drops",
}
_BY_REPO = {
    names.RECONNECTS: "reconnects",
    names.DISCONNECTS: "disconnects",
    names.CONNECTION_ERRORS: "errors",
}

Values = dict[tuple[str, ...], float]


def family(metric: Metric, values: Values) -> Family:
    """``values`` by label as a counter or gauge family."""
    name, labels = metric.name, list(metric.labels)
    made = (
        CounterMetricFamily(name.removesuffix("_total"), metric.help, labels=labels)
        if metric.kind == "counter"
        else GaugeMetricFamily(name, metric.help, labels=labels)
    )
    for key, value in values.items():
        made.add_metric(list(key), value)
    return made


class Timings(Hooks):
    """The hook that takes times: publish to ack, store to handler, handler."""

    best_effort = False
    handlers = False
    one_by_one = False
    decisions = True

    def __init__(self) -> None:
        self.ack: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.latency: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.handler: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.in_flight = 0
        if CORE is not None:
            self.settled = CORE.Timer(self.settled, self.latency, self.handler, Histogram, BOUNDS)

    def publishing(
        self, _subject: Subject[Any], _event: Payload | None, _out: Outgoing, _cause: LiveEvent[Any] | None, /
    ) -> float:
        """Start the clock."""
        self.in_flight += 1
        return time.perf_counter()

    def published(self, mark: float, out: Outgoing, ack: Ack | None, _error: BaseException | None, /) -> None:
        """Stop it; only what was stored counts."""
        self.in_flight -= 1
        if ack is not None:
            self.ack[out.pattern].observe(time.perf_counter() - mark)

    def stored_many(self, subject: Subject[Any], took: Sequence[tuple[float, int]], /) -> None:
        """Count how long they took."""
        histogram = self.ack[subject.pattern]
        for seconds, events in took:
            histogram.observe(seconds, events)

    def loaded(self, subject: Subject[Any], trace_id: str, stored: int, error: BaseException | None, /) -> None:
        """Nothing: a bulk load is counted like its events."""

    def entered(self, _event: LiveEvent[Any], /) -> None:
        """Nothing."""

    def left(self, _mark: None, _event: LiveEvent[Any], _error: BaseException | None, /) -> None:
        """Nothing."""

    def settled(self, event: Event[Any], /) -> None:
        """Take the latency by the wall clocks of server and reader, and how long the handler was at work."""
        received_at = event.received_at
        if not received_at:
            return  # it was handed out before anybody watched
        pattern = event.registered.pattern
        waited, worked = received_at - stored_at(event.reply) * 1e-9, time.time() - received_at
        latency, handler = self.latency[pattern], self.handler[pattern]
        if waited < 0.0 or worked < 0.0:
            latency.observe(waited)
            handler.observe(worked)
            return
        # What observe() does, without the calls: this is all that metrics cost an event.
        latency.counts[bisect_left(BOUNDS, waited)] += 1
        latency.total += waited
        handler.counts[bisect_left(BOUNDS, worked)] += 1
        handler.total += worked

    def closed(self) -> None:
        """Nothing: what was counted is still served."""


def seconds_at_work(bus: EventBus) -> dict[str, float]:
    """How long the handlers of durable events were at work, by registered pattern; empty while nobody takes times."""
    hooks = bus.hooks.hooks if isinstance(bus.hooks, Chain) else (bus.hooks,)
    found: dict[str, float] = {}
    for hook in hooks:
        if isinstance(hook, Timings):
            found |= {pattern: each.total for pattern, each in hook.handler.items()}
    return found


class BusMetrics(Collector):
    """Collects the metrics of every bus that it watches; sums buses that speak as the same repo."""

    def __init__(self) -> None:
        self._watched: list[tuple[EventBus, Timings]] = []

    def watch(self, bus: EventBus) -> None:
        """Watch ``bus`` from now on. What it counted stays after it is closed."""
        timings = Timings()
        bus.hooks = joined(bus.hooks, timings)
        self._watched.append((bus, timings))

    def collect(self) -> Iterator[Family]:
        """What Prometheus scrapes; runs in the endpoint's thread, reads only."""
        watched = list(self._watched)
        yield from self._counters(watched)
        yield from _audit(watched)
        yield from _gauges(watched)
        yield from _histograms(watched)

    def _counters(self, watched: list[tuple[EventBus, Timings]]) -> Iterator[Family]:
        for metric, name in _BY_SUBJECT.items():
            values: Values = defaultdict(float)
            for bus, _ in watched:
                # copied in one step: the event loop goes on counting meanwhile
                for pattern, count in dict(getattr(bus.counters, name)).items():
                    values[pattern, bus.service] += count
            yield family(metric, values)
        for metric, name in _BY_REPO.items():
            values = defaultdict(float)
            for bus, _ in watched:
                values[(bus.service,)] += getattr(bus.counters, name)
            yield family(metric, values)


def _audit(watched: list[tuple[EventBus, Timings]]) -> Iterator[Family]:
    records: Values = defaultdict(float)
    failures: Values = defaultdict(float)
    for bus, _ in watched:
        for hook in bus.hooks.hooks if isinstance(bus.hooks, Chain) else ():
            if isinstance(hook, AuditHook):
                records[(bus.service,)] += hook.audit.written
                failures[(bus.service,)] += hook.audit.failures
    yield family(names.AUDIT_RECORDS, records)
    yield family(names.AUDIT_FAILURES, failures)


def _gauges(watched: list[tuple[EventBus, Timings]]) -> Iterator[Family]:
    connected: Values = {}
    publishing: Values = defaultdict(float)
    pending: Values = defaultdict(float)
    handling: Values = defaultdict(float)
    away: Values = defaultdict(float)
    held: Values = defaultdict(float)
    active: Values = defaultdict(float)
    depth: Values = defaultdict(float)
    for bus, timings in watched:
        if bus.is_closed:
            continue
        repo = bus.service
        connected[(repo,)] = min(connected.get((repo,), 1.0), float(bus.is_connected))
        publishing[(repo,)] += max(timings.in_flight, bus.outstanding)
        pending[(repo,)] += bus.pending_bytes
        for reader in bus.readers:
            if isinstance(reader, Consumer):
                handling[reader.durable, repo] += reader.open
                away[reader.durable, repo] += reader.store_away is not None
                held[reader.durable, repo] += reader.store_held
                depth[reader.durable, repo] += reader.waiting
                if reader.may_stand_by:
                    active[reader.durable, repo] += reader.active
            else:
                depth[reader.patterns[0], repo] += reader.waiting
    yield family(names.CONNECTED, connected)
    yield family(names.PUBLISH_IN_FLIGHT, publishing)
    yield family(names.PENDING_BYTES, pending)
    yield family(names.CONSUME_IN_FLIGHT, handling)
    yield family(names.STORE_AWAY, away)
    yield family(names.STORE_HELD, held)
    yield family(names.ACTIVE, active)
    yield family(names.QUEUE_DEPTH, depth)


def _histograms(watched: list[tuple[EventBus, Timings]]) -> Iterator[Family]:
    for metric, name in (
        (names.PUBLISH_ACK_SECONDS, "ack"),
        (names.PUBLISH_TO_HANDLER_SECONDS, "latency"),
        (names.HANDLER_SECONDS, "handler"),
    ):
        merged: defaultdict[tuple[str, str], Histogram] = defaultdict(Histogram)
        for bus, timings in watched:
            for pattern, histogram in dict(getattr(timings, name)).items():
                into = merged[pattern, bus.service]
                into.counts = [mine + theirs for mine, theirs in zip(into.counts, histogram.counts, strict=True)]
                into.total += histogram.total
        made = HistogramMetricFamily(metric.name, metric.help, labels=list(metric.labels))
        for key, histogram in merged.items():
            made.add_metric(list(key), histogram.buckets(), histogram.total)
        yield made
