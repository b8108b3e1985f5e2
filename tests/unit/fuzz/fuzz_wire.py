"""Fuzz the wire code with atheris, nats-py's parser as the oracle.

    uv run --group fuzz python tests/unit/fuzz/fuzz_wire.py -max_total_time=60

The first byte chooses what is fuzzed. A finding is a crash: an exception that is not ours, a chunking that changes what
is read, an unbounded buffer, a header that was not given, or a message that nats-py reads differently.
"""
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportAttributeAccessIssue=false
# reason: atheris is in the dependency group "fuzz", which the checks do without, and has no types.
# ruff: noqa: SIM105 - plain try/except keeps the fuzzed calls visible

import asyncio
import sys
from itertools import pairwise
from typing import Any

import atheris
from nats.errors import ProtocolError
from nats.protocol.parser import Parser as OracleParser

WIRE = [
    f"mts1b_platform.eventbus.protocol.{name}"
    for name in ("envelope_reader", "frames", "headers", "parser", "position")
]

with atheris.instrument_imports(include=WIRE, enable_loader_override=False):
    from mts1b_platform.eventbus.protocol.envelope_reader import StaticHeaderCache, read_ids
    from mts1b_platform.eventbus.protocol.frames import FrameTemplate, SubjectRefused
    from mts1b_platform.eventbus.protocol.headers import HeaderError, Headers, header_block
    from mts1b_platform.eventbus.protocol.parser import Control, Malformed, Parser, Unrouted
    from mts1b_platform.eventbus.protocol.position import NotJetStream, Position

MAX_LINE, MAX_MESSAGE = 512, 4096
SEEN = StaticHeaderCache()
FRAGMENTS = (
    *(b"MSG ", b"HMSG ", b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR 'x'\r\n", b"INFO {}\r\n"),
    *(b"a.b ", b"1 ", b"2 ", b"$JS.ACK.S.d.1.2.3.4.5 ", b" ", b"\t", b"\r\n", b"\n", b"\r", b"\0"),
    *(
        b"0\r\n",
        b"5\r\nhello\r\n",
        b"12 12\r\nNATS/1.0\r\n\r\n\r\n",
        b"12 17\r\nNATS/1.0\r\n\r\nhello\r\n",
        b"9999999999",
    ),
    *(b"MSG a.b 1 5\r\nhello\r\n", b"HMSG a.b 1 r 12 13\r\nNATS/1.0\r\n\r\nx\r\n"),
)
"""Pieces that a stream is made of."""
HEADER_PIECES = (
    *(b"NATS/1.0", b"NATS/1.0\r\n", b"NATS/1.0 404 No Messages\r\n", b"\r\n", b"\n", b"\r", b"\0", b": "),
    *(b"mts-schema: a\r\n", b"MTS-Schema: b\r\n", b"mts-trace-id: t\r\n", b"Nats-Msg-Id: i\r\n", b"nats-msg-id: j\r\n"),
)


class Oracle:
    """What nats-py's parser tells its client; only the messages."""

    def __init__(self) -> None:
        self.messages: list[tuple[Any, ...]] = []
        self.parser = OracleParser(self)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, head: bytes | None) -> None:
        self.messages.append((sid, bytes(subject), bytes(reply), head or b"", data))

    async def _ignore(self, *_: object) -> None:
        """Control lines are compared by the property tests."""

    _process_err = _process_ping = _process_pong = _process_info = _ignore


def parse(chunks: list[bytes]) -> tuple[list[tuple[Any, ...]], bool]:
    """Messages and whether the stream was refused."""
    parser = Parser(MAX_LINE, MAX_MESSAGE)
    routed = parser.route(b"1")
    messages: list[tuple[Any, ...]] = []
    for chunk in chunks:
        for event in parser.feed(chunk):
            match event:
                case Unrouted(sid, msg):
                    messages.append((sid, *msg))
                case Malformed():
                    return [*messages, *((1, *msg) for msg in routed)], True
                case Control():
                    pass
        held = len(parser._rest)  # pyright: ignore[reportPrivateUsage] - its bound is what is fuzzed
        assert held <= MAX_LINE + MAX_MESSAGE + 4, f"{held} bytes are held"
    return [*messages, *((1, *msg) for msg in routed)], False


def stream_of(data: atheris.FuzzedDataProvider) -> bytes:
    """Protocol fragments with noise between and inside them: what a fuzzer would need hours to spell."""
    parts: list[bytes] = []
    while data.remaining_bytes():
        choice = data.ConsumeIntInRange(0, len(FRAGMENTS) + 3)
        if choice < len(FRAGMENTS):
            parts.append(FRAGMENTS[choice])
        else:
            parts.append(data.ConsumeBytes(data.ConsumeIntInRange(1, 12)))
    return b"".join(parts)


def fuzz_parser(data: atheris.FuzzedDataProvider) -> None:
    cuts = [data.ConsumeIntInRange(0, 4096) for _ in range(data.ConsumeIntInRange(0, 6))]
    stream = stream_of(data)
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    whole = parse([stream])
    assert parse([stream[a:b] for a, b in pairwise(edges)]) == whole, "a cut changes what is read"
    oracle = Oracle()
    try:
        asyncio.run(oracle.parser.parse(stream))
    except (ProtocolError, ValueError, AttributeError):
        pass
    ours, refused = sorted(whole[0]), whole[1]
    theirs = sorted(oracle.messages)
    assert all(message in theirs for message in ours) if refused else ours == theirs, (ours, theirs)


def fuzz_headers(data: atheris.FuzzedDataProvider) -> None:
    lines = [
        HEADER_PIECES[data.ConsumeIntInRange(0, len(HEADER_PIECES) - 1)] for _ in range(data.ConsumeIntInRange(0, 8))
    ]
    block = b"".join(lines) + data.ConsumeBytes(1 << 10)
    for read in (lambda: Headers(block).to_dict(), lambda: SEEN.read(block), lambda: read_ids(block)):
        try:
            read()
        except HeaderError:
            pass
    try:
        Position.of(block)
    except NotJetStream:
        pass


def fuzz_frames(data: atheris.FuzzedDataProvider) -> None:
    name, value, msg_id, trace_id = (data.ConsumeUnicode(40) for _ in range(4))
    subject, payload = data.ConsumeUnicode(40), data.ConsumeBytes(200)
    try:
        block = header_block({name: value})
    except HeaderError:
        block = b""
    if block:
        assert Headers(block).to_dict() == {name: value}
    try:
        frame = FrameTemplate(subject, {"mts-actor": "me"}).encode(payload, trace_id, msg_id)
    except (HeaderError, SubjectRefused):
        return
    line, rest = frame.split(b"\r\n", 1)
    _, where, *sizes = line.split(b" ")
    (event,) = Parser().feed(b" ".join([b"HMSG", where, b"9", *sizes]) + b"\r\n" + rest)
    assert isinstance(event, Unrouted)
    assert event.msg.payload == payload
    assert event.msg.headers.to_dict() == {"mts-actor": "me", "mts-trace-id": trace_id, "Nats-Msg-Id": msg_id}


def fuzz_one(raw: bytes) -> None:
    data = atheris.FuzzedDataProvider(raw)
    (fuzz_parser, fuzz_headers, fuzz_frames)[data.ConsumeIntInRange(0, 2)](data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, fuzz_one)
    atheris.Fuzz()
