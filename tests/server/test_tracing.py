"""Traces: one trace id from cause to effect, spans joined across services, nothing exported by default."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from itertools import pairwise
from typing import cast

import pytest
from mts1b_foundation.samples import FILL, NAV, ORDER, QUOTE, SIGNAL
from mts1b_foundation.subjects import (
    MARKETDATA_QUOTES,
    OMS_FILLS_CREATED,
    OMS_ORDERS_CREATED,
    RESEARCH_SIGNALS_PUBLISHED,
    TREASURY_NAV,
)
from mts1b_platform.eventbus import EventBus, RetryPolicy
from mts1b_platform.eventbus.hooks import joined
from mts1b_platform.logs import configure_logging, get_logger
from mts1b_platform.observability.tracing import Tracing, provider_for
from mts1b_platform.testing.bus import ConnectBus
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Traced:
    """A service's bus and the spans that it made."""

    def __init__(self, bus: EventBus, ratio: float = 1.0) -> None:
        self.bus = bus
        self.memory = InMemorySpanExporter()
        provider = provider_for(bus.service)
        provider.add_span_processor(SimpleSpanProcessor(self.memory))
        bus.hooks = joined(bus.hooks, Tracing(provider, ratio=ratio))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.memory.get_finished_spans()


def ids(span: ReadableSpan) -> tuple[str, str, str | None]:
    assert span.context is not None
    parent = f"{span.parent.span_id:016x}" if span.parent else None
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}", parent


async def test_spans_follow_the_event_from_service_to_service(bus: EventBus, connect_bus: ConnectBus):
    market = Traced(await connect_bus("mts1b-marketdata"))
    research = Traced(await connect_bus("mts1b-research"))
    oms = Traced(bus)
    treasury = Traced(await connect_bus("mts1b-treasury"))
    async with research.bus.listen(MARKETDATA_QUOTES) as quotes:
        await market.bus.emit(MARKETDATA_QUOTES, QUOTE)
        async with await anext(aiter(quotes)):
            await research.bus.emit(RESEARCH_SIGNALS_PUBLISHED, SIGNAL)
    async with bus.consume(RESEARCH_SIGNALS_PUBLISHED, durable="oms") as signals, await anext(signals):
        await bus.emit(OMS_FILLS_CREATED, FILL)
    async with treasury.bus.consume(OMS_FILLS_CREATED, durable="treasury") as fills, await anext(fills):
        await treasury.bus.emit(TREASURY_NAV, NAV)
    chain = [*market.spans, *reversed(research.spans), *reversed(oms.spans), *reversed(treasury.spans)]
    assert [span.name.split()[0] for span in chain] == ["send", "process"] * 3 + ["send"]
    assert len({ids(span)[0] for span in chain}) == 1
    assert ids(chain[0])[2] is None
    for before, after in pairwise(chain):
        assert ids(after)[2] == ids(before)[1]
    assert chain[1].kind is SpanKind.CONSUMER
    assert chain[-1].kind is SpanKind.PRODUCER
    process = dict(chain[3].attributes or {})
    assert process["messaging.system"] == "nats"
    assert process["messaging.destination.name"] == "mts.v1.research.signals.published.fund.alpha"
    assert process["messaging.destination.template"] == "mts.v1.research.signals.published"
    assert process["messaging.consumer.group.name"] == "oms"
    assert process["messaging.operation.type"] == "process"
    assert process["messaging.message.id"] == SIGNAL.signal_id


@pytest.mark.parametrize("atomic", [False, True])
async def test_events_that_are_published_together_are_traced_too(bus: EventBus, *, atomic: bool):
    oms = Traced(bus)
    orders = [ORDER.model_copy(update={"idempotency_key": f"key-{n}"}) for n in range(3)]
    await bus.emit_many(OMS_ORDERS_CREATED, orders, atomic=atomic)
    assert [span.name.split()[0] for span in oms.spans] == ["send"] * 3
    async with bus.consume(OMS_ORDERS_CREATED, durable="t") as events:
        for span in oms.spans:
            async with await anext(events) as event:
                assert event.headers["traceparent"].split("-")[1:3] == [*ids(span)[:2]]


async def test_a_failing_handler_marks_its_span_and_the_next_delivery_is_another(bus: EventBus):
    oms = Traced(bus)
    await bus.emit(OMS_ORDERS_CREATED, ORDER)
    async for event in bus.consume(OMS_ORDERS_CREATED, durable="t", policy=RetryPolicy(base=0.01)):
        async with event:
            if event.deliveries == 1:
                raise ValueError("no such book")
        if event.deliveries == 2:
            break
    failed, done = oms.spans[1:]
    assert failed.status.status_code is StatusCode.ERROR
    assert "no such book" in str(failed.status.description)
    assert done.status.status_code is StatusCode.UNSET
    assert failed.parent == done.parent


async def test_the_handlers_own_spans_are_children(bus: EventBus):
    oms = Traced(bus)
    tracer = provider_for("x").get_tracer("application")
    await bus.emit(OMS_ORDERS_CREATED, ORDER, trace_id=TRACE)
    async with bus.consume(OMS_ORDERS_CREATED, durable="t") as orders, await anext(orders):
        mine = tracer.start_span("book")
        mine.end()
        assert f"{mine.get_span_context().trace_id:032x}" == TRACE
    assert ids(oms.spans[0])[0] == TRACE
    assert not trace.get_current_span().get_span_context().is_valid


async def test_what_is_not_recorded_still_has_its_trace_id_and_no_traceparent(bus: EventBus):
    oms = Traced(bus, ratio=0.0)
    await bus.emit(OMS_ORDERS_CREATED, ORDER, trace_id=TRACE)
    async with bus.consume(OMS_ORDERS_CREATED, durable="t") as orders, await anext(orders) as event:
        ack = await bus.emit(OMS_FILLS_CREATED, FILL)
        assert event.trace_id == TRACE
        assert "traceparent" not in event.headers
        caused = await bus.jetstream().get_msg(ack.stream, ack.seq)
        assert (caused.headers or {})["mts-trace-id"] == TRACE
    assert oms.spans == ()


async def test_services_with_the_same_share_record_the_same_traces(bus: EventBus, connect_bus: ConnectBus):
    oms = Traced(bus, ratio=0.5)
    reader = Traced(await connect_bus("mts1b-treasury"), ratio=0.5)
    for number in range(40):
        await bus.emit(OMS_ORDERS_CREATED, ORDER, msg_id=str(number))
    async with reader.bus.consume(OMS_ORDERS_CREATED, durable="t") as orders:
        for _ in range(40):
            async with await anext(orders):
                pass
    sent, processed = ({ids(span)[0] for span in service.spans} for service in (oms, reader))
    assert sent == processed
    assert 5 < len(sent) < 35


async def test_a_trace_begun_outside_is_recorded_when_it_says_so(bus: EventBus):
    oms = Traced(bus, ratio=0.0)
    headers = {
        "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01",
        "mts-trace-id": TRACE,
        "mts-schema": OMS_ORDERS_CREATED.schema_id,
        "mts-source-repo": "mts1b-oms",
    }
    await bus.plain_jetstream().publish("mts.v1.oms.orders.created", ORDER.model_dump_json().encode(), headers=headers)
    async with bus.consume(OMS_ORDERS_CREATED, durable="t") as orders, await anext(orders):
        pass
    (span,) = oms.spans
    assert ids(span)[0] == TRACE
    assert ids(span)[2] == "00f067aa0ba902b7"


@pytest.mark.parametrize("atomic", [False, True])
async def test_of_events_that_are_published_together_the_recorded_ones_name_their_span(bus: EventBus, *, atomic: bool):
    oms = Traced(bus, ratio=0.5)
    orders = [ORDER.model_copy(update={"idempotency_key": f"key-{n}"}) for n in range(40)]
    acks = await bus.emit_many(OMS_ORDERS_CREATED, orders, atomic=atomic)
    sent = {span.attributes["messaging.nats.sequence"]: ids(span) for span in oms.spans if span.attributes}
    assert 5 < len(sent) < 35
    async with bus.consume(OMS_ORDERS_CREATED, durable="t") as events:
        for ack in acks:
            async with await anext(events) as event:
                assert event.seq == ack.seq
                assert event.trace_id is not None
                if event.seq in sent:
                    assert event.headers["traceparent"] == "00-{}-{}-01".format(*sent[event.seq])
                    assert event.trace_id == sent[event.seq][0]
                else:
                    assert "traceparent" not in event.headers
    processed = [ids(span) for span in oms.spans if span.kind is SpanKind.CONSUMER]
    in_order = [sent[ack.seq] for ack in acks if ack.seq in sent]
    assert [(trace, parent) for trace, _, parent in processed] == [span[:2] for span in in_order]


async def test_a_quote_joins_the_applications_own_recorded_span_whatever_the_share(
    bus: EventBus, connect_bus: ConnectBus
):
    market = Traced(await connect_bus("mts1b-marketdata"), ratio=0.0)
    tracer = provider_for("x").get_tracer("application")
    async with bus.listen(MARKETDATA_QUOTES) as quotes:
        with tracer.start_as_current_span("request") as request:
            mine = ids(cast("ReadableSpan", request))
            await market.bus.emit(MARKETDATA_QUOTES, QUOTE)  # of a trace of its own
            await market.bus.emit(MARKETDATA_QUOTES, QUOTE, trace_id=mine[0])
        await market.bus.emit(MARKETDATA_QUOTES, QUOTE, trace_id=mine[0])
        heard = [await anext(aiter(quotes)) for _ in range(3)]
    assert [event.headers.get("traceparent") is not None for event in heard] == [False, True, False]
    (span,) = market.spans
    assert ids(span) == (mine[0], heard[1].headers["traceparent"].split("-")[2], mine[1])
    assert heard[2].trace_id == mine[0]


async def test_a_quote_joins_the_recorded_trace_of_its_cause_whatever_the_share(bus: EventBus, connect_bus: ConnectBus):
    market = Traced(await connect_bus("mts1b-marketdata"))
    silent = Traced(await connect_bus("mts1b-marketdata"), ratio=0.0)
    async with bus.listen(MARKETDATA_QUOTES) as quotes:
        await market.bus.emit(MARKETDATA_QUOTES, QUOTE)
        cause = await anext(aiter(quotes))
        await silent.bus.emit(MARKETDATA_QUOTES, QUOTE, cause=cause)
        caused = await anext(aiter(quotes))
    (sent,), (joined_it,) = market.spans, silent.spans
    assert ids(joined_it) == (ids(sent)[0], caused.headers["traceparent"].split("-")[2], ids(sent)[1])


async def test_a_quote_that_is_not_recorded_keeps_the_trace_of_what_is_handled(bus: EventBus, connect_bus: ConnectBus):
    market = Traced(await connect_bus("mts1b-marketdata"), ratio=0.0)
    await bus.emit(OMS_ORDERS_CREATED, ORDER, trace_id=TRACE)
    async with bus.listen(MARKETDATA_QUOTES) as quotes, bus.consume(OMS_ORDERS_CREATED, durable="t") as orders:
        async with await anext(orders):
            await market.bus.emit(MARKETDATA_QUOTES, QUOTE)
        await market.bus.emit(MARKETDATA_QUOTES, QUOTE)
        inside, outside = [(await anext(aiter(quotes))).trace_id for _ in range(2)]
    assert inside == TRACE
    assert outside not in (None, TRACE)
    assert market.spans == ()


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    text = io.StringIO()
    configure_logging(style="json", stream=text)
    yield text
    root.handlers[:] = before
    root.setLevel(level)


async def test_every_line_of_a_handler_carries_trace_and_position(bus: EventBus, lines: io.StringIO):
    await bus.emit(OMS_ORDERS_CREATED, ORDER, trace_id=TRACE)
    async with bus.consume(OMS_ORDERS_CREATED, durable="t") as orders, await anext(orders):
        get_logger("desk.books").info("booked", quantity=3)
        logging.getLogger("somebody.elses").warning("as well")
        await asyncio.create_task(_in_a_task())
    get_logger("desk.books").info("outside")
    said = {line["event"]: line for line in map(json.loads, lines.getvalue().splitlines())}
    for event in ("booked", "as well", "in a task"):
        assert said[event]["trace_id"] == TRACE
        assert said[event]["subject"] == "mts.v1.oms.orders.created.fund.alpha"
        assert (said[event]["stream"], said[event]["seq"], said[event]["durable"]) == ("OMS_ORDERS", 1, "t")
    assert said["booked"]["quantity"] == 3
    assert "trace_id" not in said["outside"]


async def _in_a_task() -> None:
    get_logger("desk.books").info("in a task")


async def test_a_line_about_another_message_keeps_its_own_fields(bus: EventBus, lines: io.StringIO):
    await bus.emit(OMS_ORDERS_CREATED, ORDER)
    async with bus.consume(OMS_ORDERS_CREATED, durable="t") as orders, await anext(orders):
        get_logger("x").info("other", seq=99)
    assert json.loads(lines.getvalue().splitlines()[-1])["seq"] == 99
