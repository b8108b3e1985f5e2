"""The NATS client protocol in bytes: frames out, messages in. Sans-io, no asyncio, no nats-py.

Out: a :class:`FrameTemplate` holds a subject and its static headers encoded; a frame is one ``join``.
In: a :class:`Parser` takes bytes in chunks of any size and hands back messages. It is stricter than nats-py's
(which it is tested against): counts must be plain digits, the CRLF behind a payload must be there, a header
block must fit its message, and nothing is buffered beyond ``max_line`` or ``max_message`` bytes.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from mts1b_foundation.errors import Mts1bError

from mts1b_platform.eventbus.headers import (
    MSG_ID,
    NO_LINES,
    TRACE_ID,
    HeaderError,
    HeaderLines,
    Headers,
    header_lines,
    header_value,
)

_CRLF: Final = b"\r\n"
_MSG: Final = b"MSG"
_HMSG: Final = b"HMSG"
_MSG_ID_LINE: Final = b"\r\nNats-Msg-Id: "
_END: Final = b"\r\n\r\n"
_SIZE_LINES: Final = tuple(b"%d\r\n" % n for n in range(8192))
_SIZES: Final = {b"%d" % n: n + 2 for n in range(8192)}
"""Counts as the server writes them, to offsets from the CR of their line; other spellings take the slow way."""
_REFUSED_IN_SUBJECT: Final = re.compile(r"[\x00-\x20\x7f]")

# Keeps what nats-py's expressions accept, minus their leniency towards stray line ends and signs. A subject is not \S+:
# the server separates fields by space and tab only, so that \x0b or \x0c in a subject is a byte like any other.
_MSG_LINE: Final = re.compile(rb"MSG[ \t]+([^ \t\r\n]+)[ \t]+(\d{1,19})[ \t]+(?:([^ \t\r\n]+)[ \t]+)?(\d{1,19})")
_HMSG_LINE: Final = re.compile(
    rb"HMSG[ \t]+([^ \t\r\n]+)[ \t]+(\d{1,19})[ \t]+(?:([^ \t\r\n]+)[ \t]+)?(\d{1,19})[ \t]+(\d{1,19})"
)
_CONTROL_LINES: Final = (
    re.compile(rb"(PING)[ \t]*()"),
    re.compile(rb"(PONG)[ \t]*()"),
    re.compile(rb"(\+OK)[ \t]*()"),
    re.compile(rb"(-ERR)[ \t]+('[^\r\n]+')"),
    re.compile(rb"(INFO)[ \t]+([^\r\n]+)"),
)
_KNOWN_LINES_LIMIT: Final = 16_384
_KNOWN_LINE_SIZE: Final = 256


class SubjectRefused(Mts1bError, ValueError):
    """A subject cannot be published to: empty, an empty token, a wildcard, blanks or control characters."""


class WireMsg(NamedTuple):
    """One message as it came off the wire; nothing is decoded until asked."""

    subject: bytes
    reply: bytes
    head: bytes
    """The header block from ``NATS/1.0`` to its empty line; empty for a message without headers."""
    payload: bytes

    @property
    def headers(self) -> Headers:
        """The headers, case-insensitive and lazily parsed; keep the object when you look up several."""
        return Headers(self.head)

    @property
    def is_status(self) -> bool:
        """Whether the server speaks (404, 408, 503 …) rather than a publisher."""
        return self.head[8:9] == b" "


RawMsg = tuple[bytes, bytes, bytes, bytes]
"""A message as the parser collects it: what :class:`WireMsg` names, and naming it would cost a tenth more."""


class Unrouted(NamedTuple):
    """A message for a subscription without a route."""

    sid: int
    msg: WireMsg


class Control(NamedTuple):
    """A line that is not a message: ``PING``, ``PONG``, ``+OK``, ``-ERR`` or ``INFO`` with its argument."""

    op: bytes
    argument: bytes


class Malformed(NamedTuple):
    """The stream cannot be understood from here on; the parser stays in this state until it is reset."""

    reason: str


ParserEvent = Unrouted | Control | Malformed


def checked_subject(subject: str) -> bytes:
    """Encode a subject to publish to.

    Raises:
        SubjectRefused: it is empty, has an empty token or a wildcard, or blanks or control characters.
    """
    if not subject or _REFUSED_IN_SUBJECT.search(subject):
        raise SubjectRefused(f"cannot publish to {subject!r}: a subject has no blanks or control characters")
    for token in subject.split("."):
        if token in {"", "*", ">"}:
            raise SubjectRefused(f"cannot publish to {subject!r}: its token {token!r} is empty or a wildcard")
    try:
        return subject.encode()
    except UnicodeEncodeError as error:
        raise SubjectRefused(f"cannot publish to {subject!r}: it is not valid Unicode") from error


def pub_frame(subject: bytes, payload: bytes = b"", reply: bytes = b"") -> bytes:
    """Encode a message without headers; ``subject`` and ``reply`` are trusted (checked, or from the server)."""
    if reply:
        return b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(payload), payload)
    return b"PUB %b %d\r\n%b\r\n" % (subject, len(payload), payload)


def hpub_frame(subject: bytes, head: bytes, payload: bytes = b"", reply: bytes = b"") -> bytes:
    """Encode a message with a ready header block; the slow way, for what is not hot."""
    size = len(head)
    where = b"%b %b" % (subject, reply) if reply else subject
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (where, size, size + len(payload), head, payload)


def frame_size(frame: bytes) -> int:
    """Return what the server holds against ``max_payload``: header block plus payload, in bytes."""
    return int(frame[: frame.index(_CRLF)].rsplit(b" ", 1)[1])


def split_frame(frame: bytes) -> WireMsg:
    """Take a frame of ours apart again."""
    line, _, rest = frame.partition(_CRLF)
    args = line.split(b" ")
    with_head = args[0] == b"HPUB"
    head, size = int(args[-2]) if with_head else 0, int(args[-1])
    reply = args[2] if len(args) - with_head == 4 else b""
    return WireMsg(args[1], reply, rest[:head], rest[head:size])


class FrameTemplate:
    """A subject and its static headers, encoded once; a frame per message is one ``join``.

    Static headers come first on the wire, then ``mts-trace-id``, then ``Nats-Msg-Id`` where there is one, then what
    one message adds (``extra``). Immutable, so it is shared freely.

    Raises:
        SubjectRefused: the subject cannot be published to.
        HeaderError: a static header is malformed, or is one of the two that change with every message.
    """

    __slots__ = ("_at", "_block", "_block_size", "_leads", "_line", "subject")

    _MAX_SUBJECTS: Final = 4096
    _MAX_LEADS: Final = 64

    def __init__(self, subject: str, headers: Mapping[str, str]) -> None:
        for name in headers:
            if name.lower() in {MSG_ID.lower(), TRACE_ID.lower()}:
                raise HeaderError(f"header {name!r} changes with every message; pass it to encode()")
        self._block = b"NATS/1.0\r\n%b%b: " % (header_lines(headers), TRACE_ID.encode())
        self._block_size = len(self._block) + len(_END)
        self._at: dict[str, FrameTemplate] = {}
        self._bind(subject)

    def _bind(self, subject: str) -> None:
        self.subject = subject
        self._line = b"HPUB %b " % checked_subject(subject)
        self._leads: dict[int, bytes] = {}

    def at(self, subject: str) -> "FrameTemplate":
        """Return the template with the same headers for another subject; remembers the last few thousand."""
        found = self._at.get(subject)
        if found is None:
            found = object.__new__(FrameTemplate)
            found._block, found._block_size, found._at = self._block, self._block_size, self._at
            found._bind(subject)
            if len(self._at) >= self._MAX_SUBJECTS:
                self._at.clear()
            self._at[subject] = found
        return found

    def encode(
        self,
        payload: bytes,
        trace_id: str,
        msg_id: str | None = None,
        reply: bytes = b"",
        extra: HeaderLines = NO_LINES,
    ) -> bytes:
        """Return the whole frame; ``reply`` is trusted (an inbox of ours), ``extra`` must not repeat a static header.

        Raises:
            HeaderError: an id is empty or has blanks around it, CR, LF or NUL in it.
        """
        try:
            trace = trace_id.encode()
        except UnicodeEncodeError:
            trace = b""
        if not trace.isalnum():  # nearly every id is; the check of header_value costs more
            trace = header_value(TRACE_ID, trace_id)
        head = self._block_size + len(trace)
        if msg_id is not None or reply or extra:
            return self._encode_more(payload, trace, head, msg_id, reply, extra)
        lead = self._leads.get(head) or self._lead(head)
        size = head + len(payload)
        size_line = _SIZE_LINES[size] if size < 8192 else b"%d\r\n" % size
        return b"".join((lead, size_line, self._block, trace, _END, payload, _CRLF))

    def _encode_more(
        self, payload: bytes, trace: bytes, head: int, msg_id: str | None, reply: bytes, extra: HeaderLines
    ) -> bytes:
        if msg_id is None:
            mid_line = mid = b""
        else:
            # The first look of header_value, repeated here because a call costs more than the look.
            plain = msg_id.isprintable() and msg_id and " " not in msg_id
            mid_line, mid = _MSG_ID_LINE, msg_id.encode() if plain else header_value(MSG_ID, msg_id)
        head += len(mid_line) + len(mid) + len(extra)
        lead = b"%b%b %d " % (self._line, reply, head) if reply else self._leads.get(head) or self._lead(head)
        end = b"\r\n" + extra + _CRLF if extra else _END
        size = head + len(payload)
        size_line = _SIZE_LINES[size] if size < 8192 else b"%d\r\n" % size
        return b"".join((lead, size_line, self._block, trace, mid_line, mid, end, payload, _CRLF))

    def _lead(self, head: int) -> bytes:
        """Return what precedes the total size for a block of this length; ids have few different lengths."""
        lead = b"%b%d " % (self._line, head)
        if len(self._leads) < self._MAX_LEADS:
            self._leads[head] = lead
        return lead


_Line = tuple[list[RawMsg] | None, bytes, bytes, bytes, int, int]
"""What the line of a message says: its route, subscription id, subject and reply subject, and where its header block
and its payload end, counted from the CR of the line."""


class Parser:
    """Turns the bytes of a server into messages, however they are cut into chunks.

    The messages of a subscription with a :meth:`route` are appended to its list; the ids of those whose list was empty
    before are in ``touched``, so that the cost does not grow with the number of routes. Messages without a route, and
    control lines, are returned in order of arrival; routed messages that arrived before a control line are in their
    list by the time it is returned.

    Guarantees: a byte is looked at a bounded number of times; at most ``max_line`` bytes of an unfinished
    line and ``max_message`` bytes of an unfinished message are held; malformed input ends in one
    :class:`Malformed` event, after the messages before it, and nothing is accepted until :meth:`reset`.
    """

    def __init__(self, max_line: int = 1 << 20, max_message: int = 64 << 20) -> None:
        self.touched: list[bytes] = []
        self.routed_bytes = 0
        """Payload bytes appended to routes so far; the owner reads differences."""
        self._routes: dict[bytes, list[RawMsg]] = {}
        self._max_line = max_line
        self._max_message = max_message
        self._lines: dict[bytes, _Line] = {}
        self._rest: bytes | bytearray = b""
        self._needed = 0
        self._fault = ""

    def reset(self) -> None:
        """Forget an unfinished message and a fault, for a new connection; routes stay."""
        self._rest = b""
        self._needed = 0
        self._fault = ""

    @property
    def routes(self) -> Collection[bytes]:
        """The subscription ids whose messages are collected."""
        return self._routes.keys()

    def route(self, sid: bytes) -> list[RawMsg]:
        """Collect the messages of ``sid`` from now on in the list that is returned."""
        self._lines.clear()
        route = self._routes[sid] = []
        return route

    def unroute(self, sid: bytes) -> None:
        """Remove a route; later messages for it are returned instead of collected."""
        if self._routes.pop(sid, None) is not None:
            self._lines.clear()

    def collected(self, sid: bytes) -> list[RawMsg]:
        """Take what was collected for ``sid``."""
        route = self._routes.get(sid)
        if not route:
            return []
        taken = route.copy()
        route.clear()
        return taken

    def feed(self, data: bytes) -> list[ParserEvent]:
        """Take the next chunk; return what is not routed."""
        if self._fault:
            return [Malformed(self._fault)]
        rest = self._rest
        if rest:
            if self._needed:
                if len(rest) + len(data) < self._needed:
                    self._rest = _grown(rest, data)
                    return []
            elif data.find(_CRLF) < 0 and not (rest.endswith(b"\r") and data.startswith(b"\n")):
                return self._hold(_grown(rest, data))
            data = b"".join((rest, data))
            self._rest = b""
        return self._parse(data)

    def _parse(self, data: bytes) -> list[ParserEvent]:
        events: list[ParserEvent] = []
        find, touched = data.find, self.touched
        known = self._lines.get if self._lines else None  # it is empty where only deliveries and acks arrive
        last, routed_bytes = len(data) - 2, 0
        # Lines are known by the bytes from the CRLF before them, so that finding one says that the CRLF is there.
        pos, eol = 0, find(_CRLF)
        line = known(_CRLF + data[:eol]) if known else None
        while eol >= 0:
            if line is None and (line := self._delivery(data[pos:eol])) is None:
                read = self._read_line(data[pos:eol])
                if isinstance(read, Control):
                    events.append(read)
                    before, pos = eol, eol + 2
                    eol = find(_CRLF, pos)
                    line = known(data[before:eol]) if known else None
                    continue
                if isinstance(read, str):
                    events.append(self._fail(read))
                    break
                line = read
            route, sid, subject, reply, to_payload, to_end = line
            end, body, payload = eol + to_end, eol + 2, eol + to_payload
            if end > last:
                self._rest = data[pos:]
                self._needed = end + 2 - pos
                break
            pos = end + 2
            eol = find(_CRLF, pos)
            line = known(data[end:eol]) if known else None
            if line is None and data[end:pos] != _CRLF:
                events.append(self._fail("a message is longer or shorter than its line says"))
                break
            msg = subject, reply, data[body:payload], data[payload:end]
            if route is None:
                events.append(Unrouted(int(sid), WireMsg(*msg)))
                continue
            if not route:
                touched.append(sid)
            route.append(msg)
            routed_bytes += end - payload
        else:
            if pos <= last + 1:
                events += self._hold(data[pos:])
        self.routed_bytes += routed_bytes
        return events

    def _delivery(self, line: bytes) -> _Line | None:
        """Read the routed lines that never repeat, JetStream deliveries and acks, the short way; None for any other."""
        parts = line.split()  # takes \x0b and \x0c for separators too; the comparison below sends those the long way
        if len(parts) == 6:
            op, subject, sid, reply, head, size = parts
            wanted = _HMSG
        elif len(parts) == 4:
            op, subject, sid, size = parts
            wanted, reply, head = _MSG, b"", b"0"
        else:
            return None
        route, to_payload, to_end = self._routes.get(sid), _SIZES.get(head, 0), _SIZES.get(size, 0)
        if op != wanted or route is None or not 2 <= to_payload <= to_end or b" ".join(parts) != line:
            return None
        return route, sid, subject, reply, to_payload, to_end

    def _read_line(self, line: bytes) -> _Line | Control | str:
        """Parse a line: a message's, a control line, or why it is neither."""
        head = b"0"
        if (match := _HMSG_LINE.fullmatch(line)) is not None:
            subject, sid, reply, head, size = match.groups()
        elif (match := _MSG_LINE.fullmatch(line)) is not None:
            subject, sid, reply, size = match.groups()
        else:
            for pattern in _CONTROL_LINES:
                if (match := pattern.fullmatch(line)) is not None:
                    return Control(match[1], match[2])
            return f"unknown protocol line {line[:80]!r}"
        if int(head) > int(size):
            return f"a header block is larger than its message: {line[:80]!r}"
        if int(size) > self._max_message:
            return f"a message of {int(size)} bytes is over the limit of {self._max_message}"
        sid = b"%d" % int(sid)  # normalised, so that it finds its route
        found: _Line = self._routes.get(sid), sid, subject, reply or b"", int(head) + 2, int(size) + 2
        if reply is None and head != b"0" and len(line) <= _KNOWN_LINE_SIZE:
            # Without a reply subject a line often comes twice; with one, or as an ack on our inbox, hardly ever.
            if len(self._lines) >= _KNOWN_LINES_LIMIT:
                self._lines.clear()
            self._lines[_CRLF + line] = found
        return found

    def _hold(self, rest: bytes | bytearray) -> list[ParserEvent]:
        """Keep an unfinished line for the next chunk, unless it is too long to be one."""
        if len(rest) > self._max_line:
            return [self._fail(f"a line is over the limit of {self._max_line} bytes")]
        self._rest = rest
        self._needed = 0
        return []

    def _fail(self, reason: str) -> Malformed:
        self._fault = reason
        self._rest = b""
        self._needed = 0
        return Malformed(reason)


def _grown(rest: bytes | bytearray, data: bytes) -> bytearray:
    """``rest`` with ``data`` behind it, grown in place where it was grown before: many small chunks cost no square."""
    grown = rest if isinstance(rest, bytearray) else bytearray(rest)
    grown += data
    return grown
