"""A link, fed by bytes: cut anywhere, wrong anywhere, ended at any moment."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mts1b_platform.eventbus.connection import feed
from mts1b_platform.eventbus.connection.link import Link
from mts1b_platform.eventbus.errors import ProtocolViolation, ServerError, ServerUnavailable, StaleConnection
from mts1b_platform.eventbus.protocol.message import RawMsg
from mts1b_platform.eventbus.protocol.parser import Parser

STREAM = (
    b'INFO {"max_payload":100}\r\nPING\r\nMSG a 1 2\r\nxy\r\nPONG\r\nHMSG a.b 1 r 12 15\r\nNATS/1.0\r\n\r\nabc\r\n'
    b"-ERR 'Permissions Violation for Publish to \"X\"'\r\n+OK\r\nMSG b 2 0\r\n\r\n"
    b'INFO {"ldm":true}\r\nMSG a 1 1\r\n!\r\nPONG\r\n'
)


class Owner:
    """Keeps what a link tells."""

    def __init__(self) -> None:
        self.parser = Parser()
        self.parser.route(b"1")
        self.current = True
        self.events: list[Any] = []
        self.msgs: list[RawMsg] = []
        self.fails = False

    def is_current(self, link: Link) -> bool:
        del link
        return self.current

    def deliver(self, link: Link) -> None:
        del link
        if self.fails:
            raise ValueError("a bug")
        self.parser.touched.clear()
        got = self.parser.collected(b"1")
        self.msgs += got
        self.events += [msg[3] for msg in got]

    def answer_ping(self) -> None:
        self.events.append("PING")

    def heard_info(self, link: Link, info: dict[str, Any]) -> None:
        del link
        self.events.append(info)

    def server_said(self, link: Link, words: str) -> None:
        del link
        self.events.append(words)

    def paused(self, link: Link, *, paused: bool) -> None:
        del link
        self.events.append(paused)

    def ended(self, link: Link, reason: Exception) -> None:
        del link
        self.events.append(reason)

    def report(self, error: Exception) -> None:
        self.events.append(error)


class Wire:
    """A transport that keeps what happens to it."""

    def __init__(self) -> None:
        self.written = b""
        self.aborted = 0

    def write(self, data: bytes | memoryview) -> None:
        self.written += data

    def close(self) -> None: ...

    def abort(self) -> None:
        self.aborted += 1


def new_link(owner: Owner, size: int = 64) -> tuple[Link, Wire]:
    link, wire = Link(owner, owner.parser, memoryview(bytearray(size))), Wire()
    link.connection_made_by(wire)
    return link, wire


def played(cuts: list[int], size: int) -> tuple[list[RawMsg], set[Any], int]:
    async def play() -> tuple[list[RawMsg], set[Any], int]:
        owner = Owner()
        link, _ = new_link(owner, size)
        pongs = [link.expect_pong(), link.expect_pong()]
        at = 0
        for cut in [*sorted(cuts), len(STREAM)]:
            feed(link, STREAM[at:cut])
            at = cut
        assert (await link.info)["max_payload"] == 100
        assert link.server_info["ldm"] is True
        kinds = {str(event) for event in owner.events if not isinstance(event, bytes)}
        return owner.msgs, kinds, sum(pong.done() for pong in pongs)

    return asyncio.run(play())


WHOLE = (
    [(b"a", b"", b"", b"xy"), (b"a.b", b"r", b"NATS/1.0\r\n\r\n", b"abc"), (b"a", b"", b"", b"!")],
    {"PING", 'Permissions Violation for Publish to "X"', "{'ldm': True}"},
    2,
)


def test_every_cut_gives_the_same():
    for at in range(len(STREAM)):
        assert played([at], 1 << 16) == WHOLE, at


@given(st.lists(st.integers(0, len(STREAM)), max_size=30), st.integers(1, 200))
def test_many_cuts_and_any_buffer_give_the_same(cuts: list[int], size: int):
    assert played(cuts, size) == WHOLE


async def test_a_pong_comes_after_the_messages_before_it():
    owner = Owner()
    link, _ = new_link(owner)
    pong = link.expect_pong()
    pong.add_done_callback(lambda _: owner.events.append("PONG"))
    feed(link, b"MSG a 1 1\r\n1\r\nPONG\r\n")
    assert owner.events == [b"1"]
    await asyncio.sleep(0)
    assert owner.events == [b"1", "PONG"]


async def test_in_its_handshake_it_answers_a_ping_by_itself():
    owner = Owner()
    owner.current = False
    link, wire = new_link(owner)
    feed(link, b'INFO {"a":1}\r\nPING\r\nINFO {"b":2}\r\n')
    assert wire.written == b"PONG\r\n"
    assert owner.events == []
    assert link.server_info == {"a": 1, "b": 2}


async def test_it_ends_once_and_delivers_nothing_more():
    owner = Owner()
    link, wire = new_link(owner)
    flush = link.expect_pong()
    stale = StaleConnection("silent")
    link.end(stale)
    link.end(ValueError("another"))
    link.connection_lost(ConnectionResetError("reset"))
    feed(link, b"MSG a 1 1\r\n1\r\nPONG\r\n-ERR 'x'\r\n")
    assert owner.events == [stale]
    assert link.ended.result() is stale
    assert wire.aborted == 1
    for waiter in (flush, link.info):
        assert waiter.exception() is stale
    assert link.closed.done()


async def test_a_transport_that_comes_too_late_is_closed():
    link, wire = new_link(Owner())
    link.end(None)
    late = Wire()
    link.connection_made_by(late)
    assert late.aborted == wire.aborted == 1


@pytest.mark.parametrize("error", [None, ConnectionResetError("reset")])
async def test_what_the_server_said_last_is_why_it_ended(error: Exception | None):
    link, _ = new_link(Owner())
    feed(link, b"-ERR 'first'\r\n-ERR 'Last Words'\r\n")
    assert not link.over
    link.connection_lost(error)
    reason = link.ended.result()
    assert isinstance(reason, ServerError)
    assert reason.words == "Last Words"


async def test_our_own_reason_is_kept_whatever_the_server_said():
    link, _ = new_link(Owner())
    feed(link, b"-ERR 'slow'\r\n")
    link.end(StaleConnection("silent"))
    assert isinstance(link.ended.result(), StaleConnection)


async def test_without_words_the_end_has_a_reason_too():
    link, _ = new_link(Owner())
    assert link.eof_received() is False
    link.connection_lost(None)
    assert isinstance(link.ended.result(), ServerUnavailable)


@pytest.mark.parametrize("garbage", [b"\r\n", b"INFO {\r\n", b"INFO 3\r\n", b"MSG a 1 1\r\nabc\r\n"])
async def test_garbage_ends_it_after_the_messages_before(garbage: bytes):
    owner = Owner()
    link, wire = new_link(owner, 1 << 16)
    feed(link, b"MSG a 1 1\r\n1\r\n" + garbage + b"MSG a 1 1\r\n2\r\n-ERR 'x'\r\n")
    violation = link.ended.result()
    assert isinstance(violation, ProtocolViolation)
    assert [event for event in owner.events if not isinstance(event, bytes)] == [violation, violation]
    assert owner.events[0] == b"1"
    assert "x" not in owner.events
    assert wire.aborted == 1


async def test_an_error_of_ours_leaves_no_link_behind():
    owner = Owner()
    owner.fails = True
    link, _ = new_link(owner)
    feed(link, b"MSG a 1 1\r\n1\r\n")
    assert isinstance(link.ended.result(), ServerUnavailable)
    assert [str(event) for event in owner.events] == ["a bug", "the connection broke: a bug"]


@pytest.mark.parametrize("rest", [b"P", b"MSG a 1 5\r\nab", b"\r", b"INFO {}", b"\n"])
async def test_nothing_unencrypted_may_come_before_tls(rest: bytes):
    link, _ = new_link(Owner())
    feed(link, b"INFO {}\r\n" + rest)
    with pytest.raises(ProtocolViolation, match="before TLS"):
        link.begin_tls()


async def test_tls_begins_after_the_greeting():
    owner = Owner()
    link, _ = new_link(owner)
    feed(link, b"INFO {}\r\n")
    link.begin_tls()
    feed(link, b"MSG a 1 1\r\n1\r\n")
    assert owner.events == [b"1"]
