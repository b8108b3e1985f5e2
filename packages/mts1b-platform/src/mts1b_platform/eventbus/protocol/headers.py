"""Header blocks in bytes: writing them safely, reading them lazily.

A header block runs from ``NATS/1.0`` to its empty line::

    block   = "NATS/1.0" [" " status [" " description]] CRLF *(name ":" [" "] value CRLF) CRLF

Writing refuses a value that would arrive changed or forge a line (CR, LF, NUL, surrounding blanks) and a name that is
no token. Reading looks names up in any case, because foreign clients spell them differently, and refuses to choose
between two headers of the same name. Every problem with a block is a :class:`HeaderError`, which costs its own message
and nothing else.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NewType

from mts1b_foundation.errors import Mts1bError

HeaderLines = NewType("HeaderLines", bytes)
"""Encoded ``name: value`` lines, each ended by CRLF; made by :func:`header_lines` only, hence free of forgeries."""

NO_LINES: Final = HeaderLines(b"")

_VERSION: Final = b"NATS/1.0"
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NAME_BYTES: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_STATUS: Final = re.compile(rb"[0-9]{3}")


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
        return [decode_value(name, value) for _, value in self._parsed().get(name.lower(), ())]

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        """Return the value of ``name``, or ``default`` when the message has none."""
        found = self._parsed().get(name.lower())
        if found is None:
            return default
        if len(found) > 1:
            raise HeaderError(f"header {name!r} occurs {len(found)} times; a message must say it once")
        return decode_value(name, found[0][1])

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

    def readable(self) -> dict[str, str]:
        r"""The headers as far as they can be read; raises nothing.

        All values of a doubled name, joined; bytes that are not UTF-8 as ``\xff``; all of a broken block as one value.
        """
        try:
            fields = self._parsed().values()
        except HeaderError:
            return {"(unreadable)": self._block.decode(errors="backslashreplace")}
        return {
            found[0][0]: ", ".join(value.decode(errors="backslashreplace") for _, value in found) for found in fields
        }

    def __repr__(self) -> str:
        return f"<Headers {self._block!r}>"


def decode_value(name: str, value: bytes) -> str:
    """Decode one header value.

    Raises:
        HeaderError: it is not UTF-8.
    """
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
