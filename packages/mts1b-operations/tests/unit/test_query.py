"""The query language: every text is read, what was read prints back, and a query means what it says."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mts1b_foundation.samples import BROKER_FILL, DEAD_LETTER, ORDER
from mts1b_foundation.subjects import registry
from mts1b_operations.history.matching import matches, may_match, needles, nonsense, patterns_of
from mts1b_operations.history.moments import MomentError, moment
from mts1b_operations.history.query import And, Between, Compare, Not, Or, Query, Text, parse
from mts1b_operations.history.seen import Decoders, Seen
from mts1b_platform.eventbus.history.recorded import Recorded, nanoseconds
from mts1b_platform.eventbus.protocol.envelope import envelope
from mts1b_platform.eventbus.protocol.headers import header_block
from mts1b_platform.eventbus.protocol.message import WireMsg

_DECODERS = Decoders(registry())


def seen(subject: str, payload: bytes, **replaced: str) -> Seen:
    registered = registry().find(subject)
    headers = envelope(
        source_repo=registered.producer if registered else "x",
        schema=registered.schema_id if registered else "x",
        actor="ma_cross",
        trace_id="5f0c" * 8,
        msg_id="m-1",
    )
    wire = WireMsg(subject.encode(), b"", header_block(headers | replaced), payload)
    return Seen(Recorded("OMS_ORDERS", 7, "2026-11-29T03:12:03.196192123Z", wire), _DECODERS)


ORDER_SEEN = seen("mts.v1.oms.orders.created.fund.alpha", ORDER.model_dump_json().encode())
FILL_SEEN = seen("mts.v1.brokers.paper.fills.raw", BROKER_FILL.model_dump_json().encode())
BROKEN = seen(
    "mts.v1.oms.orders.created", b'{"order_id": "ord-9", "quantity": 0.50, "on": true, "off": null, "a": [{"b": 1}]}'
)
LETTER = seen(
    "mts.v1.oms.deadletters.created",
    DEAD_LETTER.model_copy(
        update={"subject": FILL_SEEN.subject, "headers": {}, "payload": BROKER_FILL.model_dump_json().encode()}
    )
    .model_dump_json()
    .encode(),
)


@given(st.text(alphabet=st.sampled_from('ab-:.><="\\() or\t1é')) | st.text())
@example("(" * 10_000)
@example("-" * 10_000 + "a")
@example("a or " * 3_000)
@example('x:"')
@example('"\\')
@example("-()")
def test_every_text_is_read_and_prints_back(text: str):
    parsed = parse(text)
    again = parse(str(parsed.query))
    assert again.query == parsed.query
    assert all(0 <= problem.at <= len(text) for problem in parsed.problems)
    if not parsed.problems:
        assert not again.problems


_FIELDS = st.from_regex(r"[a-z_][a-z0-9_.\-]{0,8}", fullmatch=True)
_LEAVES = (
    st.builds(Text, st.text(min_size=1))
    | st.builds(Compare, _FIELDS, st.sampled_from([":", ">", ">=", "<", "<="]), st.text())
    | st.builds(
        Between, _FIELDS, st.from_regex(r"[0-9a-z]{1,5}", fullmatch=True), st.from_regex(r"[0-9]{1,5}", fullmatch=True)
    )
)


def _combined(inner: st.SearchStrategy[Query]) -> st.SearchStrategy[Query]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return (
        several.filter(lambda parts: not any(isinstance(part, And) for part in parts)).map(And)
        | several.filter(lambda parts: not any(isinstance(part, Or) for part in parts)).map(Or)
        | inner.filter(lambda part: not isinstance(part, Not)).map(Not)
    )


@given(st.recursive(_LEAVES, _combined, max_leaves=8))
@example(Compare("price", ">", "=5"))
def test_every_query_can_be_written_down(query: Query):
    parsed = parse(str(query))
    assert (parsed.query, parsed.problems) == (query, ())


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("a (b", 2, "not closed"),
        ("a) b", 1, "closes nothing"),
        ("price:", 0, "no value"),
        ('a "b', 2, "not closed"),
        ("or b", 0, "nothing before"),
        ("a or", 4, "nothing behind"),
        ("()", 0, "nothing in these"),
        ("a -", 3, "nothing behind"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, at: int, words: str):
    problems = parse(text).problems
    assert [problem.at for problem in problems] == [at]
    assert words in problems[0].words


@pytest.mark.parametrize(
    ("query", "event"),
    [
        ("order:ord-1", ORDER_SEEN),
        ("order:ord-1", FILL_SEEN),  # which calls it client_order_id
        ("order_id:ord-1", FILL_SEEN),
        ("client_order_id:ord-1", FILL_SEEN),
        ("order:ord-1", LETTER),  # a dead letter is about what its message was about
        ("signal:sig-1", ORDER_SEEN),
        ("intent:ma-cross:alpha:sig-1", ORDER_SEEN),
        ("order:ord-*", ORDER_SEEN),
        ("subject:mts.v1.oms.orders.created", ORDER_SEEN),  # with the fund behind it
        ("subject:oms.orders.*", ORDER_SEEN),
        ("subject:oms.>", ORDER_SEEN),
        ("fund:alpha", ORDER_SEEN),
        ("quantity:0.50", ORDER_SEEN),  # a decimal, not its digits
        ("quantity:0.4..0.6", ORDER_SEEN),
        ("quantity>0.4999 quantity<=0.5", ORDER_SEEN),
        ("created_at>2021-01-08T09:30:00Z created_at<2021-01-08T12:00:00+01:00", ORDER_SEEN),
        ("trace:" + "5f0c" * 8, ORDER_SEEN),
        ("header.MTS-Actor:ma_*", ORDER_SEEN),
        ("by:mts1b-oms id:m-1 stream:OMS_ORDERS seq:7", ORDER_SEEN),
        ("schema:*orders.Order:v1", ORDER_SEEN),
        ("refused:no", ORDER_SEEN),
        ("refused:yes", BROKEN),
        ("refused:invalid_payload", BROKEN),
        ("quantity:0.5 on:yes off:null a.b:1", BROKEN),
        ("btc/usdt", ORDER_SEEN),
        ("-fund:beta (side:sell or side:buy)", ORDER_SEEN),
        ("", ORDER_SEEN),
    ],
)
def test_what_a_query_means(query: str, event: Seen):
    wanted = parse(query).query
    assert matches(wanted, event)
    assert may_match(needles(wanted), event.recorded)
    assert not matches(Not(wanted), event)


@pytest.mark.parametrize(
    "query",
    [
        "order:ord-2", "order:ord", "fund:beta", "quantity>0.5", "quantity:abc", "side>1", "refused:yes",
        "subject:oms.fills.*", "nosuchfield:1", "trace:5f0c", "created_at>2022-01-01", "seq>7", "header.x:1",
    ],
)  # fmt: skip
def test_what_it_does_not_mean(query: str):
    assert not matches(parse(query).query, ORDER_SEEN)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=4
)


@given(
    st.dictionaries(st.sampled_from("abc"), _VALUES), st.booleans(), st.text() | st.sampled_from(["é", "a/b", "1e2"])
)
def test_what_is_passed_over_by_its_bytes_is_not_meant(document: dict[str, Any], escaped: bool, value: str):
    import json

    payload = json.dumps(document | {"d": value}, ensure_ascii=escaped).encode(errors="surrogatepass")
    event = seen("mts.v1.oms.orders.created", payload)
    for query in (Compare("d", ":", value), Or((Compare("a", ":", value), Compare("d", ":", value)))):
        if matches(query, event):
            assert may_match(needles(query), event.recorded)


def test_the_server_is_asked_for_both_forms_of_a_subject():
    assert patterns_of(parse("subject:oms.orders.created x").query) == ("mts.*.oms.orders.>",)
    assert patterns_of(parse("subject:mts.v1.oms.>").query) == ("mts.v1.oms.>",)
    assert patterns_of(parse("subject:a or subject:b").query) == ()


def test_a_subject_that_is_none_is_said():
    assert nonsense(parse("a or subject:oms..created").query)
    assert nonsense(parse("subject:oms.orders.").query)
    assert nonsense(parse("seq:abc").query)
    assert nonsense(parse("subject:oms.*.created seq>1").query) is None


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("10m", "2026-11-29T03:02:00"),
        ("2 h ago", "2026-11-29T01:12:00"),
        ("03:10", "2026-11-29T03:10:00"),
        ("3:10", "2026-11-29T03:10:00"),
        ("03:12:30.5", "2026-11-28T03:12:30.5"),  # still to come: yesterday's
        ("now", "2026-11-29T03:12:00"),
        ("2026-11-01", "2026-11-01T00:00:00"),
        ("2026-11-01T10:00:00+01:00", "2026-11-01T09:00:00"),
    ],
)
def test_moments_as_people_type_them(text: str, meant: str):
    now = datetime(2026, 11, 29, 3, 12, tzinfo=UTC)
    assert moment(text, now) == nanoseconds(datetime.fromisoformat(meant).replace(tzinfo=UTC))


def test_what_a_stream_said_is_a_moment_to_the_nanosecond():
    assert moment("2026-11-29T03:12:03.196192123Z", datetime.now(UTC)) % 1_000_000_000 == 196_192_123
    with pytest.raises(MomentError, match="no moment"):
        moment("yesterday", datetime.now(UTC))
