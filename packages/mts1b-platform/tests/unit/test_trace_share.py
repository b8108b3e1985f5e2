"""Which traces hooks are told of: the same in the compiled core and in pure Python, publishing and reading."""

from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER, QUOTE
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_ORDERS_CREATED
from mts1b_platform.eventbus.codec.decoder import Decoder
from mts1b_platform.eventbus.codec.encoder import EventEncoder
from mts1b_platform.eventbus.core import CORE, Core
from mts1b_platform.eventbus.events.event import LiveEvent
from mts1b_platform.eventbus.events.outgoing import Ack, Draft, Outgoing
from mts1b_platform.eventbus.events.trace_share import TraceShare
from mts1b_platform.eventbus.hooks import Chain, of_best_effort_handlers
from mts1b_platform.eventbus.protocol.headers import HeaderLines
from mts1b_platform.eventbus.protocol.parser import Parser
from mts1b_platform.eventbus.publishing import emit_many
from mts1b_platform.eventbus.publishing.watched_many import WatchedMany
from mts1b_platform.observability.metrics import Timings
from mts1b_platform.observability.tracing import Tracing, provider_for
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

compiled = pytest.mark.skipif(CORE is None, reason="of the compiled core")

LOW = "4bf92f3577b34da600000000000000ff"
HIGH = "4bf92f3577b34da6ff000000000000ff"
RATIOS = st.sampled_from([0.0, 0.01, 0.5, 1.0])
IDS = st.one_of(
    st.text("0123456789abcdef", min_size=32, max_size=32),
    st.text("0123456789abcdefABCDEF_gx+ ", max_size=34),
    st.text("0f", min_size=31, max_size=33),
    st.sampled_from(["0" * 32, "f" * 32, LOW, HIGH, LOW.upper(), "", "0x" + "1" * 30, "1_" * 15 + "11", "é" * 32]),
)


@pytest.fixture
def core() -> Core:
    assert CORE is not None
    return CORE


@compiled
@example("0" * 32, 1.0)
@given(IDS, RATIOS)
def test_a_share_has_the_same_traces_compiled(trace_id: str, ratio: float):
    share = TraceShare(ratio)
    assert share.compiled is not None
    assert CORE is not None
    plain = CORE.TraceShare(0, _refuse)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("mts1b_platform.eventbus.events.trace_share.CORE", None)
        theirs = TraceShare(ratio)
    assert theirs.compiled is None
    assert share.has(trace_id) == theirs.has(trace_id)
    if len(trace_id) == 32 and set(trace_id) <= set("0123456789abcdef") and set(trace_id) != {"0"}:
        assert not plain.has(trace_id)


def _refuse(trace_id: str) -> bool:
    raise AssertionError(trace_id)


# Reading.


def block(trace_id: str, *lines: str) -> bytes:
    static = (
        *("NATS/1.0", "content-type: application/json", "mts-source-repo: mts1b-marketdata"),
        f"mts-schema: {MARKETDATA_QUOTES.schema_id}",
        "mts-actor: mts1b-marketdata",
    )
    return "".join(f"{line}\r\n" for line in (*static, f"mts-trace-id: {trace_id}", *lines, "")).encode()


def message(head: bytes) -> Any:
    parser, payload = Parser(), QUOTE.model_dump_json().encode()
    route = parser.route(b"1")
    sizes = (len(head), len(head) + len(payload))
    parser.feed(b"HMSG mts.v1.marketdata.quotes.BTC=2FUSDT 1 %d %d\r\n%b%b\r\n" % (*sizes, head, payload))
    return route[0]


def span_of(trace_id: str, flags: str = "01") -> str:
    return f"traceparent: 00-{trace_id}-00f067aa0ba902b7-{flags}"


def traced(ratio: float) -> tuple[Tracing, InMemorySpanExporter]:
    provider, memory = provider_for("mts1b-marketdata"), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    return Tracing(provider, ratio=ratio), memory


LINES = st.lists(
    st.one_of(
        st.sampled_from(["Nats-Msg-Id: i", span_of(LOW), span_of(HIGH), span_of(HIGH, "00"), "traceparent: 00-x"]),
        st.sampled_from(["Nats-Pin-Id: p", "Nats-Batch-Id: b", "Nats-Batch-Sequence: 7", "Nats-Msg-Id: traceparent: "]),
    ),
    max_size=4,
)


@compiled
@example(HIGH, [span_of(HIGH)], 0.0)
@example(HIGH, ["Nats-Msg-Id: i", span_of(HIGH), "Nats-Batch-Id: b"], 0.0)
@given(IDS.filter(str.isprintable), LINES, RATIOS)
async def test_the_same_handlers_have_a_span_compiled(trace_id: str, lines: list[str], ratio: float):
    core = CORE
    assert core is not None
    decoder = Decoder([MARKETDATA_QUOTES])
    decoder.decode(message(block(LOW)))  # from now on it is known how messages begin
    assert decoder.compiled is not None
    raw = message(block(trace_id, *lines))
    hook, memory = traced(ratio)
    reader = core.ListenReader(
        None, SimpleNamespace(hooks=hook), deque[Any](), decoder.compiled, {}, of_best_effort_handlers
    )
    ours: Any = reader.event(raw)
    assert ours is not None, "a message of ours is read in the core"
    theirs = LiveEvent(ours.registered, ours.subject, raw, ours.payload, hook)
    seen: list[Any] = []
    for event in (ours, theirs):
        async with event:
            pass
        seen.append([(s.name, s.attributes, s.parent, s.context.trace_id) for s in memory.get_finished_spans()])  # pyright: ignore[reportOptionalMemberAccess]
        memory.clear()
    assert seen[0] == seen[1]
    if ours.hooks is None:
        assert seen[1] == []


@compiled
def test_what_is_in_nobodys_share_has_no_hooks_and_in_a_chain_all_are_told(core: Core):
    decoder = Decoder([MARKETDATA_QUOTES])
    decoder.decode(message(block(LOW)))
    assert decoder.compiled is not None
    client, hook = SimpleNamespace(hooks=None), traced(0.5)[0]
    reader = core.ListenReader(None, client, deque[Any](), decoder.compiled, {}, of_best_effort_handlers)
    client.hooks = Chain([Timings(), hook])
    told = [reader.event(message(block(LOW))).hooks, reader.event(message(block(HIGH))).hooks]
    assert told == [hook, None], "of a chain those alone that are told of handlers"
    client.hooks = Chain([hook, Tracing(provider_for("x"), ratio=0.0)])
    assert reader.event(message(block(HIGH))).hooks.hooks == client.hooks.hooks, "each decides for itself"


# Publishing.


class Recorder(Timings):
    """Is shown each event, and adds a header to those in its share."""

    one_by_one = True

    def __init__(self, share: TraceShare | None) -> None:
        super().__init__()
        self.share = share
        self.told: list[Any] = []

    def publishing(self, _subject: Any, _event: Any, out: Outgoing, cause: Any, /) -> Any:
        out.begin_span(f"00-{out.ids.trace_id}-00f067aa0ba902b7-01")
        self.told.append((out.subject, out.pattern, out.payload, out.ids.trace_id, out.actor, cause))
        return len(self.told)

    def published(self, mark: Any, out: Outgoing, ack: Ack | None, error: BaseException | None, /) -> None:
        self.told.append((mark, out.msg_id, ack, error))


def drafts(share: TraceShare | None, traces: list[str], *, pure: bool) -> tuple[list[Any], list[Any]]:
    """The drafts of an order in each of ``traces``, and what a hook was told of them."""
    orders: list[Order] = [ORDER.model_copy(update={"idempotency_key": f"key-{n}"}) for n in range(len(traces))]
    encoder, hook = EventEncoder(OMS_ORDERS_CREATED, "x"), Recorder(share)
    many: Any = SimpleNamespace(subject=OMS_ORDERS_CREATED, context=None, acks=[Ack("S", 1, False, "a", "i")])
    watched, failure = WatchedMany(hook, share, many, encoder), LookupError("of the rest")
    templates = [encoder.template(order) for order in orders]
    arguments: Any = (encoder, templates, orders, None, OMS_ORDERS_CREATED.message_id, watched)
    left = iter(traces)

    def some(count: int) -> list[str]:
        return [next(left) for _ in range(count)]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(emit_many, "new_trace_id", lambda: next(left))
        patched.setattr(emit_many, "new_trace_ids", some)
        made: list[Draft] = list(
            emit_many._pure_drafts(*arguments) if pure else emit_many._drafts(OMS_ORDERS_CREATED, *arguments)
        )
    watched.end(failure)
    told = [(*each[:-1], str(each[-1])) for each in hook.told]
    return [(draft.template.subject, *draft[1:]) for draft in made], told


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0, None])
def test_of_many_events_those_in_the_share_are_shown_and_sent_with_what_was_added(ratio: float | None):
    traces = [LOW, HIGH, LOW.upper(), HIGH, LOW]
    share = None if ratio is None else TraceShare(ratio)
    ours, theirs = drafts(share, traces, pure=False), drafts(share, traces, pure=True)
    assert ours == theirs
    sent, told = ours
    shown = [n for n, trace in enumerate(traces) if share is None or share.has(trace)]
    lines = {n: HeaderLines(f"traceparent: 00-{traces[n]}-00f067aa0ba902b7-01\r\n".encode()) for n in shown}
    assert [draft[-1] for draft in sent] == [lines.get(n, b"") for n in range(len(traces))]
    assert [each[3] for each in told[: len(shown)]] == [traces[n] for n in shown]
    ended = [(each[1], each[2] is not None, each[3]) for each in told[len(shown) :]]
    assert ended == [(f"key-{n}", n == 0, "None" if n == 0 else "of the rest") for n in shown]


def test_a_span_that_is_named_goes_with_the_envelope_however_it_is_looked_at():
    encoder = EventEncoder(OMS_ORDERS_CREATED, "x")
    draft = Draft(encoder.template(ORDER), b"{}", LOW, "i")
    traceparent = f"00-{LOW}-00f067aa0ba902b7-01"
    made: list[Outgoing] = []
    for look_first in (False, True):
        out = Outgoing.of(OMS_ORDERS_CREATED, draft.template.subject, draft, "x")
        if look_first:
            assert out.headers["mts-actor"] == "x"
        out.begin_span(traceparent)
        assert (out.ids.traceparent, out.actor) == (traceparent, "x")
        made.append(out)
    ready, written = made
    assert ready.draft is not None
    assert ready.draft.extra == f"traceparent: {traceparent}\r\n".encode()
    assert written.draft is None
    assert ready.headers == written.headers
    assert ready.headers["traceparent"] == traceparent
