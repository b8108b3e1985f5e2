"""Publishing many events in the compiled core: the same drafts, frames and acks as its pure twins, and nothing else."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mts1b_foundation.errors import SubjectError
from mts1b_foundation.orders import Order
from mts1b_foundation.samples import ORDER, QUOTE
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_ORDERS_ACCEPTED, OMS_ORDERS_CREATED, DurableSubject
from mts1b_platform.eventbus.codec.encoder import EventEncoder
from mts1b_platform.eventbus.core import CORE, Core
from mts1b_platform.eventbus.events.event import LiveEvent
from mts1b_platform.eventbus.events.outgoing import Ack, Draft
from mts1b_platform.eventbus.protocol.frames import FrameTemplate
from mts1b_platform.eventbus.protocol.headers import NO_LINES, HeaderError, HeaderLines
from mts1b_platform.eventbus.protocol.parser import Parser
from mts1b_platform.eventbus.publishing import emit_many, send_many
from mts1b_platform.eventbus.publishing.batch import Batch

pytestmark = pytest.mark.skipif(CORE is None, reason="of the compiled core")

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def core() -> Core:
    assert CORE is not None
    return CORE


def orders(count: int) -> list[Order]:
    return [
        ORDER.model_copy(update={"idempotency_key": f"key-{n}", "fund_id": f"fund-{n % 3}", "order_id": f"o\x7f-{n}"})
        for n in range(count)
    ]


def drafts(
    subject: DurableSubject[Any],
    events: list[Any],
    *,
    pure: bool,
    trace: str | None = TRACE,
    ids: Callable[[Any], str | None] | None = None,
) -> Iterator[Draft]:
    encoder, ids = EventEncoder(subject, "x"), ids or subject.message_id
    templates = [encoder.template(event) for event in events]
    if pure:
        return emit_many._pure_drafts(encoder, templates, events, trace, ids)
    return emit_many._drafts(subject, encoder, templates, events, trace, ids)


@pytest.mark.parametrize("subject", [OMS_ORDERS_CREATED, OMS_ORDERS_ACCEPTED], ids=lambda subject: subject.pattern)
def test_drafts_are_those_of_the_pure_way(subject: DurableSubject[Any]):
    events = orders(7)
    events[3] = events[3].model_copy(update={"idempotency_key": "é"})
    events[4] = events[4].model_copy(update={"reference_price": 1.5})  # nothing that a plan writes
    ours, theirs = list(drafts(subject, events, pure=False)), list(drafts(subject, events, pure=True))
    assert [{type(each) for each in ours}, {type(each) for each in theirs}] == [{Draft}] * 2
    assert [(each.template.subject, *each[1:]) for each in ours] == [(e.template.subject, *e[1:]) for e in theirs]


def test_an_edge_has_ids_of_its_own():
    def own(event: Order) -> str:
        return f"edge/{event.idempotency_key}"

    ours = drafts(OMS_ORDERS_CREATED, orders(3), pure=False, ids=own)
    assert [draft.msg_id for draft in ours] == ["edge/key-0", "edge/key-1", "edge/key-2"]


def test_each_is_of_a_trace_of_its_own_where_none_is_given():
    found = [draft.trace_id for draft in drafts(OMS_ORDERS_CREATED, orders(600), pure=False, trace=None)]
    assert len(set(found)) == 600
    assert {len(each) for each in found} == {32}


def test_chunks_end_where_their_payloads_are_large_or_the_events_end():
    def sizes(most: int) -> list[int]:
        source = drafts(OMS_ORDERS_CREATED, orders(70), pure=False)
        found: list[int] = []
        while chunk := send_many.next_chunk(source, most):
            found.append(len(chunk))
        return found

    assert sizes(1_000) == [64, 6]
    assert sizes(40) == [40, 30]
    source: Any = drafts(OMS_ORDERS_CREATED, orders(5), pure=False)
    assert [len(source.chunk(9, size)) for size in (0, 1, 10_000, 10_000)] == [1, 1, 3, 0]


def test_events_that_are_changed_meanwhile_are_an_error():
    events = orders(3)
    source = drafts(OMS_ORDERS_CREATED, events, pure=False)
    next(source)
    events.pop()
    with pytest.raises(ValueError, match="was changed"):
        next(source)


def test_templates_are_those_of_the_encoder_and_refuse_what_it_refuses(core: Core):
    encoder = EventEncoder(OMS_ORDERS_CREATED, "x")
    events = orders(9)
    found = emit_many._templates(encoder, events)
    assert found == [encoder.template(event) for event in events]
    assert len({id(each) for each in found}) == 3
    with pytest.raises(SubjectError, match="carries Order, not Quote"):
        emit_many._templates(encoder, [*events, QUOTE])  # pyright: ignore[reportArgumentType] - no event of the subject
    assert core.find_templates([], Order, (), {}, FrameTemplate, print) == []


IDS = st.one_of(st.text("abc-:0", min_size=1, max_size=9), st.text(max_size=5))


@given(st.lists(st.tuples(st.binary(max_size=30), IDS, st.one_of(st.none(), IDS)), max_size=12), st.integers(0, 990))
def test_frames_of_a_batch_are_what_the_template_writes(parts: list[tuple[bytes, str, str | None]], before: int):
    template = FrameTemplate("a.b", {"mts-actor": "x"})
    extras = [NO_LINES, HeaderLines(b"x: y\r\n")]
    made = [Draft(template, *part, extras[number % 2]) for number, part in enumerate(parts)]
    batch = Batch()
    batch.drafts = [Draft(template, b"", TRACE)] * before
    try:
        wanted = [
            template.encode(payload, trace, msg_id, b"", HeaderLines(b"%b%b%d\r\n" % (extra, batch.lead, number)))
            for number, (_, payload, trace, msg_id, extra) in enumerate(made, before + 1)
        ]
    except HeaderError:
        with pytest.raises(HeaderError):
            batch.add(made)
        return
    batch.add(made)
    assert batch.frames == wanted


def test_acks_are_those_of_the_pure_way(core: Core):
    sequences = {7: 70, 8: 71}
    assert core.plain_acks(Ack, "S", sequences, ["a", "b"], ["i", None]) == [
        Ack("S", 70, False, "a", "i"),
        Ack("S", 71, False, "b", None),  # pyright: ignore[reportArgumentType] - as ids may be
    ]
    with pytest.raises(TypeError, match="as many"):
        core.plain_acks(Ack, "S", sequences, ["a"], ["i", "j"])


def test_acks_in_a_message_that_was_cut_are_written_down_too(core: Core):
    begin, bulk = b'{"stream":"S", "seq":', object()
    pending: dict[int, Any] = {1: bulk, 2: bulk}
    acks: dict[int, Any] = {}
    batch = [(b"_INBOX.1.1", b"", b"", begin + b"7}"), (b"_INBOX.1.2", b"", b"", begin + b"8}"), (b"_INBOX.1.3",), 5]
    assert core.take_acks(batch, 9, pending, bulk, begin, acks) == 2
    assert (acks, pending) == ({1: 7, 2: 8}, {})


def test_whether_all_messages_ask_for_an_answer(core: Core):
    parser = Parser()
    route = parser.route(b"1")
    parser.feed(b"MSG a 1 r 1\r\nx\r\nMSG a 1 r 1\r\ny\r\nMSG a 1 1\r\nz\r\n")
    assert core.all_have_replies(route[:2])
    assert not core.all_have_replies(route)
    assert not core.all_have_replies([*route[:2], (b"a", b"r", b"", b"")]), "the pure way looks at those"
    assert core.all_have_replies([])


async def test_a_hook_that_fails_where_a_handler_begins_or_ends_is_logged_and_no_more(caplog: pytest.LogCaptureFixture):
    def fails(*_: Any) -> None:
        raise LookupError("of the hook")

    event = watched_event(SimpleNamespace(entered=fails, left=fails))
    async with event:
        pass
    assert caplog.text.count("a hook failed") == 2
    assert caplog.text.count("of the hook") >= 2


def watched_event(hooks: Any) -> Any:
    return LiveEvent(MARKETDATA_QUOTES, "a", (b"a", b"", b"", b""), QUOTE, hooks)
