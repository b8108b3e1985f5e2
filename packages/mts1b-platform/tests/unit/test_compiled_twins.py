"""The compiled core beside its pure twins: the same bytes, events and refusals, and nothing left behind."""

import asyncio
import gc
import sys
import weakref
from collections import deque
from collections.abc import Awaitable, Iterator
from contextlib import suppress
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mts1b_foundation.samples import ORDER, QUOTE
from mts1b_foundation.subjects import MARKETDATA_QUOTES, OMS_ORDERS_CREATED
from mts1b_platform.eventbus.codec.decoder import Decoder, Refused
from mts1b_platform.eventbus.codec.encoder import EventEncoder
from mts1b_platform.eventbus.codec.payload import plan_of
from mts1b_platform.eventbus.core import CORE, Core
from mts1b_platform.eventbus.events.event import LiveEvent
from mts1b_platform.eventbus.events.outgoing import Draft
from mts1b_platform.eventbus.hooks import of_best_effort_handlers
from mts1b_platform.eventbus.protocol.frames import FrameTemplate, checked_subject, hpub_frame, pub_frame, split_frame
from mts1b_platform.eventbus.protocol.headers import NO_LINES, HeaderError, HeaderLines
from mts1b_platform.eventbus.protocol.parser import Parser, Unrouted
from mts1b_platform.handling import handled
from pydantic import BaseModel

pytestmark = pytest.mark.skipif(CORE is None, reason="of the compiled core")

SUBJECT = "mts.v1.marketdata.quotes.BTC=2FUSDT"
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def core() -> Core:
    assert CORE is not None
    return CORE


# Messages.


def message(*parts: bytes) -> Any:
    """What the scanner makes of a message with these four parts."""
    parser = Parser()
    route = parser.route(b"1")
    frame = b"HMSG %b 1 %b%d %d\r\n%b%b\r\n" % (
        parts[0],
        parts[1] + b" " if parts[1] else b"",
        len(parts[2]),
        len(parts[2]) + len(parts[3]),
        parts[2],
        parts[3],
    )
    assert parser.feed(frame) == []
    return route[0]


def test_a_message_stands_for_a_tuple():
    parts = (b"a.b", b"r", b"NATS/1.0\r\n\r\n", b"payload")
    made = message(*parts)
    assert type(made).__name__ == "RawMessage"
    assert tuple(made) == parts
    assert [*made] == [*parts]
    assert (made[0], made[3], made[-1], len(made)) == (b"a.b", b"payload", b"payload", 4)
    assert made == parts
    assert parts == made
    assert made != (*parts[:3], b"other")
    assert made == message(*parts)
    assert hash(made) == hash(parts)
    assert repr(made) == repr(parts)
    assert sorted([made, (b"a", b"", b"", b"")]) == [(b"a", b"", b"", b""), made]
    assert made != "text"
    with pytest.raises(IndexError):
        made[4]
    with pytest.raises(TypeError):
        type(made)()


LINES = (
    *(b"MSG ", b"HMSG ", b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR 'x'\r\n", b"INFO {}\r\n", b"a.b ", b"1 ", b"2 "),
    *(b"01 ", b" ", b"\t", b"\r\n", b"\n", b"\r", b"0\r\n", b"5\r\nhello\r\n", b"12 17\r\nNATS/1.0\r\n\r\nhello\r\n"),
    *(b"MSG a.b 1 5\r\nhello\r\n", b"HMSG a.b 1 r 12 13\r\nNATS/1.0\r\n\r\nx\r\n", b"MSG b 2 0\r\n\r\n"),
    *(b"MSG c 3 0\r\n\r\n", b"MSG a\x0bb 1 1\r\nx\r\n", b"MSG a 1 99999\r\n", b"MSG a 1  1\r\nx\r\n"),
    *(b"HMSG a 1 3 2\r\nhi\r\n", b"MSG a 1 2\r\nhix\r"),
)  # fmt: skip


def parsed(chunks: list[bytes], *, pure: bool) -> Any:
    """Everything that a parser says of ``chunks``."""
    parser = Parser(max_line=512, max_message=4096)
    if pure:
        parser._scanner = None
    routes = [parser.route(b"1"), parser.route(b"2")]
    said: list[Any] = []
    for chunk in chunks:
        said += parser.feed(chunk)
        said += [sorted(parser.touched), parser.routed_bytes, [[*map(tuple, route)] for route in routes]]
    return said


@given(st.lists(st.one_of(st.sampled_from(LINES), st.binary(max_size=6)), max_size=12), st.lists(st.integers(0, 400)))
def test_streams_are_parsed_alike(parts: list[bytes], cuts: list[int]):
    stream = b"".join(parts)
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    chunks = [stream[begin:end] for begin, end in pairwise(edges)]
    assert parsed(chunks, pure=False) == parsed(chunks, pure=True)


def test_a_subscription_that_was_unrouted_collects_nothing_any_more():
    parser = Parser()
    route = parser.route(b"1")
    parser.unroute(b"1")
    assert [type(event) for event in parser.feed(b"MSG a 1 1\r\nx\r\n")] == [Unrouted]
    assert route == []


# Decoding.

HEADERS = (
    *("content-type: application/json", "mts-source-repo: mts1b-marketdata", "mts-actor: a", "mts-actor: b"),
    *("mts-schema: mts1b_foundation.marketdata.Quote:v1", "mts-schema: other:v1", "Nats-Stream: S"),
    "mts-only-durable: d",
)  # fmt: skip
ENDS = (
    *(f"mts-trace-id: {TRACE}", f"mts-trace-id: {TRACE}\r\nNats-Msg-Id: i", f"mts-trace-id: {TRACE}\r\nother: x", ""),
    *(f"mts-trace-id: {TRACE}\r\nmts-trace-id: x", f"mts-trace-id: {TRACE}\r\ntraceparent: 00-x", "mts-trace-id: \x00"),
)  # fmt: skip
PAYLOADS = (QUOTE.model_dump_json().encode(), b"{}", QUOTE.model_dump_json().replace("USDT", "US\\u0044T").encode())


@st.composite
def received(draw: st.DrawFn) -> tuple[bytes, bytes, bytes, bytes]:
    lines = draw(st.one_of(st.just(list(HEADERS[:3] + HEADERS[4:5])), st.lists(st.sampled_from(HEADERS), max_size=5)))
    block = "NATS/1.0\r\n" + "".join(f"{line}\r\n" for line in [*lines, draw(st.sampled_from(ENDS))] if line) + "\r\n"
    subject = draw(st.sampled_from([SUBJECT, "mts.v1.marketdata.quotes.X", "mts.v1.other"]))
    return subject.encode(), b"", block.encode(), draw(st.sampled_from(PAYLOADS))


def decoded(decoder: Decoder, raw: Any) -> Any:
    try:
        registered, name, payload, _ = decoder.decode(raw)
    except Refused as refused:
        return refused.reason, str(refused), refused.pattern
    return registered, name, payload


@given(st.lists(received(), min_size=1, max_size=8))
def test_messages_are_decoded_alike_whatever_came_before(raws: list[tuple[bytes, bytes, bytes, bytes]]):
    ours, pure = Decoder([MARKETDATA_QUOTES]), Decoder([MARKETDATA_QUOTES])
    pure.compiled = None
    for raw in raws * 2:
        assert decoded(ours, message(*raw)) == decoded(pure, raw)


# Publishing.


class Owner:
    """What a buffer asks."""

    def __init__(self, core: Core) -> None:
        self.buffer = core.OutBuffer(self, 10_000, 5_000, 1 << 20)
        self.buffer.up = True
        self.scheduled = 0

    def _schedule(self) -> None:
        self.scheduled += 1
        self.buffer.scheduled = True

    def check_open(self) -> None:
        raise ConnectionError

    def _too_large(self, frame: bytes) -> Exception:
        return ValueError(frame[:5])

    def _full(self) -> Exception:
        return BufferError("full")


def test_what_was_taken_stays_as_it_is_while_a_transport_has_it(core: Core):
    buffer = Owner(core).buffer
    frames = [pub_frame(b"s", b"%d" % n * 100) for n in range(4)]
    held: list[memoryview] = []
    for frame in frames:
        buffer.send(frame)
        taken = buffer.take()
        assert taken is not None
        held.append(taken[0][1:])  # a transport that has sent one byte so far
        del taken
    assert held == [frame[1:] for frame in frames]
    with pytest.raises(TypeError):
        held[0][0] = 1
    held.clear()
    for frame in frames:  # nobody has what was taken before: its memory serves again
        buffer.send(frame)
        assert buffer.take() == (frame, 1)


def test_a_buffer_keeps_frames_in_order_with_their_kinds(core: Core):
    owner = Owner(core)
    buffer = owner.buffer
    kept, volatile, line = pub_frame(b"k"), pub_frame(b"v"), b"SUB a 1\r\n"
    buffer.send(kept)
    assert buffer.send_volatile(volatile)
    buffer.control(line)
    assert not buffer.ack(b"r")
    buffer.send_many([kept, kept])
    ack = b"PUB r 4\r\n+ACK\r\n"
    assert buffer.frames() == [(kept, 0), (volatile, 1), (line, 2), (ack, 0), (kept, 0), (kept, 0)]
    assert buffer.waiting == sum(len(frame) for frame, _ in buffer.frames())
    assert owner.scheduled == 1
    assert buffer.take() == (kept + volatile + line + ack + kept + kept, 5)
    assert buffer.take() is None
    buffer.replace([(volatile, 1)])
    assert buffer.frames() == [(volatile, 1)]


def test_a_buffer_refuses_what_its_owner_says(core: Core):
    buffer = Owner(core).buffer
    buffer.max_payload = 10
    with pytest.raises(ValueError, match="PUB b"):
        buffer.send(pub_frame(b"b", b"x" * 11))
    with pytest.raises(ValueError, match="PUB b"):
        buffer.send_many([pub_frame(b"b", b"x" * 10), pub_frame(b"b", b"x" * 11)])
    assert buffer.frames() == []
    buffer.max_payload = 1 << 20
    buffer.send(pub_frame(b"b", b"x" * 9_000))
    with pytest.raises(BufferError):
        buffer.send(pub_frame(b"b", b"x" * 2_000))
    assert not buffer.send_volatile(pub_frame(b"b", b"x" * 2_000))
    assert buffer.dropped == 1
    assert buffer.ack(b"r"), "above the high-water mark"
    buffer.up = False
    with pytest.raises(ConnectionError):
        buffer.send(b"PUB a 0\r\n\r\n")


def test_what_a_sender_writes_is_what_the_pure_encoder_writes(core: Core):
    owner, encoder = Owner(core), EventEncoder(MARKETDATA_QUOTES, "an-actor")
    left: list[tuple[Any, ...]] = []
    plan = plan_of(type(QUOTE))
    assert plan is not None
    denials, published = SimpleNamespace(recent=False), dict[str, int]()
    sender = core.Sender(
        pure=lambda *asked: left.append(asked) or False,
        trace_id_for=lambda: TRACE,
        buffer=owner.buffer,
        plan=plan,
        templates=encoder.templates,
        template=FrameTemplate,
        names=encoder.key_fields,
        denials=denials,
        published=published,
        pattern=MARKETDATA_QUOTES.pattern,
    )
    assert not sender.send_volatile(QUOTE, TRACE), "the first of a symbol makes a template"
    template = encoder.template(QUOTE)
    assert sender.send_volatile(QUOTE, TRACE)
    assert sender.send_volatile(QUOTE)
    frame = template.encode(QUOTE.model_dump_json().encode(), TRACE)
    assert owner.buffer.frames() == [(frame, 1), (frame, 1)]
    assert published == {MARKETDATA_QUOTES.pattern: 2}
    for trace in ("with blank", "", "é", "a\r\nb: c"):
        sender.send_volatile(QUOTE, trace)
    sender.send_volatile(ORDER, TRACE)  # pyright: ignore[reportArgumentType] - no event of the subject
    denials.recent = True
    sender.send_volatile(QUOTE, TRACE)
    owner.buffer.up = denials.recent = False
    sender.send_volatile(QUOTE, TRACE)
    assert [asked[0] for asked in left] == [QUOTE, QUOTE, QUOTE, QUOTE, ORDER, QUOTE, QUOTE][: len(left)]
    assert len(owner.buffer.frames()) in (2, 3)  # an empty trace id is none: one is drawn


IDS = st.one_of(st.text("abc-:0", min_size=1, max_size=9), st.text(max_size=5))


@given(st.lists(st.tuples(st.binary(max_size=30), IDS, st.one_of(st.none(), IDS)), max_size=5), st.integers(1, 10**12))
def test_frames_of_drafts_are_what_the_template_writes(parts: list[tuple[bytes, str, str | None]], first: int):
    assert CORE is not None
    template = FrameTemplate("a.b", {"mts-actor": "x"})
    extras = [NO_LINES, HeaderLines(b"x: y\r\n")]
    drafts = [Draft(template, *part, extras[number % 2]) for number, part in enumerate(parts)]
    made = CORE.Framer(FrameTemplate).frames(drafts, b"_INBOX.1.", first)
    try:
        wanted = [
            template.encode(payload, trace, msg_id, b"_INBOX.1.%d" % token, extra)
            for token, (_, payload, trace, msg_id, extra) in enumerate(drafts, first)
        ]
    except HeaderError:
        assert made is None
        return
    assert made in (None, wanted)
    if all(each.isascii() and each.isalnum() for _, trace, msg_id in parts for each in (trace, msg_id or "a")):
        assert made == wanted
        assert [split_frame(frame).payload for frame in made or []] == [payload for payload, _, _ in parts]


def test_plain_acks_are_written_down_up_to_the_first_that_says_more(core: Core):
    begin = b'{"stream":"S", "seq":'

    def ack(token: bytes, payload: bytes) -> Any:
        return message(b"_INBOX.1." + token, b"", b"", payload)

    bulk, other = object(), object()
    pending: dict[int, Any] = {1: bulk, 2: bulk, 3: bulk, 4: other}
    acks: dict[int, Any] = {}
    batch = [ack(b"1", begin + b"7}"), ack(b"2", begin + b"8}"), ack(b"3", b'{"stream":"S", "seq":9,"duplicate":true}')]
    assert core.take_acks(batch, 9, pending, bulk, begin, acks) == 2
    assert (acks, pending) == ({1: 7, 2: 8}, {3: bulk, 4: other})
    for odd in (ack(b"4", begin + b"9}"), ack(b"x", begin + b"9}"), ack(b"77", begin + b"9}"), (b"", b"", b"", b"")):
        assert core.take_acks([odd], 9, pending, bulk, begin, acks) == 0


def test_a_checked_subject_has_its_frames_taken_apart_again():
    assert split_frame(hpub_frame(checked_subject("a.b"), b"NATS/1.0\r\n\r\n", b"x")).payload == b"x"


# Iterating.

HEAD = (
    "NATS/1.0\r\ncontent-type: application/json\r\nmts-source-repo: mts1b-marketdata\r\n"
    f"mts-schema: mts1b_foundation.marketdata.Quote:v1\r\nmts-actor: a\r\nmts-trace-id: {TRACE}\r\n\r\n"
).encode()


class Slow:
    """A listener whose own way is told apart by what it gives."""

    def __init__(self) -> None:
        self.asked = 0
        self.gate = asyncio.Event()
        self.ended: BaseException | None = None

    async def __anext__(self) -> str:
        self.asked += 1
        try:
            await self.gate.wait()
        except BaseException as error:
            self.ended = error
            raise
        return "slow"


class Reentrant(Slow):
    """A listener that asks for the same event once more before it waits."""

    item: Any = None

    def __anext__(self) -> Any:
        item, self.item = self.item, None
        if item is not None:
            with pytest.raises(StopIteration):
                item.send(None)
        return super().__anext__()


class Bench:
    """A reader with a queue of its own."""

    def __init__(self, core: Core, listener: Slow | None = None) -> None:
        self.listener, self.queue, self.counts = listener or Slow(), deque[Any](), dict[str, int]()
        self.client = SimpleNamespace(hooks=None)
        decoder = Decoder([MARKETDATA_QUOTES])
        self.raw = message(SUBJECT.encode(), b"", HEAD, PAYLOADS[0])
        decoder.decode(self.raw)  # from now on it is known how its messages begin
        assert decoder.compiled is not None
        self.reader = core.ListenReader(
            self.listener, self.client, self.queue, decoder.compiled, self.counts, of_best_effort_handlers
        )


async def test_what_waits_is_read_without_asking_the_listener(core: Core):
    bench = Bench(core)
    bench.queue.extend([bench.raw] * 3)
    events = [await anext(bench.reader) for _ in range(3)]  # pyright: ignore[reportArgumentType]
    assert bench.listener.asked == 0
    assert bench.counts == {MARKETDATA_QUOTES.pattern: 3}
    assert {type(event) for event in events} == {LiveEvent}
    assert [event.payload for event in events] == [QUOTE] * 3
    assert (events[0].trace_id, events[0].source, events[0].wire.payload) == (TRACE, "mts1b-marketdata", PAYLOADS[0])


async def test_whatever_else_waits_is_left_to_the_listener_in_its_place(core: Core):
    bench = Bench(core)
    bench.queue.extend([(b"a", b"", b"", b""), bench.raw])
    bench.listener.gate.set()
    assert await anext(bench.reader) == "slow"  # pyright: ignore[reportArgumentType]
    assert [*bench.queue] == [(b"a", b"", b"", b""), bench.raw]


async def test_a_reader_that_waits_can_be_cancelled_and_asked_again(core: Core):
    bench = Bench(core)

    async def one() -> Any:
        return await anext(bench.reader)  # pyright: ignore[reportArgumentType]

    waiting = asyncio.create_task(one())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert isinstance(bench.listener.ended, asyncio.CancelledError)
    bench.listener.gate.set()
    assert await one() == "slow"
    bench.listener.gate.clear()
    with pytest.raises(TimeoutError):
        await limited(one())


async def limited(awaited: Awaitable[Any]) -> None:
    async with asyncio.timeout(0.01):
        await awaited


async def test_what_is_awaited_answers_as_a_generator_does(core: Core):
    bench = Bench(core)
    unbegun: Any = bench.reader.__anext__()
    with pytest.raises(ValueError, match="thrown"):
        unbegun.throw(ValueError("thrown"))
    unbegun.close()
    bench.queue.append(bench.raw)
    item: Any = bench.reader.__anext__()
    with pytest.raises(StopIteration) as over:
        item.send(None)
    assert over.value.value.payload == QUOTE
    with pytest.raises(StopIteration):
        next(item)
    begun: Any = bench.reader.__anext__()
    begun.send(None)
    with pytest.raises(KeyError):
        begun.throw(KeyError())
    abandoned: Any = bench.reader.__anext__()
    abandoned.send(None)
    abandoned.close()
    assert isinstance(bench.listener.ended, GeneratorExit)
    with pytest.raises(TypeError):
        type(abandoned)()


@pytest.mark.parametrize("end", ["close", "throw"])
async def test_what_was_ended_before_it_began_takes_no_event(core: Core, end: str):
    bench = Bench(core)
    bench.queue.append(bench.raw)
    over: Any = bench.reader.__anext__()
    with suppress(ValueError):
        getattr(over, end)(*[ValueError("over")][: end == "throw"])
    with pytest.raises(StopIteration):
        over.send(None)
    assert [*bench.queue] == [bench.raw]
    assert bench.counts == {}


async def test_what_is_asked_again_while_it_is_asked_waits_once(core: Core):
    bench = Bench(core, listener := Reentrant())
    item: Any = bench.reader.__anext__()
    listener.item = item
    waiting = asyncio.ensure_future(item)
    await asyncio.sleep(0)
    listener.gate.set()
    assert await waiting == "slow"
    assert listener.asked == 1


async def test_a_validator_that_raises_no_exception_ends_the_iteration_with_it(core: Core):
    class Hooks:
        @property
        def handlers(self) -> bool:
            raise LookupError("a hook")

    bench = Bench(core)
    bench.queue.append(bench.raw)
    bench.client.hooks = Hooks()
    with pytest.raises(LookupError, match="a hook"):
        await anext(bench.reader)  # pyright: ignore[reportArgumentType]
    assert len(bench.queue) == 1, "it is not lost"
    assert bench.counts == {}, "it is counted when it is handed out"


async def test_a_reader_in_a_circle_is_collected(core: Core):
    bench = Bench(core)

    gone = weakref.ref(bench.listener)
    waiting: Any = bench.reader.__anext__()
    waiting.send(None)  # what it awaits knows the listener, the listener knows it
    vars(bench.listener)["circle"] = (waiting, bench.reader)
    del waiting, bench
    gc.collect()
    assert gone() is None


# Entering and leaving.


async def test_an_event_is_what_its_task_handles_inside_its_block(core: Core):
    bench = Bench(core)
    event = bench.reader.event(bench.raw)
    async with event as inside:
        assert inside is event
        assert handled.get() is event
    assert handled.get() is None
    with pytest.raises(ValueError, match="from inside"):
        async with event:
            raise ValueError("from inside")
    assert handled.get() is None


async def test_a_hook_of_handlers_is_told(core: Core):
    told: list[Any] = []

    def entered(event: LiveEvent[Any]) -> str:
        told.append(event)
        return "mark"

    def left(*said: Any) -> None:
        told.append(said)

    hooks = SimpleNamespace(best_effort=True, handlers=True, entered=entered, left=left)
    bench = Bench(core)
    bench.client.hooks = hooks
    event = bench.reader.event(bench.raw)
    async with event:
        assert told == [event]
    assert told == [event, ("mark", event, None)]
    hooks.best_effort = False  # is asked once for each hook
    bench.client.hooks = SimpleNamespace(**{**vars(hooks), "handlers": False})
    assert bench.reader.event(bench.raw).hooks is None


async def test_an_event_that_is_entered_in_one_task_may_be_left_in_another(core: Core):
    bench = Bench(core)
    event: LiveEvent[Any] = bench.reader.event(bench.raw)
    await asyncio.create_task(enter(event))
    assert await event.__aexit__(None, None, None) is False


async def enter(event: LiveEvent[Any]) -> None:
    await event.__aenter__()


# Nothing is left behind.


def counted() -> Iterator[int]:
    for each in (None, True, False, 0.0, b"", ""):
        yield sys.getrefcount(each)


async def test_no_reference_is_lost_or_given_back_twice(core: Core):
    bench = Bench(core)
    plan = plan_of(type(ORDER))
    assert plan is not None
    order = plan.encode(ORDER)

    async def round_of(number: int) -> None:
        for _ in range(number):
            bench.queue.append(bench.raw)
            event: Any = await anext(bench.reader)  # pyright: ignore[reportArgumentType]
            async with event:
                pass
            plan.encode(plan.decode(order))
            with pytest.raises(ValueError, match="validation"):
                plan.decode(b'{"symbol":"x","side":"buy"')

    await round_of(50)
    gc.collect()
    before, objects = [*counted()], len(gc.get_objects())
    await round_of(1_000)
    gc.collect()
    assert max(abs(after - count) for after, count in zip(counted(), before, strict=True)) < 100
    assert len(gc.get_objects()) - objects < 100


def test_the_subject_of_orders_has_several_fields_in_its_key():
    assert len(EventEncoder(OMS_ORDERS_CREATED, "x").key_fields) > 1


def test_slots_of_another_class_are_refused(core: Core):
    slots = [vars(BaseModel)[f"__pydantic_{name}__"] for name in ("fields_set", "extra", "private")]
    others = [*slots[:2], FrameTemplate.__dict__["_line"]]
    options: dict[str, Any] = {"after": None, "utc": None, "decode": len, "encode": len, "changed": len}
    for model, its in ((int, slots), (type(QUOTE), others)):
        with pytest.raises(TypeError, match="slot of another class"):
            core.Plan(model, [], slots=its, **options)
    with pytest.raises(TypeError, match="no slot of a class"):
        core.Plan(type(QUOTE), [], slots=[1, 2, 3], **options)
