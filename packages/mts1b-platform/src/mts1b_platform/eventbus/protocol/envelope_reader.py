"""Reading the envelope of a received message without parsing all of its headers.

Our publishers write the static headers first (schema, source repo, actor, content type), as the same bytes every time,
then ``mts-trace-id``, then what differs from message to message. A block that begins with known bytes and ends like
ours needs no parsing; any other block is parsed in full, so that a cached block never means something else than a
parsed one.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

from mts1b_platform.eventbus.protocol.envelope import (
    ACTOR,
    CONTENT_TYPE,
    MSG_ID,
    SCHEMA,
    SOURCE_REPO,
    TRACE_ID,
    TRACEPARENT,
)
from mts1b_platform.eventbus.protocol.headers import Headers, decode_value

_CACHED_BLOCK_LIMIT: Final = 1024
_CRLF: Final = b"\r\n"
MSG_ID_LINE: Final = b"Nats-Msg-Id: "
TRACE_LINE: Final = b"mts-trace-id: "
_TO_TRACE: Final = _CRLF + TRACE_LINE
_BATCH_LINES: Final = (b"Nats-Batch-Id: ", b"Nats-Batch-Sequence: ", b"Nats-Batch-Commit: ")
_PIN_LINE: Final = b"Nats-Pin-Id: "
_TRACEPARENT_LINE: Final = b"traceparent: "
_SERVER_LINES: Final = (*_BATCH_LINES, _PIN_LINE)
_BEGIN: Final = b"NATS/1.0\r\n"
_END: Final = b"\r\n\r\n"
_ADDED: Final = (MSG_ID_LINE, _TRACEPARENT_LINE, *_SERVER_LINES)
"""How the lines begin that we write behind the trace id; a stream keeps those of an atomic batch with each message, and
the server adds the pin under which it delivers."""
_TO_MSG_ID: Final = len(MSG_ID_LINE)


_PLAIN_IDS: Final = re.compile(rb"mts-trace-id: ([!-~]+)\r\nNats-Msg-Id: ([!-~]+)\r\n\r\n")
"""What is behind the static headers of nearly every event."""


class StaticHeaders(NamedTuple):
    """What one publisher repeats in each of its messages; empty where the sender left a header out."""

    schema: str
    source_repo: str
    actor: str
    content_type: str


class StaticHeaderCache:
    """Decides on the static headers of a message by a comparison with those of the last one, or a dictionary lookup.

    Our publishers write the static headers first, as the same bytes every time, then the trace id, then what else
    differs from message to message: the message id, a sampled span's ``traceparent``, the place in an atomic batch.
    The first sight of such a prefix is parsed in full, later ones are found. Everything else (foreign clients in their
    own order, other headers) is parsed in full every time, so a block never means something else cached than parsed.
    What is behind the static headers is checked when it is read. Holds at most ``limit`` prefixes, of blocks of at most
    1 KiB.
    """

    __slots__ = ("_at", "_known", "_last", "_limit", "_prefix")

    def __init__(self, limit: int = 1024) -> None:
        self._known: dict[bytes, StaticHeaders] = {}
        self._limit = limit
        self._at, self._prefix, self._last = 0, b"\0", StaticHeaders("", "", "", "")

    def __len__(self) -> int:
        return len(self._known)

    def begun_as_before(self, block: bytes) -> StaticHeaders | None:
        """The static headers of a block that is known to be well formed, when it begins as the last one did."""
        return self._last if block[: self._at] == self._prefix else None

    def read(self, block: bytes) -> StaticHeaders:
        """Return the static headers of ``block``.

        Raises:
            HeaderError: the block is malformed, or one of these headers occurs twice.
        """
        at = self._at
        if block[:at] == self._prefix and are_ids(block[at:]):
            return self._last
        prefix = block[: ids_at(block)]
        if prefix and (known := self._known.get(prefix)) is not None:
            self._at, self._prefix, self._last = len(prefix), prefix, known
            return known
        headers = Headers(block)
        static = StaticHeaders(
            schema=headers.get(SCHEMA) or "",
            source_repo=headers.get(SOURCE_REPO) or "",
            actor=headers.get(ACTOR) or "",
            content_type=headers.get(CONTENT_TYPE) or "",
        )
        if prefix and len(block) <= _CACHED_BLOCK_LIMIT:
            if len(self._known) >= self._limit:
                self._known.clear()
            self._known[prefix] = static
        return static


def ids_at(block: bytes) -> int:
    """Where the ids begin in a block that ends as ours do; 0 for any other. What precedes them is static."""
    at = block.rfind(_TO_TRACE) + len(_TO_TRACE)
    return at if are_ids(block[at:]) else 0


def are_ids(rest: bytes) -> bool:
    """Whether a block that goes on like this behind ``mts-trace-id: `` holds only what we write there."""
    lines = rest.split(_CRLF)
    # Nearly every event has a message id behind it, or nothing.
    if len(lines) == 4 and lines[1][:_TO_MSG_ID] == MSG_ID_LINE:
        return not lines[2] and not lines[3]
    if len(lines) == 3:
        return not lines[1] and not lines[2]
    return len(lines) > 3 and not lines[-1] and not lines[-2] and all(map(_is_added, lines[1:-2]))


def _is_added(line: bytes) -> bool:
    return line.startswith(_ADDED)


class MessageIds(NamedTuple):
    """What is new in every message; empty where the sender left a header out."""

    msg_id: str
    trace_id: str
    traceparent: str


def read_ids(block: bytes) -> MessageIds:
    """Return the message id and the trace ids of ``block``.

    Raises:
        HeaderError: the block is malformed, or one of the ids occurs twice.
    """
    at = block.find(_TO_TRACE) + len(_CRLF)
    plain = _PLAIN_IDS.fullmatch(block, at)
    if plain is not None and _is_clean(block[:at]):
        return MessageIds(plain[2].decode(), plain[1].decode(), "")
    if block[-4:] == _END and _is_clean(block[:at]) and b"\0" not in block:
        trace_id, *rest = block[at + len(TRACE_LINE) : -4].split(_CRLF)
        msg_id = traceparent = b""
        for line in rest:
            if line.startswith(MSG_ID_LINE) and not msg_id:
                msg_id = line[_TO_MSG_ID:]
            elif line.startswith(_TRACEPARENT_LINE) and not traceparent:
                traceparent = line[len(_TRACEPARENT_LINE) :]
            elif not line.startswith(_SERVER_LINES):
                break
        else:
            if block.count(b"\r", at) == block.count(b"\n", at) == len(rest) + 2:
                return MessageIds(
                    decode_value(MSG_ID, msg_id.strip()),
                    decode_value(TRACE_ID, trace_id.strip()),
                    decode_value(TRACEPARENT, traceparent.strip()),
                )
    headers = Headers(block)
    return MessageIds(headers.get(MSG_ID) or "", headers.get(TRACE_ID) or "", headers.get(TRACEPARENT) or "")


@lru_cache(maxsize=1024)
def _is_clean(prefix: bytes) -> bool:
    """Tell whether these lines before the trace id hold no id, however it is spelled; they are the same every time."""
    if not prefix.startswith(_BEGIN):
        return False
    lowered = prefix.lower()
    return not any(name.lower().encode() in lowered for name in (MSG_ID, TRACE_ID, TRACEPARENT))
