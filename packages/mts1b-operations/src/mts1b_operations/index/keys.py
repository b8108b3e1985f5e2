"""The keys under which an event is found: numbers made of the names that it is about. Pure.

A key has 48 bits. Two names may share one: whoever looks up a key reads the events and compares the names themselves.
"""

from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

from mts1b_foundation.deadletters import DeadLetter
from mts1b_foundation.subjects.flows import TRACE
from mts1b_platform.eventbus.history.recorded import Recorded
from mts1b_platform.eventbus.protocol.envelope import MSG_ID, TRACE_ID
from pydantic_core import from_json

from mts1b_operations.history.seen import Decoders, Seen, names_of

MESSAGE: Final = "message_id"
"""The kind of a message's own id."""

_MSG_ID: Final = f"\r\n{MSG_ID}: ".encode()
_TRACE_ID: Final = f"\r\n{TRACE_ID}: ".encode()
_BYTES: Final = 6


def key_of(kind: str, value: str) -> int:
    """The key of a name."""
    return int.from_bytes(blake2b(f"{kind}\0{value}".encode(), digest_size=_BYTES).digest(), "big")


_remembered = lru_cache(maxsize=4_096)(key_of)
"""Neighbouring events are about the same orders and traces."""


def keys_of(recorded: Recorded, decoders: Decoders) -> set[int]:
    """The keys of everything that a stored event is about, its trace and its message id included."""
    wire = recorded.wire
    found: set[int] = set()
    head = wire.head
    trace, message = _header(head, _TRACE_ID), _header(head, _MSG_ID)
    if trace is None or message is None:  # a foreign client writes them in its own way, or not at all
        seen = Seen(recorded, decoders)
        trace, message = seen.trace_id, seen.message_id
    if trace:
        found.add(_remembered(TRACE, trace))
    if message:
        found.add(key_of(MESSAGE, message))
    registered = decoders.subject(wire.subject)
    if registered is None:
        return found
    if registered.payload is DeadLetter:
        names = Seen(recorded, decoders).names
    elif registered.names:
        try:
            document: Any = from_json(wire.payload)
        except ValueError:
            return found
        names = names_of(decoders, wire.subject, document)
    else:
        return found
    for kind, value in names.items():
        found.add(_remembered(kind, value))
    return found


def _header(head: bytes, line: bytes) -> str | None:
    """The value of a header that stands in the block once and as we write it; None otherwise."""
    at = head.find(line)
    if at < 0:
        return None
    start = at + len(line)
    return head[start : head.index(b"\r\n", start)].decode(errors="replace")
