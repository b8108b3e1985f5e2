"""Frames of the NATS client protocol, encoded: ``PUB`` and ``HPUB``.

A :class:`FrameTemplate` holds a subject and its static headers encoded, so that the frame of one message is one
``join``. No sockets, no asyncio.
"""

import re
from collections.abc import Mapping
from typing import Final

from mts1b_foundation.errors import Mts1bError

from mts1b_platform.eventbus.protocol.envelope import MSG_ID, TRACE_ID
from mts1b_platform.eventbus.protocol.headers import (
    NO_LINES,
    HeaderError,
    HeaderLines,
    header_lines,
    header_value,
)
from mts1b_platform.eventbus.protocol.message import WireMsg

_CRLF: Final = b"\r\n"
_MSG_ID_LINE: Final = b"\r\nNats-Msg-Id: "
_END: Final = b"\r\n\r\n"
_SIZE_LINES: Final = tuple(b"%d\r\n" % n for n in range(8192))
_REFUSED_IN_SUBJECT: Final = re.compile(r"[\x00-\x20\x7f]")


class SubjectRefused(Mts1bError, ValueError):
    """A subject cannot be published to: empty, an empty token, a wildcard, blanks or control characters."""


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
