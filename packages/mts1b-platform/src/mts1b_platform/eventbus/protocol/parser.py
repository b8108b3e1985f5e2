"""The incremental parser of what a NATS server sends. No sockets, no asyncio.

A :class:`Parser` takes bytes in chunks of any size and hands back messages. It is stricter than nats-py's, which it is
tested against: counts must be plain digits, the CRLF behind a payload must be there, a header block must fit its
message, and nothing is buffered beyond ``max_line`` or ``max_message`` bytes.
"""

import re
from collections.abc import Collection
from typing import Final, NamedTuple

from mts1b_platform.eventbus.core import CORE
from mts1b_platform.eventbus.protocol.message import RawMsg, WireMsg

_CRLF: Final = b"\r\n"
_MSG: Final = b"MSG"
_HMSG: Final = b"HMSG"
_SIZES: Final = {b"%d" % n: n + 2 for n in range(8192)}
"""Counts as the server writes them, to offsets from the CR of their line; other spellings take the slow way."""

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

    Where the compiled core is at work it collects whole messages of routed subscriptions, each as one object that
    stands for the tuple; all else is parsed here.
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
        self._scanner = CORE.Scanner(max_message) if CORE is not None else None

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
        if self._scanner is not None:
            self._scanner.route(int(sid), sid, route)
        return route

    def unroute(self, sid: bytes) -> None:
        """Remove a route; later messages for it are returned instead of collected."""
        if self._routes.pop(sid, None) is not None:
            self._lines.clear()
            if self._scanner is not None:
                self._scanner.unroute(int(sid))

    def collected(self, sid: bytes) -> list[RawMsg]:
        """Take what was collected for ``sid``."""
        route = self._routes.get(sid)
        if not route:
            return []
        taken = route.copy()
        route.clear()
        return taken

    def feed(self, data: bytes | memoryview) -> list[ParserEvent]:
        """Take the next chunk, of which nothing is looked at later; return what is not routed."""
        begun = len(self._rest)
        if self._scanner is None or self._fault or (begun and not self._needed):
            return self._feed(bytes(data))
        at = min(self._needed - begun, len(data)) if begun else 0
        events = self._feed(bytes(data[:at])) if begun else []
        if at < len(data) and not self._fault:
            taken, routed_bytes = self._scanner.scan(data, self.touched, at)
            self.routed_bytes += routed_bytes
            at += taken
            if at < len(data):
                events += self._parse(bytes(data[at:]))
        return events

    def _feed(self, data: bytes) -> list[ParserEvent]:
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
        if self._scanner is not None:
            taken, routed_bytes = self._scanner.scan(data, self.touched)
            self.routed_bytes += routed_bytes
            if taken == len(data):
                return []
            data = data[taken:]
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
                known = self._lines.get if self._lines else None
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
