"""What a browser is shown of a tail, whatever passes: few rows, exact counts, bounded memory, nothing lost silently."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mts1b_console.live.frames import MOST_ROWS, MOST_TEXT, View
from mts1b_console.live.ring import Ring
from mts1b_console.shapes.live import Frame, Mode
from mts1b_foundation.samples import QUOTE
from mts1b_foundation.subjects import registry
from mts1b_operations.history.seen import Decoders, Seen
from mts1b_platform.eventbus.history.recorded import Recorded
from mts1b_platform.eventbus.protocol.envelope import envelope
from mts1b_platform.eventbus.protocol.headers import header_block
from mts1b_platform.eventbus.protocol.message import WireMsg

_DECODERS = Decoders(registry())
_HEAD = header_block(
    envelope(source_repo="mts1b-marketdata", schema=QUOTE.schema_id(), actor="x", trace_id="t", msg_id=None)
)
_PAYLOAD = QUOTE.model_dump_json().encode()


def quote(symbol: str = "BTC=2FUSDT", payload: bytes = _PAYLOAD) -> Seen:
    wire = WireMsg(f"mts.v1.marketdata.quotes.{symbol}".encode(), b"", _HEAD, payload)
    return Seen(Recorded("", 0, "2026-11-29T03:12:03.1Z", wire), _DECODERS)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def numbers(frame: Frame) -> list[int]:
    return [row[0] for row in frame.rows]


def test_a_flood_is_sampled_evenly_with_every_refused_event_and_exact_counts(clock: Clock):
    view = View(1, "sample", clock)
    view.feed([quote(payload=b"nonsense" if number in (3, 777) else _PAYLOAD) for number in range(1, 1001)])
    clock.now += 1
    frame = view.frame()
    assert len(frame.rows) == MOST_ROWS["sample"]
    assert {3, 777} <= set(numbers(frame))
    assert numbers(frame) == sorted(numbers(frame))
    assert (frame.n, frame.shown, frame.refused, frame.one_in) == (1000, 50, 2, 20)
    assert [row[4] for row in frame.rows if row[0] in (3, 777)] == [1, 1]
    assert view.frame().rows == []


def test_rates_are_of_the_last_second_and_name_the_busiest(clock: Clock):
    view = View(1, "sample", clock)
    for _ in range(20):
        clock.now += 0.1
        view.feed([quote() for _ in range(10)])
    frame = view.frame()
    assert frame.per_s == pytest.approx(100, abs=11)
    assert frame.by[0][0] == "marketdata.quotes.{symbol}"
    clock.now += 5
    view.feed([quote() for _ in range(500)])  # the machine stood still: what comes at once came over five seconds
    assert view.frame().per_s == pytest.approx(100, abs=1)
    clock.now += 5
    assert view.frame().per_s == 0


def test_latest_has_the_newest_of_each_subject_once(clock: Clock):
    view = View(1, "latest", clock)
    view.feed([quote(symbol) for _ in range(50) for symbol in ("A", "B", "C")])
    assert numbers(view.frame()) == [148, 149, 150]
    view.feed([quote("B")])
    assert numbers(view.frame()) == [151]


def test_latest_shows_every_subject_though_no_frame_holds_all(clock: Clock):
    view = View(1, "latest", clock)
    view.feed([quote(f"S{number}") for number in range(500)])
    shown = [row[2] for _ in range(3) for row in view.frame().rows]
    assert len(shown) == len(set(shown)) == 500
    assert not view.waits


def test_all_shows_every_event_in_order_over_several_frames(clock: Clock):
    view = View(1, "all", clock)
    view.feed([quote() for _ in range(450)])
    frames = [view.frame() for _ in range(3)]
    assert [number for frame in frames for number in numbers(frame)] == list(range(1, 451))
    assert [frame.behind for frame in frames] == [250, 50, 0]


def test_all_pauses_by_itself_rather_than_leave_something_out_silently(clock: Clock):
    view = View(1, "all", clock, Ring(most=100))
    view.feed([quote() for _ in range(130)])
    frame = view.frame()
    assert (frame.paused, frame.fell, frame.behind, frame.rows) == (True, 30, 100, [])
    view.paused = False
    assert numbers(view.frame()) == list(range(31, 131))


def test_a_pause_loses_nothing_that_the_ring_holds(clock: Clock):
    view = View(1, "all", clock)
    view.feed([quote() for _ in range(10)])
    view.frame()
    view.paused = True
    view.feed([quote() for _ in range(20)])
    held = view.frame()
    assert (held.rows, held.behind, held.n, held.paused) == ([], 20, 30, True)
    view.paused = False
    assert numbers(view.frame()) == list(range(11, 31))


def test_a_row_that_was_shown_can_be_opened_until_it_falls_off():
    ring = Ring(most=3)
    events = [quote(f"S{number}") for number in range(5)]
    assert [*ring.extend(events[:1]), *ring.extend(events[1:])] == [1, 2, 3, 4, 5]
    assert [ring.get(number) for number in range(1, 7)] == [None, None, *events[2:], None]


def test_memory_is_bounded_in_bytes_and_one_large_event_is_kept():
    ring = Ring(most=1_000, most_bytes=100_000)
    for _ in range(200):
        ring.extend([quote(payload=b"x" * 10_000)])
    assert ring.bytes <= 100_000
    assert len(ring) == 9
    ring.extend([quote(payload=b"x" * 1_000_000)])
    assert len(ring) == 1


def test_a_frame_stays_small_whatever_the_events_say(clock: Clock):
    view = View(1, "all", clock)
    view.feed([quote(payload=b"\xff<script>" * 500) for _ in range(200)])
    seen: list[int] = []
    while view.waits:
        frame = view.frame()
        assert sum(len(row[2]) + len(row[3]) for row in frame.rows) <= MOST_TEXT
        seen += numbers(frame)
    assert seen == list(range(1, 201))


@given(
    st.lists(st.integers(0, 120), max_size=12),
    st.sampled_from(("latest", "sample", "all")),
    st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_counts_are_exact_and_rows_are_bounded_in_every_mode(bursts: Sequence[int], mode: Mode, pauses: list[bool]):
    clock = Clock()
    view = View(1, mode, clock, Ring(most=150))
    shown: list[int] = []
    for size, paused in zip(bursts, pauses, strict=False):
        view.paused = paused
        view.feed([quote() for _ in range(size)])
        clock.now += 0.1
        frame = view.frame()
        assert len(frame.rows) <= MOST_ROWS[mode]
        shown += numbers(frame)
    last = view.frame()
    assert last.n == sum(bursts)
    assert shown == sorted(set(shown))
    if mode == "all":
        shown += numbers(last)
        assert len(shown) + last.fell + last.behind == sum(bursts)
