"""Header blocks: what is written arrives unchanged, what is read is never guessed."""
# pyright: reportPrivateUsage=false
# reason: the oracle is private to nats-py, and bounded caches are private to ours.

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mts1b_platform.eventbus.protocol.envelope_reader import MessageIds, StaticHeaderCache, StaticHeaders, read_ids
from mts1b_platform.eventbus.protocol.frames import FrameTemplate, SubjectRefused, frame_size
from mts1b_platform.eventbus.protocol.headers import HeaderError, HeaderLines, Headers, header_block, header_lines
from mts1b_platform.eventbus.protocol.message import WireMsg
from mts1b_platform.eventbus.protocol.parser import Parser, Unrouted
from nats.aio.client import Client

STATIC = {
    "content-type": "application/json",
    "mts-source-repo": "mts1b-oms",
    "mts-schema": "mts1b_foundation.orders.Order:v1",
    "mts-actor": "crypto_dual_paper",
}
SAME = StaticHeaders(STATIC["mts-schema"], STATIC["mts-source-repo"], STATIC["mts-actor"], STATIC["content-type"])
TEMPLATE = FrameTemplate("mts.v1.oms.orders.created", STATIC)

names = st.text("!#$%&'*+-.^_`|~09AZaz", min_size=1, max_size=10)
values = st.text(max_size=30)
"""Anything at all, hostile values among it."""


def received(frame: bytes) -> WireMsg:
    """Send a frame through the parser the way the server would hand it on."""
    line, rest = frame.split(b"\r\n", 1)
    op, subject, *args = line.split(b" ")
    (event,) = Parser().feed(b" ".join([{b"HPUB": b"HMSG", b"PUB": b"MSG"}[op], subject, b"1", *args]) + b"\r\n" + rest)
    assert isinstance(event, Unrouted)
    return event.msg


def oracle(block: bytes) -> dict[str, str]:
    return Client._parse_header_lines(block[len(b"NATS/1.0\r\n") :])


def expected_to_survive(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return bool(value) and value == value.strip() and not set(value) & {"\r", "\n", "\0"}


@given(st.dictionaries(names, values, max_size=6))
@example({"A": "x\r\nNats-Msg-Id: forged"})
@example({"A": "x", "a": "y"})
@example({"A": "\ud800"})
def test_a_header_arrives_as_it_was_given_or_is_refused(headers: dict[str, str]):
    distinct = len({name.lower() for name in headers}) == len(headers)
    if distinct and all(map(expected_to_survive, headers.values())):
        block = header_block(headers)
        assert Headers(block).to_dict() == headers
        assert oracle(block) == headers
    else:
        with pytest.raises(HeaderError):
            header_block(headers)


@given(st.none() | values, values, st.binary(max_size=100), st.dictionaries(names, values, max_size=2), st.booleans())
@example("id\r\n", "t", b"", {}, False)
@example("id", "t\r\nmts-schema: forged", b"", {}, False)
def test_a_frame_never_carries_more_than_it_was_given(
    msg_id: str | None, trace_id: str, payload: bytes, more: dict[str, str], with_reply: bool
):
    reply = b"_INBOX.x.1" if with_reply else b""
    try:
        extra = header_lines(more)
        frame = TEMPLATE.encode(payload, trace_id, msg_id, reply, extra)
    except HeaderError:
        assert not all(map(expected_to_survive, ["-" if msg_id is None else msg_id, trace_id, *more.values()])) or len(
            {name.lower() for name in more}
        ) < len(more)
        return
    msg = received(frame)
    assert msg.payload == payload
    assert (msg.subject, msg.reply) == (b"mts.v1.oms.orders.created", reply)
    if not {name.lower() for name in more} & {"nats-msg-id", "mts-trace-id", *STATIC}:
        ids = {"mts-trace-id": trace_id} | ({} if msg_id is None else {"Nats-Msg-Id": msg_id})
        assert msg.headers.to_dict() == oracle(msg.head) == STATIC | ids | more
    assert frame_size(frame) == len(msg.head) + len(payload)


@pytest.mark.parametrize("size", [0, 1, 8191 - 300, 8191, 8192, 100_000])
def test_counts_are_right_below_and_above_the_prepared_ones(size: int):
    msg = received(
        TEMPLATE.encode(
            bytes(size), "trace", "id", extra=header_lines({"long": "x" * size}) if size else HeaderLines(b"")
        )
    )
    assert len(msg.payload) == size


@pytest.mark.parametrize("value", ["a\rb", "a\nb", "a\r\nb: c", "a\0b", "", " a", "a ", "a\t"])
@pytest.mark.parametrize("place", ["actor", "msg_id", "trace_id"])
def test_a_value_that_would_forge_a_line_or_arrive_changed_is_refused(value: str, place: str):
    ids = {"msg_id": "id", "trace_id": "t", "actor": "me", place: value}
    with pytest.raises(HeaderError):
        FrameTemplate("a", {"mts-actor": ids["actor"]}).encode(b"", ids["trace_id"], ids["msg_id"])


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "ä", "a\0"])
def test_a_name_that_is_no_token_is_refused(name: str):
    with pytest.raises(HeaderError, match="token"):
        header_lines({name: "x"})


@pytest.mark.parametrize("name", ["NATS-Msg-Id", "Nats-Msg-Id", "MTS-Trace-Id"])
def test_what_changes_with_every_message_is_no_static_header(name: str):
    with pytest.raises(HeaderError, match="encode"):
        FrameTemplate("a", {name: "x"})


@pytest.mark.parametrize(
    "subject", ["", "a b", "a\r\nPUB b 0", "a..b", ".a", "a.", "a.*", "a.>", "a\t", "a\0", "a.\ud800"]
)
def test_a_subject_that_cannot_be_published_to_is_refused(subject: str):
    with pytest.raises(SubjectRefused, match="cannot publish"):
        FrameTemplate(subject, {})
    with pytest.raises(SubjectRefused):
        TEMPLATE.at(subject)


def test_a_template_serves_other_subjects_with_the_same_headers_and_remembers_a_bounded_number():
    other = TEMPLATE
    for n in range(10_000):
        other = TEMPLATE.at(f"mts.v1.marketdata.quotes.s{n}")
    assert other is TEMPLATE.at("mts.v1.marketdata.quotes.s9999")
    assert len(TEMPLATE._at) <= 4096
    msg = received(other.encode(b"x", "id", "t"))
    assert msg.subject == b"mts.v1.marketdata.quotes.s9999"
    assert msg.headers["mts-actor"] == "crypto_dual_paper"
    assert TEMPLATE.subject == "mts.v1.oms.orders.created"


blocks = st.lists(st.tuples(names, st.binary(max_size=12)), max_size=5).map(
    lambda lines: b"NATS/1.0\r\n" + b"".join(b"%b: %b\r\n" % (k.encode(), v) for k, v in lines) + b"\r\n"
)


@given(blocks | st.binary(max_size=60).map(lambda b: b"NATS/1.0" + b + b"\r\n\r\n") | st.binary(max_size=40))
def test_what_is_read_is_what_nats_py_reads_or_an_error(block: bytes):
    headers = Headers(block)
    try:
        found = headers.to_dict()
        status = headers.status
    except HeaderError:
        return
    if block and status is None:
        assert found == oracle(block)


@pytest.mark.parametrize("spelling", ["nats-msg-id", "NATS-Msg-Id", "NATS-MSG-ID"])
def test_lookups_ignore_case(spelling: str):
    headers = Headers(b"NATS/1.0\r\n%b:  7 \r\n\r\n" % spelling.encode())
    assert headers["Nats-Msg-Id"] == headers.get("nats-MSG-id") == "7"
    assert "NaTs-mSg-iD" in headers
    assert list(headers) == [spelling]
    assert headers.get("other") is None
    with pytest.raises(KeyError):
        headers["other"]


def test_a_header_that_occurs_twice_is_not_guessed():
    headers = Headers(b"NATS/1.0\r\nmts-schema: a\r\nMTS-Schema: b\r\nmts-actor: c\r\n\r\n")
    with pytest.raises(HeaderError, match="2 times"):
        headers.get("mts-schema")
    assert headers.get_all("mts-schema") == ["a", "b"]
    assert headers["mts-actor"] == "c"


@pytest.mark.parametrize(
    "block",
    [
        b"NATS/1.0",
        b"NATS/1.0\r\n",
        b"NATS/1.0\r\na: b\r\n",
        b"NATS/2.0\r\na: b\r\n\r\n",
        b"NATS/1.0 \r\n\r\n",
        b"NATS/1.0 4x4\r\n\r\n",
        b"NATS/1.05\r\na: b\r\n\r\n",
        b"NATS/1.0\r\nno colon\r\n\r\n",
        b"NATS/1.0\r\n: empty name\r\n\r\n",
        b"NATS/1.0\r\na b: c\r\n\r\n",
        b"NATS/1.0\r\na: b\nc: d\r\n\r\n",
        b"NATS/1.0\r\na: b\0\r\n\r\n",
        b"NATS/1.0\r\na: b\rc\r\n\r\n",
        b"NATS/1.0\r\n\xff: b\r\n\r\n",
        b"NATS/1.0\r\na: \xff\r\n\r\n",
        b"NATS/1.0\r\na: b\r\n\r\na: c\r\n\r\n",
    ],
)
def test_a_malformed_block_is_an_error_that_shows_it(block: bytes):
    with pytest.raises(HeaderError) as caught:
        Headers(block).get("a")
    assert "\n" not in str(caught.value)


def test_a_status_line_has_a_number_and_words():
    headers = Headers(b"NATS/1.0 409 Consumer Deleted\r\nNats-Pending-Messages: 5\r\n\r\n")
    assert (headers.status, headers.description) == (409, "Consumer Deleted")
    assert headers["Nats-Pending-Messages"] == "5"
    assert Headers(b"NATS/1.0 503\r\n\r\n").status == 503


def test_static_headers_are_parsed_once_and_found_afterwards():
    cache = StaticHeaderCache()
    for n in range(100):
        assert cache.read(received(TEMPLATE.encode(b"", f"trace-{n}", f"id-{n}" if n % 2 else None)).head) == SAME
    for n in range(100):
        lines = HeaderLines(b"traceparent: 00-1\r\nNats-Batch-Id: 3\r\nNats-Batch-Sequence: %d\r\n" % n)
        assert cache.read(received(TEMPLATE.encode(b"", f"trace-{n}", f"id-{n}", b"", lines)).head) == SAME
    assert len(cache) == 1


orders = st.permutations([*STATIC.items(), ("nats-msg-id", "7"), ("mts-trace-id", "8")])


@given(orders, st.sampled_from([str.lower, str.upper, str.title]))
def test_a_foreign_client_may_order_and_spell_headers_as_it_likes(order: list[tuple[str, str]], spell: object):
    block = header_block({spell(name): value for name, value in order})  # type: ignore[operator]
    cache = StaticHeaderCache()
    cache.read(received(TEMPLATE.encode(b"", "1", "2")).head)
    assert cache.read(block) == SAME
    assert cache.read(block) == SAME
    assert read_ids(block) == MessageIds("7", "8", "")


def test_ids_are_read_from_our_own_blocks_and_with_a_traceparent():
    assert read_ids(received(TEMPLATE.encode(b"", "trace", "id")).head) == MessageIds("id", "trace", "")
    assert read_ids(received(TEMPLATE.encode(b"", "trace")).head) == MessageIds("", "trace", "")
    sampled = TEMPLATE.encode(b"", "trace", "id", extra=header_lines({"traceparent": "00-a-b-01"}))
    assert read_ids(received(sampled).head) == MessageIds("id", "trace", "00-a-b-01")
    assert StaticHeaderCache().read(received(sampled).head) == SAME
    batch = HeaderLines(b"Nats-Batch-Id: b\r\nNats-Batch-Sequence: 1\r\ntraceparent: 00-a-b-01\r\nNats-Pin-Id: p\r\n")
    assert read_ids(received(TEMPLATE.encode(b"", "trace", "id", b"", batch)).head) == MessageIds(
        "id", "trace", "00-a-b-01"
    )


pieces = st.sampled_from(
    [
        *(b"mts-schema: evil", b"MTS-Schema: evil", b"mts-actor: you"),
        *(b"Nats-Msg-Id: 1", b"nats-msg-id: 2", b"mts-trace-id: 3", b"traceparent: p"),
        *(b"MTS-Trace-Id: 4", b"Nats-Msg-Id: a\rb", b"Nats-Msg-Id: \0", b"Nats-Msg-Id: 5\n"),
        *(b"Nats-Batch-Id: 6", b"Nats-Batch-Sequence: 7", b"Nats-Batch-Commit: 1\nmts-schema: evil", b"Nats-Batch-Id"),
        *(b"x", b"", b"a: b\nc: d", b"a: \rb", b"a: \0"),
    ]
)


def read_everything(cache: StaticHeaderCache, block: bytes) -> None:
    """What is wrong in an id is found when the ids are read, not by the static headers."""
    cache.read(block)
    read_ids(block)


@given(st.lists(pieces, max_size=2), st.lists(pieces, max_size=3), st.sampled_from([b"", b"\n", b"x"]))
@settings(max_examples=500)
def test_a_known_prefix_hides_nothing(before: list[bytes], after: list[bytes], end: bytes):
    ours = received(TEMPLATE.encode(b"", "trace", "id")).head
    prefix = ours[: ours.index(b"\r\nmts-trace-id")]
    block = b"\r\n".join([prefix, *before, b"mts-trace-id: trace", *after, b"", end])
    warm = StaticHeaderCache()
    warm.read(ours)
    for cache in (warm, StaticHeaderCache()):
        try:
            expected: object = StaticHeaders(
                *(
                    Headers(block).get(name) or ""
                    for name in ("mts-schema", "mts-source-repo", "mts-actor", "content-type")
                )
            )
        except HeaderError:
            with pytest.raises(HeaderError):
                read_everything(cache, block)
        else:
            assert cache.read(block) == expected
    try:
        ids = tuple(Headers(block).get(name) or "" for name in ("nats-msg-id", "mts-trace-id", "traceparent"))
    except HeaderError:
        with pytest.raises(HeaderError):
            read_everything(StaticHeaderCache(), block)
    else:
        assert read_ids(block) == ids


def test_the_memory_of_static_headers_is_bounded():
    cache = StaticHeaderCache(limit=10)
    for n in range(100):
        cache.read(received(FrameTemplate("a", {"mts-actor": f"a{n}"}).encode(b"", "i", "t")).head)
    cache.read(received(FrameTemplate("a", {"mts-actor": "a" * 5000}).encode(b"", "i", "t")).head)
    assert len(cache) <= 10
    assert all(len(key) <= 1024 for key in cache._known)


def test_headers_are_readable_whatever_they_hold():
    head = b"NATS/1.0\r\nmts-schema: s\r\nx-desk: \xff7\r\nMTS-Schema: t\r\n\r\n"
    assert Headers(head).readable() == {"mts-schema": "s, t", "x-desk": "\\xff7"}
    assert Headers(b"NATS/1.0\r\nno colon\r\n\r\n").readable() == {"(unreadable)": "NATS/1.0\r\nno colon\r\n\r\n"}
    assert Headers(b"").readable() == {}
