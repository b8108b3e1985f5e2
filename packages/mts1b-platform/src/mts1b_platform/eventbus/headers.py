"""Header blocks in bytes: writing them safely, reading them lazily.

A header block runs from ``NATS/1.0`` to its empty line. Writing refuses what would arrive changed or would
forge a line: a value never carries CR, LF or NUL, a name is a token. Reading looks names up in any case
(foreign clients spell them differently) and refuses to guess between two headers of the same name.

Sans-io: nothing here knows sockets, asyncio or nats-py. Every problem with a block is a :class:`HeaderError`;
a bad block costs its own message and nothing else.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, NewType

from mts1b_foundation.errors import Mts1bError

MSG_ID: Final = "Nats-Msg-Id"
CONTENT_TYPE: Final = "content-type"
TRACE_ID: Final = "mts-trace-id"
TRACEPARENT: Final = "traceparent"
SOURCE_REPO: Final = "mts-source-repo"
SCHEMA: Final = "mts-schema"
ACTOR: Final = "mts-actor"
ORIGINAL_MSG_ID: Final = "mts-original-msg-id"
"""On a requeued or replayed message: the message id of its first publication, by which consumers recognise it."""
ONLY_DURABLE: Final = "mts-only-durable"
"""On a message requeued for one durable: every other one acknowledges it unseen."""
REQUEUES: Final = "mts-requeues"
"""How often the message was requeued from the dead letters."""

HeaderLines = NewType("HeaderLines", bytes)
"""Encoded ``name: value`` lines, each ended by CRLF; made by :func:`header_lines` only, hence free of forgeries."""

NO_LINES: Final = HeaderLines(b"")

_VERSION: Final = b"NATS/1.0"
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NAME_BYTES: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_STATUS: Final = re.compile(rb"[0-9]{3}")
_CACHED_BLOCK_LIMIT: Final = 1024
_CRLF: Final = b"\r\n"
MSG_ID_LINE: Final = b"Nats-Msg-Id: "
TRACE_LINE: Final = b"mts-trace-id: "
_TO_TRACE: Final = _CRLF + TRACE_LINE
_BATCH_LINES: Final = (b"Nats-Batch-Id: ", b"Nats-Batch-Sequence: ", b"Nats-Batch-Commit: ")
_ADDED: Final = (MSG_ID_LINE, b"traceparent: ", *_BATCH_LINES)
"""How the lines begin that we write behind the trace id; a stream keeps those of an atomic batch with each message."""
_TO_MSG_ID: Final = len(MSG_ID_LINE)


class HeaderError(Mts1bError, ValueError):
    """A header cannot be written as asked, or a received block does not say one clear thing."""


def header_value(name: str, value: str) -> bytes:
    """Encode one header value as UTF-8.

    Raises:
        HeaderError: the value is empty, carries CR, LF or NUL, or has blanks around it that receivers trim.
    """
    # One fast look accepts what nearly every value is: printable and without a space.
    if value.isprintable() and value and " " not in value:
        return value.encode()
    if not value:
        raise HeaderError(f"header {name!r} is empty; leave it out or give it a value")
    if "\r" in value or "\n" in value or "\0" in value:
        raise HeaderError(f"header {name!r} has the value {value!r} with CR, LF or NUL in it, which could forge a line")
    if value != value.strip():
        raise HeaderError(f"header {name!r} has the value {value!r} with blanks around it; receivers would trim them")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise HeaderError(f"header {name!r} has the value {value!r}, which is not valid Unicode") from error


def header_lines(headers: Mapping[str, str]) -> HeaderLines:
    """Encode headers, names in the case given, in the order given.

    Raises:
        HeaderError: a name is no token, two names differ only by case, or a value is refused by
            :func:`header_value`.
    """
    seen: set[str] = set()
    lines: list[bytes] = []
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise HeaderError(f"header name {name!r} is not a token: printable ASCII without separators")
        if name.lower() in seen:
            raise HeaderError(f"header {name!r} is given twice, in different case; keep one")
        seen.add(name.lower())
        lines.append(b"%b: %b\r\n" % (name.encode(), header_value(name, value)))
    return HeaderLines(b"".join(lines))


def header_block(headers: Mapping[str, str]) -> bytes:
    """Encode a whole block, from version line to empty line; the slow way, for what is not hot."""
    return b"%b\r\n%b\r\n" % (_VERSION, header_lines(headers))


class Headers(Mapping[str, str]):
    """The headers of one received message, parsed when first asked.

    Lookups ignore case. A name that occurs twice raises at the lookup of that name, because picking one would
    let a sender show two receivers two different messages; :meth:`get_all` hands out all of them.

    Raises (every method):
        HeaderError: the block is malformed, or the value asked for is not UTF-8 or not unique.
    """

    __slots__ = ("_block", "_description", "_fields", "_status")

    def __init__(self, block: bytes) -> None:
        self._block = block
        self._fields: dict[str, list[tuple[str, bytes]]] | None = None
        self._status: int | None = None
        self._description = ""

    def _parsed(self) -> dict[str, list[tuple[str, bytes]]]:
        fields = self._fields
        if fields is None:
            fields = dict[str, list[tuple[str, bytes]]]()
            if self._block:
                self._status, self._description = _parse_block(self._block, fields)
            self._fields = fields
        return fields

    @property
    def status(self) -> int | None:
        """The status that the server wrote beside the version, such as 404; None for ordinary messages."""
        self._parsed()
        return self._status

    @property
    def description(self) -> str:
        """The words after the status; empty without any."""
        self._parsed()
        return self._description

    def get_all(self, name: str) -> list[str]:
        """Return every value of ``name``, in order of arrival."""
        return [_decode(name, value) for _, value in self._parsed().get(name.lower(), ())]

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        """Return the value of ``name``, or ``default`` when the message has none."""
        found = self._parsed().get(name.lower())
        if found is None:
            return default
        if len(found) > 1:
            raise HeaderError(f"header {name!r} occurs {len(found)} times; a message must say it once")
        return _decode(name, found[0][1])

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._parsed()

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names as the sender spelled them (the first spelling where there are several)."""
        return (found[0][0] for found in self._parsed().values())

    def __len__(self) -> int:
        return len(self._parsed())

    def to_dict(self) -> dict[str, str]:
        """Return all headers under the sender's spelling."""
        return {name: self[name] for name in self}

    def __repr__(self) -> str:
        return f"<Headers {self._block!r}>"


def _decode(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise HeaderError(f"header {name!r} has a value that is not UTF-8: {value!r}") from error


def _parse_block(block: bytes, fields: dict[str, list[tuple[str, bytes]]]) -> tuple[int | None, str]:
    """Fill ``fields`` (lower-case name to spelled names and values); return the status and its description."""
    if not block.startswith(_VERSION) or not block.endswith(b"\r\n\r\n"):
        raise HeaderError(f"header block must run from NATS/1.0 to an empty line, not {_excerpt(block)}")
    first, *lines = block[:-4].split(b"\r\n")
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME_BYTES.fullmatch(name):
            raise HeaderError(f"header line {_excerpt(line)} is not 'name: value'")
        if b"\r" in value or b"\n" in value or b"\0" in value:
            raise HeaderError(f"header {name.decode()!r} carries a lone CR, LF or NUL: {_excerpt(value)}")
        spelled = name.decode()
        fields.setdefault(spelled.lower(), []).append((spelled, value.strip()))
    rest = first[len(_VERSION) :]
    if not rest:
        return None, ""
    status, description = rest[1:4], rest[4:].strip()
    if rest[:1] != b" " or not _STATUS.fullmatch(status):
        raise HeaderError(f"first header line {_excerpt(first)} has something other than a status after NATS/1.0")
    return int(status), description.decode("utf-8", "replace")


def _excerpt(raw: bytes) -> str:
    return repr(raw[:80]) + ("…" if len(raw) > 80 else "")


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
    lines = block.rsplit(b"\r\n", 4)
    if len(lines) == 5 and lines[4] == lines[3] == b"" and b"\0" not in block:
        msg_id = b""
        if lines[1].startswith(TRACE_LINE) and lines[2].startswith(MSG_ID_LINE):
            trace_id, msg_id, clean = lines[1], lines[2], _is_clean(lines[0])
        elif lines[2].startswith(TRACE_LINE):
            trace_id, clean = lines[2], _is_clean(lines[0]) and _is_clean(lines[1])
        else:
            trace_id, clean = b"", False
        if clean and b"\r" not in trace_id + msg_id and b"\n" not in trace_id + msg_id:
            mid = _decode(MSG_ID, msg_id[len(MSG_ID_LINE) :].strip())
            return MessageIds(mid, _decode(TRACE_ID, trace_id[len(TRACE_LINE) :].strip()), "")
    headers = Headers(block)
    return MessageIds(headers.get(MSG_ID) or "", headers.get(TRACE_ID) or "", headers.get(TRACEPARENT) or "")


@lru_cache(maxsize=1024)
def _is_clean(prefix: bytes) -> bool:
    """Tell whether there is no id in the lines before ours, however it is spelled; they are the same every time."""
    lowered = prefix.lower()
    return not any(name.lower().encode() in lowered for name in (MSG_ID, TRACE_ID, TRACEPARENT))
