"""One line of the audit log, and how it is chained to the one before.

A line is a JSON object that ends in its own hash: SHA-256 over everything before ``,"hash":``, which includes the hash
of the previous line (``prev``) and a number that counts one up (``n``). Changing, removing, inserting or reordering
lines breaks the chain at that place.
"""

import hashlib
import json
from typing import Any, Final, cast

GENESIS: Final = "0" * 64
"""``prev`` of the first line of a chain."""

RECOVERED: Final = "recovered"
"""Kind of the line that accounts for a torn one before it."""

LONGEST: Final = 1 << 20
"""No line is longer than this many bytes."""

_MARK: Final = b',"hash":"'


def encode(number: int, previous: str, fields: dict[str, Any]) -> tuple[bytes, str]:
    """The line with its line feed, and its hash. Fields that are None are left out."""
    document = {"n": number, **{key: value for key, value in fields.items() if value is not None}, "prev": previous}
    body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()[:-1]
    digest = hashlib.sha256(body).hexdigest()
    return b'%b%b%b"}\n' % (body, _MARK, digest.encode()), digest


def parse(line: bytes) -> dict[str, Any] | None:
    """The line's document; None when it is no whole JSON object, as a line that was cut off."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):  # no JSON, no text, or nested more deeply than anything that was written
        return None
    return cast("dict[str, Any]", document) if isinstance(document, dict) else None


def is_record(document: dict[str, Any]) -> bool:
    """Whether a line's document has what every record has."""
    return type(document.get("n")) is int and all(isinstance(document.get(key), str) for key in ("prev", "hash"))


def is_beginning(line: bytes, number: int) -> bool:
    """Whether ``line`` may be record ``number``, cut off."""
    start = b'{"n":%d,' % number
    return line[: len(start)] == start[: len(line)]


def digest_of(line: bytes) -> str:
    """What the hash of ``line`` should be."""
    return hashlib.sha256(line[: line.rfind(_MARK)]).hexdigest()


def is_whole(line: bytes) -> bool:
    """Whether ``line``, with or without its line feed, is to the byte what was written."""
    return line.removesuffix(b"\n").endswith(b'%b%b"}' % (_MARK, digest_of(line).encode()))
