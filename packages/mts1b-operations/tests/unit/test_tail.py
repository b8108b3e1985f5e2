"""What a terminal shows of many events, and what it says of them."""

from itertools import pairwise

from mts1b_foundation.samples import QUOTE
from mts1b_foundation.subjects import registry
from mts1b_operations.history.lines import Lines, clean
from mts1b_operations.history.sampling import Rate, Sampler
from mts1b_operations.history.seen import Decoders, Seen
from mts1b_operations.history.tail import patterns_to_hear
from mts1b_platform.eventbus.history.recorded import Recorded
from mts1b_platform.eventbus.protocol.envelope import envelope
from mts1b_platform.eventbus.protocol.headers import header_block
from mts1b_platform.eventbus.protocol.message import WireMsg

_DECODERS = Decoders(registry())
_SUBJECT = "mts.v1.marketdata.quotes.BTC=2FUSDT"
_HEAD = header_block(
    envelope(source_repo="mts1b-marketdata", schema=QUOTE.schema_id(), actor="x", trace_id="t", msg_id=None)
)


def quote(seq: int, *, broken: bool = False) -> Seen:
    payload = b"\x1b[31mno quote" if broken else QUOTE.model_copy(update={"sequence": seq}).model_dump_json().encode()
    wire = WireMsg(_SUBJECT.encode(), b"", _HEAD, payload)
    return Seen(Recorded("", seq, "2026-11-29T03:12:03.1Z", wire), _DECODERS)


def test_a_sample_is_even_and_shows_everything_that_is_refused():
    sampler = Sampler(10)
    events = [quote(seq, broken=seq in (3, 77)) for seq in range(1, 101)]
    shown = [each.recorded.seq for each in sampler.pick(events)]
    assert len(shown) == 10
    assert {3, 77} <= set(shown)
    assert shown == sorted(shown)
    rest = [seq for seq in shown if seq not in (3, 77)]
    assert max(b - a for a, b in pairwise(rest)) <= 14
    assert (sampler.events, sampler.shown, sampler.refused) == (100, 10, 2)


def test_how_much_is_shown_is_said_once_a_second_while_not_all_is():
    now = 100.0
    rate, sampler = Rate(lambda: now), Sampler(10)
    sampler.pick([quote(seq) for seq in range(1, 401)])
    now = 100.5
    assert rate.said(sampler) == ""
    now = 102.0
    assert rate.said(sampler) == "200/s, 5/s are shown, 0 refused so far"
    sampler.pick([quote(seq) for seq in range(1, 6)])
    now = 103.5
    assert rate.said(sampler) == ""


def test_few_are_all_shown_and_counts_are_exact():
    sampler = Sampler(10)
    assert len(sampler.pick([quote(seq) for seq in range(1, 11)])) == 10
    assert sampler.pick([]) == []
    everything = Sampler(None)
    assert len(everything.pick([quote(seq) for seq in range(1, 1001)])) == 1000
    assert everything.subjects == {"mts.v1.marketdata.quotes.{symbol}": 1000}


def test_more_refused_than_room_are_bounded():
    sampler = Sampler(5)
    assert len(sampler.pick([quote(seq, broken=True) for seq in range(1, 50)])) == 5
    assert sampler.refused == 49


def test_a_line_fits_the_terminal_and_cannot_move_its_cursor():
    lines = Lines(100)
    day, first = lines.of(quote(1))
    second, why = lines.of(quote(2, broken=True))
    assert day == "2026-11-29 (UTC)"
    assert first.startswith("03:12:03.1Z")
    assert " ! " in second
    assert max(map(len, (first, second))) <= 100
    assert "REFUSED invalid_payload" in why
    assert "\x1b" not in second + why


def test_both_forms_of_a_verb_subject_are_heard():
    hear = patterns_to_hear
    assert hear("oms.orders.created", registry()) == ("mts.*.oms.orders.created", "mts.*.oms.orders.created.fund.*")
    assert hear("mts.v1.oms.>", registry()) == ("mts.v1.oms.>",)
    assert hear("mts.v1.marketdata.quotes.{symbol}", registry()) == ("mts.v1.marketdata.quotes.*",)
    assert hear("marketdata.sessions.closed", registry()) == ("mts.*.marketdata.sessions.closed",)


def test_what_moves_a_cursor_is_written_out():
    assert clean("a\x1b[2J\x9b31m\n\u202eb") == "a\\x1b[2J\\x9b31m\\n\\u202eb"
    assert clean("é\n\tx", keep="\n") == "é\n\\tx"
    assert clean("BTC/USDT @ 1") == "BTC/USDT @ 1"
