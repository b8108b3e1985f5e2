"""Traces of the bus in OpenTelemetry's terms, joined across services by the envelope.

A durable or best-effort publish is a producer span, ``async with event`` a consumer span, named and described by the
messaging semantic conventions. The trace id is the envelope's ``mts-trace-id``; ``traceparent`` goes along when the
trace is recorded, so that spans find their parents in other services.

Whether a trace is recorded follows from its id alone, before anything of the SDK is touched: services with the same
share record the same traces, and an event that is not recorded costs one comparison, in the compiled core.
"""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from mts1b_foundation.errors import Mts1bError
from mts1b_foundation.event import Event as Payload
from mts1b_foundation.subjects import Subject
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from mts1b_platform.config import Settings
from mts1b_platform.eventbus import Ack, Event, LiveEvent
from mts1b_platform.eventbus.errors import Signal
from mts1b_platform.eventbus.events.outgoing import Outgoing
from mts1b_platform.eventbus.events.trace import current_traceparent
from mts1b_platform.eventbus.events.trace_share import TraceShare, trace_number
from mts1b_platform.eventbus.hooks import Hooks
from mts1b_platform.eventbus.protocol.envelope_reader import StaticHeaderCache

_NOWHERE: Final = Context()

_wanted_trace: ContextVar[int | None] = ContextVar("mts1b_wanted_trace", default=None)
"""The trace id that the next root span shall have."""


class TracingError(Mts1bError):
    """Traces were asked for and cannot be exported."""


class TraceIds(RandomIdGenerator):
    """Ids for the SDK: a root span gets the trace id of its event."""

    def generate_trace_id(self) -> int:
        """The event's trace id, else a random one."""
        return _wanted_trace.get() or super().generate_trace_id()


class Tracing(Hooks):
    """Makes the spans of one bus.

    Args:
        provider: where spans go; made by :func:`provider_for`, so that trace ids are the envelope's.
        ratio: share of traces that are recorded.
        close: whether to flush and shut the provider down when the bus is closed.
    """

    best_effort = True
    handlers = True
    one_by_one = True
    decisions = False

    def __init__(self, provider: TracerProvider, *, ratio: float = 1.0, close: bool = False) -> None:
        self.share = self._share = TraceShare(ratio)
        self._provider = provider
        self._tracer = provider.get_tracer("mts1b.eventbus")
        self._close = close
        self._sending: dict[str, _Spans] = {}
        """Of spans of publishes what each of a pattern begins with."""
        self._processing: dict[str, _Spans] = {}
        self._static = StaticHeaderCache()

    def concerns(self, trace_id: str, cause: LiveEvent[Any] | None, /) -> bool:
        """Whether what is published now in this trace is recorded."""
        number = trace_number(trace_id)
        if number is None:
            return False
        return self._recorded(number, _ambient(number) or _remote(cause.ids.traceparent if cause else "", number))

    def publishing(
        self, subject: Subject[Any], _event: Payload | None, out: Outgoing, cause: LiveEvent[Any] | None, /
    ) -> Span | None:
        """Begin the producer span and send its ``traceparent`` along; None for a trace that is not recorded."""
        ids = out.ids
        trace_id = trace_number(ids.trace_id)
        if trace_id is None:
            return None
        parent = _ambient(trace_id) or _remote(cause.ids.traceparent if cause else ids.traceparent, trace_id)
        if not self._recorded(trace_id, parent):
            return None
        pattern = subject.pattern
        spans = self._sending.get(pattern) or self._remember(
            self._sending, pattern, _Spans(f"send {pattern}", SpanKind.PRODUCER, _common(pattern, "publish", "send"))
        )
        attributes = {
            **spans.attributes,
            "messaging.destination.name": out.subject,
            "messaging.message.body.size": len(out.payload),
            **_named(ids.msg_id, out.actor),
        }
        span = self._start(spans, trace_id, parent, attributes)
        out.begin_span(_traceparent(span))
        return span

    def published(self, mark: Span | None, _out: Outgoing, ack: Ack | None, error: BaseException | None, /) -> None:
        """End it."""
        if mark is None:
            return
        if ack is not None:
            mark.set_attributes(
                {
                    "messaging.nats.stream": ack.stream,
                    "messaging.nats.sequence": ack.seq,
                    "messaging.nats.duplicate": ack.duplicate,
                }
            )
        _end(mark, error)

    def stored_many(self, subject: Subject[Any], took: Sequence[tuple[float, int]], /) -> None:
        """Nothing: each of them was seen."""

    def loaded(self, subject: Subject[Any], trace_id: str, stored: int, error: BaseException | None, /) -> None:
        """Nothing: a bulk load is counted like its events."""

    def entered(self, event: LiveEvent[Any], /) -> "tuple[Span, Any, Any] | None":
        """Begin the consumer span and make it the present one, so that the handler's own spans are its children."""
        ids = event.ids
        trace_id = trace_number(ids.trace_id)
        if trace_id is None:
            return None
        parent = _remote(ids.traceparent, trace_id)
        if not self._recorded(trace_id, parent):
            return None
        pattern = event.registered.pattern
        spans = self._processing.get(pattern) or self._remember(
            self._processing,
            pattern,
            _Spans(f"process {pattern}", SpanKind.CONSUMER, _common(pattern, "process", "process")),
        )
        attributes = {
            **spans.attributes,
            "messaging.destination.name": event.subject,
            **_named(ids.msg_id, self._static.read(event.wire.head).actor),
            **_position(event),
        }
        span = self._start(spans, trace_id, parent, attributes)
        attached = otel_context.attach(trace.set_span_in_context(span))
        return span, attached, current_traceparent.set(_traceparent(span))

    def left(
        self, mark: "tuple[Span, Any, Any] | None", _event: LiveEvent[Any], error: BaseException | None, /
    ) -> None:
        """End it."""
        if mark is not None:
            span, attached, present = mark
            current_traceparent.reset(present)
            otel_context.detach(attached)
            _end(span, error)

    def settled(self, _event: Event[Any], /) -> None:
        """Nothing."""

    def closed(self) -> None:
        """Send what is left, when the provider is ours."""
        if self._close:
            self._provider.shutdown()

    def _recorded(self, trace_id: int, parent: Span | None) -> bool:
        return self._share.has_number(trace_id) or (
            parent is not None and parent.get_span_context().trace_flags.sampled
        )

    def _remember(self, known: "dict[str, _Spans]", pattern: str, spans: "_Spans") -> "_Spans":
        known[pattern] = spans
        return spans

    def _start(self, spans: "_Spans", trace_id: int, parent: Span | None, attributes: dict[str, Any]) -> Span:
        if parent is not None:
            context = trace.set_span_in_context(parent, _NOWHERE)
            return self._tracer.start_span(spans.name, context, spans.kind, attributes)
        token = _wanted_trace.set(trace_id)
        try:
            return self._tracer.start_span(spans.name, _NOWHERE, spans.kind, attributes)
        finally:
            _wanted_trace.reset(token)


class _Spans(NamedTuple):
    """What the spans of one subject and one kind of step have in common."""

    name: str
    kind: SpanKind
    attributes: dict[str, Any]


def provider_for(service: str) -> TracerProvider:
    """A provider whose root spans take the trace id of their event; add a span processor to it."""
    return TracerProvider(
        resource=Resource.create({"service.name": service, "service.namespace": "mts1b"}), id_generator=TraceIds()
    )


def exporting(settings: Settings, service: str) -> Tracing:
    """Traces that are sent to the settings' ``otlp_endpoint``, in batches, off the event loop.

    Raises:
        TracingError: the exporter is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
            OTLPSpanExporter,
        )
    except ImportError as error:
        raise TracingError(
            f"otlp_endpoint is {settings.otlp_endpoint}, but the exporter is not installed: "
            "pip install 'mts1b-platform[otlp]'"
        ) from error
    provider = provider_for(service)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.otlp_endpoint)))
    return Tracing(provider, ratio=settings.trace_ratio, close=True)


def _ambient(trace_id: int) -> Span | None:
    """The present span, when it is of this trace."""
    if not otel_context.get_current():
        return None  # no span at all: the common case, told apart cheaply
    present = trace.get_current_span()
    context = present.get_span_context()
    return present if context.is_valid and context.trace_id == trace_id else None


def _remote(traceparent: str | None, trace_id: int) -> Span | None:
    """The span that a message names as its own, when it is of the message's trace."""
    if not traceparent:
        return None
    parts = traceparent.split("-")
    if len(parts) < 4 or len(parts[2]) != 16:
        return None
    try:
        named, span_id, flags = int(parts[1], 16), int(parts[2], 16), int(parts[3], 16)
    except ValueError:
        return None
    if named != trace_id or not span_id:
        return None
    return NonRecordingSpan(SpanContext(named, span_id, is_remote=True, trace_flags=TraceFlags(flags)))


def _traceparent(span: Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"


def _common(pattern: str, name: str, kind: str) -> dict[str, Any]:
    return {
        "messaging.system": "nats",
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.template": pattern,
    }


def _named(message_id: str, actor: str | None) -> dict[str, str]:
    if not actor:
        return {"messaging.message.id": message_id} if message_id else {}
    if not message_id:
        return {"mts.actor": actor}
    return {"messaging.message.id": message_id, "mts.actor": actor}


def _position(event: LiveEvent[Any]) -> dict[str, Any]:
    if not isinstance(event, Event):
        return {}
    position = event.position
    return {
        "messaging.consumer.group.name": position.consumer,
        "messaging.nats.stream": position.stream,
        "messaging.nats.sequence": position.seq,
        "messaging.nats.deliveries": position.deliveries,
    }


def _end(span: Span, error: BaseException | None) -> None:
    if error is not None and not isinstance(error, Signal):
        span.record_exception(error)
        span.set_attribute("error.type", type(error).__qualname__)
        span.set_status(Status(StatusCode.ERROR, str(error)))
    span.end()
