"""The parser against nats-py's own as the oracle, and against hostile servers."""
# pyright: reportPrivateUsage=false
# reason: what the parser remembers is private, and must be bounded.

import json
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mts1b_platform.eventbus.protocol.message import WireMsg
from mts1b_platform.eventbus.protocol.parser import Control, Malformed, Parser, Unrouted
from nats.errors import ProtocolError
from nats.protocol.parser import Parser as OracleParser

Event = tuple[Any, ...]


class Oracle:
    """Records what nats-py's parser would have told its client."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.parser = OracleParser(self)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, head: bytes | None) -> None:
        self.events.append(("msg", sid, bytes(subject), bytes(reply), head or b"", data))

    async def _process_err(self, text: str) -> None:
        self.events.append(("-ERR", text))

    async def _process_ping(self) -> None:
        self.events.append(("PING",))

    async def _process_pong(self) -> None:
        self.events.append(("PONG",))

    async def _process_info(self, info: dict[str, Any]) -> None:
        self.events.append(("INFO", info))

    async def feed(self, chunks: list[bytes]) -> list[Event]:
        try:
            for chunk in chunks:
                await self.parser.parse(chunk)
        except ProtocolError:
            self.events.append(("malformed",))
        return self.events


def ours(chunks: list[bytes], parser: Parser | None = None) -> list[Event]:
    parser = parser or Parser()
    events: list[Event] = []
    for chunk in chunks:
        for event in parser.feed(chunk):
            match event:
                case Unrouted(sid, msg):
                    events.append(("msg", sid, *msg))
                case Control(b"-ERR", text):
                    events.append(("-ERR", text.decode(errors="replace").lower()))
                case Control(b"INFO", text):
                    try:
                        events.append(("INFO", json.loads(text)))
                    except ValueError:
                        events.append(("malformed",))
                        return events
                case Control(b"+OK", _):
                    pass
                case Control(op, _):
                    events.append((op.decode(),))
                case Malformed(_):
                    events.append(("malformed",))
                    return events
    return events


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted({point % (len(stream) + 1) for point in at}), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


token = st.text("abcXYZ019-_=$", min_size=1, max_size=8)
subject = st.lists(token, min_size=1, max_size=5).map(".".join).map(str.encode)
payloads = st.binary(max_size=300) | st.sampled_from([b"", b"\r\n", b"MSG a 1 5\r\nhello\r\n", b"PING\r\n", b"\0" * 20])
heads = st.lists(st.tuples(token, st.text("abc xyz09:\"'", max_size=12)), max_size=6).map(
    lambda pairs: b"NATS/1.0\r\n" + b"".join(f"{k}: {v}\r\n".encode() for k, v in pairs) + b"\r\n"
) | st.sampled_from([b"NATS/1.0 503\r\n\r\n", b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 3\r\n\r\n"])
gaps = st.sampled_from([b" ", b"  ", b"\t", b" \t "])


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    gap, where, sid = draw(gaps), draw(subject), b"%d" % draw(st.integers(1, 9999))
    payload, reply = draw(payloads), draw(st.none() | subject)
    args = [where, sid, *([reply] if reply is not None else [])]
    if draw(st.booleans()):
        head = draw(heads)
        args = [b"HMSG", *args, b"%d" % len(head), b"%d" % (len(head) + len(payload))]
        return gap.join(args) + b"\r\n" + head + payload + b"\r\n"
    return gap.join([b"MSG", *args, b"%d" % len(payload)]) + b"\r\n" + payload + b"\r\n"


controls = st.sampled_from(
    [b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"PING \r\n", b"-ERR 'Slow Consumer'\r\n", b'INFO {"max_payload": 9}\r\n']
)
streams = st.lists(messages() | controls, max_size=8).map(b"".join)


@given(streams, st.lists(st.integers(0, 1 << 16), max_size=12))
async def test_any_chunking_gives_the_messages_that_nats_py_gives(stream: bytes, at: list[int]):
    expected = await Oracle().feed([stream])
    assert ours(cut(stream, at)) == expected


@given(streams.filter(lambda s: len(s) < 700))
@settings(max_examples=25, deadline=None)
async def test_every_single_cut_gives_the_messages_of_the_whole(stream: bytes):
    expected = ours([stream])
    assert expected == await Oracle().feed([stream])
    for at in range(len(stream) + 1):
        assert ours([stream[:at], stream[at:]]) == expected
    assert ours([stream[i : i + 1] for i in range(len(stream))]) == expected


@given(streams, st.lists(st.integers(0, 1 << 16), max_size=5), st.data())
@settings(max_examples=300, deadline=None)
async def test_a_damaged_stream_is_refused_at_the_latest_where_nats_py_refuses_it(
    stream: bytes, at: list[int], data: st.DataObject
):
    if not stream:
        return
    where = data.draw(st.integers(0, len(stream) - 1))
    damaged = stream[:where] + data.draw(st.binary(max_size=3)) + stream[where + data.draw(st.integers(0, 3)) :]
    got = ours(cut(damaged, at))
    assert got == ours([damaged])
    try:
        expected = await Oracle().feed([damaged])
    except Exception:  # noqa: BLE001 - any of them kills its read loop
        # nats-py's read loop would have died here without a word; ours names it or waits for more bytes.
        return
    if got and got[-1] == ("malformed",):
        # Everything before the fault is what nats-py saw too (bar the whitespace that it tolerates).
        assert got[:-1] == expected[: len(got) - 1]
    else:
        assert got == expected


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=5))
@example(b"MSG a 1 99999999999999999999\r\n", [])
@example(b"HMSG a 1 12 3\r\nabc\r\n", [])
def test_noise_is_an_event_or_waits_and_depends_on_no_cut(noise: bytes, at: list[int]):
    assert ours(cut(noise, at)) == ours([noise])


HEAD = b"NATS/1.0\r\nA: b\r\n\r\n"


@pytest.mark.parametrize(
    "line",
    [
        b"MSG a 1 -1\r\n",
        b"MSG a 1 +1\r\n",
        b"MSG a 1 1_0\r\n",
        b"MSG a x 1\r\n",
        b"MSG a 1 1 \r\n",
        b" HMSG a 1 r 5 5\r\n",
        b"HMSG a 1 r 5 5 \r\n",
        b"HMSG a 1 r\x0b5 5\r\n",
        b" MSG a 1 1\r\n",
        b"MSG a 1\r\n",
        b"MSG a b c 1 1\r\n",
        b"MSG a 1 99999999999\r\n",
        b"MSG a 1 99999999999999999999999\r\n",
        b"MSG a 1 \xd9\xa1\r\n",
        b"MSG\na 1 1\r\n",
        b"HMSG a 1 20 10\r\n",
        b"HMSG a 1 -1 10\r\n",
        b"HMSG a 1 r 20 10\r\n",
        b"HMSG a 1 10\r\n",
        b"msg a 1 1\r\n",
        b"-ERR\r\n",
        b"-ERR unquoted\r\n",
        b"INFO\r\n",
        b"\r\n",
        b"\0\r\n",
        b"GET / HTTP/1.1\r\n",
    ],
)
@pytest.mark.parametrize("routed", [False, True])
def test_a_bad_line_is_malformed_after_the_messages_before_it(line: bytes, routed: bool):
    parser = Parser()
    if routed:
        parser.route(b"1")
    good = b"MSG a 2 1\r\nx\r\n"
    first, second = parser.feed(good + line + good)
    assert first == Unrouted(2, WireMsg(b"a", b"", b"", b"x"))
    assert isinstance(second, Malformed)
    assert parser.feed(good) == [second], "nothing is accepted after a fault"
    parser.reset()
    assert parser.feed(good) == [first]


@pytest.mark.parametrize(
    "stream", [b"MSG a 1 1\r\nxyz\r\n", b"MSG a 1 3\r\nx\r\nPING\r\n", b"MSG a 1 1\r\nx\n\nPING\r\n"]
)
def test_a_payload_that_its_line_does_not_describe_is_malformed(stream: bytes):
    (event,) = Parser().feed(stream)
    assert isinstance(event, Malformed)
    assert "longer or shorter" in event.reason


@pytest.mark.parametrize("reply", [b"", b"r "])
def test_a_header_block_larger_than_its_message_is_malformed(reply: bytes):
    parser = Parser()
    parser.route(b"1")
    (event,) = parser.feed(b"HMSG a 1 %b12 3\r\nabc\r\n" % reply)
    assert isinstance(event, Malformed)
    assert "larger than its message" in event.reason


@pytest.mark.parametrize(
    "line", [b" HMSG a 1 r 12 12", b"HMSG a 1 r 12 12 ", b"HMSG a 1\x0br 12 12", b"HMSG a x r 12 12"]
)
def test_a_delivery_whose_line_is_off_by_a_blank_is_malformed(line: bytes):
    parser = Parser()
    route = parser.route(b"1")
    (event,) = parser.feed(line + b"\r\nNATS/1.0\r\n\r\n\r\n")
    assert isinstance(event, Malformed)
    assert route == []


@pytest.mark.parametrize("odd", [b"\x0b", b"\x0c", b"\x1c", b"\x1f", b"\x85", b"\xa0"])
@pytest.mark.parametrize("reply", [b"", b"r", b"r%b1"])
@pytest.mark.parametrize("routed", [False, True])
def test_only_space_and_tab_separate_the_fields_of_a_line(odd: bytes, reply: bytes, routed: bool):
    """The server takes any other byte for part of a subject, so that anybody may publish one."""
    parser, subject = Parser(), b"x%b1" % odd
    reply = reply.replace(b"%b", odd)
    route = parser.route(b"1") if routed else []
    fields = subject + b" 1" + (b" " + reply if reply else b"")
    stream = b"MSG %b 1\r\nx\r\nHMSG %b %d %d\r\n%bx\r\n" % (fields, fields, len(HEAD), len(HEAD) + 1, HEAD)
    sent = [WireMsg(subject, reply, b"", b"x"), WireMsg(subject, reply, HEAD, b"x")]
    assert parser.feed(stream) == ([] if routed else [Unrouted(1, msg) for msg in sent])
    assert route == (sent if routed else [])


def test_a_line_without_end_is_refused_at_the_limit():
    parser = Parser(max_line=4096)
    for _ in range(4):
        assert parser.feed(b"I" * 1024) == []
    (event,) = parser.feed(b"I")
    assert isinstance(event, Malformed)
    assert "4096" in event.reason


def test_a_message_over_the_limit_is_refused_before_it_is_buffered():
    (event,) = Parser(max_message=1000).feed(b"MSG a 1 1001\r\n")
    assert isinstance(event, Malformed)
    assert "1001" in event.reason


def test_a_large_message_in_small_chunks_takes_linear_time():
    payload = bytes(16 << 20)
    stream = b"MSG a 1 %d\r\n%b\r\n" % (len(payload), payload)
    started = time.process_time()
    assert ours([stream[i : i + 4096] for i in range(0, len(stream), 4096)]) == [("msg", 1, b"a", b"", b"", payload)]
    # 4,096 chunks: copying what is held for each of them would move 32 GiB, some ten seconds.
    assert time.process_time() - started < 2


def test_a_routed_message_lands_in_its_list_and_nowhere_else():
    parser = Parser()
    inbox = parser.route(b"7")
    line = b"HMSG s.u.b 7 $JS.ACK.x %d %d\r\n%b%b\r\n" % (len(HEAD), len(HEAD) + 2, HEAD, b"hi")
    others = parser.feed(line + b"MSG a 8 1\r\nx\r\n" + b"MSG b 7 1\r\ny\r\nPONG\r\n")
    assert inbox == [WireMsg(b"s.u.b", b"$JS.ACK.x", HEAD, b"hi"), WireMsg(b"b", b"", b"", b"y")]
    assert others == [Unrouted(8, WireMsg(b"a", b"", b"", b"x")), Control(b"PONG", b"")]
    assert parser.touched == [b"7"]
    assert parser.routed_bytes == 3
    parser.feed(b"MSG b 007 1\r\nz\r\n")
    assert inbox[2:] == [WireMsg(b"b", b"", b"", b"z")]
    parser.unroute(b"7")
    assert parser.feed(b"MSG b 007 1\r\ny\r\n") == [Unrouted(7, WireMsg(b"b", b"", b"", b"y"))]


@given(streams, st.lists(st.integers(0, 1 << 16), max_size=6))
def test_routing_changes_the_place_of_a_message_but_not_the_message(stream: bytes, at: list[int]):
    plain = [event[2:] for event in ours([stream]) if event[0] == "msg"]
    sids = {b"%d" % event[1] for event in ours([stream]) if event[0] == "msg"}
    parser = Parser()
    routes = [parser.route(sid) for sid in sids]
    rest = ours(cut(stream, at), parser)
    assert all(event[0] != "msg" for event in rest)
    assert sorted(tuple(m) for route in routes for m in route) == sorted(plain)
    assert set(parser.touched) == sids


def test_what_is_remembered_about_lines_is_bounded():
    parser = Parser()
    for n in range(40_000):
        parser.feed(b"HMSG subject.%d 1 12 12\r\nNATS/1.0\r\n\r\n\r\n" % n)
    parser.feed(b"HMSG %b 1 12 12\r\nNATS/1.0\r\n\r\n\r\n" % (b"x" * 100_000))
    assert len(parser._lines) <= 16_384
    assert max(map(len, parser._lines)) <= 256


def test_a_status_message_is_told_from_an_ordinary_one():
    status, plain = b"NATS/1.0 404 No Messages\r\n\r\n", HEAD
    stream = b"".join(b"HMSG a 1 %d %d\r\n%b\r\n" % (len(h), len(h), h) for h in (status, plain))
    first, second = (event.msg for event in Parser().feed(stream) if isinstance(event, Unrouted))
    assert first.is_status
    assert (first.headers.status, first.headers.description) == (404, "No Messages")
    assert not second.is_status
    assert second.headers.to_dict() == {"A": "b"}
